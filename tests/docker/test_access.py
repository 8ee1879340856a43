"""Functions call with keys of their role; who has none, or no longer, is refused."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.support.access import client
from tests.support.instance import AWS, Instance, Start

TEAM = "111122223333"
POLICY = {"Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}]}

CALLS = """
import os, boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore import UNSIGNED
once = {"total_max_attempts": 1}
def attempt(**members):
    config = Config(retries=once, **members.pop("config", {}))
    client = boto3.client("lambda", config=config, **members)
    try:
        return [one["FunctionArn"] for one in client.list_functions()["Functions"]]
    except ClientError as error:
        answer = error.response
        return [answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]]
def handler(event, context):
    own = {"aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"]}
    token = {"aws_session_token": os.environ["AWS_SESSION_TOKEN"]}
    return {
        "own": attempt(),
        "forged": attempt(aws_secret_access_key="guessed", **own, **token),
        "without token": attempt(
            aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"], **own
        ),
        "another's": attempt(aws_access_key_id="111122223333", aws_secret_access_key="x"),
        "unsigned": attempt(config={"signature_version": UNSIGNED}),
    }
"""

MEDDLES = """
import boto3, json
from botocore.exceptions import ClientError
def attempt(service, operation, **members):
    try:
        return getattr(boto3.client(service), operation)(**members)
    except ClientError as error:
        return error.response["Error"]["Code"]
def handler(name, context):
    account = context.invoked_function_arn.split(":")[4]
    answer = attempt("lambda", "invoke", FunctionName=name, Payload=json.dumps(account))
    read = attempt("lambda", "get_function", FunctionName=name)
    listed = attempt("lambda", "list_functions")
    change = attempt("lambda", "update_function_configuration", FunctionName=name, Timeout=9)
    logs = attempt("logs", "describe_log_groups")
    told = {"read": read, "list": listed, "change": change, "logs": logs}
    failed = {key: value if isinstance(value, str) else None for key, value in told.items()}
    return {"invoke": answer["Payload"].read().decode(), **failed}
"""


def test_with_enforcement_a_function_calls_with_the_keys_of_its_role(enforcing: Instance) -> None:
    enforcing.fnbox("roles", "put", "worker", "--policy", "-", given=POLICY)
    role = "arn:aws:iam::000000000000:role/service-role/worker"
    function = enforcing.deploy(CALLS, Role=role)
    answers = function.invoke().document
    [arn] = answers.pop("own")
    assert arn.endswith(f"000000000000:function:{function.name}")
    assert answers == {
        "forged": ["InvalidSignatureException", 403],
        "without token": ["UnrecognizedClientException", 403],
        "another's": ["UnrecognizedClientException", 403],
        "unsigned": ["MissingAuthenticationTokenException", 403],
    }
    # and whoever is at the command line needs no key
    assert json.loads(enforcing.fnbox("invoke", function.name))["own"] == [arn]
    assert "REPORT RequestId" in enforcing.fnbox("logs", function.name)


def test_a_key_works_until_it_is_disabled(enforcing: Instance) -> None:
    enforcing.fnbox("accounts", "create", "team", "--number", TEAM)
    key = json.loads(enforcing.fnbox("keys", "create", "--account", "team", "--json"))
    exported = enforcing.fnbox("env", "--key", key["accessKeyId"])
    command = f"{exported}\nexec {AWS} --endpoint-url {enforcing.url} lambda list-functions"
    shell = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_PROXY": "*"}

    def list_functions() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command], env=shell, capture_output=True, text=True, timeout=60
        )

    assert json.loads(list_functions().stdout) == {"Functions": []}
    enforcing.fnbox("keys", "disable", key["accessKeyId"])
    assert list_functions().stderr.strip() == (
        "An error occurred (UnrecognizedClientException) when calling the ListFunctions operation: "
        "The security token included in the request is invalid."
    )
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        client("lambda", enforcing.url, Credentials("test", "test")).list_functions()


def test_without_enforcement_a_function_may_call_others_of_its_account_and_change_none(
    start: Start,
) -> None:
    instance = start()
    own = instance.client
    instance.client = client("lambda", instance.url, Credentials(TEAM, "x"))
    echo = instance.deploy("def handler(event, context): return event")
    function = instance.deploy(MEDDLES)
    answers = function.invoke(echo.name).document
    assert answers.pop("invoke") == f'"{TEAM}"'
    assert set(answers.values()) == {"AccessDeniedException"}
    described = instance.deploy(MEDDLES, Role=f"arn:aws:iam::{TEAM}:role/described")
    instance.fnbox("accounts", "create", "team", "--number", TEAM)
    instance.fnbox("roles", "put", "described", "--account", "team", "--policy", "-", given=POLICY)
    answers = described.invoke(echo.name).document
    assert {name: answers[name] for name in ("read", "list", "change")} == dict.fromkeys(
        ("read", "list", "change")
    )
    assert own.list_functions()["Functions"] == []
    own.close()
