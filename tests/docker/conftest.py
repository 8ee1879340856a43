"""Fixtures of the tests that need a Docker Engine; their failures show the logs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from sandbox.settings import Settings
from sandbox.setup.deploy import own_keys
from tests.support import peer as channel
from tests.support.access import client
from tests.support.instance import RUNNING, Deploy, Function, Instance, Start
from tests.support.peer import INITIALIZED, LOOP, Boot, Peer

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.docker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for instance in RUNNING:
            report.sections.extend(instance.told())
    return report


@pytest.fixture(scope="module")
def instance(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Instance]:
    """A control plane that the tests of a module share, with the module's SETTINGS."""
    settings = getattr(request.module, "SETTINGS", {})
    shared = Instance(tmp_path_factory.mktemp("shared") / "state", **settings)
    try:
        yield shared.start()
    finally:
        shared.stop()
    log = shared.log_path.read_text()
    assert "Traceback" not in log, log


@pytest.fixture
def deploy(instance: Instance) -> Iterator[Deploy]:
    """Create a function on the shared instance; it is deleted after the test."""
    known = len(instance.functions)

    def create(files: Mapping[str, str | bytes] | str, **members: Any) -> Function:
        return instance.deploy(files, **members)

    yield create
    for function in instance.functions[known:]:
        instance.client.delete_function(FunctionName=function.name)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an instance of the test's own: `start(**settings)`, each on another directory."""
    made: list[Instance] = []

    def create(**settings: object) -> Instance:
        made.append(Instance(tmp_path / f"state-{len(made)}", **settings))
        return made[-1].start()

    yield create
    for own in made:
        own.stop()


@pytest.fixture
def enforcing(start: Start) -> Instance:
    """One with `FNBOX_IAM=enforce`, whose client is its account's root user."""
    made = start(iam="enforce")
    keys = own_keys(Settings(state_dir=made.state_dir))
    made.client.close()
    made.client = client("lambda", made.url, Credentials(*keys.values()))
    return made


@pytest.fixture(scope="session")
def init_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The init to test: `FNBOX_TEST_INIT`, else the one in the image `fnbox/init`."""
    if given := os.environ.get("FNBOX_TEST_INIT"):
        return Path(given)
    return channel.extract("fnbox/init", "/init", tmp_path_factory.mktemp("init") / "init")


@pytest.fixture(scope="session")
def python_image() -> str:
    """An image with `python3`."""
    return os.environ.get("FNBOX_TEST_IMAGE", "fnbox/python3.13")


@pytest.fixture
def boot(init_binary: Path, python_image: str) -> Iterator[Boot]:
    """Start a container whose runtime is LOOP and then the given code; nothing is left of it."""
    run = uuid.uuid4().hex
    with ExitStack() as stack:

        def start(
            code: str, *, wait: bool = True, extra: tuple[str, ...] = (), **over: Any
        ) -> Peer:
            peer = stack.enter_context(channel.container(init_binary, python_image, run, extra))
            peer.configure({"main.py": LOOP + code}, ["python3", "/var/task/main.py"], **over)
            peer.start()
            if wait:
                peer.until(INITIALIZED)
            return peer

        yield start
    assert channel.containers(run) == []
