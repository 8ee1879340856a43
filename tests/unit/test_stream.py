"""Responses in pieces: from an init's CHUNK frames to a reader, within the window."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace

import pytest

from sandbox.environments.channel import Frame, FrameKind
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.errors import EnvironmentFailed
from sandbox.invocation import STREAM_BYTES, WINDOW_BYTES, Invocation, Outcome, ResponseStream
from tests.support.functions import KeptLog, make_invocation, make_version, until
from tests.support.scripted_init import (
    Reaction,
    ScriptedInit,
    boot,
    exited,
    hang_up,
    nothing,
    result,
)

DONE = Outcome(b"", None, "$LATEST", b"", 1.0)


def started(
    script: Mapping[FrameKind, Reaction], timeout: float = 3
) -> tuple[ExecutionEnvironment, ScriptedInit, KeptLog]:
    environment, init = boot({FrameKind.MORE: nothing, **script})
    log = KeptLog()
    environment.assign(make_version(timeout=timeout), {}, None, log)
    environment.initialize()
    return environment, init, log


def streamed(environment: ExecutionEnvironment) -> tuple[ResponseStream, Invocation]:
    """What the service does: the invocation runs in a thread of its own."""
    stream = ResponseStream()
    invocation = replace(make_invocation(), stream=stream)

    def run() -> None:
        try:
            stream.end(environment.invoke(invocation))
        except EnvironmentFailed as error:
            stream.end(error)

    threading.Thread(target=run, daemon=True).start()
    return stream, invocation


def chunk(payload: bytes, **meta: str) -> Frame:
    return Frame(FrameKind.CHUNK, meta, payload)


def more(init: ScriptedInit) -> list[int]:
    return [frame.meta["bytes"] for frame in init.received if frame.kind is FrameKind.MORE]


def test_a_piece_is_there_before_the_function_has_ended() -> None:
    environment, init, _ = started({FrameKind.INVOKE: nothing})
    stream, _ = streamed(environment)
    until(lambda: init.received[-1].kind is FrameKind.INVOKE)
    invoke = init.received[-1]
    assert (invoke.meta["streamBytes"], invoke.meta["windowBytes"]) == (209_715_200, WINDOW_BYTES)
    init.send(chunk(b"one", contentType="text/plain"))
    stream.begin()
    assert (stream.executed_version, stream.content_type) == ("$LATEST", "text/plain")
    pieces = iter(stream)
    assert next(pieces) == b"one"
    init.send(Frame(FrameKind.LOG, {}, b"between\n"), chunk(b"two"), result(invoke, b""))
    assert list(pieces) == [b"two"]
    outcome = stream.outcome()
    assert (outcome.payload, outcome.function_error) == (b"", None)
    assert b"between\n" in outcome.log_tail
    environment.close()


def test_only_what_the_reader_has_taken_is_asked_for_again() -> None:
    environment, init, _ = started({FrameKind.INVOKE: nothing})
    stream, invocation = streamed(environment)
    until(lambda: init.received[-1].kind is FrameKind.INVOKE)
    piece = bytes(WINDOW_BYTES // 4)
    init.send(*[chunk(piece)] * 4)
    stream.begin()
    pieces = iter(stream)
    next(pieces)
    next(pieces)
    assert more(init) == [], "two pieces are not taken before the next is asked for"
    next(pieces)
    until(lambda: more(init) == [WINDOW_BYTES // 2])
    assert init.received[-1].meta["requestId"] == invocation.request_id
    init.send(Frame(FrameKind.LOG, {}, b"meanwhile\n"))
    until(lambda: b"meanwhile" in environment.log.end())
    next(pieces)
    init.send(chunk(piece))
    next(pieces)
    until(lambda: more(init) == [WINDOW_BYTES // 2] * 2)
    environment.close()


def test_a_reader_that_leaves_holds_nothing_up() -> None:
    environment, init, _ = started({FrameKind.INVOKE: nothing})
    stream, _ = streamed(environment)
    until(lambda: init.received[-1].kind is FrameKind.INVOKE)
    invoke = init.received[-1]
    init.send(chunk(b"one"))
    stream.begin()
    stream.leave()
    until(lambda: more(init) == [STREAM_BYTES])
    init.send(*[chunk(bytes(65_536))] * 50, result(invoke, b""))
    until(lambda: stream._outcome is not None)
    assert stream._pieces.qsize() <= 1, "what nobody reads is not kept"
    environment.close()


def test_a_response_of_a_runtime_that_does_not_stream_is_one_piece() -> None:
    environment, _, _ = started(
        {FrameKind.INVOKE: lambda invoke: [result(invoke, b'"all"', contentType="a/b")]}
    )
    stream, _ = streamed(environment)
    stream.begin()
    assert (list(stream), stream.content_type) == ([b'"all"'], "a/b")
    assert (stream.outcome().payload, stream.outcome().function_error) == (b"", None)
    environment.close()


def test_an_error_of_the_function_stays_out_of_the_pieces() -> None:
    environment, _, _ = started(
        {FrameKind.INVOKE: lambda invoke: [chunk(b"half"), result(invoke, b'{"a":1}', "error")]}
    )
    stream, _ = streamed(environment)
    stream.begin()
    assert list(stream) == [b"half"]
    assert (stream.outcome().payload, stream.outcome().function_error) == (b'{"a":1}', "Unhandled")
    environment.close()


@pytest.mark.parametrize(
    ("reports", "error_type", "text"),
    [
        (
            lambda invoke: [result(invoke, b"", "tooLarge")],
            "Function.ResponseSizeTooLarge",
            "(209715200 bytes)",
        ),
        (
            lambda invoke: [result(invoke, b"", "truncated")],
            "Runtime.TruncatedResponse",
            "before it was complete",
        ),
        (
            lambda invoke: [exited(1, "exit", "exit status 3", requestId=invoke.meta["requestId"])],
            "Runtime.ExitError",
            "exit status 3",
        ),
        (
            lambda invoke: [
                exited(1, "outOfMemory", "signal: killed", requestId=invoke.meta["requestId"])
            ],
            "Runtime.OutOfMemory",
            "signal: killed",
        ),
        (lambda invoke: [], "Sandbox.Timedout", "Task timed out after 0.05 seconds"),
    ],
)
def test_a_response_that_breaks_off_has_an_outcome_that_says_why(
    reports: Reaction, error_type: str, text: str
) -> None:
    def breaks_off(invoke: Frame) -> list[Frame]:
        return [chunk(b"half"), *(reports(invoke) or [])]

    timeout = 0.05 if error_type == "Sandbox.Timedout" else 3
    environment, _, log = started({FrameKind.INVOKE: breaks_off}, timeout)
    stream, _ = streamed(environment)
    stream.begin()
    assert list(stream) == [b"half"]
    document = json.loads(bytes(stream.outcome().payload))
    assert document["errorType"] == error_type
    assert text in document["errorMessage"]
    assert stream.outcome().function_error == "Unhandled"
    assert b"\tStatus: " in log.data
    environment.close()


def test_a_container_that_ends_within_the_response_is_told_after_its_pieces() -> None:
    environment, init, _ = started({FrameKind.INVOKE: nothing, FrameKind.MORE: hang_up})
    stream, _ = streamed(environment)
    until(lambda: init.received[-1].kind is FrameKind.INVOKE)
    init.send(*[chunk(bytes(65_536))] * 4)
    stream.begin()
    assert sum(map(len, stream)) == 4 * 65_536
    with pytest.raises(EnvironmentFailed, match="ended"):
        stream.outcome()
    stream.leave()
    environment.close()


def test_a_failure_before_the_first_piece_is_raised_where_it_is_waited_for() -> None:
    stream = ResponseStream()
    stream.end(EnvironmentFailed("no"))
    with pytest.raises(EnvironmentFailed, match="no"):
        stream.begin()


def test_once_all_is_written_nothing_more_is_asked_for() -> None:
    stream, asked = ResponseStream(), list[int]()
    stream.open("$LATEST", asked.append)
    stream.write(bytes(WINDOW_BYTES))
    stream.end(DONE)
    stream.begin()
    assert len(list(stream)) == 1
    stream.leave()
    assert asked == []
