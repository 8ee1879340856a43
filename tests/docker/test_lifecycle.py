"""A function's whole life, told twice: by boto3 and by the AWS CLI."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.functions import until
from tests.support.instance import AWS, ROLE, Function, Instance, package

SOURCE = """
import os
GREETING = "{greeting}"
def handler(event, context):
    print("greeting", event["name"])
    if event.get("fail"):
        raise ValueError(event["name"])
    kind = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
    return [GREETING, event["name"], context.function_version, os.environ.get("STAGE"), kind]
"""
ON_DEMAND, PROVISIONED = "on-demand", "provisioned-concurrency"
ARN = "arn:aws:lambda:us-east-1:000000000000:function"


def source(greeting: str) -> str:
    return SOURCE.replace("{greeting}", greeting)


def test_the_life_of_a_function_with_boto3(instance: Instance) -> None:
    client, name = instance.client, "life-with-boto3"
    function = Function(instance, name)
    waited = {"FunctionName": name, "WaiterConfig": {"Delay": 0.02, "MaxAttempts": 500}}

    created = client.create_function(
        FunctionName=name,
        Role=ROLE,
        Runtime="python3.13",
        Handler="handler.handler",
        Code={"ZipFile": package(source("hello"))},
        Environment={"Variables": {"STAGE": "one"}},
        Tags={"team": "a"},
    )
    assert (created["State"], created["FunctionArn"]) == ("Pending", f"{ARN}:{name}")
    client.get_waiter("function_active_v2").wait(**waited)
    answer = function.invoke({"name": "Ada"})
    assert answer.document == ["hello", "Ada", "$LATEST", "one", ON_DEMAND]
    assert "greeting Ada\n" in answer.log
    assert client.publish_version(FunctionName=name, Description="first")["Version"] == "1"
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")

    client.update_function_configuration(
        FunctionName=name, Environment={"Variables": {"STAGE": "two"}}, MemorySize=256
    )
    client.get_waiter("function_updated_v2").wait(**waited)
    client.update_function_code(FunctionName=name, ZipFile=package(source("good day")))
    client.get_waiter("function_updated_v2").wait(**waited)
    answer = function.invoke({"name": "Bob"})
    assert answer.document == ["good day", "Bob", "$LATEST", "two", ON_DEMAND]
    assert "Memory Size: 256 MB" in answer.log
    answer = function.invoke({"name": "Bob"}, "live")
    assert answer.document == ["hello", "Bob", "1", "one", ON_DEMAND]
    assert client.publish_version(FunctionName=name, Description="second")["Version"] == "2"

    client.update_alias(
        FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}}
    )
    seen = {function.invoke({"name": "Eve"}, "live").version for _ in range(50)}
    assert seen == {"1", "2"}
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RoutingConfig={})
    assert function.invoke({"name": "Eve"}, "live").version == "2"

    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException) as throttled:
        function.invoke({"name": "Eve"})
    assert throttled.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
    live: dict[str, Any] = {"FunctionName": name, "Qualifier": "live"}
    with pytest.raises(ClientError, match="should not be greater than the reserved"):
        client.put_provisioned_concurrency_config(**live, ProvisionedConcurrentExecutions=6)
    client.put_provisioned_concurrency_config(**live, ProvisionedConcurrentExecutions=1)
    until(lambda: client.get_provisioned_concurrency_config(**live)["Status"] == "READY", 30)
    answer = function.invoke({"name": "Eve"}, "live")
    assert answer.document == ["good day", "Eve", "2", "two", PROVISIONED]

    client.put_function_event_invoke_config(**live, MaximumRetryAttempts=0)
    client.invoke(**live, InvocationType="Event", Payload=json.dumps({"name": "Zoe", "fail": True}))
    function.await_log("greeting Zoe")
    listed = client.list_function_event_invoke_configs(FunctionName=name)
    assert [one["FunctionArn"] for one in listed["FunctionEventInvokeConfigs"]] == [
        f"{ARN}:{name}:live"
    ]

    client.tag_resource(Resource=f"{ARN}:{name}", Tags={"stage": "b"})
    client.untag_resource(Resource=f"{ARN}:{name}", TagKeys=["team"])
    found = client.get_function(FunctionName=name)
    assert found["Tags"] == {"stage": "b"}
    assert found["Concurrency"] == {"ReservedConcurrentExecutions": 5}
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.delete_function(FunctionName=name, Qualifier="2")
    client.delete_provisioned_concurrency_config(**live)
    client.delete_alias(FunctionName=name, Name="live")
    client.delete_function(FunctionName=name, Qualifier="1")
    versions = client.list_versions_by_function(FunctionName=name)["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST", "2"]
    client.delete_function(FunctionName=name)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=name)


SCRIPT = r"""
export AWS_PAGER=
f="--function-name life-with-the-cli"
arn=arn:aws:lambda:us-east-1:000000000000:function:life-with-the-cli
say() { aws lambda "$@" --output text; }
call() { aws lambda invoke $f "$@" answer.json >told.json && cat answer.json && echo; }

say create-function $f --runtime python3.13 --handler handler.handler --zip-file fileb://one.zip \
    --role arn:aws:iam::000000000000:role/r --environment 'Variables={STAGE=one}' \
    --tags team=a --query '[State, Version]'
say wait function-active-v2 $f
call --payload '{"name": "Ada"}'
say publish-version $f --query '[Version, State]'
say create-alias $f --name live --function-version 1 --query AliasArn

say update-function-configuration $f --environment 'Variables={STAGE=two}' \
    --query LastUpdateStatus
say wait function-updated-v2 $f
say update-function-code $f --zip-file fileb://two.zip --query LastUpdateStatus
say wait function-updated-v2 $f
call --payload '{"name": "Bob"}'
call --payload '{"name": "Bob"}' --qualifier live
say publish-version $f --query Version
say update-alias $f --name live --routing-config 'AdditionalVersionWeights={2=1.0}' \
    --query 'RoutingConfig.AdditionalVersionWeights'
call --payload '{"name": "Eve"}' --qualifier live
say update-alias $f --name live --function-version 2 --routing-config '{}' \
    --query '[FunctionVersion, RoutingConfig]'

say put-function-concurrency $f --reserved-concurrent-executions 5
say get-function-concurrency $f
say put-provisioned-concurrency-config $f --qualifier live --provisioned-concurrent-executions 1 \
    --query '[Status, RequestedProvisionedConcurrentExecutions]'
until say get-provisioned-concurrency-config $f --qualifier live --query Status >status.txt \
    && ! grep -q IN_PROGRESS status.txt; do :; done
cat status.txt
call --payload '{"name": "Eve"}' --qualifier live
say list-provisioned-concurrency-configs $f \
    --query 'ProvisionedConcurrencyConfigs[].[FunctionArn, Status]'

say put-function-event-invoke-config $f --maximum-retry-attempts 0 --query MaximumRetryAttempts
say get-function-event-invoke-config $f --query FunctionArn
say tag-resource --resource $arn --tags stage=b
say untag-resource --resource $arn --tag-keys team
say list-tags --resource $arn
say delete-provisioned-concurrency-config $f --qualifier live
say delete-alias $f --name live
say list-versions-by-function $f --query 'Versions[].Version'
aws lambda delete-function $f >deleted.json
say get-function $f 2>&1 || echo failed
"""

PRINTED = [
    "Pending\t$LATEST",
    '["hello", "Ada", "$LATEST", "one", "on-demand"]',
    "1\tActive",
    f"{ARN}:life-with-the-cli:live",
    "InProgress",
    "InProgress",
    '["good day", "Bob", "$LATEST", "two", "on-demand"]',
    '["hello", "Bob", "1", "one", "on-demand"]',
    "2",
    "1.0",
    '["good day", "Eve", "2", "two", "on-demand"]',
    "2\tNone",
    "5",
    "5",
    "IN_PROGRESS\t1",
    "READY",
    '["good day", "Eve", "2", "two", "provisioned-concurrency"]',
    f"{ARN}:life-with-the-cli:live\tREADY",
    "0",
    f"{ARN}:life-with-the-cli:$LATEST",
    "TAGS\tb",
    "$LATEST\t1\t2",
    "An error occurred (ResourceNotFoundException) when calling the GetFunction operation: "
    f"Function not found: {ARN}:life-with-the-cli",
    "failed",
]


def test_the_life_of_a_function_with_the_aws_cli(instance: Instance, tmp_path: Path) -> None:
    for name, greeting in (("one", "hello"), ("two", "good day")):
        (tmp_path / f"{name}.zip").write_bytes(package(source(greeting)))
    done = subprocess.run(
        ["sh", "-ec", SCRIPT],
        cwd=tmp_path,
        env=instance.variables | {"PATH": f"{Path(AWS).parent}:{instance.variables['PATH']}"},
        capture_output=True,
        text=True,
        timeout=480,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line] == PRINTED
