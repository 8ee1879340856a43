"""What policies call each operation, and what it is done to."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.access.actions import LAMBDA, Where, asks, log_ask
from sandbox.access.decisions import decide, denied
from sandbox.access.principals import Principal
from sandbox.api.logs import OPERATIONS as LOGS
from sandbox.api.model import load

OWN, OTHER = "111111111111", "222222222222"
WHERE = Where(OWN, "us-east-1")
FUNCTION = f"arn:aws:lambda:us-east-1:{OWN}:function:f"
LAYER = f"arn:aws:lambda:us-east-1:{OWN}:layer:tools"
ROLE = f"arn:aws:iam::{OWN}:role/r"


def asked(operation: str, **members: Any) -> list[tuple[str, str]]:
    return [(ask.action, ask.resource) for ask in asks(operation, members, WHERE)]


def keys(operation: str, **members: Any) -> Any:
    return next(asks(operation, members, WHERE)).keys


def test_every_operation_of_the_model_has_an_action_and_no_other_has() -> None:
    assert set(LAMBDA) == set(load().operations)


def test_an_action_has_the_name_of_its_operation_but_for_these() -> None:
    assert {name: rule.action for name, rule in LAMBDA.items() if rule.action != name} == {
        "Invoke": "InvokeFunction",
        "InvokeAsync": "InvokeFunction",
        "InvokeWithResponseStream": "InvokeFunction",
        "GetLayerVersionByArn": "GetLayerVersion",
    }


SAMPLE = {
    "FunctionName": "f",
    "LayerName": "tools",
    "VersionNumber": 1,
    "Arn": f"{LAYER}:1",
    "Resource": FUNCTION,
    "ResourceArn": FUNCTION,
    "UUID": "0b8d6b0c",
    "CodeSigningConfigArn": f"arn:aws:lambda:us-east-1:{OWN}:code-signing-config:csc-1",
    "CapacityProviderName": "spot",
    "DurableExecutionArn": f"{FUNCTION}:1/durable-execution/n/1",
    "TagKeys": ["team"],
    "Tags": {"team": "blue"},
}


@pytest.mark.parametrize("operation", sorted(LAMBDA))
def test_every_operation_asks_for_something_of_its_account(operation: str) -> None:
    found = list(asks(operation, SAMPLE, WHERE))
    assert found[0].action == f"lambda:{LAMBDA[operation].action}"
    assert all(ask.account == OWN and ask.resource for ask in found)


@pytest.mark.parametrize(
    ("name", "qualifier", "resource"),
    [
        ("f", None, FUNCTION),
        ("f", "live", f"{FUNCTION}:live"),
        ("f:1", None, f"{FUNCTION}:1"),
        ("f", "$LATEST", f"{FUNCTION}:$LATEST"),
        (f"{OTHER}:function:f", None, FUNCTION.replace(OWN, OTHER)),
        (FUNCTION.replace(OWN, OTHER), "live", f"{FUNCTION.replace(OWN, OTHER)}:live"),
    ],
)
def test_a_function_is_asked_for_as_it_is_addressed(
    name: str, qualifier: str | None, resource: str
) -> None:
    for operation in ("Invoke", "InvokeWithResponseStream", "GetFunction"):
        given = {"Qualifier": qualifier} if qualifier else {}
        [ask] = asks(operation, {"FunctionName": name, **given}, WHERE)
        assert (ask.resource, ask.account) == (resource, resource.split(":")[4])


def test_a_function_that_is_named_in_part_is_asked_for_as_whose_it_is() -> None:
    for operation, member in (("ListTags", "Resource"), ("GetResourcePolicy", "ResourceArn")):
        [ask] = asks(operation, {member: f"{OTHER}:function:f"}, WHERE)
        assert (ask.resource, ask.account) == (FUNCTION.replace(OWN, OTHER), OTHER)


def test_a_function_is_created_with_all_that_it_is_given() -> None:
    members = {
        "FunctionName": "f",
        "Role": ROLE,
        "Layers": [f"{LAYER}:1"],
        "Tags": {"team": "blue"},
        "Code": {"S3Bucket": "b", "S3Key": "k.zip"},
    }
    assert asked("CreateFunction", **members) == [
        ("lambda:CreateFunction", FUNCTION),
        ("lambda:TagResource", FUNCTION),
        ("iam:PassRole", ROLE),
        ("lambda:GetLayerVersion", f"{LAYER}:1"),
        ("s3:GetObject", "arn:aws:s3:::b/k.zip"),
    ]
    assert keys("CreateFunction", **members) == {
        "lambda:Layer": [f"{LAYER}:1"],
        "aws:TagKeys": ["team"],
        "aws:RequestTag/team": "blue",
    }


def test_an_update_without_a_role_passes_none() -> None:
    assert asked("UpdateFunctionConfiguration", FunctionName="f", Timeout=3) == [
        ("lambda:UpdateFunctionConfiguration", FUNCTION)
    ]


def test_a_role_of_another_account_is_nobodys_to_pass() -> None:
    members = {"FunctionName": "f", "Role": ROLE.replace(OWN, OTHER), "Code": {}}
    _, passed = asks("CreateFunction", members, WHERE)
    administrator = Principal(OWN, f"arn:aws:iam::{OWN}:root", "administrator")
    decision = decide(administrator, passed, None, {})
    assert not decision.allowed
    error = denied(administrator, passed, decision.reason)
    assert str(error) == "Cross-account pass role is not allowed."


@pytest.mark.parametrize(
    ("operation", "members", "expected"),
    [
        (
            "AddPermission",
            {"Principal": "s3.amazonaws.com", "FunctionUrlAuthType": "NONE"},
            {"lambda:Principal": "s3.amazonaws.com", "lambda:FunctionUrlAuthType": "NONE"},
        ),
        ("CreateFunctionUrlConfig", {"AuthType": "NONE"}, {"lambda:FunctionUrlAuthType": "NONE"}),
        ("CreateEventSourceMapping", {"FunctionName": FUNCTION}, {"lambda:FunctionArn": FUNCTION}),
        (
            "CreateFunction",
            {"VpcConfig": {"SubnetIds": ["subnet-1"]}},
            {"lambda:SubnetIds": ["subnet-1"]},
        ),
        ("UntagResource", {"Resource": FUNCTION, "TagKeys": ["a"]}, {"aws:TagKeys": ["a"]}),
    ],
)
def test_what_a_policy_may_ask_of_a_request(
    operation: str, members: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert keys(operation, **{"FunctionName": "f", **members}) == expected


@pytest.mark.parametrize(
    ("operation", "members", "resource"),
    [
        ("ListFunctions", {}, "*"),
        ("ListLayerVersions", {"LayerName": "tools"}, "*"),
        ("PublishLayerVersion", {"LayerName": "tools", "Content": {}}, LAYER),
        ("GetLayerVersion", {"LayerName": LAYER, "VersionNumber": 2}, f"{LAYER}:2"),
        ("GetLayerVersionByArn", {"Arn": f"{LAYER}:3"}, f"{LAYER}:3"),
        (
            "GetEventSourceMapping",
            {"UUID": "u"},
            f"arn:aws:lambda:us-east-1:{OWN}:event-source-mapping:u",
        ),
        (
            "GetCapacityProvider",
            {"CapacityProviderName": "spot"},
            f"arn:aws:lambda:us-east-1:{OWN}:capacity-provider:spot",
        ),
        ("ListTags", {"Resource": FUNCTION}, FUNCTION),
        ("PutResourcePolicy", {"ResourceArn": f"{FUNCTION}:live"}, f"{FUNCTION}:live"),
    ],
)
def test_other_resources_have_their_own_arns(
    operation: str, members: dict[str, Any], resource: str
) -> None:
    assert asked(operation, **members) == [(f"lambda:{LAMBDA[operation].action}", resource)]


@pytest.mark.parametrize("operation", sorted(LOGS))
def test_every_operation_of_cloudwatch_logs_has_an_action(operation: str) -> None:
    ask = log_ask(operation, OWN, "us-east-1", "/aws/lambda/f")
    group = f"arn:aws:logs:us-east-1:{OWN}:log-group"
    expected = {
        "DescribeLogGroups": f"{group}::log-stream:",
        "ListTagsForResource": f"{group}:/aws/lambda/f",
        "TagResource": f"{group}:/aws/lambda/f",
        "UntagResource": f"{group}:/aws/lambda/f",
    }.get(operation, f"{group}:/aws/lambda/f:log-stream:")
    assert ask[:3] == (f"logs:{operation}", expected, OWN)
