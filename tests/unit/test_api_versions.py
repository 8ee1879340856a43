"""Versions and aliases, through boto3 and on the wire."""

from __future__ import annotations

from typing import Any

from tests.support.api import ARN, FUNCTIONS, Api, refusal, without


def test_a_version_is_a_snapshot_of_latest(api: Api, client: Any) -> None:
    api.create()
    published = client.publish_version(FunctionName="f", Description="first")
    assert published["FunctionArn"] == f"{ARN}:1"
    assert (published["Version"], published["Description"]) == ("1", "first")
    assert client.publish_version(FunctionName="f")["Version"] == "1"
    client.update_function_configuration(FunctionName="f", Timeout=9)
    api.settle()
    assert client.publish_version(FunctionName="f")["Version"] == "2"
    assert client.get_function_configuration(FunctionName="f:1")["Timeout"] == 3
    versions = client.list_versions_by_function(FunctionName="f")["Versions"]
    assert [item["FunctionArn"] for item in versions] == [f"{ARN}:$LATEST", f"{ARN}:1", f"{ARN}:2"]
    pages = client.get_paginator("list_versions_by_function").paginate(
        FunctionName="f", PaginationConfig={"PageSize": 1}
    )
    assert [item["Version"] for page in pages for item in page["Versions"]] == ["$LATEST", "1", "2"]


def test_an_alias_is_created_read_moved_and_deleted(api: Api, client: Any) -> None:
    api.create()
    client.publish_version(FunctionName="f")
    client.update_function_configuration(FunctionName="f", Timeout=9)
    api.settle()
    client.publish_version(FunctionName="f")
    made = without(client.create_alias(FunctionName="f", Name="prod", FunctionVersion="1"))
    assert without(made, "RevisionId") == {
        "AliasArn": f"{ARN}:prod",
        "Name": "prod",
        "FunctionVersion": "1",
        "Description": "",
    }
    assert without(client.get_alias(FunctionName="f", Name="prod")) == made
    moved = client.update_alias(
        FunctionName="f",
        Name="prod",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.25}},
    )
    assert moved["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 0.25}}
    found = client.get_function(FunctionName="f", Qualifier="prod")["Configuration"]
    assert (found["FunctionArn"], found["Version"]) == (f"{ARN}:prod", "2")
    client.create_alias(FunctionName="f", Name="beta", FunctionVersion="2")
    assert [item["Name"] for item in client.list_aliases(FunctionName="f")["Aliases"]] == [
        "beta",
        "prod",
    ]
    by_version = client.list_aliases(FunctionName="f", FunctionVersion="1")["Aliases"]
    assert [item["Name"] for item in by_version] == ["prod"]
    first = client.list_aliases(FunctionName="f", MaxItems=1)
    rest = client.list_aliases(FunctionName="f", Marker=first["NextMarker"])
    assert [item["Name"] for item in rest["Aliases"]] == ["prod"]
    assert "NextMarker" not in rest
    answer = api.request("DELETE", f"{FUNCTIONS}/f/aliases/prod")
    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert refusal(lambda: client.get_alias(FunctionName="f", Name="prod")) == (
        404,
        "ResourceNotFoundException",
        f"Cannot find alias arn: {ARN}:prod",
    )
    client.delete_alias(FunctionName="f", Name="prod")


def test_what_lambda_refuses_of_aliases(api: Api, client: Any) -> None:
    api.create()
    client.publish_version(FunctionName="f")
    client.create_alias(FunctionName="f", Name="prod", FunctionVersion="1")

    def made(version: str, **weights: float) -> tuple[int, str, str]:
        routing = {"AdditionalVersionWeights": {k[1:]: v for k, v in weights.items()}}
        return refusal(
            lambda: client.create_alias(
                FunctionName="f", Name="a", FunctionVersion=version, RoutingConfig=routing
            )
        )

    assert refusal(
        lambda: client.create_alias(FunctionName="f", Name="prod", FunctionVersion="1")
    ) == (409, "ResourceConflictException", f"Alias already exists: {ARN}:prod")
    assert refusal(
        lambda: client.update_alias(FunctionName="f", Name="none", FunctionVersion="1")
    ) == (404, "ResourceNotFoundException", f"Alias not found: {ARN}:none")
    assert made("10") == (404, "ResourceNotFoundException", f"Function not found: {ARN}:10")
    assert made("1", v1=0.5)[2] == (
        "Invalid function version 1. Function version 1 is already included in routing "
        "configuration."
    )
    assert made("1", v2=0.5, v3=0.5)[2] == (
        "Number of items in AdditionalVersionWeights cannot be greater than 1"
    )
    assert made("$LATEST", v1=0.5)[2] == (
        "$LATEST is not supported for an alias pointing to more than 1 version"
    )
    assert made("1", v2=1.5)[1] == "ValidationException"
