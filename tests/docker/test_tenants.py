"""Functions that isolate their tenants; and whom a call comes from."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

import pytest
from botocore.exceptions import ClientError

from tests.support.functions import until
from tests.support.instance import Deploy, Function

TENANCY = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}
KEEPS = """
import os, socket
def handler(event, context):
    seen = sorted(os.listdir("/tmp"))
    open(f"/tmp/{context.tenant_id}", "w").close()
    return [context.tenant_id, socket.gethostname(), seen]
"""
WHO = """
def handler(event, context):
    identity = context.identity
    return [identity.cognito_identity_id, identity.cognito_identity_pool_id, context.tenant_id]
"""


@pytest.fixture
def keeps(deploy: Deploy) -> Function:
    return deploy(KEEPS, **TENANCY)


def test_tenants_never_share_an_environment(keeps: Function) -> None:
    calls = [keeps.invoke(TenantId=name).document for name in ("blue", "green", "blue", "green")]
    assert [tenant for tenant, _, _ in calls] == ["blue", "green", "blue", "green"]
    assert [seen for _, _, seen in calls] == [[], [], ["blue"], ["green"]]
    hosts = [host for _, host, _ in calls]
    assert hosts[0] == hosts[2] != hosts[1] == hosts[3]


def test_an_event_and_a_stream_are_a_tenants_too(keeps: Function) -> None:
    assert keeps.invoke(InvocationType="Event", TenantId="red").status == 202
    keeps.await_log("REPORT RequestId")
    until(lambda: keeps.instance.environments("busy") == 0)
    stream = keeps.instance.client.invoke_with_response_stream(
        FunctionName=keeps.name, TenantId="red"
    )["EventStream"]
    pieces = [event["PayloadChunk"]["Payload"] for event in stream if "PayloadChunk" in event]
    tenant, _, seen = json.loads(b"".join(pieces))
    assert (tenant, seen) == ("red", ["red"])


def test_a_tenant_is_asked_for_and_refused_where_there_is_none(
    keeps: Function, deploy: Deploy
) -> None:
    with pytest.raises(ClientError) as caught:
        keeps.invoke()
    error = caught.value.response
    assert error["Error"]["Code"] == "InvalidParameterValueException"
    assert error["Error"]["Message"] == (
        "The invoked function is enabled with tenancy configuration. "
        "Add a valid tenant ID in your request and try again."
    )
    with pytest.raises(ClientError) as caught:
        deploy(WHO).invoke(TenantId="blue")
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"


def test_a_function_is_told_whose_identity_a_call_stands_for(deploy: Deploy) -> None:
    function = deploy(WHO)
    assert function.invoke().document == [None, None, None]
    connection = http.client.HTTPConnection("127.0.0.1", function.instance.port, timeout=30)
    with closing(connection):
        identity = {"cognitoIdentityId": "us-east-1:me", "cognitoIdentityPoolId": "us-east-1:pool"}
        connection.request(
            "POST",
            f"/2015-03-31/functions/{function.name}/invocations",
            b"{}",
            {"X-Fnbox-Cognito-Identity": json.dumps(identity)},
        )
        answer = json.loads(connection.getresponse().read())
    assert answer == ["us-east-1:me", "us-east-1:pool", None]
