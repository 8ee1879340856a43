from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest

from sandbox.clock import Clock, FakeClock
from sandbox.environments.channel import Frame, FrameKind
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.lifecycle import init_seconds
from sandbox.errors import EnvironmentFailed
from sandbox.logs.formats import ON_DEMAND, PROVISIONED
from tests.support.functions import KeptLog, make_invocation, make_version, until
from tests.support.scripted_init import (
    MIB,
    Reaction,
    ScriptedInit,
    boot,
    exited,
    hang_up,
    initialized,
    nothing,
    result,
)

INIT_START = (
    "INIT_START Runtime Version: python:3.13\t"
    "Runtime Version ARN: arn:aws:lambda:us-east-1::runtime:0\n"
)


def started(
    script: Mapping[FrameKind, Reaction] | None = None,
    timeout: float = 3,
    clock: Clock | None = None,
) -> tuple[ExecutionEnvironment, ScriptedInit, KeptLog]:
    environment, init = boot(script, clock=clock)
    log = KeptLog()
    environment.assign(make_version(timeout=timeout), {"command": []}, None, log)
    environment.initialize()
    return environment, init, log


def masked(log: KeptLog | bytes, request_id: str) -> str:
    """The log with what differs from run to run taken out."""
    data = log if isinstance(log, bytes) else log.data
    text = data.decode().replace(request_id, "ID")
    return re.sub(r"(Duration: |Init Duration: )[\d.]+ ms", r"\g<1>N ms", text)


def test_the_first_invocation_reports_the_init_and_shows_its_output() -> None:
    def loud(start: Frame) -> list[Frame]:
        return [Frame(FrameKind.LOG, {}, b"importing\n"), *initialized(start)]

    def chatty(invoke: Frame) -> list[Frame]:
        return [Frame(FrameKind.LOG, {}, b"hello\n"), result(invoke, b'"x"')]

    environment, _, log = started({FrameKind.START: loud, FrameKind.INVOKE: chatty})
    invocation = make_invocation()
    outcome = environment.invoke(invocation)
    assert (outcome.payload, outcome.function_error, outcome.executed_version) == (
        b'"x"',
        None,
        "$LATEST",
    )
    expected = (
        f"{INIT_START}importing\nSTART RequestId: ID Version: $LATEST\nhello\n"
        "END RequestId: ID\nREPORT RequestId: ID\tDuration: 1.50 ms\tBilled Duration: 33 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 20 MB\tInit Duration: 31.25 ms\t\n"
    )
    assert log.data.decode().replace(invocation.request_id, "ID") == expected
    assert outcome.log_tail == log.data

    again = make_invocation()
    tail = environment.invoke(again).log_tail.decode().replace(again.request_id, "ID")
    assert tail == (
        "START RequestId: ID Version: $LATEST\nhello\nEND RequestId: ID\n"
        "REPORT RequestId: ID\tDuration: 1.50 ms\tBilled Duration: 2 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 20 MB\t\n"
    )
    environment.close()


def test_an_event_is_delivered_with_what_the_caller_sent() -> None:
    environment, init, _ = started()
    invocation = make_invocation(
        b'{"a":1}',
        trace_id="Root=1-2-3",
        client_context='{"c":1}',
        cognito_identity='{"i":1}',
        tenant_id="blue",
    )
    assert environment.invoke(invocation).payload == b'{"a":1}'
    meta = init.received[-1].meta
    assert meta["requestId"] == invocation.request_id
    assert (
        meta["invokedFunctionArn"] == "arn:aws:lambda:us-east-1:000000000000:function:my-function"
    )
    assert (meta["traceId"], meta["clientContext"]) == ("Root=1-2-3", '{"c":1}')
    assert (meta["cognitoIdentity"], meta["tenantId"]) == ('{"i":1}', "blue")
    environment.invoke(make_invocation())
    assert not {"clientContext", "cognitoIdentity", "tenantId"} & init.received[-1].meta.keys()
    environment.close()


def test_what_the_runtime_posts_as_an_error_passes_unchanged_with_a_plain_report() -> None:
    body = b'{"errorMessage": "boom", "errorType": "ValueError"}'
    script = {FrameKind.INVOKE: lambda invoke: [result(invoke, body, "error")]}
    environment, _, log = started(script)
    outcome = environment.invoke(make_invocation())
    assert (outcome.payload, outcome.function_error) == (body, "Unhandled")
    assert b"Status:" not in log.data
    environment.close()


def test_a_late_invocation_is_killed_and_the_next_starts_the_runtime_again() -> None:
    seen: list[Frame] = []
    clock = FakeClock()  # by which only the first is late, however slow the machine is

    def slow_once(invoke: Frame) -> list[Frame]:
        seen.append(invoke)
        if len(seen) > 1:
            return [result(invoke, b'"back"')]
        clock.advance(0.05)
        return []

    environment, init, log = started({FrameKind.INVOKE: slow_once}, timeout=0.05, clock=clock)
    invocation = make_invocation()
    outcome = environment.invoke(invocation)
    assert outcome.function_error == "Unhandled"
    assert json.loads(outcome.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {invocation.request_id} Error: "
        "Task timed out after 0.05 seconds",
    }
    report = log.data.decode().splitlines()[-1]
    assert "\tDuration: 50.00 ms\t" in report
    assert report.endswith("\tInit Duration: 31.25 ms\tStatus: timeout")
    assert not environment.runtime_lives

    again = make_invocation()
    outcome = environment.invoke(again)
    assert outcome.payload == b'"back"'
    assert b"Init Duration" not in outcome.log_tail, "a suppressed init is not reported"
    starts = [frame.meta for frame in init.received if frame.kind is FrameKind.START]
    assert starts == [{"generation": 1, "phase": "init"}, {"generation": 2, "phase": "invoke"}]
    environment.close()


def test_a_runtime_that_exits_fails_the_invocation_by_its_cause() -> None:
    def dies(invoke: Frame) -> list[Frame]:
        return [
            Frame(FrameKind.LOG, {}, b"last words\n"),
            exited(
                1,
                "outOfMemory",
                "signal: killed",
                requestId=invoke.meta["requestId"],
                maxMemoryBytes=128 * MIB + 5,
            ),
        ]

    environment, _, log = started({FrameKind.INVOKE: dies})
    invocation = make_invocation()
    outcome = environment.invoke(invocation)
    assert json.loads(outcome.payload)["errorType"] == "Runtime.OutOfMemory"
    lines = masked(log, invocation.request_id).splitlines()
    assert lines[2] == "last words"
    assert lines[-1].endswith(
        "Memory Size: 128 MB\tMax Memory Used: 128 MB\tInit Duration: N ms\t"
        "Status: error\tError Type: Runtime.OutOfMemory"
    )
    environment.close()


def test_a_response_over_the_limit_is_a_function_error() -> None:
    script = {FrameKind.INVOKE: lambda invoke: [result(invoke, b"", "tooLarge")]}
    environment, _, _ = started(script)
    outcome = environment.invoke(make_invocation())
    assert json.loads(outcome.payload)["errorType"] == "Function.ResponseSizeTooLarge"
    assert outcome.function_error == "Unhandled"
    environment.close()


def test_a_failing_init_is_tried_again_inside_the_invocation_and_told_as_on_aws() -> None:
    body = b'{"errorMessage": "no app", "errorType": "Runtime.ImportModuleError"}'

    def fails(start: Frame) -> list[Frame]:
        generation = start.meta["generation"]
        return [
            Frame(FrameKind.LOG, {}, b"traceback\n"),
            Frame(
                FrameKind.INIT_ERROR,
                {"generation": generation, "errorType": "Runtime.ImportModuleError"},
                body,
            ),
            exited(generation, "exit", "exit status 1"),
        ]

    environment, _, log = started({FrameKind.START: fails})
    invocation = make_invocation()
    outcome = environment.invoke(invocation)
    assert (outcome.payload, outcome.function_error) == (body, "Unhandled")
    error = "Status: error\tError Type: Runtime.ImportModuleError\n"
    assert masked(log, invocation.request_id) == (
        f"{INIT_START}traceback\nINIT_REPORT Init Duration: N ms\tPhase: init\t{error}"
        f"traceback\nINIT_REPORT Init Duration: N ms\tPhase: invoke\t{error}"
        "START RequestId: ID Version: $LATEST\nEND RequestId: ID\n"
        "REPORT RequestId: ID\tDuration: N ms\tBilled Duration: N ms\tMemory Size: 128 MB\t"
        f"Max Memory Used: 20 MB\t{error}"
    )
    assert outcome.log_tail == log.data
    environment.close()


def test_an_init_that_hangs_in_the_invocation_is_a_timeout() -> None:
    starts: list[Frame] = []

    def hangs_later(start: Frame) -> list[Frame]:
        starts.append(start)
        return [exited(1, "exit", "exit status 1")] if len(starts) == 1 else []

    environment, _, log = started({FrameKind.START: hangs_later}, timeout=0.05)
    outcome = environment.invoke(make_invocation())
    assert json.loads(outcome.payload)["errorType"] == "Sandbox.Timedout"
    text = log.data.decode()
    assert "INIT_REPORT Init Duration: 50.00 ms\tPhase: invoke\tStatus: timeout\n" in text
    assert text.endswith("\tStatus: timeout\n")
    environment.close()


def test_a_provisioned_environment_reports_its_init_apart_from_its_invocations() -> None:
    environment, _ = boot()
    environment.initialization = PROVISIONED
    log = KeptLog()
    environment.assign(make_version("1"), {"command": []}, None, log)
    assert environment.initialize()
    before = f"{INIT_START}INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: success\n"
    assert masked(log, "no id") == before
    invocation = make_invocation()
    tail = environment.invoke(invocation).log_tail
    invoked = (
        "START RequestId: ID Version: 1\nEND RequestId: ID\nREPORT RequestId: ID\t"
        "Duration: N ms\tBilled Duration: N ms\tMemory Size: 128 MB\tMax Memory Used: 20 MB\t\n"
    )
    assert masked(tail, invocation.request_id) == invoked
    assert masked(log, invocation.request_id) == before + invoked
    environment.close()


@pytest.mark.parametrize(
    ("initialization", "timeout", "seconds"),
    [
        (ON_DEMAND, 600, 10),
        (PROVISIONED, 3, 130),
        (PROVISIONED, 600, 600),
        (PROVISIONED, 5400, 900),
    ],
)
def test_an_initialization_may_take_so_long(
    initialization: str, timeout: int, seconds: int
) -> None:
    assert init_seconds(initialization, timeout) == seconds


def test_a_runtime_that_ended_after_its_answer_is_started_again_for_the_next() -> None:
    environment, init, _ = started()
    environment.invoke(make_invocation())
    init.send(exited(1, "exit", "exit status 1"), Frame(FrameKind.LOG, {}, b"\n"))
    outcome = environment.invoke(make_invocation(b'"next"'))
    assert (outcome.payload, outcome.function_error) == (b'"next"', None)
    assert b"Init Duration" not in outcome.log_tail
    environment.close()


def test_an_event_that_met_a_dying_runtime_is_delivered_to_the_next_one() -> None:
    events: list[Frame] = []

    def dies_once(invoke: Frame) -> list[Frame]:
        events.append(invoke)
        return [exited(1, "exit", "exit status 1")] if len(events) == 1 else [result(invoke, b"1")]

    environment, _, log = started({FrameKind.INVOKE: dies_once})
    outcome = environment.invoke(make_invocation())
    assert (outcome.payload, outcome.function_error) == (b"1", None)
    assert log.data.count(b"\nSTART ") == 1
    environment.close()


@pytest.mark.parametrize(
    ("frame", "timeout"),
    [(FrameKind.START, 3), (FrameKind.INVOKE, 3), (FrameKind.KILL, 0.05)],
    ids=["START", "INVOKE", "KILL"],
)
def test_a_container_that_ends_is_nobodys_function_error(frame: FrameKind, timeout: float) -> None:
    lost: list[ExecutionEnvironment] = []
    script: dict[FrameKind, Reaction] = {FrameKind.INVOKE: nothing, frame: hang_up}
    environment, _ = boot(script, on_lost=lost.append)
    log = KeptLog()
    environment.assign(make_version(timeout=timeout), {}, None, log)

    def run() -> None:
        environment.initialize()
        environment.invoke(make_invocation())

    with pytest.raises(EnvironmentFailed, match="ended"):
        run()
    until(lambda: lost == [environment])
    environment.close()
    assert log.closed.is_set()
