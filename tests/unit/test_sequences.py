"""The calls that deployment tools make, in their order, with what they look at in the answers.

Terraform: aws_lambda_function, _alias, _provisioned_concurrency_config and
_function_event_invoke_config. CDK: a hotswap. SAM: `sam sync --code`. What is Pending or
InProgress ends between two polls.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.environments.provisioned import Provided
from sandbox.names import LATEST, FunctionKey
from tests.support.api import ROLE, Api, zip_bytes

KEY = FunctionKey("000000000000", "us-east-1", "f")
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"

CONFIGURATION: dict[str, Any] = {
    "FunctionName": "f",
    "Role": ROLE,
    "Runtime": "python3.13",
    "Handler": "app.handler",
    "Description": "made by Terraform",
    "MemorySize": 256,
    "Timeout": 10,
    "EphemeralStorage": {"Size": 1024},
    "Environment": {"Variables": {"STAGE": "test"}},
    "TracingConfig": {"Mode": "Active"},
    "DeadLetterConfig": {"TargetArn": QUEUE},
    "LoggingConfig": {"LogFormat": "JSON", "LogGroup": "/own"},
}
REFRESHED = (*CONFIGURATION, "Architectures", "PackageType", "CodeSha256", "CodeSize", "Version")
"""What the resource's state is made of."""


class Terraform:
    """The provider's resources, as far as their calls go."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._client = api.boto()

    def create(self, code: bytes, reserved: int = -1) -> None:
        self._client.create_function(
            **CONFIGURATION,
            Code={"ZipFile": code},
            Architectures=["x86_64"],
            PackageType="Zip",
            Publish=True,
            Tags={"Name": "f"},
        )
        self._await("State", "Pending", "Active")
        if reserved >= 0:
            self._client.put_function_concurrency(
                FunctionName="f", ReservedConcurrentExecutions=reserved
            )

    def refresh(self) -> dict[str, Any]:
        """What a plan compares with what is wanted."""
        found = self._client.get_function(FunctionName="f")
        configuration = found["Configuration"]
        versions = [
            version
            for page in self._client.get_paginator("list_versions_by_function").paginate(
                FunctionName="f", PaginationConfig={"PageSize": 10_000}
            )
            for version in page["Versions"]
        ]
        signing = self._client.get_function_code_signing_config(FunctionName="f")
        return {
            **{name: configuration.get(name) for name in REFRESHED},
            "reserved": found.get("Concurrency", {}).get("ReservedConcurrentExecutions", -1),
            "tags": found.get("Tags", {}),
            "published": versions[-1]["Version"],
            "qualified": versions[-1]["FunctionArn"],
            "signing": signing["CodeSigningConfigArn"],
            "source": found["Code"]["RepositoryType"],
        }

    def configure(self, **changes: Any) -> None:
        """An update sends the whole configuration."""
        wanted = {**CONFIGURATION, "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}}
        self._client.update_function_configuration(**{**wanted, **changes})
        self._await("LastUpdateStatus", "InProgress", "Successful")

    def upload(self, code: bytes) -> None:
        self._client.update_function_code(FunctionName="f", ZipFile=code, Architectures=["x86_64"])
        self._await("LastUpdateStatus", "InProgress", "Successful")

    def publish(self) -> str:
        version: str = self._client.publish_version(FunctionName="f")["Version"]
        found = self._client.get_function_configuration(FunctionName="f", Qualifier=version)
        assert found["State"] == "Active"
        return version

    def destroy(self) -> None:
        self._client.delete_function(FunctionName="f")
        answer = self._api.request("GET", "/2015-03-31/functions/f")
        assert answer.status_code == 404
        assert answer.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"
        assert json.loads(answer.get_data())["Type"] == "User"

    def _await(self, member: str, pending: str, target: str) -> None:
        seen = []
        while not seen or seen[-1] == pending:
            configuration = self._client.get_function(FunctionName="f")["Configuration"]
            seen.append(configuration[member])
            self._api.settle()
        assert seen == [pending, target]


def test_terraform_creates_a_function_and_then_plans_nothing(api: Api) -> None:
    terraform = Terraform(api)
    terraform.create(zip_bytes(), reserved=5)
    state = terraform.refresh()
    # it asked for less than it got: levels are filled in
    logging = state.pop("LoggingConfig")
    assert CONFIGURATION["LoggingConfig"].items() <= logging.items()
    wanted = {name: value for name, value in CONFIGURATION.items() if name != "LoggingConfig"}
    assert wanted.items() <= state.items()
    assert {name: value for name, value in state.items() if name not in wanted} == {
        "Architectures": ["x86_64"],
        "PackageType": "Zip",
        "CodeSha256": state["CodeSha256"],
        "CodeSize": len(zip_bytes()),
        "Version": "$LATEST",
        "reserved": 5,
        "tags": {"Name": "f"},
        "published": "1",
        "qualified": f"{KEY.arn}:1",
        "signing": "",
        "source": "S3",
    }
    assert terraform.refresh() == {**state, "LoggingConfig": logging}


def test_terraform_updates_the_configuration_then_the_code_then_publishes(api: Api) -> None:
    terraform = Terraform(api)
    terraform.create(zip_bytes())
    before = terraform.refresh()
    terraform.configure(MemorySize=512, DeadLetterConfig={"TargetArn": ""})
    terraform.upload(zip_bytes({"app.py": "new = 1"}))
    assert terraform.publish() == "2"
    after = terraform.refresh()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {
        *("MemorySize", "DeadLetterConfig", "CodeSha256", "CodeSize", "published", "qualified")
    }
    assert (after["MemorySize"], after["DeadLetterConfig"], after["published"]) == (512, None, "2")
    assert terraform.refresh() == after


def test_terraform_finds_the_last_of_many_versions(api: Api) -> None:
    terraform = Terraform(api)
    terraform.create(zip_bytes())
    for number in range(2, 53):
        api.catalog.update_configuration(KEY, {"Timeout": number})
        api.catalog.activate(KEY, LATEST)
        api.catalog.publish_version(KEY, {})
    assert terraform.refresh()["published"] == "52"


def test_terraform_changes_tags_and_reserved_concurrency_in_place(api: Api) -> None:
    terraform, client = Terraform(api), api.boto()
    terraform.create(zip_bytes(), reserved=0)
    assert terraform.refresh()["reserved"] == 0
    client.untag_resource(Resource=KEY.arn, TagKeys=["Name"])
    client.tag_resource(Resource=KEY.arn, Tags={"Owner": "me"})
    client.delete_function_concurrency(FunctionName="f")
    state = terraform.refresh()
    assert (state["reserved"], state["tags"]) == (-1, {"Owner": "me"})


def test_terraform_provisions_an_alias_and_destroys_it_all(api: Api) -> None:
    terraform, client = Terraform(api), api.boto()
    terraform.create(zip_bytes())
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="1", Description="")
    alias = client.get_alias(FunctionName="f", Name="live")
    assert alias["AliasArn"] == f"{KEY.arn}:live"
    assert "RoutingConfig" not in alias

    named = {"FunctionName": "f", "Qualifier": "live"}
    client.put_provisioned_concurrency_config(**named, ProvisionedConcurrentExecutions=2)
    seen = []
    for ready in (0, 1, 2):
        api.provided[KEY, "live"] = Provided(ready, None)
        seen.append(client.get_provisioned_concurrency_config(**named)["Status"])
    assert seen == ["IN_PROGRESS", "IN_PROGRESS", "READY"]

    retries = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    client.put_function_event_invoke_config(**named, **retries)
    found = client.get_function_event_invoke_config(**named)
    assert retries.items() <= found.items()

    client.update_alias(
        FunctionName="f",
        Name="live",
        FunctionVersion="1",
        Description="",
        RoutingConfig={"AdditionalVersionWeights": {}},
    )
    client.delete_function_event_invoke_config(**named)
    client.delete_provisioned_concurrency_config(**named)
    with pytest.raises(ClientError) as caught:
        client.get_provisioned_concurrency_config(**named)
    assert caught.value.response["Error"]["Code"] == "ProvisionedConcurrencyConfigNotFoundException"
    client.delete_alias(FunctionName="f", Name="live")
    terraform.destroy()


def test_terraform_destroys_what_is_gone_already(api: Api) -> None:
    with pytest.raises(ClientError) as caught:
        api.boto().delete_function(FunctionName="f")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_cdk_swaps_code_and_moves_an_alias(api: Api) -> None:
    Terraform(api).create(zip_bytes())
    client = api.boto()
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    client.update_function_code(FunctionName="f", ZipFile=zip_bytes({"app.py": "new = 1"}))
    api.settle()
    client.get_waiter("function_updated_v2").wait(FunctionName="f")
    version = client.publish_version(FunctionName="f")["Version"]
    client.update_alias(FunctionName="f", Name="live", FunctionVersion=version)
    live = client.get_function(FunctionName="f", Qualifier="live")["Configuration"]
    assert (live["Version"], live["FunctionArn"]) == ("2", f"{KEY.arn}:live")


def test_sam_syncs_code_that_is_not_there_yet_and_then_is(api: Api) -> None:
    client = api.boto()
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName="f")
    Terraform(api).create(zip_bytes())
    client.update_function_code(FunctionName="f", ZipFile=zip_bytes({"app.py": "new = 1"}))
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.publish_version(FunctionName="f")
    api.settle()
    found = client.get_function(FunctionName="f")["Configuration"]
    assert found["LastUpdateStatus"] == "Successful"
    assert client.publish_version(FunctionName="f")["Version"] == "2"
