"""Fixtures of the tests that need a Docker Engine; their failures show the logs."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from sandbox.settings import Settings
from sandbox.setup.deploy import own_keys
from tests.support.access import client
from tests.support.instance import RUNNING, Deploy, Function, Instance, Start

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
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A control plane that the tests of a module share."""
    shared = Instance(tmp_path_factory.mktemp("shared") / "state")
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
