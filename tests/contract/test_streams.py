"""Every way a streamed response can end, from a scripted init and from real containers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest

from sandbox.control_plane import ControlPlane
from sandbox.environments.channel import Frame, FrameKind
from sandbox.invocation import Invocation, ResponseStream
from sandbox.names import FunctionReference
from sandbox.settings import Settings
from tests.contract.scenarios import (
    FINE,
    TOO_MUCH,
    exit_error,
    failing,
    patient,
    platform_error,
)
from tests.support import streaming
from tests.support.functions import KeptLog, created, make_invocation, make_version
from tests.support.scripted_init import Reaction, boot, exited, nothing, result

Run = Callable[[Invocation], ResponseStream]

HALF = 'def handler(event, stream):\n    stream.write(b"half")\n'


@dataclass(frozen=True)
class Scenario:
    name: str
    source: str
    script: Reaction
    """What a scripted init reports after the CHUNK."""
    details: str | None
    """The error document; None: the response is whole."""
    status: str = ""
    """The end of the REPORT line."""
    pieces: bytes = b"half"
    event: bytes = b"{}"
    runtime: str = streaming.RUNTIME
    timeout: int = 3


def dies(cause: str, description: str) -> Reaction:
    def reaction(invoke: Frame) -> list[Frame]:
        return [exited(1, cause, description, requestId=invoke.meta["requestId"])]

    return reaction


def reports(outcome: str, body: str = "") -> Reaction:
    return lambda invoke: [result(invoke, body.encode(), outcome)]


MIDWAY = '{"errorMessage": "boom", "errorType": "ValueError"}'
TRUNCATED = platform_error(
    "Runtime.TruncatedResponse", "Runtime ended its response before it was complete"
)

SCENARIOS = [
    Scenario("a whole response", HALF, reports("response"), None),
    Scenario(
        "an error that the runtime reports in its trailers",
        f'{HALF}    raise ValueError("boom")\n',
        reports("error", MIDWAY),
        MIDWAY,
    ),
    Scenario(
        "a timeout",
        f"{HALF}    while True:\n        pass\n",
        nothing,
        platform_error("Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        "Status: timeout",
        timeout=1,
    ),
    Scenario(
        "exit status 3",
        f"{HALF}    import os\n    os._exit(3)\n",
        dies("exit", "exit status 3"),
        exit_error("Runtime exited with error: exit status 3"),
        failing("Runtime.ExitError"),
    ),
    Scenario(
        "more memory than the function has",
        HALF + TOO_MUCH,
        dies("outOfMemory", "signal: killed"),
        exit_error("Runtime exited with error: signal: killed", "Runtime.OutOfMemory"),
        failing("Runtime.OutOfMemory"),
    ),
    Scenario(
        "a connection that the runtime closes",
        f"{HALF}    stream.connection.close()\n    raise OSError\n",
        reports("truncated"),
        TRUNCATED,
        failing("Runtime.TruncatedResponse"),
    ),
    Scenario(
        "a response that does not stream",
        FINE,
        reports("response", '"fine"'),
        None,
        pieces=b'"fine"',
        event=b'"again"',
        runtime="python3.13",
    ),
]


def check(scenario: Scenario, run: Run, reference: FunctionReference) -> None:
    """Twice: what comes after works as well."""
    for _ in range(2):
        invocation = Invocation(reference, scenario.event)
        stream = run(invocation)
        assert b"".join(stream) == scenario.pieces
        assert stream.executed_version == "$LATEST"
        outcome = stream.outcome()
        details = bytes(outcome.payload).decode().replace(invocation.request_id, "ID")
        assert details == (scenario.details or "")
        assert outcome.function_error == ("Unhandled" if scenario.details else None)
        report = outcome.log_tail.decode().splitlines()[-1]
        assert report.startswith("REPORT ")
        assert report.endswith(scenario.status or "\t")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scripted_init_streams(scenario: Scenario) -> None:
    streams = scenario.runtime == streaming.RUNTIME
    generation = 0

    def start(frame: Frame) -> list[Frame]:
        nonlocal generation
        generation = frame.meta["generation"]
        return [Frame(FrameKind.INITIALIZED, {"generation": generation, "durationMs": 30.0})]

    def invoked(frame: Frame) -> list[Frame]:
        chunk = [Frame(FrameKind.CHUNK, {"contentType": "text/plain"}, b"half")] * streams
        told = [
            report._replace(meta={**report.meta, "generation": generation})
            if report.kind is FrameKind.EXITED
            else report
            for report in scenario.script(frame) or []
        ]
        return [*chunk, *told]

    script: Mapping[FrameKind, Reaction] = {FrameKind.START: start, FrameKind.INVOKE: invoked}
    environment, _ = boot(script)
    version = make_version(timeout=scenario.timeout, Runtime=scenario.runtime)
    environment.assign(version, {}, None, KeptLog())
    environment.initialize()

    def run(invocation: Invocation) -> ResponseStream:
        stream = ResponseStream()
        invocation = replace(invocation, stream=stream)
        threading.Thread(target=lambda: stream.end(environment.invoke(invocation))).start()
        stream.begin()
        return stream

    check(scenario, run, make_invocation().reference)
    environment.close()


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    settings = Settings.load(
        state_dir=tmp_path_factory.mktemp("state"),
        spares=0,
        runtime_images={streaming.RUNTIME: streaming.IMAGE},
    )
    control_plane = ControlPlane(settings)
    yield control_plane
    control_plane.close()


def deploy(control_plane: ControlPlane, scenario: Scenario, number: int) -> FunctionReference:
    return created(
        control_plane.catalog,
        f"stream-{number}",
        streaming.package(scenario.source),
        Runtime=scenario.runtime,
        Handler="handler.handler",
        Timeout=scenario.timeout,
    )


@pytest.mark.docker
@pytest.mark.parametrize(
    ("number", "scenario"),
    list(enumerate(SCENARIOS)),
    ids=[scenario.name for scenario in SCENARIOS],
)
def test_a_real_container_streams(
    control_plane: ControlPlane, number: int, scenario: Scenario
) -> None:
    scenario = patient(scenario)
    reference = deploy(control_plane, scenario, number)
    check(scenario, control_plane.service.stream, reference)
    control_plane.catalog.delete_function(reference.key)
