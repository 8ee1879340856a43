"""No bytes are read in two ways: what could be is refused, and what follows it is never read.

Each shape is sent to both doors, to Invoke (the loop of our own) and to another operation
(gunicorn), with a request behind it that only its sender's reading would find.
"""

from __future__ import annotations

import re

import pytest

from sandbox.http.wire import read_head
from sandbox.http.worker import InvokeWorker
from tests.support.api import AUTHORIZATION, Api
from tests.support.worker import ask

INVOKE = "/2015-03-31/functions/f/invocations"
DOORS = {
    "invoke": f"POST {INVOKE} HTTP/1.1",
    "another": "POST /2015-03-31/functions HTTP/1.1",
}
HOST = "Host: localhost:4566"
SMUGGLED = (
    f"POST {INVOKE} HTTP/1.1\r\n{HOST}\r\nAuthorization: {AUTHORIZATION}\r\n"
    "Content-Length: 10\r\n\r\n\"smuggled\""
).encode()  # fmt: skip
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


def refused(door: InvokeWorker, request: bytes) -> int:
    """The status of the only answer, which is an error."""
    assert read_head(request) is None, "it is not plain"
    answer = ask(door, request + SMUGGLED)
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
    assert len(statuses) == 1, answer[:2000]
    return int(statuses[0])


HEADS = {
    "both a length and chunks": f"{HOST}\r\nContent-Length: 5\r\n{CHUNKED}\r\n\r\n0\r\n\r\n",
    "both, the other way": f"{HOST}\r\n{CHUNKED}\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": f"{HOST}\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}",
    "two other lengths": f"{HOST}\r\nContent-Length: 2\r\nContent-Length: 200\r\n\r\n{{}}",
    "two lengths in one": f"{HOST}\r\nContent-Length: 2, 2\r\n\r\n{{}}",
    "negative length": f"{HOST}\r\nContent-Length: -2\r\n\r\n{{}}",
    "signed length": f"{HOST}\r\nContent-Length: +2\r\n\r\n{{}}",
    "hexadecimal length": f"{HOST}\r\nContent-Length: 0x2\r\n\r\n{{}}",
    "broken length": f"{HOST}\r\nContent-Length: 2.0\r\n\r\n{{}}",
    "length with a gap": f"{HOST}\r\nContent-Length: 2 0\r\n\r\n{{}}",
    "length with an underscore": f"{HOST}\r\nContent-Length: 0_2\r\n\r\n{{}}",
    "length in other digits": f"{HOST}\r\nContent-Length: \xb2\r\n\r\n{{}}",
    "empty length": f"{HOST}\r\nContent-Length:\r\n\r\n{{}}",
    "length of 5000 digits": f"{HOST}\r\nContent-Length: {'9' * 5000}\r\n\r\n{{}}",
    "chunked twice": f"{HOST}\r\n{CHUNKED}\r\n{CHUNKED}\r\n\r\n0\r\n\r\n",
    "chunked twice in one": f"{HOST}\r\n{CHUNKED}, chunked\r\n\r\n0\r\n\r\n",
    "identity": f"{HOST}\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{{}}",
    "chunked and identity": f"{HOST}\r\n{CHUNKED}, identity\r\n\r\n0\r\n\r\n",
    "identity and chunked": f"{HOST}\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "gzip and chunked": f"{HOST}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "gzip": f"{HOST}\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}",
    "unknown coding": f"{HOST}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "quoted coding": f'{HOST}\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "coding with a parameter": f"{HOST}\r\n{CHUNKED};q=1\r\n\r\n0\r\n\r\n",
    "coding behind a vertical tab": f"{HOST}\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "coding behind a NUL": f"{HOST}\r\nTransfer-Encoding: \0chunked\r\n\r\n0\r\n\r\n",
    "empty coding": f"{HOST}\r\nTransfer-Encoding:\r\nContent-Length: 2\r\n\r\n{{}}",
    "space before the colon": f"{HOST}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "tab before the colon": f"{HOST}\r\nContent-Length\t: 2\r\n\r\n{{}}",
    "line feeds alone": f"{HOST}\nContent-Length: 2\n\n{{}}",
    "line feed in a header": f"{HOST}\r\nX-A: 1\n{CHUNKED}\r\nContent-Length: 2\r\n\r\n{{}}",
    "carriage return in a header": f"{HOST}\r\nX-A: 1\r{CHUNKED}\r\nContent-Length: 2\r\n\r\n{{}}",
    "folded line": f"{HOST}\r\nX-A: 1\r\n {CHUNKED}\r\nContent-Length: 2\r\n\r\n{{}}",
    "folded by a tab": f"{HOST}\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
    "folded first line": f" {HOST}\r\nContent-Length: 2\r\n\r\n{{}}",
    "NUL in a value": f"{HOST}\r\nX-A: 1\0\r\nContent-Length: 2\r\n\r\n{{}}",
    "NUL in a name": f"{HOST}\r\nX\0-A: 1\r\nContent-Length: 2\r\n\r\n{{}}",
    "no colon": f"{HOST}\r\n{CHUNKED.replace(':', '')}\r\nContent-Length: 2\r\n\r\n{{}}",
    "no name": f"{HOST}\r\n: chunked\r\nContent-Length: 2\r\n\r\n{{}}",
    "another letter in a name": f"{HOST}\r\nContent-L\xe9ngth: 2\r\n\r\n{{}}",
    "brackets in a name": f"{HOST}\r\n(X): 2\r\nContent-Length: 2\r\n\r\n{{}}",
    "two hosts": f"{HOST}\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{{}}",
    "no host": "Content-Length: 2\r\n\r\n{}",
    "two types": f"{HOST}\r\nContent-Type: a\r\nContent-Type: c\r\nContent-Length: 2\r\n\r\n{{}}",
    "an expectation": f"{HOST}\r\nExpect: all-the-best\r\nContent-Length: 2\r\n\r\n{{}}",
}


@pytest.mark.parametrize("line", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_in_doubt_is_refused_and_the_connection_closed(
    api: Api, door: InvokeWorker, head: str, line: str
) -> None:
    status = refused(door, f"{line}\r\n{head}".encode("latin-1"))
    assert status in (400, 417, 501)
    assert api.service.invoked == []


LINES = {
    "lower-case method": "post {} HTTP/1.1",
    "no method": " {} HTTP/1.1",
    "two spaces": "POST  {} HTTP/1.1",
    "tabs": "POST\t{}\tHTTP/1.1",
    "space in the path": "POST {}/a b HTTP/1.1",
    "other letters in the path": "POST {}\xff HTTP/1.1",
    "no version": "POST {}",
    "version of one digit": "POST {} HTTP/1",
    "version of three": "POST {} HTTP/1.1.1",
    "version 2": "POST {} HTTP/2.0",
    "version 0.9": "POST {} HTTP/0.9",
    "version 1.10": "POST {} HTTP/1.10",
    "another protocol": "POST {} HTTPS/1.1",
    "host of another": "POST http://evil.example{} HTTP/1.1",
    "host with a user": "POST http://a@localhost:4566{} HTTP/1.1",
    "another port": "POST http://localhost:80{} HTTP/1.1",
    "another scheme": "POST file://localhost:4566{} HTTP/1.1",
    "no slash": "POST localhost:4566 HTTP/1.1",
    "asterisk": "POST * HTTP/1.1",
    "bare carriage return": "POST {}\r HTTP/1.1",
    "line feed": "POST {}\nX: HTTP/1.1",
    "proxy's line": "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nPOST {} HTTP/1.1",
    "preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nPOST {} HTTP/1.1",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03{}",
}


@pytest.mark.parametrize("path", [INVOKE, "/2015-03-31/functions"])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_first_line_in_doubt_is_refused_and_the_connection_closed(
    api: Api, door: InvokeWorker, line: str, path: str
) -> None:
    request = f"{line.format(path)}\r\n{HOST}\r\nContent-Length: 2\r\n\r\n{{}}"
    assert refused(door, request.encode("latin-1")) == 400
    assert api.service.invoked == []


@pytest.mark.parametrize("line", DOORS.values(), ids=DOORS)
def test_http_1_0_has_no_chunks(api: Api, door: InvokeWorker, line: str) -> None:
    head = (
        f"{line.replace('/1.1', '/1.0')}\r\n{HOST}\r\n{CHUNKED}\r\nConnection: keep-alive\r\n\r\n"
    )
    assert refused(door, head.encode() + END) == 400
    assert api.service.invoked == []


CHUNKS = {
    "hexadecimal prefix": b"0x2\r\n{}\r\n" + END,
    "negative": b"-2\r\n{}\r\n" + END,
    "signed": b"+2\r\n{}\r\n" + END,
    "space before": b" 2\r\n{}\r\n" + END,
    "space behind": b"2 \r\n{}\r\n" + END,
    "underscore": b"0_2\r\n{}\r\n" + END,
    "no size": b"\r\n{}\r\n" + END,
    "no number": b"g\r\n{}\r\n" + END,
    "line feed behind the size": b"2\n{}\r\n" + END,
    "line feed behind the data": b"2\r\n{}\n" + END,
    "more data than its size": b"2\r\n{}{}\r\n" + END,
    "more data than there is": b"f" * 16 + b"\r\n{}\r\n" + END,
    "size without end": b"0" * 200_000 + b"2\r\n{}\r\n" + END,
    "empty extension": b"2;\r\n{}\r\n" + END,
    "line feed in an extension": b"2;a\n=b\r\n{}\r\n" + END,
    "carriage return in an extension": b"2;a\r=b\r\n{}\r\n" + END,
    "NUL in an extension": b"2;a=\0\r\n{}\r\n" + END,
    "quote without end": b'2;a="b\r\n{}\r\n' + END,
    "extension without end": b"2;a=" + b"b" * 200_000 + b"\r\n{}\r\n" + END,
    "length in the trailer": b"2\r\n{}\r\n0\r\nContent-Length: 3\r\n\r\n",
    "host in the trailer": b"2\r\n{}\r\n0\r\nHost: evil.example\r\n\r\n",
    "authorization in the trailer": b"2\r\n{}\r\n0\r\nAuthorization: AWS4\r\n\r\n",
    "no line in the trailer": b"2\r\n{}\r\n0\r\nnothing\r\n\r\n",
    "line feed in the trailer": b"2\r\n{}\r\n0\r\nX: 1\n\r\n",
    "folded trailer": b"2\r\n{}\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    "trailer without end": b"2\r\n{}\r\n0\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("line", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
def test_chunks_in_doubt_are_refused_and_the_connection_closed(
    api: Api, door: InvokeWorker, body: bytes, line: str
) -> None:
    assert refused(door, f"{line}\r\n{HOST}\r\n{CHUNKED}\r\n\r\n".encode() + body) == 400
    assert api.service.invoked == []


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
def test_behind_chunks_in_doubt_that_nobody_wanted_nothing_is_read_either(
    api: Api, door: InvokeWorker, body: bytes
) -> None:
    head = f"POST /2015-03-31/no-such-operation HTTP/1.1\r\n{HOST}\r\n{CHUNKED}\r\n\r\n"
    assert refused(door, head.encode() + body) == 404
    assert api.service.invoked == []


@pytest.mark.parametrize(
    "garbage", [b"\r\n\r\n", b"{}", b"\0", b"GET\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], ids=repr
)
def test_garbage_between_requests_ends_the_connection(
    api: Api, door: InvokeWorker, garbage: bytes
) -> None:
    answer = ask(door, SMUGGLED + garbage + SMUGGLED)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"200", b"400"]
    assert len(api.service.invoked) == 1


def test_a_tunnel_is_not_made(api: Api, door: InvokeWorker) -> None:
    status = refused(door, f"CONNECT localhost:4566 HTTP/1.1\r\n{HOST}\r\n\r\n".encode())
    assert 400 <= status < 500


def test_a_plain_length_and_plain_chunks_are_read_alike(api: Api, door: InvokeWorker) -> None:
    chunked = f"POST {INVOKE} HTTP/1.1\r\n{HOST}\r\n{CHUNKED}\r\n\r\n".encode()
    parts = [
        b"A;a=b;c=\"d\"\r\n\"smuggled\"\r\n0;e\r\nX-Trailer: 1\r\n\r\n",
        b"00A\r\n\"smuggled\"\r\n" + END,
    ]  # fmt: skip
    answer = ask(door, SMUGGLED + b"".join(chunked + part for part in parts) + SMUGGLED)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"200"] * 4
    assert {bytes(each.payload) for each in api.service.invoked} == {b'"smuggled"'}
