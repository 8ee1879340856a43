"""What functions return to their URLs, and the HTTP answers that it becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.api.urls.answer import (
    PRELUDE_END,
    PRELUDE_TYPE,
    BadResponse,
    StreamBroke,
    buffered,
    streamed,
)
from sandbox.errors import EngineError, EnvironmentFailed, TooManyRequests
from sandbox.invocation import STREAM_BYTES, Outcome, ResponseStream
from tests.support.urls import UrlApi

JSON = [("Content-Type", "application/json")]


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (b'"hello"', b"hello"),
        (b'"a\\n\\u20ac"', "a\n\u20ac".encode()),
        (b'""', b""),
        (b"3", b"3"),
        (b"1.50", b"1.50"),
        (b"true", b"true"),
        (b"null", b"null"),
        (b'["hello",3,true]', b'["hello",3,true]'),
        (b'{"hello":"world"}', b'{"hello":"world"}'),
        (b'{ "body": "x" }', b'{ "body": "x" }'),
        (b"{}", b"{}"),
        (b' {"StatusCode":1}', b' {"StatusCode":1}'),
    ],
)
def test_what_has_no_status_is_json_of_200(payload: bytes, body: bytes) -> None:
    assert buffered(payload) == (200, JSON, body)


@pytest.mark.parametrize(
    ("document", "status", "headers", "body"),
    [
        ({"statusCode": 200}, 200, JSON, b""),
        ({"statusCode": 201, "body": "a\u20ac"}, 201, JSON, "a\u20ac".encode()),
        ({"statusCode": "404", "body": None}, 404, JSON, b""),
        (
            {"statusCode": 200, "headers": {"content-type": "text/html"}, "body": "<p>"},
            200,
            [("content-type", "text/html")],
            b"<p>",
        ),
        (
            {"statusCode": 200, "headers": {"X-N": 3, "X-B": True, "X-Gone": None}},
            200,
            [("X-N", "3"), ("X-B", "true"), *JSON],
            b"",
        ),
        (
            {"statusCode": 302, "headers": {"Location": "/\u20ac"}, "cookies": ["a=1", "b=2"]},
            302,
            [
                ("Location", "/\u00e2\u0082\u00ac"),
                *JSON,
                ("Set-Cookie", "a=1"),
                ("Set-Cookie", "b=2"),
            ],
            b"",
        ),
        (
            {"statusCode": 200, "body": "iVBORw==", "isBase64Encoded": True},
            200,
            JSON,
            b"\x89PNG",
        ),
        ({"statusCode": 200, "body": "AA==", "isBase64Encoded": False}, 200, JSON, b"AA=="),
        ({"statusCode": 200, "isBase64Encoded": True}, 200, JSON, b""),
        (
            {"statusCode": 200, "headers": {"Content-Length": "7", "connection": "close"}},
            200,
            JSON,
            b"",
        ),
        ({"statusCode": 200, "headers": None, "cookies": None, "other": [1]}, 200, JSON, b""),
    ],
)
def test_what_has_a_status_describes_its_answer(
    document: Any, status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    assert buffered(json.dumps(document).encode()) == (status, headers, body)


@pytest.mark.parametrize(
    "document",
    [
        {"statusCode": "ok"},
        {"statusCode": None},
        {"statusCode": True},
        {"statusCode": 200.5},
        {"statusCode": 99},
        {"statusCode": 101},
        {"statusCode": 600},
        {"statusCode": "0200"},
        {"statusCode": 200, "headers": []},
        {"statusCode": 200, "headers": {"a b": "1"}},
        {"statusCode": 200, "headers": {"": "1"}},
        {"statusCode": 200, "headers": {"a": "1\r\nSet-Cookie: x"}},
        {"statusCode": 200, "headers": {"a": ["1"]}},
        {"statusCode": 200, "cookies": "a=1"},
        {"statusCode": 200, "cookies": [{}]},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "body": 1},
        {"statusCode": 200, "body": "a", "isBase64Encoded": True},
        {"statusCode": 200, "body": "\u20ac", "isBase64Encoded": True},
        {"statusCode": 200, "isBase64Encoded": "true"},
    ],
)
def test_what_describes_no_answer_is_refused(document: Any) -> None:
    with pytest.raises(BadResponse):
        buffered(json.dumps(document).encode())


@pytest.mark.parametrize(
    "payload", [b"", b"hello", b"{", b'{"statusCode":}', b"\xff", b'"\xff"', b"[" * 100_000]
)
def test_what_is_no_json_is_refused(payload: bytes) -> None:
    with pytest.raises(BadResponse):
        buffered(payload)


@given(st.binary(max_size=100))
def test_no_payload_breaks_it(payload: bytes) -> None:
    try:
        answer = buffered(payload)
    except BadResponse:
        return
    assert isinstance(answer.body, bytes)


def begun(
    *pieces: bytes, kind: str | None = PRELUDE_TYPE, end: Outcome | BaseException | None = None
) -> ResponseStream:
    stream = ResponseStream()
    stream.more = []  # type: ignore[attr-defined]
    stream.open("1", stream.more.append)  # type: ignore[attr-defined]
    for piece in pieces:
        stream.write(piece, kind)
    stream.end(end or Outcome(b"", None, "1", b"", 1.0))
    stream.begin()
    return stream


def joined(body: bytes | Iterator[bytes]) -> bytes:
    assert not isinstance(body, bytes)
    return b"".join(body)


def prelude(**members: Any) -> bytes:
    return json.dumps(members).encode() + PRELUDE_END


@given(st.integers(1, 80))
def test_a_prelude_is_found_however_it_is_cut(step: int) -> None:
    data = prelude(statusCode=418, headers={"X-A": "1"}, cookies=["c=1"]) + b"body\0\0\0\0\0\0\0\0"
    status, headers, body = streamed(
        begun(*(data[at : at + step] for at in range(0, len(data), step)))
    )
    assert (status, headers) == (418, [("X-A", "1"), *JSON, ("Set-Cookie", "c=1")])
    assert joined(body) == b"body" + PRELUDE_END


def test_a_stream_without_a_prelude_is_its_own_answer() -> None:
    data = b'{"statusCode":404}' + PRELUDE_END
    status, headers, body = streamed(begun(data, b"x", kind="text/event-stream"))
    assert (status, headers) == (200, [("Content-Type", "text/event-stream")])
    assert joined(body) == data + b"x"
    assert streamed(begun(b"x", kind=None))[1] == [("Content-Type", "application/octet-stream")]
    assert streamed(begun(b"x", kind="a\r\nb"))[1] == [("Content-Type", "application/octet-stream")]


def test_an_empty_prelude_and_an_empty_stream_are_200() -> None:
    status, headers, body = streamed(begun(b"{}" + PRELUDE_END))
    assert (status, headers, joined(body)) == (200, JSON, b"")
    status, _, body = streamed(begun(kind=None))
    assert (status, joined(body)) == (200, b"")


@pytest.mark.parametrize(
    "data",
    [
        b'{"statusCode":200}',
        b"not json" + PRELUDE_END,
        b"[]" + PRELUDE_END,
        prelude(statusCode=1),
        b"\xff" + PRELUDE_END,
        b" " * 2**21,
    ],
)
def test_a_prelude_that_cannot_be_used_is_refused_and_the_rest_not_waited_for(data: bytes) -> None:
    running = ResponseStream()
    told: list[int] = []
    running.open("1", told.append)
    running.write(data, PRELUDE_TYPE)
    running.write(b"x" * 2**21, PRELUDE_TYPE)
    running.begin()
    if data == b'{"statusCode":200}':
        running.end(Outcome(b"", None, "1", b"", 1.0))
    with pytest.raises(BadResponse):
        streamed(running)
    if data != b'{"statusCode":200}':
        assert told[-1] == STREAM_BYTES


def test_a_function_that_fails_before_its_response_has_none() -> None:
    failed = Outcome(b"{}", "Unhandled", "1", b"", 1.0)
    with pytest.raises(BadResponse):
        streamed(begun(end=failed))


@pytest.mark.parametrize(
    "end", [Outcome(b"{}", "Unhandled", "1", b"", 1.0), EnvironmentFailed("it is gone")]
)
def test_a_response_that_breaks_off_does_not_end_as_a_whole_one(
    end: Outcome | BaseException,
) -> None:
    _, _, body = streamed(begun(prelude(statusCode=200) + b"half", end=end))
    assert not isinstance(body, bytes)
    assert next(body) == b"half"
    with pytest.raises(StreamBroke):
        next(body)


def test_a_reader_that_leaves_is_left() -> None:
    stream = ResponseStream()
    told: list[int] = []
    stream.open("1", told.append)
    stream.write(prelude(statusCode=200) + b"one", PRELUDE_TYPE)
    stream.begin()
    _, _, body = streamed(stream)
    assert not isinstance(body, bytes)
    assert next(body) == b"one"
    body.close()  # type: ignore[attr-defined]
    assert told == [STREAM_BYTES]


# through the app


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[UrlApi, str, str]]:
    urls = UrlApi(tmp_path_factory.mktemp("state"))
    yield urls, urls.url(), urls.url("live", InvokeMode="RESPONSE_STREAM")
    urls.api.close()


@pytest.fixture
def urls(opened: tuple[UrlApi, str, str]) -> UrlApi:
    opened[0].api.service.reset()
    return opened[0]


@pytest.fixture
def url(opened: tuple[UrlApi, str, str]) -> str:
    return opened[1]


@pytest.fixture
def streaming(opened: tuple[UrlApi, str, str]) -> str:
    return opened[2]


def returns(urls: UrlApi, document: Any, error: str | None = None) -> None:
    urls.api.service.outcome = Outcome(json.dumps(document).encode(), error, "1", b"", 1.0)


def test_an_answer_goes_out_as_it_was_described(urls: UrlApi, url: str) -> None:
    returns(urls, {"statusCode": 218, "body": "abc", "cookies": ["a=1", "b=2"]})
    answer = urls.send(url)
    assert answer.status == "218 Unknown"
    assert answer.headers.getlist("Set-Cookie") == ["a=1", "b=2"]
    assert (answer.get_data(), answer.headers["Content-Length"]) == (b"abc", "3")


@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", 200, "3"), ("GET", 204, None), ("GET", 304, None)]
)
def test_an_answer_that_has_no_body_has_none(
    urls: UrlApi, url: str, method: str, status: int, length: str | None
) -> None:
    returns(urls, {"statusCode": status, "body": "abc"})
    answer = urls.send(url, method=method)
    assert (answer.status_code, answer.get_data()) == (status, b"")
    assert answer.headers.get("Content-Length") == length


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"errorMessage": "boom"}, "Unhandled"),
        ({"statusCode": 200}, "Unhandled"),
        ({"statusCode": "ok"}, None),
    ],
)
def test_a_function_that_fails_is_502(
    urls: UrlApi, url: str, document: Any, error: str | None
) -> None:
    returns(urls, document, error)
    answer = urls.send(url)
    assert (answer.status_code, answer.get_data()) == (502, b"Internal Server Error")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["x-amzn-RequestId"] == urls.event().request_id


def test_a_platform_that_fails_is_502_and_logged(
    urls: UrlApi, url: str, streaming: str, caplog: pytest.LogCaptureFixture
) -> None:
    urls.api.service.failure = EngineError("no engine")
    for one in (url, streaming):
        answer = urls.send(one)
        assert (answer.status_code, answer.get_data()) == (502, b"Internal Server Error")
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_a_fault_of_ours_is_502_and_logged(
    urls: UrlApi, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    urls.api.service.failure = KeyError("a bug")
    assert urls.send(url).status_code == 502
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize("mode", ["url", "streaming"])
def test_a_function_that_may_not_run_now_is_429(
    urls: UrlApi, request: pytest.FixtureRequest, mode: str
) -> None:
    reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
    urls.api.service.failure = TooManyRequests(reason)
    answer = urls.send(request.getfixturevalue(mode))
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (
        429,
        "TooManyRequestsException",
    )
    assert answer.get_json() == {"Reason": reason, "Type": "User", "message": "Rate Exceeded."}


def test_a_stream_goes_out_with_what_its_prelude_says(urls: UrlApi, streaming: str) -> None:
    service = urls.api.service
    service.content_type = PRELUDE_TYPE
    service.pieces = [
        prelude(statusCode=201, headers={"Content-Type": "text/plain"}, cookies=["a=1"]),
        b"one",
        b"two",
    ]
    answer = urls.send(streaming)
    assert (answer.status_code, answer.get_data()) == (201, b"onetwo")
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Set-Cookie"] == "a=1"
    assert "Content-Length" not in answer.headers
    assert urls.send(streaming, method="HEAD").get_data() == b""
    service.pieces = [b"no prelude"]
    assert urls.send(streaming).status_code == 502


def test_a_stream_that_breaks_off_breaks_its_connection(urls: UrlApi, streaming: str) -> None:
    urls.api.service.pieces = [b"half"]
    urls.api.service.outcome = Outcome(b"{}", "Unhandled", "1", b"", 1.0)
    with pytest.raises(BrokenPipeError):
        urls.send(streaming).get_data()
