"""Provisioned concurrency, and what it asks of reserved concurrency, through boto3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.environments.provisioned import INIT_FAILURE, Provided
from sandbox.names import FunctionKey
from tests.support.api import ROLE, Api, open_api, refused, zip_bytes

KEY = FunctionKey("000000000000", "us-east-1", "f")
ARN = KEY.arn
INVALID = "InvalidParameterValueException"
UNREAD = (
    "ProvisionedConcurrencyConfigNotFoundException",
    "No Provisioned Concurrency Config found for this function",
)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Functions `f` with versions 1 to 3 and the alias `live`, and `g` with version 1."""
    opened = open_api(tmp_path)
    client = opened.boto()
    for name in ("f", "g"):
        opened.create(name, Publish=True)
    for number in (2, 3):
        code = zip_bytes({"app.py": str(number)})
        client.update_function_code(FunctionName="f", ZipFile=code)
        opened.settle()
        client.publish_version(FunctionName="f")
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    yield opened
    opened.close()


def put(client: Any, qualifier: str, count: int, name: str = "f") -> dict[str, Any]:
    answer: dict[str, Any] = client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )
    return answer


def get(client: Any, qualifier: str, name: str = "f") -> dict[str, Any]:
    answer: dict[str, Any] = client.get_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier
    )
    answer.pop("ResponseMetadata")
    return answer


def document(requested: int, available: int, status: str, **more: str) -> dict[str, Any]:
    return {
        "RequestedProvisionedConcurrentExecutions": requested,
        "AvailableProvisionedConcurrentExecutions": available,
        "AllocatedProvisionedConcurrentExecutions": available,
        "Status": status,
        "LastModified": "1970-01-12T13:46:40+0000",
        **more,
    }


def test_what_is_put_is_in_progress_until_its_environments_are_there(api: Api, client: Any) -> None:
    answer = put(client, "live", 3)
    assert answer.pop("ResponseMetadata")["HTTPStatusCode"] == 202
    assert answer == get(client, "live") == document(3, 0, "IN_PROGRESS")
    api.provided[KEY, "live"] = Provided(2, None)
    assert get(client, "live") == document(3, 2, "IN_PROGRESS")
    api.provided[KEY, "live"] = Provided(3, None)
    assert get(client, "live") == document(3, 3, "READY")
    api.provided[KEY, "live"] = Provided(1, INIT_FAILURE)
    assert get(client, "live") == document(
        3, 1, "FAILED", StatusReason="FUNCTION_ERROR_INIT_FAILURE"
    )
    answer = put(client, "live", 3)
    assert (answer["Status"], "StatusReason" in answer) == ("IN_PROGRESS", False)


def test_a_configuration_is_listed_deleted_and_then_not_found(api: Api, client: Any) -> None:
    put(client, "live", 3)
    put(client, "2", 1)
    api.provided[KEY, "2"] = Provided(1, None)
    listed = client.list_provisioned_concurrency_configs(FunctionName="f")
    assert listed["ProvisionedConcurrencyConfigs"] == [
        {"FunctionArn": f"{ARN}:2", **document(1, 1, "READY")},
        {"FunctionArn": f"{ARN}:live", **document(3, 0, "IN_PROGRESS")},
    ]
    for _ in range(2):
        gone = client.delete_provisioned_concurrency_config(FunctionName="f", Qualifier="2")
        assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(lambda: get(client, "2")) == UNREAD
    assert refused(lambda: get(client, "3")) == UNREAD
    page = client.list_provisioned_concurrency_configs(FunctionName=ARN, MaxItems=1)
    assert [config["FunctionArn"] for config in page["ProvisionedConcurrencyConfigs"]] == [
        f"{ARN}:live"
    ]
    assert "NextMarker" not in page


def test_a_list_has_pages(client: Any) -> None:
    for number in ("1", "2", "3"):
        put(client, number, 1)
    seen = [
        config["FunctionArn"]
        for page in client.get_paginator("list_provisioned_concurrency_configs").paginate(
            FunctionName="f", PaginationConfig={"PageSize": 2}
        )
        for config in page["ProvisionedConcurrencyConfigs"]
    ]
    assert seen == [f"{ARN}:{number}" for number in (1, 2, 3)]


def test_only_published_versions_and_aliases_of_them_are_provisioned(client: Any) -> None:
    unpublished = (
        INVALID,
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
    )
    neither = (INVALID, "The function resource provided must be an alias or a published version.")
    client.create_alias(FunctionName="f", Name="edge", FunctionVersion="$LATEST")
    assert refused(lambda: put(client, "$LATEST", 1)) == unpublished
    assert refused(lambda: put(client, "edge", 1)) == unpublished
    assert refused(lambda: get(client, "$LATEST")) == neither
    assert (
        refused(
            lambda: client.delete_provisioned_concurrency_config(
                FunctionName="f", Qualifier="$LATEST"
            )
        )
        == neither
    )
    put(client, "live", 1)
    assert (
        refused(
            lambda: client.update_alias(FunctionName="f", Name="live", FunctionVersion="$LATEST")
        )
        == unpublished
    )


@pytest.mark.parametrize(
    ("name", "qualifier", "text"),
    [
        ("nobody", "live", f"Function not found: {ARN[:-1]}nobody:live"),
        ("f", "9", f"Function not found: {ARN}:9"),
        ("f", "none", f"Cannot find alias arn: {ARN}:none"),
    ],
)
def test_what_is_not_there_is_named(client: Any, name: str, qualifier: str, text: str) -> None:
    missing = ("ResourceNotFoundException", text)
    assert refused(lambda: put(client, qualifier, 1, name)) == missing
    assert refused(lambda: get(client, qualifier, name)) == missing


def test_none_is_too_few(api: Api, client: Any) -> None:
    path = "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=live"
    answer = api.request("PUT", path, {"ProvisionedConcurrentExecutions": 0})
    assert answer.status_code == 400
    assert "Member must have value greater than or equal to 1" in answer.get_data(as_text=True)


def test_a_version_is_provisioned_once(client: Any) -> None:
    already = (
        "ResourceConflictException",
        "Alias can't be used for Provisioned Concurrency configuration on an already "
        "Provisioned version",
    )
    pointed = (
        "ResourceConflictException",
        "Version is pointed by a Provisioned Concurrency alias",
    )
    client.create_alias(FunctionName="f", Name="next", FunctionVersion="1")
    put(client, "live", 1)
    assert refused(lambda: put(client, "1", 1)) == pointed
    assert refused(lambda: put(client, "next", 1)) == already
    put(client, "2", 1)
    client.update_alias(FunctionName="f", Name="next", FunctionVersion="2")
    assert refused(lambda: put(client, "next", 1)) == already
    for change in (
        {"FunctionVersion": "2"},
        {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.5}}},
    ):
        assert (
            refused(
                lambda change=change: client.update_alias(FunctionName="f", Name="live", **change)
            )
            == already
        )
    client.update_alias(FunctionName="f", Name="live", FunctionVersion="3")
    put(client, "1", 1)


def test_reserved_concurrency_bounds_what_is_provisioned(client: Any) -> None:
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=5)
    too_much = (
        INVALID,
        "Requested Provisioned Concurrency should not be greater than the "
        "reservedConcurrentExecution for function",
    )
    assert refused(lambda: put(client, "live", 6)) == too_much
    put(client, "live", 2)
    assert refused(lambda: put(client, "2", 4)) == too_much
    put(client, "2", 3)
    put(client, "live", 2)
    for wanted in (0, 4):
        assert refused(
            lambda wanted=wanted: client.put_function_concurrency(
                FunctionName="f", ReservedConcurrentExecutions=wanted
            )
        ) == (
            INVALID,
            f" ReservedConcurrentExecutions  {wanted} should not be lower than function's total "
            "provisioned concurrency [5].",
        )


def test_a_hundred_of_the_account_stay_unreserved(client: Any) -> None:
    least = (
        INVALID,
        "Specified ConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [100].",
    )
    put(client, "1", 300, "g")
    client.put_function_concurrency(FunctionName="g", ReservedConcurrentExecutions=400)
    put(client, "2", 100)
    assert refused(lambda: put(client, "live", 401)) == least
    assert refused(lambda: put(client, "live", 501)) == (
        INVALID,
        "Specified ConcurrentExecutions for function is greater than account's unreserved "
        "concurrency [500].",
    )
    put(client, "live", 400)
    put(client, "live", 400)
    settings = client.get_account_settings()
    assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 100
    assert refused(
        lambda: client.put_function_concurrency(FunctionName="g", ReservedConcurrentExecutions=401)
    ) == (
        INVALID,
        "Specified ReservedConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [100].",
    )


@pytest.mark.parametrize(
    "more",
    [
        {"SnapStart": {"ApplyOn": "PublishedVersions"}},
        {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}},
    ],
)
def test_snap_start_and_tenants_exclude_it(client: Any, more: dict[str, Any]) -> None:
    client.create_function(
        FunctionName="h",
        Role=ROLE,
        Runtime="python3.13",
        Handler="app.handler",
        Code={"ZipFile": zip_bytes()},
        Publish=True,
        **more,
    )
    code, text = refused(lambda: put(client, "1", 1, "h"))
    assert code == INVALID
    assert "Provisioned Concurrency is not supported" in text


def test_it_goes_with_its_alias_its_version_and_its_function(client: Any) -> None:
    put(client, "live", 1)
    put(client, "2", 1)
    client.delete_alias(FunctionName="f", Name="live")
    client.delete_function(FunctionName="f", Qualifier="2")
    listed = client.list_provisioned_concurrency_configs(FunctionName="f")
    assert listed["ProvisionedConcurrencyConfigs"] == []
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    assert refused(lambda: get(client, "live")) == UNREAD
    client.delete_function(FunctionName="f")
    assert refused(lambda: client.list_provisioned_concurrency_configs(FunctionName="f")) == (
        "ResourceNotFoundException",
        f"Function not found: {ARN}",
    )


def test_it_survives_a_restart(api: Api, client: Any, tmp_path: Path) -> None:
    put(client, "live", 4)
    before = api.catalog.function(KEY).provisioned
    api.close()
    again = Catalog.open(tmp_path, clock=FakeClock())
    assert again.function(KEY).provisioned == before
    assert before["live"].requested == 4
    again.close()
