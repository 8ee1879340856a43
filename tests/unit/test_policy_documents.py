"""Policies that callers write themselves, and the operations that keep them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from sandbox.catalog.iam import effect
from sandbox.catalog.policy_documents import read
from sandbox.errors import CallerError
from tests.support.api import ROLE, Api, open_api, zip_bytes

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
ONE = {
    "Sid": "one",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
    "Action": ["lambda:InvokeFunction", "lambda:Get*"],
    "Resource": ARN,
}
POLICY = {"Version": "2012-10-17", "Statement": [ONE]}
PRINCIPAL = "The provided principal was invalid. Please check the principal and try again."


def changed(**elements: Any) -> str:
    """The policy with other elements in its statement; None: without."""
    one = {name: value for name, value in (ONE | elements).items() if value is not None}
    return json.dumps({**POLICY, "Statement": [one]})


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(POLICY),
        json.dumps({**POLICY, "Version": "2008-10-17", "Id": "mine"}),
        json.dumps({"Statement": [ONE]}),
        changed(Effect="Deny", Sid=None),
        changed(Action=None, NotAction="*"),
        changed(Principal=None, NotPrincipal={"AWS": "*", "Service": ["s3.amazonaws.com"]}),
        changed(Resource=None, NotResource=["*"]),
        changed(Condition={}),
        changed(Condition={"Bool": {"a:b": True}, "NumericLess": {"c:d": [1, 2.5, "3"]}}),
    ],
)
def test_a_policy_is_kept_as_it_was_written(text: str) -> None:
    assert read(text) == json.loads(text)


def test_one_statement_becomes_a_list_of_one() -> None:
    assert read(json.dumps({**POLICY, "Statement": ONE})) == POLICY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON."),
        ('{"Statement": NaN}', "it is not JSON."),
        ("[" * 10_000, "it is not JSON."),
        ("[]", "it is an object with Version, Id and Statement."),
        (json.dumps({**POLICY, "Extra": 1}), "it is an object with Version, Id and Statement."),
        (
            json.dumps({**POLICY, "Version": "2024"}),
            "its Version is one of 2012-10-17, 2008-10-17.",
        ),
        (json.dumps({**POLICY, "Version": []}), "its Version is one of 2012-10-17, 2008-10-17."),
        (json.dumps({**POLICY, "Id": 1}), "its Id is a text."),
        ('{"Statement": []}', "it has no Statement."),
        ("{}", "a statement is an object with some of "),
        (json.dumps({"Statement": [ONE, ONE]}), "each Sid is there once."),
        (changed(Extra=1), "a statement is an object with some of "),
        (changed(Sid=1), "a Sid is a text."),
        (changed(Effect="allow"), "an Effect is Allow or Deny."),
        (changed(Effect=[]), "an Effect is Allow or Deny."),
        (changed(Principal=None), "a statement has either Principal or NotPrincipal."),
        (changed(NotAction="*"), "a statement has either Action or NotAction."),
        (changed(Resource=None), "a statement has either Resource or NotResource."),
        (changed(Action="s3:GetObject"), "an Action is * or begins with lambda:."),
        (changed(Action=[]), "an Action is a text, or a list of texts."),
        (changed(Resource=[1]), "a Resource is a text, or a list of texts."),
        (changed(Condition=[]), "a Condition is an object of operators, and these of keys."),
        (changed(Condition={"Bool": 1}), "a Condition is an object of operators, "),
        (changed(Condition={"Bool": {"a": []}}), "a condition's values are texts, numbers or "),
        (changed(Condition={"Bool": {"a": {}}}), "a condition's values are texts, numbers or "),
    ],
)
def test_what_is_no_policy_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CallerError) as caught:
        read(text)
    assert str(caught.value).startswith(f"The policy is not valid: {reason}")


def test_a_number_without_end_is_refused() -> None:
    endless = changed(Condition={"Bool": {"a": 12345}}).replace("12345", "1e999")
    with pytest.raises(CallerError, match="not JSON"):
        read(endless)


@pytest.mark.parametrize(
    "principal", ["x", {}, [], 1, {"AWS": "x"}, {"Service": "*"}, {"Federated": "*"}, {"AWS": [""]}]
)
def test_who_is_no_principal_is_refused(principal: Any) -> None:
    with pytest.raises(CallerError):
        read(changed(Principal=principal))


JSON = st.recursive(
    st.sampled_from([*ONE, "*", "Allow", ARN, "lambda:*", 1, True, None, 1.5]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*ONE]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*ONE, "Condition", "NotAction"]), JSON))
def test_what_is_let_in_can_be_evaluated(elements: dict[str, Any]) -> None:
    try:
        document = read(json.dumps({"Statement": [{**ONE, **elements}]}))
    except CallerError:
        return
    assert effect(document, "lambda:Invoke", ARN, "*", {}) in ("Allow", "Deny", None)


# the operations


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    opened.boto().create_function(
        FunctionName="f",
        Role=ROLE,
        Runtime="python3.13",
        Handler="app.handler",
        Code={"ZipFile": zip_bytes()},
    )
    opened.settle()
    opened.boto().create_alias(FunctionName="f", Name="live", FunctionVersion="$LATEST")
    yield opened
    opened.close()


def refused(call: Callable[..., object], *args: Any, **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(*args, **members)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def put(client: Any, arn: str = ARN, policy: str = json.dumps(POLICY), **members: Any) -> Any:
    return client.put_resource_policy(ResourceArn=arn, Policy=policy, **members)


def test_a_whole_policy_is_put_read_and_deleted(client: Any) -> None:
    client.add_permission(
        FunctionName="f", StatementId="old", Action="lambda:*", Principal="s3.amazonaws.com"
    )
    answer = put(client)
    assert answer["Policy"] == json.dumps(POLICY, separators=(",", ":"))
    read = client.get_resource_policy(ResourceArn=ARN)
    assert (read["Policy"], read["RevisionId"]) == (answer["Policy"], answer["RevisionId"])
    assert client.get_policy(FunctionName="f")["Policy"] == answer["Policy"]
    client.add_permission(
        FunctionName="f", StatementId="two", Action="lambda:*", Principal="s3.amazonaws.com"
    )
    client.remove_permission(FunctionName="f", StatementId="one")
    policy = json.loads(client.get_resource_policy(ResourceArn=ARN)["Policy"])
    assert [one["Sid"] for one in policy["Statement"]] == ["two"]
    client.delete_resource_policy(ResourceArn=ARN)
    missing = ("ResourceNotFoundException", "The resource you requested does not exist.")
    assert refused(client.get_resource_policy, ResourceArn=ARN) == missing
    assert refused(client.get_policy, FunctionName="f") == missing


def test_a_policy_of_an_alias_is_its_own(client: Any) -> None:
    put(client, f"{ARN}:live")
    assert client.get_policy(FunctionName="f", Qualifier="live")["Policy"]
    gone = "ResourceNotFoundException"
    assert refused(client.get_resource_policy, ResourceArn=ARN)[0] == gone
    assert refused(put, client, f"{ARN}:none") == (gone, f"Cannot find alias arn: {ARN}:none")
    assert refused(put, client, f"{ARN}:$LATEST")[1] == (
        "We currently do not support adding policies for $LATEST."
    )


def test_a_whole_policy_is_guarded_by_its_revision(client: Any) -> None:
    revision = put(client)["RevisionId"]
    other = "00000000-0000-0000-0000-000000000000"
    stale = (
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the "
        "GetResourcePolicy API to retrieve the latest Revision Id",
    )
    assert refused(put, client, RevisionId=other) == stale
    delete = client.delete_resource_policy
    assert refused(delete, ResourceArn=ARN, RevisionId=other) == stale
    revision = put(client, RevisionId=revision)["RevisionId"]
    delete(ResourceArn=ARN, RevisionId=revision)


def test_resources_that_have_no_policy(client: Any) -> None:
    gone = "ResourceNotFoundException"
    delete, get = client.delete_resource_policy, client.get_resource_policy
    assert refused(delete, ResourceArn=ARN) == (
        gone,
        "No policy is associated with the given resource.",
    )
    other = f"{ARN[:-1]}g"
    assert refused(delete, ResourceArn=other) == (gone, f"No policy found for: {other}")
    runtime = "arn:aws:lambda:us-east-1:000000000000:runtime/mine"
    for arn in (other, runtime):
        missing = (gone, "The resource you requested does not exist.")
        assert refused(get, ResourceArn=arn) == missing


def test_a_policy_that_is_none_is_not_kept(client: Any) -> None:
    code, message = refused(put, client, policy="{}")
    assert code == "InvalidParameterValueException"
    assert message.startswith("The policy is not valid: ")
    assert refused(put, client, policy=changed(Principal={"AWS": "x"})) == (code, PRINCIPAL)
    long = changed(Resource=["\u20ac" * 10_000])
    assert refused(put, client, policy=json.dumps(json.loads(long), ensure_ascii=False))[0] == (
        "PolicyLengthExceededException"
    )
