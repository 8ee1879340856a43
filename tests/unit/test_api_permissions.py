"""AddPermission, GetPolicy and RemovePermission, through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from tests.support.api import Api, open_api, refused

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
NOT_THERE = ("ResourceNotFoundException", "The resource you requested does not exist.")
STALE = (
    "The Revision Id provided does not match the latest Revision Id. Call the {} API to retrieve "
    "the latest Revision Id"
)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    opened.create(Publish=True)
    opened.boto().create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    yield opened
    opened.close()


def add(client: Any, sid: str = "s3", **members: Any) -> Any:
    request = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", **members}
    return client.add_permission(**{"FunctionName": "f", "StatementId": sid, **request})


def test_a_policy_is_made_read_and_removed(client: Any) -> None:
    source = "arn:aws:s3:::bucket"
    answer = add(client, SourceArn=source, SourceAccount="000000000000")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    first = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": ARN,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": "000000000000"},
            "ArnLike": {"AWS:SourceArn": source},
        },
    }
    assert answer["Statement"] == json.dumps(first, separators=(",", ":"))
    second = json.loads(add(client, "all", Principal="*")["Statement"])
    policy = client.get_policy(FunctionName="f")
    assert json.loads(policy["Policy"]) == {
        "Version": "2012-10-17",
        "Id": "default",
        "Statement": [first, second],
    }
    gone = client.remove_permission(FunctionName="f", StatementId="s3")
    assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert json.loads(client.get_policy(FunctionName="f")["Policy"])["Statement"] == [second]
    client.remove_permission(FunctionName="f", StatementId="all")
    assert refused(client.get_policy, FunctionName="f") == NOT_THERE


def test_function_version_and_alias_have_policies_of_their_own(client: Any) -> None:
    for qualifier in (None, "1", "live"):
        members = {"Qualifier": qualifier} if qualifier else {}
        statement = json.loads(add(client, f"s-{qualifier}", **members)["Statement"])
        assert statement["Resource"] == (f"{ARN}:{qualifier}" if qualifier else ARN)
        policy = json.loads(client.get_policy(FunctionName="f", **members)["Policy"])
        assert policy["Statement"] == [statement]
    assert add(client, "by-name", FunctionName="f:live")


def test_qualifiers_that_can_have_no_policy(client: Any) -> None:
    assert refused(add, client, Qualifier="$LATEST") == (
        "InvalidParameterValueException",
        "We currently do not support adding policies for $LATEST.",
    )
    gone = "ResourceNotFoundException"
    assert refused(add, client, Qualifier="7") == (gone, f"Function not found: {ARN}:7")
    assert refused(add, client, Qualifier="x") == (gone, f"Cannot find alias arn: {ARN}:x")
    assert refused(add, client, FunctionName="g") == (gone, f"Function not found: {ARN[:-1]}g")


def test_a_statement_id_is_there_once(client: Any) -> None:
    add(client)
    assert refused(add, client) == (
        "ResourceConflictException",
        "The statement id (s3) provided already exists. Please provide a new statement id, or "
        "remove the existing statement.",
    )


def test_a_principal_that_is_none_is_refused(client: Any) -> None:
    assert refused(add, client, Principal="nobody") == (
        "InvalidParameterValueException",
        "The provided principal was invalid. Please check the principal and try again.",
    )


def test_an_auth_type_goes_with_the_action_for_urls_alone(client: Any) -> None:
    assert refused(add, client, FunctionUrlAuthType="NONE") == (
        "InvalidParameterValueException",
        "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
    )


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"StatementId": "a b"},
            "Value 'a b' at 'statementId' failed to satisfy constraint: Member must satisfy "
            "regular expression pattern: ([a-zA-Z0-9-_]+)",
        ),
        (
            {"Action": "s3:Get"},
            "Value 's3:Get' at 'action' failed to satisfy constraint: Member must satisfy regular "
            "expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*])",
        ),
    ],
)
def test_what_the_model_forbids_is_refused(api: Api, members: Any, message: str) -> None:
    body = {"StatementId": "s", "Action": "*", "Principal": "*", **members}
    answer = api.request("POST", "/2015-03-31/functions/f/policy", body)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert answer.get_json()["message"] == f"1 validation error detected: {message}"


def test_removing_what_is_not_there(client: Any) -> None:
    remove = client.remove_permission
    gone = "ResourceNotFoundException"
    assert refused(remove, FunctionName="g", StatementId="s") == (
        gone,
        f"No policy found for: {ARN[:-1]}g",
    )
    no_policy = (gone, "No policy is associated with the given resource.")
    assert refused(remove, FunctionName="f", StatementId="s") == no_policy
    add(client)
    assert refused(remove, FunctionName="f", StatementId="s", Qualifier="live") == no_policy
    assert refused(remove, FunctionName="f", StatementId="s") == (
        gone,
        "Statement s is not found in resource policy.",
    )
    assert refused(client.get_policy, FunctionName="g") == NOT_THERE


def test_a_revision_guards_the_first_statement_by_the_functions_own(client: Any) -> None:
    error = ("PreconditionFailedException", STALE.format("GetFunction/GetAlias"))
    assert refused(add, client, RevisionId="other") == error
    for place in ({}, {"Qualifier": "1"}):
        current = client.get_function_configuration(FunctionName="f", **place)["RevisionId"]
        add(client, RevisionId=current, **place)
        after = client.get_function_configuration(FunctionName="f", **place)["RevisionId"]
        assert after != current
    alias = client.get_alias(FunctionName="f", Name="live")["RevisionId"]
    add(client, RevisionId=alias, Qualifier="live")
    assert client.get_alias(FunctionName="f", Name="live")["RevisionId"] != alias


def test_a_revision_guards_further_statements_by_the_policys_own(client: Any) -> None:
    add(client)
    error = ("PreconditionFailedException", STALE.format("GetPolicy"))
    function = client.get_function_configuration(FunctionName="f")["RevisionId"]
    assert refused(add, client, "two", RevisionId=function) == error
    revision = client.get_policy(FunctionName="f")["RevisionId"]
    add(client, "two", RevisionId=revision)
    remove = client.remove_permission
    assert refused(remove, FunctionName="f", StatementId="s3", RevisionId=revision) == error
    revision = client.get_policy(FunctionName="f")["RevisionId"]
    remove(FunctionName="f", StatementId="s3", RevisionId=revision)
    assert client.get_policy(FunctionName="f")["RevisionId"] != revision


def test_a_policy_has_at_most_20_kilobytes(client: Any) -> None:
    source = "arn:aws:s3:::" + "b" * 9000
    add(client, "one", SourceArn=source)
    add(client, "two", SourceArn=source)
    code, message = refused(add, client, "three", SourceArn=source)
    assert code == "PolicyLengthExceededException"
    size = int(message.removeprefix("The final policy size (").partition(")")[0])
    assert size > 20480
    assert message == f"The final policy size ({size}) is bigger than the limit (20480)."
    assert len(json.loads(client.get_policy(FunctionName="f")["Policy"])["Statement"]) == 2


def test_a_policy_goes_with_what_it_hangs_on(client: Any) -> None:
    for qualifier in ({}, {"Qualifier": "1"}, {"Qualifier": "live"}):
        add(client, **qualifier)
    client.delete_alias(FunctionName="f", Name="live")
    assert refused(client.get_policy, FunctionName="f", Qualifier="live") == NOT_THERE
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="$LATEST")
    assert refused(client.get_policy, FunctionName="f", Qualifier="live") == NOT_THERE
    client.delete_function(FunctionName="f", Qualifier="1")
    assert refused(client.get_policy, FunctionName="f", Qualifier="1") == NOT_THERE
    assert client.get_policy(FunctionName="f")["Policy"]
    client.delete_function(FunctionName="f")
    assert refused(client.get_policy, FunctionName="f") == NOT_THERE


def test_policies_are_there_after_a_restart(api: Api, client: Any, tmp_path: Path) -> None:
    add(client, "own")
    add(client, "alias", Qualifier="live")
    expected = dict(api.catalog.functions("000000000000", "us-east-1")[0].policies)
    api.close()
    reopened = Catalog.open(tmp_path, clock=FakeClock())
    (function,) = reopened.functions("000000000000", "us-east-1")
    assert function.policies == expected
    assert list(function.policies) == ["$LATEST", "live"]
    reopened.close()
