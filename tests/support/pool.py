"""A pool over scripted environments, on a held clock and scheduler."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sandbox.catalog.records import Version
from sandbox.clock import FakeClock
from sandbox.engines.base import ContainerSpec
from sandbox.environments.channel import FrameKind
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.pool import EnvironmentPool
from tests.support.functions import KeptLog, make_version
from tests.support.scripted_init import SPEC, ScriptedInit, boot

SOON = 10.0


class HeldScheduler:
    """Keeps the latest call until the test makes it."""

    def __init__(self) -> None:
        self.due: Callable[[], None] = lambda: None
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self.due = function
        self.calls.append((seconds, function))


class ScriptedLauncher:
    """Boots environments over socket pairs; tests hold back or break its starts."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.script: dict[FrameKind, object] = {}
        self.waits = 0
        self.booted: list[ExecutionEnvironment] = []
        self.removed: list[ExecutionEnvironment] = []
        self.inits: dict[ExecutionEnvironment, ScriptedInit] = {}
        self._lock = threading.Lock()

    def spec(self, version: Version) -> ContainerSpec:
        return SPEC

    def provide(self, version: Version) -> None:
        """Every image is here."""

    def boot(
        self,
        version: Version | None,
        spec: ContainerSpec,
        on_lost: Callable[[ExecutionEnvironment], None],
    ) -> ExecutionEnvironment:
        with self._lock:
            self.waits += 1
        assert self.gate.wait(SOON)
        if self.error is not None:
            raise self.error
        environment, init = boot(self.script, on_lost=on_lost, spec=spec)
        with self._lock:
            self.inits[environment] = init
            self.booted.append(environment)
        return environment

    def initialize(self, environment: ExecutionEnvironment, version: Version) -> bool:
        environment.assign(version, {}, None, KeptLog())
        return environment.initialize()

    def remove(self, environment: ExecutionEnvironment) -> None:
        environment.close()
        with self._lock:
            self.removed.append(environment)


class Rig:
    def __init__(self, **options: int) -> None:
        self.launcher = ScriptedLauncher()
        self.scheduler = HeldScheduler()
        self.clock = FakeClock()
        self.free_mib = 10_000
        chosen = {"max_environments": 10, "spares": 0} | options
        self.pool = EnvironmentPool(
            self.launcher,
            scheduler=self.scheduler,
            clock=self.clock,
            keep_alive=600.0,
            min_free_mib=512,
            free_mib=lambda: self.free_mib,
            **chosen,
        )

    def lease(self, version: Version | None = None, timeout: float = SOON) -> ExecutionEnvironment:
        return self.pool.lease(version or make_version(), timeout)


def waiting(rig: Rig, count: int) -> Callable[[], bool]:
    return lambda: f"{count} waiting>" in repr(rig.pool)
