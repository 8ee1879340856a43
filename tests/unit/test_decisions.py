"""Whether a caller may: identity policies and resource policies together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.access.decisions import Ask, decide, denied, is_stable
from sandbox.access.principals import ANONYMOUS, Principal

OWN, OTHER = "111111111111", "222222222222"
INVOKE = "lambda:InvokeFunction"
ARN = f"arn:aws:lambda:us-east-1:{OWN}:function:f"
ASK = Ask(INVOKE, ARN, OWN)

NO_IDENTITY = f"because no identity-based policy allows the {INVOKE} action"
NO_RESOURCE = f"because no resource-based policy allows the {INVOKE} action"
IDENTITY_DENY = "with an explicit deny in an identity-based policy"
RESOURCE_DENY = "with an explicit deny in a resource-based policy"


def statement(effect: str, **elements: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": INVOKE, "Resource": ARN, **elements}


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def user(account: str, *policies: dict[str, Any]) -> Principal:
    arn = f"arn:aws:iam::{account}:user/ada"
    return Principal(account, arn, "user", "AKIAEXAMPLE", policies)


def policies(effect: str | None, **elements: Any) -> tuple[dict[str, Any], ...]:
    return () if effect is None else (document(statement(effect, **elements)),)


def reason_of(caller: Principal, *resource: dict[str, Any]) -> str | None:
    """Why not; None when it may."""
    decision = decide(caller, ASK, resource[0] if resource else None, {})
    return None if decision.allowed else decision.reason


@pytest.mark.parametrize(
    ("account", "identity", "resource", "refused"),
    [
        (OWN, None, None, NO_IDENTITY),
        (OWN, "Allow", None, None),
        (OWN, None, "Allow", None),
        (OWN, "Allow", "Allow", None),
        (OWN, "Deny", None, IDENTITY_DENY),
        (OWN, "Deny", "Allow", IDENTITY_DENY),
        (OWN, None, "Deny", RESOURCE_DENY),
        (OWN, "Allow", "Deny", RESOURCE_DENY),
        (OWN, "Deny", "Deny", IDENTITY_DENY),
        (OTHER, None, None, NO_IDENTITY),
        (OTHER, "Allow", None, NO_RESOURCE),
        (OTHER, None, "Allow", NO_IDENTITY),
        (OTHER, "Allow", "Allow", None),
        (OTHER, "Deny", "Allow", IDENTITY_DENY),
        (OTHER, "Allow", "Deny", RESOURCE_DENY),
    ],
)
def test_within_an_account_either_side_allows_and_between_accounts_both(
    account: str, identity: str | None, resource: str | None, refused: str | None
) -> None:
    caller = user(account, *policies(identity))
    named = {"Principal": {"AWS": caller.arn}}
    assert reason_of(caller, *policies(resource, **named)) == refused


@pytest.mark.parametrize("principal", [OWN, f"arn:aws:iam::{OWN}:root"])
def test_a_resource_that_names_the_account_leaves_it_to_the_account(principal: str) -> None:
    resource = document(statement("Allow", Principal={"AWS": principal}))
    assert reason_of(user(OWN), resource) == NO_IDENTITY
    assert reason_of(user(OWN, document(statement("Allow"))), resource) is None


@pytest.mark.parametrize("principal", [OTHER, f"arn:aws:iam::{OTHER}:root"])
def test_a_resource_that_names_another_account_lets_in_whom_that_allows(principal: str) -> None:
    resource = document(statement("Allow", Principal={"AWS": principal}))
    assert reason_of(user(OTHER), resource) == NO_IDENTITY
    assert reason_of(user(OTHER, document(statement("Allow"))), resource) is None


def test_a_deny_for_the_account_is_one_for_each_of_its_users() -> None:
    resource = document(statement("Deny", Principal={"AWS": OWN}))
    assert reason_of(user(OWN, document(statement("Allow"))), resource) == RESOURCE_DENY


def test_a_root_user_may_all_in_its_account_and_nothing_in_others_by_itself() -> None:
    root = Principal(OWN, f"arn:aws:iam::{OWN}:root", "account")
    other = Principal(OTHER, f"arn:aws:iam::{OTHER}:root", "account")
    assert reason_of(root) is None
    assert reason_of(root, document(statement("Deny", Principal="*"))) == RESOURCE_DENY
    assert reason_of(other) == NO_RESOURCE
    assert reason_of(other, document(statement("Allow", Principal={"AWS": OTHER}))) is None


def test_an_administrator_may_all() -> None:
    caller = Principal(OTHER, f"arn:aws:iam::{OTHER}:root", "administrator")
    assert reason_of(caller, document(statement("Deny", Principal="*"))) is None


def test_somebody_anonymous_is_let_in_by_a_resource_that_lets_in_everybody() -> None:
    assert reason_of(ANONYMOUS) == NO_RESOURCE
    assert reason_of(ANONYMOUS, document(statement("Allow", Principal="*"))) is None
    named = document(statement("Allow", Principal={"AWS": OWN}))
    assert reason_of(ANONYMOUS, named) == NO_RESOURCE


def test_a_session_is_meant_by_its_role() -> None:
    arn = f"arn:aws:sts::{OWN}:assumed-role/caller/one"
    caller = Principal(OWN, arn, "role", "ASIAEXAMPLE")
    for principal in (arn, f"arn:aws:iam::{OWN}:role/path/caller"):
        assert reason_of(caller, document(statement("Allow", Principal={"AWS": principal}))) is None
    other = document(statement("Allow", Principal={"AWS": f"arn:aws:iam::{OWN}:role/other"}))
    assert reason_of(caller, other) == NO_IDENTITY


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:PrincipalAccount": OWN}}, True),
        ({"StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}}, True),
        ({"StringEquals": {"aws:username": "ada"}}, True),
        ({"StringEquals": {"aws:PrincipalType": "User"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{OWN}:user/*"}}, True),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.7"]}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2026-12-01T00:00:00Z"}}, True),
        ({"DateGreaterThan": {"aws:EpochTime": "1795000000"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "some day"}}, False),
        ({"StringEquals": {"aws:ResourceTag/team": "blue"}}, True),
        ({"ForAllValues:StringLike": {"lambda:Layer": "arn:aws:lambda:*:1*:layer:*"}}, True),
        ({"ForAnyValue:StringLike": {"lambda:Layer": "*:layer:none:*"}}, False),
        ({"StringLike": {"lambda:Layer": "*"}}, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": "team"}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": "team"}}, True),
        ({"NumericLessThan": {"s3:max-keys": "10"}}, False),
        ({"NumericLessThanIfExists": {"s3:max-keys": "10"}}, True),
        ({"Null": {"aws:username": "false", "aws:TagKeys": "true"}}, True),
        ({"Null": {"aws:username": "true"}}, False),
        ({"StringNotEquals": {"aws:username": "${aws:absent}"}}, False),
        ({"StringEquals": {"aws:username": "${aws:absent, 'ada'}"}}, True),
        ({"Resembles": {"aws:username": "ada"}}, False),
        ({"ForSomeValues:StringEquals": {"aws:username": "ada"}}, False),
        ("not a condition", False),
    ],
)
def test_a_condition_holds_for_what_is_known_of_a_request(condition: Any, holds: bool) -> None:
    context = {
        "aws:SourceIp": "192.0.2.7",
        "aws:CurrentTime": "2026-11-22T17:00:00Z",
        "aws:EpochTime": "1795366800",
        "aws:ResourceTag/team": "blue",
    }
    layers = [
        f"arn:aws:lambda:us-east-1:{OWN}:layer:a:1",
        f"arn:aws:lambda:us-east-1:{OWN}:layer:b:1",
    ]
    ask = ASK._replace(keys={"lambda:Layer": layers})
    caller = user(OWN, document(statement("Allow", Condition=condition)))
    assert decide(caller, ask, None, context).allowed is holds


def test_a_variable_stands_for_text_and_never_for_a_pattern() -> None:
    own = document(statement("Allow", Resource="arn:aws:lambda:*:*:function:${aws:username}"))
    caller = Principal(OWN, f"arn:aws:iam::{OWN}:user/*", "user", None, (own,))
    assert reason_of(caller) == NO_IDENTITY
    assert reason_of(Principal(OWN, f"arn:aws:iam::{OWN}:user/f", "user", None, (own,))) is None


def test_a_variable_without_a_value_includes_and_excludes_nothing() -> None:
    role = f"arn:aws:sts::{OWN}:assumed-role/r/s"
    for element in ("Resource", "NotResource"):
        one = {"Effect": "Allow", "Action": "*", element: ["arn:${aws:username}", "x"]}
        assert reason_of(Principal(OWN, role, "role", None, (document(one),))) == NO_IDENTITY


def test_only_documents_of_the_newer_version_have_variables() -> None:
    one = statement(
        "Allow", Resource="*", Condition={"StringEquals": {"aws:username": "${aws:username}"}}
    )
    assert reason_of(user(OWN, document(one))) is None
    assert reason_of(user(OWN, {"Statement": [one]})) == NO_IDENTITY


def test_a_denial_is_worded_as_aws_words_it() -> None:
    error = denied(user(OWN), ASK, reason_of(user(OWN)) or "")
    assert str(error) == (
        f"User: arn:aws:iam::{OWN}:user/ada is not authorized to perform: lambda:InvokeFunction on "
        f"resource: {ARN} because no identity-based policy allows the lambda:InvokeFunction action"
    )


@pytest.mark.parametrize(
    ("condition", "stable"),
    [
        ({}, True),
        ({"StringEquals": {"aws:PrincipalArn": "a", "aws:ResourceTag/team": "blue"}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"StringEquals": {"aws:PrincipalArn": "${aws:SourceIp}"}}, False),
    ],
)
def test_what_depends_on_the_moment_is_decided_each_time(condition: Any, stable: bool) -> None:
    assert is_stable([None, document(statement("Allow", Condition=condition))]) is stable


# What any policy may say of a request.

ACCOUNTS = st.sampled_from([OWN, OTHER])
CONDITIONS = st.sampled_from(
    [
        {},
        {"StringEquals": {"aws:username": "ada"}},
        {"StringNotEquals": {"aws:username": "ada"}},
        {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
        {"NotIpAddress": {"aws:SourceIp": "${aws:absent}"}},
        {"ForAllValues:StringLike": {"aws:TagKeys": "*"}},
        {"Resembles": {"aws:username": "ada"}},
        {"NumericLessThan": {"aws:username": "1"}},
    ]
)
STATEMENTS = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Action": st.sampled_from(["*", INVOKE, "lambda:Get*", "LAMBDA:invoke*"]),
        "Condition": CONDITIONS,
    }
).flatmap(
    lambda one: st.sampled_from(["Resource", "NotResource"]).flatmap(
        lambda name: st.sampled_from(["*", ARN, f"{ARN}:*", "arn:${aws:absent}"]).map(
            lambda value: {**one, name: value}
        )
    )
)
PRINCIPALS = st.sampled_from(
    ["*", {"AWS": OWN}, {"AWS": OTHER}, {"AWS": f"arn:aws:iam::{OTHER}:user/ada"}]
)
GRANTS = st.builds(lambda one, principal: {**one, "Principal": principal}, STATEMENTS, PRINCIPALS)


@given(ACCOUNTS, st.lists(STATEMENTS, max_size=4), st.lists(GRANTS, max_size=4), STATEMENTS, GRANTS)
def test_one_more_deny_never_widens_and_one_more_allow_never_narrows(
    account: str,
    identity: list[dict[str, Any]],
    resource: list[dict[str, Any]],
    one: dict[str, Any],
    grant: dict[str, Any],
) -> None:
    def allowed(identity: list[dict[str, Any]], resource: list[dict[str, Any]]) -> bool:
        caller = user(account, document(*identity))
        return decide(caller, ASK, document(*resource), {"aws:SourceIp": "10.1.2.3"}).allowed

    before = allowed(identity, resource)
    for effect in ("Allow", "Deny"):
        after = (
            allowed([*identity, {**one, "Effect": effect}], resource),
            allowed(identity, [*resource, {**grant, "Effect": effect}]),
        )
        if effect == "Deny":
            assert before or not any(after)
        else:
            assert all(after) or not before
