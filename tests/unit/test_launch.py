"""From a version to an environment: which image it is started from, and what its log says."""

from __future__ import annotations

from typing import Any

from sandbox.clock import FakeClock
from sandbox.engines.base import Image
from sandbox.environments.launch import Launcher
from sandbox.environments.runtimes import RuntimeImages
from sandbox.environments.supply import ImageSupply
from sandbox.errors import ImageMissing
from sandbox.settings import Settings
from tests.support.access import make_sessions
from tests.support.functions import KeptLog, make_version
from tests.support.scripted_init import boot


class Engine:
    """Has the image of python3.13."""

    def image(self, reference: str) -> Image:
        if reference != "fnbox/python3.13:latest":
            raise ImageMissing(reference)
        return Image("sha256:0", ("/entry",), (), "/", ())

    def limit(self, environment: Any, limits: Any) -> None:
        environment.limits = limits


class Logs:
    def __init__(self) -> None:
        self.streams: list[KeptLog] = []

    def stream(self, account: str, region: str, group: str, name: str) -> KeptLog:
        self.streams.append(KeptLog())
        return self.streams[-1]


def test_only_the_runtime_that_is_stood_in_for_is_noted_though_both_have_one_image() -> None:
    engine: Any = Engine()
    logs = Logs()
    runtimes = RuntimeImages(engine.image, named={}, buildable=("python3.13",), substitutes=True)
    launcher = Launcher(
        images=ImageSupply(engine.image, runtimes, pulls=None),  # type: ignore[arg-type]
        containers=engine,
        code=None,  # type: ignore[arg-type]
        logs=logs,
        settings=Settings(),
        clock=FakeClock(),
        sessions=make_sessions(),
    )
    versions = [make_version(Runtime="python3.12"), make_version(Runtime="python3.13")]
    for order in (versions, versions[::-1]):
        specs = [launcher.spec(version) for version in order]  # before either is initialized
        for version in versions:
            environment, _ = boot({}, spec=specs[0])
            launcher.initialize(environment, version)
            environment.close()
    noted = [b"python3.13 runs it instead" in log.data for log in logs.streams]
    assert noted == [True, False, True, False]
