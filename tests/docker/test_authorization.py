"""What a function's role allows holds for its calls, and a team's function for other teams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.support.access import client
from tests.support.instance import Instance

OWN, TEAM = "000000000000", "111122223333"
ROLE = f"arn:aws:iam::{OWN}:role/caller"

CALLER = """
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))
def attempt(name, **members):
    try:
        answer = client.invoke(FunctionName=name, **members)
        return answer["StatusCode"], answer["Payload"].read().decode()
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
def handler(event, context):
    return [attempt(name, InvocationType=kind) for name in event for kind in
            ("RequestResponse", "DryRun")]
"""
ECHO = "def handler(event, context): return 'echo'"


def team(instance: Instance) -> Any:
    """A client of a user of another account."""
    instance.fnbox("accounts", "create", "team", "--number", TEAM)
    policy = {"Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}]}
    words = ("keys", "create", "--account", "team", "--user", "ada", "--policy", "-", "--json")
    key = json.loads(instance.fnbox(*words, given=policy))
    credentials = Credentials(key["accessKeyId"], key["secretAccessKey"])
    return client("lambda", instance.url, credentials)


def test_a_role_that_may_call_one_function_calls_no_other(enforcing: Instance) -> None:
    allowed, other = (enforcing.deploy(ECHO) for _ in range(2))
    action = "lambda:InvokeFunction"
    policy = {"Statement": [{"Effect": "Allow", "Action": action, "Resource": allowed.arn}]}
    enforcing.fnbox("roles", "put", "caller", "--policy", "-", given=policy)
    caller = enforcing.deploy(CALLER, Role=ROLE)
    who = f"arn:aws:sts::{OWN}:assumed-role/caller/{caller.name}"
    refused = [
        "AccessDeniedException",
        f"User: {who} is not authorized to perform: {action} on resource: {other.arn} because no "
        f"identity-based policy allows the {action} action",
    ]
    answers = caller.invoke([allowed.name, other.name]).document
    assert answers == [[200, '"echo"'], [204, ""], refused, refused]
    noted = [
        json.loads(line)
        for line in (enforcing.state_dir / "audit.log").read_text().splitlines()
        if json.loads(line)["principal"] == who
    ]
    assert [(line["decision"], line["status"]) for line in noted] == [
        *(("allowed", 200), ("allowed", 204)),
        *(("denied", 403), ("denied", 403)),
    ]


def test_another_team_calls_what_its_owner_lets_it_call(enforcing: Instance) -> None:
    function = enforcing.deploy(ECHO)
    caller = team(enforcing)
    for name in (function.arn, f"{function.arn}-of-nobody"):
        with pytest.raises(ClientError, match="no resource-based policy allows"):
            caller.invoke(FunctionName=name)
    assert caller.list_functions()["Functions"] == []
    enforcing.client.add_permission(
        FunctionName=function.name,
        StatementId="team",
        Action="lambda:InvokeFunction",
        Principal=TEAM,
    )
    assert caller.invoke(FunctionName=function.arn)["Payload"].read() == b'"echo"'
    caller.close()
