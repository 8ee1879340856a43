"""InvokeWithResponseStream on the wire, read by botocore."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from sandbox.api import eventstream
from sandbox.api.invoke import EVENT_BYTES, response_events
from sandbox.errors import EnvironmentFailed, NotFound, TooManyRequests
from sandbox.invocation import STREAM_BYTES, Outcome, ResponseStream
from tests.support.api import Api, error_of

PATH = "/2021-11-15/functions/f/response-streaming-invocations"
LOG = base64.b64encode(b"a line\n").decode()


def post(echo: Api, payload: bytes = b"{}", **headers: str) -> TestResponse:
    return echo.request("POST", PATH, payload, headers)


def events_of(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


@given(st.lists(st.binary(max_size=2000), max_size=5), st.integers(1, 3000))
def test_botocore_reads_what_is_encoded_however_it_is_cut(pieces: list[bytes], step: int) -> None:
    headers = eventstream.event_headers("PayloadChunk", "application/octet-stream")
    data = b"".join(eventstream.encode(headers, memoryview(piece)) for piece in pieces)
    buffer = EventStreamBuffer()
    read = []
    for start in range(0, len(data), step):
        buffer.add_data(data[start : start + step])
        read += [(message.headers, message.payload) for message in buffer]
    expected = {
        ":message-type": "event",
        ":event-type": "PayloadChunk",
        ":content-type": "application/octet-stream",
    }
    assert read == [(expected, piece) for piece in pieces]


def test_a_response_comes_in_chunks_and_ends_with_a_complete_event(echo: Api) -> None:
    echo.service.pieces = [b"one", b"two"]
    answer = post(echo)
    assert answer.status_code == 200
    headers = dict(answer.headers)
    assert headers.pop("x-amzn-RequestId") == echo.service.invoked[0].request_id
    assert headers.pop("X-Amzn-Trace-Id").startswith("root=1-")
    assert headers == {"Content-Type": "text/plain", "X-Amz-Executed-Version": "$LATEST"}
    *chunks, (headers, last) = events_of(answer.get_data())
    assert [payload for _, payload in chunks] == [b"one", b"two"]
    assert headers == {
        ":message-type": "event",
        ":event-type": "InvokeComplete",
        ":content-type": "application/json",
    }
    assert json.loads(last) == {}


def test_boto3_reads_the_stream(echo: Api) -> None:
    echo.service.pieces = [b"a" * EVENT_BYTES, b"b" * (2 * EVENT_BYTES + 1)]
    answer = echo.boto().invoke_with_response_stream(
        FunctionName="f", Payload=b'"x"', LogType="Tail", Qualifier="prod"
    )
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert answer["ResponseStreamContentType"] == "text/plain"
    *chunks, last = list(answer["EventStream"])
    sizes = [len(chunk["PayloadChunk"]["Payload"]) for chunk in chunks]
    assert sizes == [EVENT_BYTES, EVENT_BYTES, EVENT_BYTES, 1]
    assert last == {"InvokeComplete": {"LogResult": LOG}}
    (invocation,) = echo.service.invoked
    assert (invocation.payload, invocation.reference.qualifier) == (b'"x"', "prod")


@pytest.mark.parametrize("given", ["", "a\x01b", "text/\ufffd", "x" * 1000, " a"])
def test_a_content_type_that_no_header_may_hold_does_not_get_into_one(
    echo: Api, given: str
) -> None:
    echo.service.content_type = given
    assert post(echo).headers["Content-Type"] == "application/octet-stream"


def test_a_function_error_is_in_the_complete_event_of_a_200(echo: Api) -> None:
    document = '{"errorType":"Sandbox.Timedout","errorMessage":"zu spät"}'
    echo.service.pieces = [b"half"]
    echo.service.outcome = Outcome(document.encode(), "Unhandled", "7", b"", 1.0)
    answer = echo.boto().invoke_with_response_stream(FunctionName="f", LogType="Tail")
    assert list(answer["EventStream"]) == [
        {"PayloadChunk": {"Payload": b"half"}},
        {
            "InvokeComplete": {
                "ErrorCode": "Unhandled",
                "ErrorDetails": document,
                "LogResult": "",
            }
        },
    ]


def test_an_error_before_any_byte_has_nothing_but_the_complete_event(echo: Api) -> None:
    echo.service.pieces = []
    echo.service.outcome = Outcome(b"{}", "Unhandled", "7", b"", 1.0)
    answer = echo.boto().invoke_with_response_stream(FunctionName="f")
    assert list(answer["EventStream"]) == [
        {"InvokeComplete": {"ErrorCode": "Unhandled", "ErrorDetails": "{}"}}
    ]


def test_a_dry_run_only_looks(echo: Api) -> None:
    answer = post(echo, **{"X-Amz-Invocation-Type": "DryRun"})
    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert len(echo.service.checked) == 1
    assert not echo.service.invoked


@pytest.mark.parametrize(
    ("failure", "status", "name"),
    [
        (NotFound("Function not found: f"), 404, "ResourceNotFoundException"),
        (
            TooManyRequests("ConcurrentInvocationLimitExceeded"),
            429,
            "TooManyRequestsException",
        ),
        (EnvironmentFailed("broken"), 500, "ServiceException"),
    ],
)
def test_what_goes_wrong_before_the_stream_is_answered_as_for_invoke(
    echo: Api, failure: Exception, status: int, name: str
) -> None:
    echo.service.failure = failure
    assert error_of(post(echo))[:2] == (status, name)


def test_an_event_cannot_be_streamed(echo: Api) -> None:
    status, name, body = error_of(post(echo, **{"X-Amz-Invocation-Type": "Event"}))
    assert (status, name) == (400, "ValidationException")
    assert "invocationType" in body["message"]


def test_a_payload_that_is_no_json_is_refused(echo: Api) -> None:
    assert error_of(post(echo, b"value"))[:2] == (400, "InvalidRequestContentException")


def test_a_platform_that_breaks_within_the_response_says_so_in_the_last_event() -> None:
    stream = ResponseStream()
    stream.write(b"half")
    stream.end(EnvironmentFailed("the container is gone"))
    stream.begin()
    *_, (_, last) = events_of(b"".join(response_events(stream, tail=True)))
    assert json.loads(last) == {
        "ErrorCode": "ServiceException",
        "ErrorDetails": "the container is gone",
    }


def test_each_piece_leaves_before_the_next_is_there() -> None:
    stream = ResponseStream()
    stream.write(b"first")
    stream.begin()
    events = response_events(stream, tail=False)
    assert events_of(next(events))[0][1] == b"first"
    stream.write(b"second")
    assert events_of(next(events))[0][1] == b"second"


def test_a_client_that_leaves_frees_the_writer() -> None:
    stream, granted = ResponseStream(), list[int]()
    stream.open("$LATEST", granted.append)
    stream.write(b"first")
    stream.begin()
    events = response_events(stream, tail=False)
    next(events)
    events.close()  # as a server does
    assert granted == [STREAM_BYTES]
