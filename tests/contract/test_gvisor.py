"""The same endings under gVisor: functions whose containers `runsc` starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.control_plane import ControlPlane
from sandbox.settings import Settings
from tests.contract import scenarios, test_contract, test_streams
from tests.contract.scenarios import patient
from tests.support import streaming
from tests.support.instance import docker

pytestmark = pytest.mark.docker

QUICK = {"a function that returns its event", "more memory than the function has"}


def cases(of: list[Any], quick: set[str]) -> list[Any]:
    """All of a table; what is not in `quick` with `make test-all` alone."""
    return [
        pytest.param(
            scenario, id=scenario.name, marks=() if scenario.name in quick else pytest.mark.thorough
        )
        for scenario in of
    ]


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if "runsc" not in docker("info", "--format", "{{json .Runtimes}}"):
        pytest.skip("the engine has no runsc: `make gvisor`")
    made = ControlPlane(
        Settings.load(
            state_dir=tmp_path_factory.mktemp("state"),
            spares=0,
            oci_runtime="runsc",
            runtime_images={
                "provided.al2023": "fnbox/python3.13:latest",
                streaming.RUNTIME: streaming.IMAGE,
            },
        )
    )
    yield made
    made.close()


@pytest.mark.parametrize("scenario", cases(scenarios.SCENARIOS, QUICK))
def test_under_gvisor_a_container_gives_what_lambda_gives_for(
    control_plane: ControlPlane, scenario: scenarios.Scenario
) -> None:
    scenario = patient(scenario)
    reference = test_contract.deploy(control_plane, scenario, 0)
    test_contract.check(scenario, control_plane.service.invoke, reference)
    control_plane.catalog.delete_function(reference.key)


@pytest.mark.parametrize("scenario", cases(test_streams.SCENARIOS, set()))
def test_under_gvisor_a_container_streams(
    control_plane: ControlPlane, scenario: test_streams.Scenario
) -> None:
    scenario = patient(scenario)
    reference = test_streams.deploy(control_plane, scenario, 0)
    test_streams.check(scenario, control_plane.service.stream, reference)
    control_plane.catalog.delete_function(reference.key)
