"""Event invoke configurations, through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.names import FunctionKey
from tests.support.api import Api, open_api, refused

KEY = FunctionKey("000000000000", "us-east-1", "f")
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
OTHER = "arn:aws:lambda:us-east-1:000000000000:function:other"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
PATH = "/2019-09-25/functions/f/event-invoke-config"
NOWHERE = {"OnSuccess": {}, "OnFailure": {}}
GONE = ("ResourceNotFoundException", "The function doesn't exist.")


def unconfigured(qualifier: str) -> tuple[str, str]:
    text = f"The function {ARN}:{qualifier} doesn't have an EventInvokeConfig"
    return "ResourceNotFoundException", text


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    for name in ("f", "other"):
        opened.create(name)
    yield opened
    opened.close()


def without(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def test_a_configuration_is_put_read_updated_and_deleted(api: Api, client: Any) -> None:
    put = without(
        client.put_function_event_invoke_config(
            FunctionName="f",
            MaximumRetryAttempts=0,
            DestinationConfig={"OnFailure": {"Destination": QUEUE}},
        )
    )
    when = datetime.fromtimestamp(api.clock.wall(), UTC)
    failing = {"OnSuccess": {}, "OnFailure": {"Destination": QUEUE}}
    assert put == {
        "LastModified": when,
        "FunctionArn": f"{ARN}:$LATEST",
        "MaximumRetryAttempts": 0,
        "DestinationConfig": failing,
    }
    assert without(client.get_function_event_invoke_config(FunctionName="f")) == put

    api.clock.advance(1.5)
    later = datetime.fromtimestamp(api.clock.wall(), UTC)
    updated = without(
        client.update_function_event_invoke_config(FunctionName="f", MaximumEventAgeInSeconds=60)
    )
    assert updated == {**put, "LastModified": later, "MaximumEventAgeInSeconds": 60}

    put = client.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=1)
    assert without(put) == {
        "LastModified": later,
        "FunctionArn": f"{ARN}:$LATEST",
        "MaximumRetryAttempts": 1,
        "DestinationConfig": NOWHERE,
    }
    assert api.request("DELETE", PATH).status_code == 204
    gone = refused(lambda: client.get_function_event_invoke_config(FunctionName="f"))
    assert gone == unconfigured("$LATEST")


def test_on_the_wire_the_time_is_a_number_and_destinations_are_always_there(api: Api) -> None:
    answer = api.request("PUT", PATH, {"MaximumRetryAttempts": 2})
    assert answer.status_code == 200
    assert json.loads(answer.get_data()) == {
        "LastModified": api.clock.wall(),
        "FunctionArn": f"{ARN}:$LATEST",
        "MaximumRetryAttempts": 2,
        "DestinationConfig": NOWHERE,
    }


def test_each_qualifier_has_its_own_and_they_are_listed_by_it(api: Api, client: Any) -> None:
    client.publish_version(FunctionName="f")
    client.create_alias(FunctionName="f", Name="prod", FunctionVersion="1")
    for number, qualifier in enumerate(("prod", "1", "$LATEST")):
        client.put_function_event_invoke_config(
            FunctionName="f", Qualifier=qualifier, MaximumRetryAttempts=number
        )
    named = client.get_function_event_invoke_config(FunctionName="f:prod")
    assert (named["FunctionArn"], named["MaximumRetryAttempts"]) == (f"{ARN}:prod", 0)
    listed = client.list_function_event_invoke_configs(FunctionName="f")
    arns = [config["FunctionArn"] for config in listed["FunctionEventInvokeConfigs"]]
    assert arns == [f"{ARN}:$LATEST", f"{ARN}:1", f"{ARN}:prod"]
    first = client.list_function_event_invoke_configs(FunctionName="f", MaxItems=2)
    rest = client.list_function_event_invoke_configs(FunctionName="f", Marker=first["NextMarker"])
    assert [c["FunctionArn"] for c in rest["FunctionEventInvokeConfigs"]] == [f"{ARN}:prod"]


def test_it_goes_with_its_alias_its_version_or_its_function(api: Api, client: Any) -> None:
    client.publish_version(FunctionName="f")
    client.create_alias(FunctionName="f", Name="prod", FunctionVersion="1")
    for qualifier in ("prod", "1", "$LATEST"):
        client.put_function_event_invoke_config(
            FunctionName="f", Qualifier=qualifier, MaximumRetryAttempts=1
        )

    def configured() -> list[str]:
        return list(
            api.catalog.function(FunctionKey("000000000000", "us-east-1", "f")).event_configs
        )

    client.delete_alias(FunctionName="f", Name="prod")
    assert configured() == ["$LATEST", "1"]
    client.delete_function(FunctionName="f", Qualifier="1")
    assert configured() == ["$LATEST"]
    client.delete_function(FunctionName="f")
    api.create()
    assert configured() == []


def test_it_is_there_after_a_restart(api: Api, client: Any, tmp_path: Path) -> None:
    client.put_function_event_invoke_config(
        FunctionName="f",
        MaximumRetryAttempts=0,
        MaximumEventAgeInSeconds=120,
        DestinationConfig={
            "OnSuccess": {"Destination": OTHER},
            "OnFailure": {"Destination": "arn:aws:s3:::bucket"},
        },
    )
    kept = api.catalog.function(KEY).event_configs
    api.close()
    again = Catalog.open(tmp_path, clock=FakeClock())
    assert again.function(KEY).event_configs == kept
    again.close()


def test_what_lambda_refuses(client: Any) -> None:
    client.publish_version(FunctionName="f")
    client.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=1)

    def put(name: str = "f", **members: Any) -> tuple[str, str]:
        return refused(
            lambda: client.put_function_event_invoke_config(FunctionName=name, **members)
        )

    invalid = "InvalidParameterValueException"
    nothing = "You must specify at least one of error handling or destination setting."
    assert put() == (invalid, nothing)
    update = client.update_function_event_invoke_config
    assert refused(lambda: update(FunctionName="f")) == (invalid, nothing)
    assert put("none", MaximumRetryAttempts=1) == GONE
    assert put("f", Qualifier="none", MaximumRetryAttempts=1) == GONE
    assert refused(lambda: client.list_function_event_invoke_configs(FunctionName="none")) == GONE
    assert refused(lambda: client.get_function_event_invoke_config(FunctionName="none")) == GONE
    absent = unconfigured("1")
    delete, get = (
        client.delete_function_event_invoke_config,
        client.get_function_event_invoke_config,
    )
    assert refused(lambda: get(FunctionName="f", Qualifier="1")) == absent
    assert refused(lambda: delete(FunctionName="f", Qualifier="1")) == absent
    retries = {"FunctionName": "f", "Qualifier": "1", "MaximumRetryAttempts": 1}
    assert refused(lambda: update(**retries)) == absent
    code, text = put(MaximumEventAgeInSeconds=21_601)
    assert code == "ValidationException"
    assert "'maximumEventAgeInSeconds' failed to satisfy constraint" in text


@pytest.mark.parametrize(
    ("success", "failure", "text"),
    [
        (ARN, None, "You can't specify the function as a destination for itself."),
        (None, f"{ARN}:$LATEST", "You can't specify the function as a destination for itself."),
        (f"{OTHER}x", None, f"The destination ARN {OTHER}x is invalid."),
        (None, f"{OTHER}:9", f"The destination ARN {OTHER}:9 is invalid."),
        (
            "arn:aws:s3:::bucket",
            None,
            "The provided destination config DestinationConfig(onSuccess=OnSuccess("
            "destination=arn:aws:s3:::bucket), onFailure=null) is invalid.",
        ),
        (
            QUEUE,
            "arn:aws:iam::000000000000:role/r",
            f"The provided destination config DestinationConfig(onSuccess=OnSuccess("
            f"destination={QUEUE}), onFailure=OnFailure("
            "destination=arn:aws:iam::000000000000:role/r)) is invalid.",
        ),
        (
            None,
            f"{QUEUE}.fifo",
            "The provided destination config DestinationConfig(onSuccess=null, "
            f"onFailure=OnFailure(destination={QUEUE}.fifo)) is invalid.",
        ),
    ],
)
def test_destinations_that_cannot_be(
    client: Any, success: str | None, failure: str | None, text: str
) -> None:
    given = {"OnSuccess": success, "OnFailure": failure}
    config = {side: {"Destination": arn} for side, arn in given.items() if arn}
    assert refused(
        lambda: client.put_function_event_invoke_config(FunctionName="f", DestinationConfig=config)
    ) == ("InvalidParameterValueException", text)


def test_an_empty_destination_ends_one(client: Any) -> None:
    config = {"OnSuccess": {"Destination": OTHER}, "OnFailure": {"Destination": QUEUE}}
    client.put_function_event_invoke_config(FunctionName="f", DestinationConfig=config)
    config["OnSuccess"] = {"Destination": ""}
    answer = client.update_function_event_invoke_config(FunctionName="f", DestinationConfig=config)
    assert answer["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": QUEUE}}
