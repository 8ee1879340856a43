"""Functions call with keys of their role; who has none, or no longer, is refused.

Functions are on Docker's default bridge, and reach the control plane at the bridge's address.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from sandbox.settings import Settings
from sandbox.setup.deploy import own_keys
from tests.docker.test_recursion import bridge_address
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


@pytest.fixture
def instance(start: Start) -> Instance:
    """One that enforces, whose client is its account's root user."""
    made = start(iam="enforce", host="0.0.0.0", network="bridge")
    keys = own_keys(Settings(state_dir=made.state_dir))
    made.client.close()
    made.client = client("lambda", made.url, Credentials(*keys.values()))
    return made


def fnbox(instance: Instance, *words: str, given: Any = None) -> str:
    done = subprocess.run(
        Instance.command(*words),
        env=instance.variables,
        input=None if given is None else json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_with_enforcement_a_function_calls_with_the_keys_of_its_role(instance: Instance) -> None:
    fnbox(instance, "roles", "put", "worker", "--policy", "-", given=POLICY)
    endpoint = f"http://{bridge_address()}:{instance.port}"
    function = instance.deploy(
        CALLS,
        Role="arn:aws:iam::000000000000:role/service-role/worker",
        Environment={"Variables": {"AWS_ENDPOINT_URL": endpoint}},
    )
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
    assert json.loads(fnbox(instance, "invoke", function.name))["own"] == [arn]
    assert "REPORT RequestId" in fnbox(instance, "logs", function.name)


def test_a_key_works_until_it_is_disabled(instance: Instance) -> None:
    fnbox(instance, "accounts", "create", "team", "--number", TEAM)
    key = json.loads(fnbox(instance, "keys", "create", "--account", "team", "--json"))
    exported = fnbox(instance, "env", "--key", key["accessKeyId"])
    command = f"{exported}\nexec {AWS} --endpoint-url {instance.url} lambda list-functions"
    shell = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_PROXY": "*"}

    def list_functions() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command], env=shell, capture_output=True, text=True, timeout=60
        )

    assert json.loads(list_functions().stdout) == {"Functions": []}
    fnbox(instance, "keys", "disable", key["accessKeyId"])
    assert list_functions().stderr.strip() == (
        "An error occurred (UnrecognizedClientException) when calling the ListFunctions operation: "
        "The security token included in the request is invalid."
    )
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        client("lambda", instance.url, Credentials("test", "test")).list_functions()


def test_without_enforcement_a_functions_own_call_is_of_its_account_and_region(
    start: Start,
) -> None:
    instance = start(host="0.0.0.0", network="bridge")
    own = instance.client
    instance.client = client("lambda", instance.url, Credentials(TEAM, "x"))
    endpoint = f"http://{bridge_address()}:{instance.port}"
    variables = {"Variables": {"AWS_ENDPOINT_URL": endpoint}}
    function = instance.deploy(CALLS, Environment=variables)
    answers = function.invoke().document
    assert {arn.split(":")[4] for arn in answers["own"]} == {TEAM}
    assert own.list_functions()["Functions"] == []
    own.close()
