"""The short way for Invoke answers what gunicorn and Flask would, to the same bytes."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox.errors import TooManyRequests
from sandbox.http.wire import REQUEST_ID, read_head
from sandbox.http.worker import InvokeWorker
from sandbox.invocation import Outcome
from tests.support.api import AUTHORIZATION, Api
from tests.support.worker import GunicornAlone, ask, masked, worker

PATH = "/2015-03-31/functions/f/invocations"
HOST = "Host: localhost:4566"


@pytest.fixture(scope="module")
def api(opened: Api) -> Api:
    return opened


@pytest.fixture(scope="module")
def ours(api: Api) -> InvokeWorker:
    return worker(api.app)


@pytest.fixture(scope="module")
def theirs(api: Api) -> InvokeWorker:
    return worker(api.app, GunicornAlone)


@pytest.fixture(autouse=True)
def _fresh(api: Api) -> None:
    api.service.reset()


def request(
    *fields: str, body: bytes = b"{}", line: str = f"POST {PATH} HTTP/1.1", host: str = HOST
) -> bytes:
    length = f"Content-Length: {len(body)}"
    lines = [line, host, f"Authorization: {AUTHORIZATION}", *fields, length]
    return "\r\n".join(filter(None, lines)).encode("latin-1") + b"\r\n\r\n" + body


def raw(head: str, body: bytes = b"{}") -> bytes:
    return head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body


PLAIN = {
    "small": request(),
    "empty": request(body=b""),
    "tail": request("X-Amz-Log-Type: Tail"),
    "event": request("X-Amz-Invocation-Type: Event"),
    "dry run": request("x-amz-invocation-type: DryRun"),
    "bad kind": request("X-Amz-Invocation-Type: Later"),
    "bad JSON": request(body=b"{,}"),
    "bad id": request("X-Amzn-RequestId: 7"),
    "qualifier": request(line=f"POST {PATH}?Qualifier=7 HTTP/1.1"),
    "conflict": request(line="POST /2015-03-31/functions/f:1/invocations?Qualifier=2 HTTP/1.1"),
    "arn": request(
        line="POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3A"
        "function%3Af/invocations HTTP/1.1"
    ),
    "bad name": request(line="POST /2015-03-31/functions/in%20valid%21/invocations HTTP/1.1"),
    "encoded": request("Content-Encoding: gzip"),
    "trace": request("X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"),
    "large event": request("X-Amz-Invocation-Type: Event", body=b'"%s"' % (b"x" * 1_100_000)),
    "keep alive": request("Connection: Keep-Alive"),
    "many": request() * 5,
    "cut short": request(body=b'{"a": 1}')[:-3],
    "spaces": request("X-Amz-Log-Type:   Tail   "),
}

LEFT_TO_GUNICORN = {
    "chunked": raw(
        f"POST {PATH} HTTP/1.1\n{HOST}\nTransfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "chunked and a length": raw(
        f"POST {PATH} HTTP/1.1\n{HOST}\nTransfer-Encoding: chunked\nContent-Length: 2",
        b"2\r\n{}\r\n0\r\n\r\n",
    ),
    "two lengths": request("Content-Length: 2"),
    "two other lengths": request("Content-Length: 3"),
    "no length": raw(f"POST {PATH} HTTP/1.1\n{HOST}"),
    "negative length": raw(f"POST {PATH} HTTP/1.1\n{HOST}\nContent-Length: -2"),
    "signed length": raw(f"POST {PATH} HTTP/1.1\n{HOST}\nContent-Length: +2"),
    "list of lengths": raw(f"POST {PATH} HTTP/1.1\n{HOST}\nContent-Length: 2, 2"),
    "too large": raw(f"POST {PATH} HTTP/1.1\n{HOST}\nContent-Length: 6291457"),
    "expects": request("Expect: 100-continue"),
    "expects more": request("Expect: more"),
    "folded": request("X-A: 1\r\n 2"),
    "line feed": request("X-A: 1\nX-B: 2"),
    "carriage return": request("X-A: 1\rX-B: 2"),
    "NUL": request("X-A: 1\0"),
    "tab": request("X-Amz-Log-Type:\tTail"),
    "latin": request("X-A: \xe9"),
    "space before colon": request("X-Amz-Log-Type : Tail"),
    "no colon": request("nothing"),
    "no name": request(": nothing"),
    "underscore": request("X_Amz_Log_Type: Tail"),
    "twice": request("X-Amz-Log-Type: None", "x-amz-log-type: Tail"),
    "two hosts": request("Host: other"),
    "no host": request(host=""),
    "old": request(line=f"POST {PATH} HTTP/1.0"),
    "new": request(line=f"POST {PATH} HTTP/2.0"),
    "three words": request(line=f"POST {PATH} more HTTP/1.1"),
    "fragment": request(line=f"POST {PATH}#there HTTP/1.1"),
    "absolute": request(line=f"POST http://localhost{PATH} HTTP/1.1"),
    "get": request(line=f"GET {PATH} HTTP/1.1"),
    "other path": request(line="POST /2015-03-31/functions/f/versions HTTP/1.1"),
    "longer path": request(line=f"POST {PATH}/ HTTP/1.1"),
    "deeper path": request(line="POST /2015-03-31/functions/f/x/invocations HTTP/1.1"),
    "closing": request("Connection: close"),
    "upgrade": request("Connection: upgrade", "Upgrade: websocket"),
    "forwarded": request("X-Forwarded-Proto: https"),
    "line before": b"\r\n" + request(),
    "half a head": request()[:60],
    "long line": request(line=f"POST {PATH}?{'q' * 9000} HTTP/1.1"),
    "long head": request("X-A: " + "a" * 20_000),
    "many fields": request(*[f"X-{number}: 1" for number in range(120)]),
    "a function's own host": request(host="Host: abc.lambda-url.us-east-1.localhost"),
}


@pytest.mark.parametrize("sent", PLAIN.values(), ids=PLAIN)
def test_a_plain_invoke_is_read_here_and_answered_as_gunicorn_would(
    ours: InvokeWorker, theirs: InvokeWorker, sent: bytes
) -> None:
    assert read_head(sent) is not None
    assert masked(ask(ours, sent)) == masked(ask(theirs, sent))


@pytest.mark.parametrize("sent", LEFT_TO_GUNICORN.values(), ids=LEFT_TO_GUNICORN)
def test_what_is_not_plain_is_gunicorns(
    ours: InvokeWorker, theirs: InvokeWorker, sent: bytes
) -> None:
    assert read_head(sent) is None
    assert masked(ask(ours, sent)) == masked(ask(theirs, sent))


def test_the_smuggler_is_refused_and_his_second_request_unread(
    api: Api, ours: InvokeWorker
) -> None:
    for name in ("chunked and a length", "two lengths", "two other lengths", "list of lengths"):
        answer = ask(ours, LEFT_TO_GUNICORN[name] + request())
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.count(b"HTTP/1.1") == 1
    assert api.service.invoked == []


def test_requests_of_both_kinds_share_a_connection(
    api: Api, ours: InvokeWorker, theirs: InvokeWorker
) -> None:
    get = b"GET /_fnbox/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    chunked = LEFT_TO_GUNICORN["chunked"]
    sent = request(body=b"1") + get + request(body=b"2") + chunked + get * 2 + request(body=b"3")
    answer = ask(ours, sent)
    assert answer.count(b"HTTP/1.1 200 OK") == 7
    assert [bytes(each.payload) for each in api.service.invoked] == [b"1", b"2", b"{}", b"3"]
    assert masked(answer) == masked(ask(theirs, sent))


def test_platform_and_function_failures_are_the_same(
    api: Api, ours: InvokeWorker, theirs: InvokeWorker
) -> None:
    api.service.failure = TooManyRequests("ConcurrentInvocationLimitExceeded")
    answer = ask(ours, request())
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert masked(answer) == masked(ask(theirs, request()))
    api.service.failure = None
    api.service.outcome = Outcome(b'{"errorMessage":"boom"}', "Unhandled", "7", b"", 1.0)
    assert masked(ask(ours, request())) == masked(ask(theirs, request()))


def test_a_header_cannot_end_its_line(api: Api, ours: InvokeWorker) -> None:
    api.service.outcome = Outcome(b"{}", None, "1\r\nX-More: 1", b"", 1.0)
    answer = ask(ours, request())
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"X-More" not in answer


def test_what_is_no_request_is_refused_in_json(ours: InvokeWorker) -> None:
    head, _, body = ask(ours, b"nonsense\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert b"\r\nx-amzn-ErrorType: InvalidRequestContentException\r\n" in head
    assert b"\r\nConnection: close\r\n" in head
    assert json.loads(body)["Type"] == "User"


def test_a_worker_that_ends_answers_what_has_come_and_closes(
    api: Api, ours: InvokeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke = api.service.invoke

    def ending(invocation: object) -> Outcome:
        ours.alive = False
        return invoke(invocation)  # type: ignore[arg-type]

    monkeypatch.setattr(api.service, "invoke", ending)
    try:
        answer = ask(ours, request() * 2, ends=False)
    finally:
        ours.alive = True
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nConnection: close\r\n" in answer


def test_a_client_that_leaves_during_its_call_is_noticed_once(
    ours: InvokeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sandbox.http.worker")
    client, connection = socket.socketpair()
    with client, connection:
        ours._calls[connection] = 1.0, {REQUEST_ID: "the-id", "RAW_URI": PATH}
        try:
            ours._notice_the_gone(2.0)
            assert caplog.messages == []
            client.shutdown(socket.SHUT_RDWR)
            ours._notice_the_gone(1.0)
            assert caplog.messages == [], "a short call is nobody's business"
            ours._notice_the_gone(2.0)
            ours._notice_the_gone(3.0)
        finally:
            ours._calls.clear()
    assert caplog.messages == ["the client of request the-id has left; the call goes on"]


def test_only_connections_that_are_idle_for_long_are_ended(ours: InvokeWorker) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    try:
        ours._waiting.update({pairs[0][1]: 1.0, pairs[1][1]: 3.0})
        ours._end_the_idle(2.0)
        assert pairs[0][1].recv(1) == b""
        pairs[1][1].setblocking(False)
        with pytest.raises(BlockingIOError):
            pairs[1][1].recv(1)
    finally:
        ours._waiting.clear()
        for pair in pairs:
            for end in pair:
                end.close()


NAMES = st.sampled_from(
    [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Expect",
        "Connection",
        "Host",
        "X-Amz-Log-Type",
        "X-Amz-Invocation-Type",
        "X_Amz_Log_Type",
        "X-Amzn-Trace-Id",
        "X-Amzn-RequestId",
        "Content-Type",
        "Content-Encoding",
        "X-Forwarded-Proto",
        "Upgrade",
    ]
) | st.text(min_size=0, max_size=3)
VALUES = st.sampled_from(
    ["2", "0", "3", "chunked", "identity", "100-continue", "close", "keep-alive", "Tail", "Event"]
) | st.text(max_size=4)
FIELDS = st.lists(
    st.builds("{}{}{}".format, NAMES, st.sampled_from([": ", ":", " :", ":\t"]), VALUES),
    max_size=4,
)
LINES = st.sampled_from(
    [
        f"POST {PATH} HTTP/1.1",
        f"POST {PATH}?Qualifier=1 HTTP/1.1",
        f"POST {PATH} HTTP/1.0",
        f"POST  {PATH} HTTP/1.1",
        f"post {PATH} HTTP/1.1",
        "POST /2015-03-31/functions/%00/invocations HTTP/1.1",
        "POST /2015-03-31/functions//invocations HTTP/1.1",
    ]
)
ENDS = st.sampled_from(["\r\n"] * 8 + ["\n", "\r", "\r\n "])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One that is nearly right, or right."""
    length = draw(st.sampled_from(["Content-Length: 2"] * 4 + ["", "Content-Length: 4"]))
    fields = [draw(LINES), HOST, *draw(FIELDS), length]
    head = "".join(field + draw(ENDS) for field in fields if field)
    sent = (head + "\r\n{}").encode(errors="replace")
    if draw(st.booleans()):
        return sent
    at = draw(st.integers(0, len(sent)))
    return sent[:at] + draw(st.binary(max_size=2)) + sent[at + draw(st.integers(0, 2)) :]


@settings(max_examples=300, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3))
@example([PLAIN["small"], LEFT_TO_GUNICORN["chunked"]])
def test_any_bytes_get_gunicorns_answer(
    ours: InvokeWorker, theirs: InvokeWorker, parts: list[bytes]
) -> None:
    sent = b"".join(parts)
    assert masked(ask(ours, sent)) == masked(ask(theirs, sent))
