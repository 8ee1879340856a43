"""The init's side of the channel, played from a script: for tests without containers."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.clock import Clock, SystemClock
from sandbox.engines.base import ContainerSpec, ResourceLimits
from sandbox.environments.channel import Channel, Frame, FrameKind
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.scheduler import Scheduler

Reaction = Callable[[Frame], list[Frame] | None]
"""What the init sends for a frame; None: it hangs up."""

MIB = 2**20
_SCHEDULER = Scheduler(SystemClock())


class ScriptedInit:
    """Answers each frame by a reaction; what is not scripted goes well."""

    def __init__(self, connection: socket.socket, script: Mapping[FrameKind, Reaction]) -> None:
        self.received: list[Frame] = []
        self.channel = Channel(connection)
        self._script = {**DEFAULT, **script}
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, *frames: Frame) -> None:
        self.channel.send(*frames)

    def _run(self) -> None:
        for frame in self.channel.frames():
            self.received.append(frame)
            answer = self._script[frame.kind](frame)
            if answer is None:
                break
            if answer:
                self.channel.send(*answer)
        self.channel.close()


def nothing(_: Frame) -> list[Frame]:
    """No answer."""
    return []


def hang_up(_: Frame) -> None:
    """The container is gone."""


def initialized(start: Frame) -> list[Frame]:
    meta = {"generation": start.meta["generation"], "durationMs": 31.25}
    return [Frame(FrameKind.INITIALIZED, meta)]


def exited(generation: int, cause: str = "exit", description: str = "", **meta: Any) -> Frame:
    known = {"generation": generation, "cause": cause, "description": description}
    return Frame(FrameKind.EXITED, known | {"durationMs": 1.0, "maxMemoryBytes": 20 * MIB} | meta)


def killed(kill: Frame) -> list[Frame]:
    return [exited(kill.meta["generation"], "killed", "signal: killed")]


def result(invoke: Frame, payload: bytes, outcome: str = "response", **meta: Any) -> Frame:
    known = {
        "requestId": invoke.meta["requestId"],
        "outcome": outcome,
        "durationMs": 1.5,
        "maxMemoryBytes": 20 * MIB,
    }
    return Frame(FrameKind.RESULT, known | meta, payload)


def echo(invoke: Frame) -> list[Frame]:
    return [result(invoke, bytes(invoke.payload))]


DEFAULT: dict[FrameKind, Reaction] = {
    FrameKind.CONFIGURE: nothing,
    FrameKind.START: initialized,
    FrameKind.INVOKE: echo,
    FrameKind.KILL: killed,
    FrameKind.SHUTDOWN: hang_up,
}

SPEC = ContainerSpec(image="sha256:0", code=None, whole=False, tmp_mib=512)
LIMITS = ResourceLimits(memory_bytes=128 * MIB, nano_cpus=10**9, cpu_shares=74)

_numbers = itertools.count(1)


def boot(
    script: Mapping[FrameKind, Reaction] | None = None,
    *,
    on_lost: Callable[[ExecutionEnvironment], None] = lambda _: None,
    clock: Clock | None = None,
    spec: ContainerSpec = SPEC,
) -> tuple[ExecutionEnvironment, ScriptedInit]:
    """A booted environment and the init it talks to."""
    ours, theirs = socket.socketpair()
    init = ScriptedInit(theirs, script or {})
    number = next(_numbers)
    environment = ExecutionEnvironment(
        f"environment-{number}",
        container=f"container-{number}",
        spec=spec,
        limits=LIMITS,
        uid=100_000 + number,
        channel=Channel(ours),
        clock=clock or SystemClock(),
        scheduler=_SCHEDULER,
        on_lost=on_lost,
    )
    return environment, init
