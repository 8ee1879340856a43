"""What a version's layers mean for its container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import CodeStore
from sandbox.catalog.code_store import GRACE
from sandbox.catalog.records import Version
from sandbox.clock import FakeClock
from sandbox.engines.base import ContainerSpec, Image, ResourceLimits
from sandbox.environments.launch import Launcher
from sandbox.environments.runtimes import RuntimeImages
from sandbox.environments.supply import ImageSupply
from sandbox.errors import EngineUnavailable
from sandbox.settings import Settings
from tests.support.access import make_sessions
from tests.support.api import zip_bytes
from tests.support.functions import KEY, make_version

IMAGE = Image("sha256:0", ("/entry",), (), "/", ())


class Environment:
    """What the launcher notes about one."""

    asked: tuple[float, bool] | None = None


class Engine:
    """As engine and as containers: boots what is just an object."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def image(self, _: str) -> Image:
        return IMAGE

    def boot(self, name: str, spec: ContainerSpec, limits: ResourceLimits, lost: Any) -> Any:
        if self.failure:
            raise self.failure
        return Environment()

    def remove(self, environment: object) -> None:
        pass


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def code(tmp_path: Path, clock: FakeClock) -> CodeStore:
    return CodeStore(tmp_path / "code", clock)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def launcher(code: CodeStore, engine: Engine, clock: FakeClock) -> Launcher:
    runtimes = RuntimeImages(engine.image, named={}, buildable=(), substitutes=True)
    return Launcher(
        images=ImageSupply(engine.image, runtimes, pulls=None),  # type: ignore[arg-type]
        containers=engine,  # type: ignore[arg-type]
        code=code,
        logs=None,  # type: ignore[arg-type]
        settings=Settings(),
        clock=clock,
        sessions=make_sessions(),
    )


@pytest.fixture
def version(code: CodeStore) -> Version:
    """A small function with two layers."""
    parts = [code.put_zip(zip_bytes({"file": text})) for text in "ab"]
    plain = make_version()
    function = code.put_zip(zip_bytes())
    return Version(
        *(KEY, plain.version, plain.configuration, "r1", function), layers=code.merge(parts)
    )


def test_layers_are_mounted_and_small_code_still_travels_by_itself(
    launcher: Launcher, code: CodeStore, version: Version
) -> None:
    spec = launcher.spec(version)
    assert spec.layers is not None
    assert (spec.layers / "file").read_text() == "b"
    assert spec.code is None
    assert spec.dedicated
    assert not launcher.spec(make_version()).dedicated


def test_a_container_keeps_what_it_has_mounted_until_it_is_gone(
    launcher: Launcher, engine: Engine, code: CodeStore, clock: FakeClock, version: Version
) -> None:
    spec = launcher.spec(version)
    assert spec.layers is not None
    environment = launcher.boot(version, spec, lambda _: None)
    clock.advance(GRACE + 1)
    code.collect(())
    assert spec.layers.exists()
    launcher.remove(environment)
    code.collect(())
    assert not spec.layers.exists()


def test_a_container_that_does_not_start_keeps_nothing(
    launcher: Launcher, engine: Engine, code: CodeStore, clock: FakeClock, version: Version
) -> None:
    spec = launcher.spec(version)
    engine.failure = EngineUnavailable("no engine")
    with pytest.raises(EngineUnavailable):
        launcher.boot(version, spec, lambda _: None)
    clock.advance(GRACE + 1)
    code.collect(())
    assert spec.layers is not None
    assert not spec.layers.exists()
