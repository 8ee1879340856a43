"""Runtime management and SnapStart's settings, through boto3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from tests.support.api import ROLE, Api, open_api, refused, zip_bytes

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
RUNTIME = "arn:aws:lambda:us-east-1::runtime:" + "ab" * 32
INVALID = "InvalidParameterValueException"
GONE = "ResourceNotFoundException"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    opened.images["image:1"] = "sha256:" + "0" * 64
    yield opened
    opened.close()


@pytest.fixture
def client(api: Api) -> Any:
    client = api.boto()
    create(client, Publish=True)
    api.settle()
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    return client


def create(client: Any, name: str = "f", **members: Any) -> Any:
    request: dict[str, Any] = {
        "FunctionName": name,
        "Role": ROLE,
        "Runtime": "python3.13",
        "Handler": "app.handler",
        "Code": {"ZipFile": zip_bytes()},
        **members,
    }
    return client.create_function(**{k: v for k, v in request.items() if v is not None})


def without(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def get(client: Any, **members: Any) -> dict[str, Any]:
    return without(client.get_runtime_management_config(FunctionName="f", **members))


def put(client: Any, **members: Any) -> dict[str, Any]:
    return without(client.put_runtime_management_config(FunctionName="f", **members))


def shown(client: Any, **members: Any) -> str:
    document = client.get_function_configuration(FunctionName="f", **members)
    return str(document["RuntimeVersionConfig"]["RuntimeVersionArn"])


def test_runtimes_are_managed_automatically_until_somebody_says_otherwise(client: Any) -> None:
    assert get(client) == {"UpdateRuntimeOn": "Auto", "FunctionArn": ARN}
    assert get(client, Qualifier="1") == {"UpdateRuntimeOn": "Auto", "FunctionArn": f"{ARN}:1"}
    expected = {"UpdateRuntimeOn": "FunctionUpdate", "FunctionArn": ARN}
    assert put(client, UpdateRuntimeOn="FunctionUpdate") == expected
    assert get(client) == expected
    assert get(client, Qualifier="1")["UpdateRuntimeOn"] == "Auto"
    assert put(client, UpdateRuntimeOn="Auto")["UpdateRuntimeOn"] == "Auto"


def test_a_runtime_version_that_is_chosen_is_in_the_configuration(client: Any) -> None:
    own = shown(client)
    before = client.get_function_configuration(FunctionName="f")["RevisionId"]
    answer = put(client, UpdateRuntimeOn="Manual", RuntimeVersionArn=RUNTIME)
    assert answer == {
        "UpdateRuntimeOn": "Manual",
        "FunctionArn": ARN,
        "RuntimeVersionArn": RUNTIME,
    }
    assert get(client) == answer
    assert (shown(client), shown(client, Qualifier="1")) == (RUNTIME, own)
    assert client.get_function_configuration(FunctionName="f")["RevisionId"] != before
    put(client, UpdateRuntimeOn="Manual", RuntimeVersionArn=RUNTIME, Qualifier="1")
    put(client, UpdateRuntimeOn="Auto")
    assert (shown(client), shown(client, Qualifier="1")) == (own, RUNTIME)


def test_a_runtime_version_goes_with_manual_and_with_nothing_else(client: Any) -> None:
    assert refused(put, client, UpdateRuntimeOn="Manual") == (
        INVALID,
        "RuntimeVersionArn is required when UpdateRuntimeOn is set to Manual.",
    )
    for mode in ("Auto", "FunctionUpdate"):
        assert refused(put, client, UpdateRuntimeOn=mode, RuntimeVersionArn=RUNTIME) == (
            INVALID,
            "RuntimeVersionArn can only be given when UpdateRuntimeOn is set to Manual.",
        )
    assert refused(put, client, UpdateRuntimeOn="Manual", RuntimeVersionArn="x" * 30)[0] == (
        "ValidationException"
    )
    assert refused(put, client, UpdateRuntimeOn="Never")[0] == "ValidationException"


def test_only_versions_have_a_runtime_to_manage(api: Api, client: Any) -> None:
    assert refused(get, client, Qualifier="live")[0] == INVALID
    assert refused(get, client, Qualifier="7") == (GONE, f"Function not found: {ARN}:7")
    missing = client.get_runtime_management_config
    assert refused(missing, FunctionName="g") == (GONE, f"Function not found: {ARN[:-1]}g")
    create(
        client,
        "image",
        Runtime=None,
        Handler=None,
        PackageType="Image",
        Code={"ImageUri": "image:1"},
    )
    manage = client.put_runtime_management_config
    assert manage(FunctionName="image", UpdateRuntimeOn="Auto")["UpdateRuntimeOn"] == "Auto"
    code, _ = refused(
        manage, FunctionName="image", UpdateRuntimeOn="Manual", RuntimeVersionArn=RUNTIME
    )
    assert code == INVALID


def test_runtime_management_goes_with_its_version_and_outlives_a_restart(
    api: Api, client: Any, tmp_path: Path
) -> None:
    put(client, UpdateRuntimeOn="Manual", RuntimeVersionArn=RUNTIME)
    put(client, UpdateRuntimeOn="FunctionUpdate", Qualifier="1")
    client.delete_alias(FunctionName="f", Name="live")
    client.delete_function(FunctionName="f", Qualifier="1")
    (before,) = api.catalog.functions("000000000000", "us-east-1")
    assert list(before.runtime_management) == ["$LATEST"]
    api.close()
    reopened = Catalog.open(tmp_path, clock=FakeClock())
    (after,) = reopened.functions("000000000000", "us-east-1")
    assert after.runtime_management == before.runtime_management
    reopened.close()


ON = {"ApplyOn": "PublishedVersions"}


def test_snap_start_is_off_until_a_version_is_published_with_it(api: Api, client: Any) -> None:
    assert create(client, "g")["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    api.settle()
    answer = client.update_function_configuration(FunctionName="g", SnapStart=ON)
    assert answer["SnapStart"] == {**ON, "OptimizationStatus": "Off"}
    api.settle()
    version = client.publish_version(FunctionName="g")
    assert version["SnapStart"] == {**ON, "OptimizationStatus": "On"}
    assert (version["State"], version["StateReasonCode"]) == ("Pending", "Creating")
    api.settle()
    published = client.get_function(FunctionName="g", Qualifier="1")["Configuration"]
    assert (published["State"], published["SnapStart"]["OptimizationStatus"]) == ("Active", "On")
    latest = client.get_function(FunctionName="g")["Configuration"]
    assert latest["SnapStart"] == {**ON, "OptimizationStatus": "Off"}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"Runtime": "python3.11"}, "python3.11 is not supported for SnapStart enabled functions."),
        ({"Runtime": "nodejs22.x"}, "nodejs22.x is not supported for SnapStart enabled functions."),
        ({"EphemeralStorage": {"Size": 513}}, "SnapStart is not supported with ephemeral storage"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "with tenant isolation."),
        (
            {
                "Runtime": None,
                "Handler": None,
                "PackageType": "Image",
                "Code": {"ImageUri": "image:1"},
            },
            "SnapStart is not supported for functions of packageType Image.",
        ),
    ],
)
def test_what_snap_start_cannot_be_had_with(
    api: Api, client: Any, members: dict[str, Any], text: str
) -> None:
    code, message = refused(create, client, "g", SnapStart=ON, **members)
    assert code == INVALID
    assert text in message
    create(client, "g", **members)  # without it


def test_an_update_is_checked_together_with_what_stays(api: Api, client: Any) -> None:
    update = client.update_function_configuration
    create(client, "old", Runtime="python3.11")
    create(client, "snap", SnapStart=ON)
    api.settle()
    text = "python3.11 is not supported for SnapStart enabled functions."
    assert refused(update, FunctionName="old", SnapStart=ON) == (INVALID, text)
    assert refused(update, FunctionName="snap", Runtime="python3.11") == (INVALID, text)
    update(FunctionName="snap", Runtime="python3.11", SnapStart={"ApplyOn": "None"})
    api.settle()
    code, _ = refused(update, FunctionName="old", SnapStart={"ApplyOn": "Always"})
    assert code == "ValidationException"
