"""Extensions, as the control plane sees them: what the init reports, and who waits for whom."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from sandbox.clock import Clock, FakeClock
from sandbox.environments import failures
from sandbox.environments.channel import Frame, FrameKind
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.log import EnvironmentLog
from sandbox.environments.settling import release_settled
from sandbox.errors import EnvironmentFailed
from sandbox.logs import json_lines, lines
from sandbox.logs.formats import log_format
from tests.support.functions import KeptLog, make_invocation, make_version
from tests.support.scripted_init import (
    MIB,
    Reaction,
    ScriptedInit,
    boot,
    exited,
    initialized,
    killed,
    nothing,
    result,
)

LINE = "EXTENSION\tName: mine\tState: Ready\tEvents: [INVOKE,SHUTDOWN]\n"


def extension(state: str = "Ready", *events: str, **meta: Any) -> Frame:
    known = {"name": "mine", "state": state, "events": list(events or ("INVOKE", "SHUTDOWN"))}
    return Frame(FrameKind.EXTENSION, known | meta)


def done(invoke: Frame) -> Frame:
    meta = {
        "requestId": invoke.meta["requestId"],
        "durationMs": 40.5,
        "maxMemoryBytes": 30 * MIB,
    }
    return Frame(FrameKind.DONE, meta)


def extended(start: Frame) -> list[Frame]:
    return [extension(), *initialized(start)]


def started(
    script: Mapping[FrameKind, Reaction], timeout: float = 3, clock: Clock | None = None
) -> tuple[ExecutionEnvironment, ScriptedInit, KeptLog]:
    environment, init = boot({FrameKind.START: extended, **script}, clock=clock)
    log = KeptLog()
    environment.assign(make_version(timeout=timeout), {"command": []}, None, log)
    assert environment.initialize()
    return environment, init, log


def answered(invoke: Frame) -> list[Frame]:
    return [result(invoke, b'"x"')]


def settle(environment: ExecutionEnvironment) -> None:
    assert environment.settling is not None
    environment.settling()
    assert environment.settling is None


def last_line(log: KeptLog) -> str:
    return log.data.decode().splitlines()[-1]


def test_the_caller_is_answered_and_the_log_ends_when_the_extensions_are_done() -> None:
    environment, init, log = started({FrameKind.INVOKE: answered})
    invocation = make_invocation()
    outcome = environment.invoke(invocation)
    assert (outcome.payload, outcome.function_error, outcome.log_tail) == (b'"x"', None, b"")
    assert log.data.decode().endswith(
        f"{LINE}START RequestId: {invocation.request_id} Version: $LATEST\n"
    )
    init.send(done(init.received[-1]))
    settle(environment)
    assert last_line(log) == (
        f"REPORT RequestId: {invocation.request_id}\tDuration: 40.50 ms\tBilled Duration: 72 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 30 MB\tInit Duration: 31.25 ms\t"
    )
    environment.close()


def test_a_caller_who_wants_the_log_waits_for_its_end() -> None:
    script = {FrameKind.INVOKE: lambda invoke: [*answered(invoke), done(invoke)]}
    environment, _, log = started(script)
    outcome = environment.invoke(make_invocation(tail=True))
    assert environment.settling is None
    assert outcome.payload == b'"x"'
    assert outcome.log_tail == log.data
    assert b"Duration: 40.50 ms" in outcome.log_tail
    environment.close()


@pytest.mark.parametrize("events", [["SHUTDOWN"], []])
def test_extensions_that_do_not_follow_invocations_are_not_waited_for(events: list[str]) -> None:
    def quiet(start: Frame) -> list[Frame]:
        frame = Frame(FrameKind.EXTENSION, {"name": "mine", "state": "Ready", "events": events})
        return [frame, *initialized(start)]

    environment, _, log = started({FrameKind.START: quiet})
    assert environment.invoke(make_invocation()).log_tail == log.data
    assert environment.settling is None
    environment.close()


def test_an_extension_that_is_not_done_in_time_is_ended_and_the_report_says_so() -> None:
    clock = FakeClock()  # the answer is in time, however slow the machine is
    environment, init, log = started({FrameKind.INVOKE: answered}, 0.05, clock)
    outcome = environment.invoke(make_invocation())
    assert outcome.function_error is None
    clock.advance(0.05)
    settle(environment)
    assert init.received[-1].meta == {"generation": 1, "reason": "TIMEOUT"}
    assert "Duration: 50.00 ms" in last_line(log)
    assert last_line(log).endswith("\tStatus: timeout")
    assert not environment.runtime_lives
    environment.close()


def test_an_extension_that_crashes_after_the_answer_is_in_the_report_alone() -> None:
    crash = exited(1, "extension", "exit code 7", errorType="Extension.Crash")
    script = {FrameKind.INVOKE: lambda invoke: [*answered(invoke), crash]}
    environment, init, log = started(script)
    outcome = environment.invoke(make_invocation())
    assert (outcome.payload, outcome.function_error) == (b'"x"', None)
    settle(environment)
    assert last_line(log).endswith("\tStatus: error\tError Type: Extension.Crash")
    environment.invoke(make_invocation())
    assert [frame.meta["phase"] for frame in init.received if frame.kind is FrameKind.START] == [
        "init",
        "invoke",
    ]
    environment.close()


def test_an_extension_that_crashes_before_the_answer_is_the_answer() -> None:
    def crash(invoke: Frame) -> list[Frame]:
        meta = {"errorType": "Extension.Crash", "requestId": invoke.meta["requestId"]}
        return [exited(1, "extension", "exit code 7", **meta)]

    environment, _, log = started({FrameKind.INVOKE: crash})
    invocation = make_invocation()
    outcome = environment.invoke(invocation)
    assert json.loads(outcome.payload) == {
        "errorType": "Extension.Crash",
        "errorMessage": f"RequestId: {invocation.request_id} Error: exit code 7",
    }
    assert last_line(log).endswith("\tStatus: error\tError Type: Extension.Crash")
    environment.close()


def test_a_late_function_is_answered_before_its_extensions_have_ended() -> None:
    clock = FakeClock()

    def late(_: Frame) -> list[Frame]:
        clock.advance(0.05)
        return []

    environment, init, log = started({FrameKind.INVOKE: late}, 0.05, clock)
    outcome = environment.invoke(make_invocation())
    assert json.loads(outcome.payload)["errorType"] == "Sandbox.Timedout"
    assert init.received[-1].kind is FrameKind.INVOKE
    settle(environment)
    assert init.received[-1].meta == {"generation": 1, "reason": "TIMEOUT"}
    assert last_line(log).endswith("\tStatus: timeout")
    assert "Max Memory Used: 20 MB" in last_line(log)
    environment.close()


def test_a_failing_initialization_tells_of_every_extension_and_what_failed() -> None:
    def fails(start: Frame) -> list[Frame]:
        generation = start.meta["generation"]
        refused = extension("LaunchError", errorType="PermissionDenied")
        why = {"errorType": "Extension.LaunchError"}
        return [refused, exited(generation, "extension", "fork/exec x: permission denied", **why)]

    environment, _ = boot({FrameKind.START: fails})
    log = KeptLog()
    environment.assign(make_version(), {"command": []}, None, log)
    assert not environment.initialize()
    told = "EXTENSION\tName: mine\tState: LaunchError\tEvents: [INVOKE,SHUTDOWN]\t"
    assert f"{told}Error Type: PermissionDenied\nINIT_REPORT " in log.data.decode()
    assert last_line(log).endswith("Status: error\tError Type: Extension.LaunchError")
    outcome = environment.invoke(make_invocation())
    assert json.loads(outcome.payload)["errorType"] == "Extension.LaunchError"
    environment.close()


def test_an_initialization_that_hangs_tells_of_extensions_as_it_is_ended() -> None:
    late = {
        FrameKind.START: nothing,
        FrameKind.KILL: lambda kill: [extension("Started"), *killed(kill)],
    }
    environment, _ = boot(late)
    log = KeptLog()
    environment.assign(make_version(timeout=0.05), {"command": []}, None, log)
    outcome = environment.invoke(make_invocation())
    assert json.loads(outcome.payload)["errorType"] == "Sandbox.Timedout"
    assert "\tState: Started\t" in log.data.decode()
    environment.close()


def test_an_environment_with_extensions_ends_when_they_have() -> None:
    ends: queue.SimpleQueue[None] = queue.SimpleQueue()

    def slowly(_: Frame) -> None:
        ends.get()

    environment, init, log = started({FrameKind.SHUTDOWN: slowly})
    closing = threading.Thread(target=environment.close)
    closing.start()
    assert not log.closed.is_set()
    ends.put(None)
    closing.join()
    assert init.received[-1].kind is FrameKind.SHUTDOWN
    assert log.closed.is_set()


def test_a_call_whose_environment_is_ended_has_not_failed_by_its_own_doing() -> None:
    called = threading.Event()

    def hold(_: Frame) -> list[Frame]:
        called.set()
        return []

    def end(_: Frame) -> list[Frame]:
        return [exited(1, "killed", "signal: killed", requestId="any")]

    environment, init, _ = started({FrameKind.INVOKE: hold, FrameKind.SHUTDOWN: end})
    failed: list[EnvironmentFailed] = []

    def call() -> None:
        try:
            environment.invoke(make_invocation())
        except EnvironmentFailed as error:
            failed.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    called.wait()
    closing = threading.Thread(target=environment.close)
    closing.start()
    calling.join()
    assert failed
    init.channel.close()
    closing.join()


class Pool:
    def __init__(self) -> None:
        self.released: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def release(self, environment: ExecutionEnvironment, *, lost: bool) -> None:
        assert environment.settling is None or lost
        self.released.put(lost)


@pytest.mark.parametrize("lost", [False, True])
def test_an_environment_is_free_once_its_extensions_are_done(lost: bool) -> None:
    environment, init, _ = started({FrameKind.INVOKE: answered})
    environment.invoke(make_invocation())
    pool = Pool()
    release_settled(pool, environment)  # type: ignore[arg-type]
    assert pool.released.empty()
    if lost:
        init.channel.close()
    else:
        init.send(done(init.received[-1]))
    assert pool.released.get() is lost
    environment.close()


def test_what_becomes_of_an_extension_has_a_line_in_both_formats() -> None:
    assert lines.extension("mine", "Ready", ["INVOKE", "SHUTDOWN"], None).decode() == LINE
    assert lines.extension("mine", "Exited", [], "Extension.Crash") == (
        b"EXTENSION\tName: mine\tState: Exited\tEvents: []\tError Type: Extension.Crash\n"
    )
    assert json.loads(json_lines.extension(0, "mine", "Ready", ["INVOKE"], None)) == {
        "time": "1970-01-01T00:00:00.000Z",
        "type": "platform.extension",
        "record": {"name": "mine", "state": "Ready", "events": ["INVOKE"]},
    }
    record = json.loads(json_lines.extension(0, "mine", "InitError", [], "Mine.Bad"))["record"]
    assert record["errorType"] == "Mine.Bad"


def test_a_subscription_has_a_line_in_both_formats() -> None:
    subscribed = {"name": "mine", "state": "Subscribed", "api": "Telemetry", "types": ["platform"]}
    for format_, line in (
        ("Text", "TELEMETRY\tName: mine\tState: Subscribed\tTypes: [Platform]\n"),
        ("JSON", '"type":"platform.telemetrySubscription"'),
    ):
        log = KeptLog()
        version = make_version(LoggingConfig={"LogFormat": format_})
        written = EnvironmentLog(log, log_format(version, "stream"), FakeClock())
        written.extension(subscribed)
        assert line in log.data.decode()
    assert lines.subscription("Logs", "mine", ["platform", "function"]) == (
        b"LOGS\tName: mine\tState: Subscribed\tTypes: [Platform, Function]\n"
    )
    assert json.loads(json_lines.subscription(0, "Logs", "mine", ["extension"])) == {
        "time": "1970-01-01T00:00:00.000Z",
        "type": "platform.logsSubscription",
        "record": {"name": "mine", "state": "Subscribed", "types": ["extension"]},
    }


def test_an_extension_that_subscribes_is_no_extension_that_follows() -> None:
    def starting(start: Frame) -> list[Frame]:
        meta = {"name": "mine", "state": "Subscribed", "api": "Logs", "types": ["function"]}
        return [
            Frame(FrameKind.EXTENSION, meta),
            extension("Ready", "SHUTDOWN"),
            *initialized(start),
        ]

    environment, _, log = started({FrameKind.START: starting, FrameKind.INVOKE: answered})
    environment.invoke(make_invocation())
    assert environment.settling is None
    assert b"LOGS\tName: mine" in log.data
    environment.close()


def test_the_type_of_what_an_extension_ended_is_the_inits() -> None:
    failure = failures.of_exit(
        {"cause": "extension", "description": "exit code 0", "errorType": "Extension.InitError"}
    )
    assert failure == failures.Failure("Extension.InitError", "exit code 0")
