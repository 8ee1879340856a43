from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator

import pytest

from sandbox.control_plane import ControlPlane
from sandbox.invocation import Invocation, Outcome
from sandbox.names import FunctionReference
from sandbox.settings import Settings
from tests.contract.scenarios import SCENARIOS, Scenario, patient
from tests.support.functions import KeptLog, created, make_invocation, make_version
from tests.support.scripted_init import boot

Invoke = Callable[[Invocation], Outcome]

_TENANCY = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}

PLATFORM = re.compile(r"(?:INIT_START|INIT_REPORT|START|END|REPORT) |user:|{")
# A traceback's last line has no end: what the platform says next follows on it.
UNENDED = re.compile(r"(?<=[^\n])(?=(?:END|INIT_REPORT) )")
MASKS = [
    (re.compile(r"(Duration|Memory Used): [\d.]+"), r"\1: N"),
    (re.compile(r'("(?:\w*Ms|maxMemoryUsedMB|producedBytes)"):[\d.]+'), r"\1:N"),
    (re.compile(r'"time":"[\d:.TZ-]{24}"'), '"time":"TIME"'),
    (re.compile(r'"functionName":"[\w-]+"'), '"functionName":"NAME"'),
    (re.compile(r'"instanceId":"[^"]{40,}"'), '"instanceId":"STREAM"'),
    (re.compile(r'arn:aws:lambda:[^\s"]+'), "ARN"),
    (UNENDED, "\n"),
]


def lines_of(outcome: Outcome, request_id: str) -> tuple[str, ...]:
    text = outcome.log_tail.decode().replace(request_id, "ID")
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return tuple(line for line in text.split("\n") if PLATFORM.match(line))


def check(scenario: Scenario, invoke: Invoke, reference: FunctionReference) -> None:
    first = Invocation(reference, scenario.event, tenant_id=scenario.tenant)
    outcome = invoke(first)
    payload = bytes(outcome.payload).decode().replace(first.request_id, "ID")
    assert payload == scenario.payload
    assert outcome.function_error == scenario.function_error
    assert outcome.executed_version == "$LATEST"
    assert lines_of(outcome, first.request_id) == scenario.log

    event = scenario.event if scenario.after == scenario.payload else b'"again"'
    again = Invocation(reference, event, tenant_id=scenario.tenant)
    outcome = invoke(again)
    payload = bytes(outcome.payload).decode().replace(again.request_id, "ID")
    assert payload == (scenario.after or scenario.payload)
    assert b"Init Duration: " not in outcome.log_tail.split(b"START ")[-1]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scripted_init_gives_what_lambda_gives_for(scenario: Scenario) -> None:
    environment, _ = boot(scenario.script)
    version = make_version(
        timeout=scenario.timeout, Runtime=scenario.runtime, LoggingConfig=scenario.logging
    )
    environment.assign(version, {}, None, KeptLog())
    environment.initialize()
    check(scenario, environment.invoke, make_invocation().reference)
    environment.close()


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    settings = Settings.load(
        state_dir=tmp_path_factory.mktemp("state"),
        spares=0,
        runtime_images={"provided.al2023": "fnbox/python3.13:latest"},
    )
    control_plane = ControlPlane(settings)
    yield control_plane
    control_plane.close()


def deploy(control_plane: ControlPlane, scenario: Scenario, number: int) -> FunctionReference:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("handler.py", scenario.source)
    return created(
        control_plane.catalog,
        f"scenario-{number}",
        package.getvalue(),
        Runtime=scenario.runtime,
        Handler=scenario.handler,
        Timeout=scenario.timeout,
        LoggingConfig=scenario.logging,
        **(_TENANCY if scenario.tenant else {}),
    )


@pytest.mark.docker
@pytest.mark.parametrize(
    ("number", "scenario"),
    list(enumerate(SCENARIOS)),
    ids=[scenario.name for scenario in SCENARIOS],
)
def test_a_real_container_gives_what_lambda_gives_for(
    control_plane: ControlPlane, number: int, scenario: Scenario
) -> None:
    scenario = patient(scenario)
    reference = deploy(control_plane, scenario, number)
    check(scenario, control_plane.service.invoke, reference)
    control_plane.catalog.delete_function(reference.key)
