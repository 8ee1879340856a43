"""What is around an environment: its directory and its user id, given back when it is gone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.clock import SystemClock
from sandbox.engines.base import ContainerSpec, ResourceLimits
from sandbox.environments.channel import PROTOCOL, Channel, Frame, FrameKind
from sandbox.environments.containers import Containers
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.scheduler import Scheduler
from sandbox.errors import EngineError, EngineUnavailable, EnvironmentFailed, OutcomeUnknown

SPEC = ContainerSpec("sha256:0", None, False, 512)
LIMITS = ResourceLimits(2**29, 10**9, 1024)


class Engine:
    """Its containers are channels that have said HELLO."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.removed: list[str] = []
        self.inits: list[Channel] = []
        self.error: EngineError | None = None

    def start(self, name: str, spec: Any, limits: Any, channel: Path) -> str:
        self.names.append(name)
        if self.error:
            raise self.error
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(channel / "control.sock"))
        self.inits.append(Channel(end))
        self.inits[-1].send(Frame(FrameKind.HELLO, {"protocol": PROTOCOL}))
        return f"id of {name}"

    def remove(self, container: str) -> None:
        if self.error:
            raise self.error
        self.removed.append(container)

    def containers(self, *, earlier: bool = False) -> list[str]:
        assert earlier, "what this life has made is not left over"
        return ["of an earlier life"]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    for init in made.inits:
        init.close()


@pytest.fixture
def containers(engine: Any, tmp_path: Path) -> Iterator[Containers]:
    scheduler = Scheduler(SystemClock())
    made = Containers(
        engine,
        directory=tmp_path / "run",
        uids=range(100_000, 100_002),
        start_seconds=60,  # no test waits for it
        scheduler=scheduler,
        clock=SystemClock(),
    )
    made.clean()
    yield made
    scheduler.close()


def boot(containers: Containers) -> ExecutionEnvironment:
    return containers.boot("fnbox-f", SPEC, LIMITS, lambda _: None)


def test_a_user_id_is_one_environments_until_its_container_is_gone(
    containers: Containers, engine: Engine, tmp_path: Path
) -> None:
    one, two = boot(containers), boot(containers)
    assert {one.uid, two.uid} == {100_000, 100_001}
    with pytest.raises(EnvironmentFailed, match="no user id is free"):
        boot(containers)
    engine.error = EngineUnavailable("silence")
    containers.remove(one)
    assert (tmp_path / "run" / one.id).exists()
    with pytest.raises(EnvironmentFailed, match="no user id is free"):
        boot(containers)  # for all that is known the former one still runs
    engine.error = None
    containers.remove(two)
    three = boot(containers)
    assert three.uid == two.uid
    containers.remove(three)


def test_a_container_of_which_nothing_is_known_is_looked_for_by_its_name(
    containers: Containers, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for = threading.Event()
    monkeypatch.setattr("sandbox.environments.leftovers._RETRY_SECONDS", 0.01)
    monkeypatch.setattr(
        engine, "remove", lambda name: looked_for.set() if name in engine.names else None
    )
    engine.error = OutcomeUnknown("silence")
    with pytest.raises(OutcomeUnknown):
        boot(containers)
    assert looked_for.wait(10)
    assert list((tmp_path / "run").iterdir()) == []
    engine.error = None
    found = boot(containers)
    assert found.uid == 100_000
    containers.remove(found)


def test_one_that_surely_is_not_there_is_not_looked_for(
    containers: Containers, engine: Engine, tmp_path: Path
) -> None:
    engine.error = EngineError("no space left")
    with pytest.raises(EngineError):
        boot(containers)
    assert engine.removed == ["of an earlier life"]
    assert list((tmp_path / "run").iterdir()) == []
