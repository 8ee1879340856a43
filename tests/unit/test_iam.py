"""Statements as AddPermission makes them, and what policies allow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.catalog.iam import allows, effect, matches, statement
from sandbox.errors import CallerError

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
INVOKE = "lambda:InvokeFunction"
ROOT = "arn:aws:iam::111111111111:root"
USER = "arn:aws:iam::111111111111:user/ada"
SESSION = "arn:aws:sts::111111111111:assumed-role/deploy/one"
TOPIC = "arn:aws:sns:us-east-1:111111111111:topic"


def request(**members: Any) -> dict[str, Any]:
    return {"StatementId": "s", "Action": INVOKE, "Principal": "s3.amazonaws.com", **members}


def policy(**elements: Any) -> dict[str, Any]:
    """A policy of one statement; an element of None is left out."""
    one = {"Effect": "Allow", "Principal": "*", "Action": INVOKE, "Resource": ARN, **elements}
    return {"Statement": [{name: value for name, value in one.items() if value is not None}]}


@pytest.mark.parametrize(
    ("principal", "element"),
    [
        ("*", "*"),
        ("s3.amazonaws.com", {"Service": "s3.amazonaws.com"}),
        ("events.amazonaws.com.cn", {"Service": "events.amazonaws.com.cn"}),
        ("alexa-appkit.amazon.com", {"Service": "alexa-appkit.amazon.com"}),
        ("111111111111", {"AWS": ROOT}),
        (ROOT, {"AWS": ROOT}),
        (USER, {"AWS": USER}),
        (SESSION, {"AWS": SESSION}),
        (
            "arn:aws:iam::111111111111:role/path/deploy",
            {"AWS": "arn:aws:iam::111111111111:role/path/deploy"},
        ),
    ],
)
def test_a_principal_becomes_what_iam_calls_it(principal: str, element: Any) -> None:
    assert statement(request(Principal=principal), ARN)["Principal"] == element


@pytest.mark.parametrize(
    "principal",
    ["s3", "11111111111", "1111111111111", "example.org", "s3.amazonaws.com.evil.org", "**", ARN],
)
def test_a_principal_of_no_known_form_is_refused(principal: str) -> None:
    with pytest.raises(CallerError) as caught:
        statement(request(Principal=principal), ARN)
    assert str(caught.value) == (
        "The provided principal was invalid. Please check the principal and try again."
    )


def test_a_statement_has_lambdas_order_and_no_empty_condition() -> None:
    made = statement(request(), f"{ARN}:live")
    assert list(made.items()) == [
        ("Sid", "s"),
        ("Effect", "Allow"),
        ("Principal", {"Service": "s3.amazonaws.com"}),
        ("Action", INVOKE),
        ("Resource", f"{ARN}:live"),
    ]


def test_every_parameter_becomes_its_condition() -> None:
    made = statement(
        request(
            SourceArn=TOPIC,
            SourceAccount="111111111111",
            PrincipalOrgID="o-abcdefghij",
            EventSourceToken="token",
            FunctionUrlAuthType="AWS_IAM",
            InvokedViaFunctionUrl=True,
        ),
        ARN,
    )
    assert made["Condition"] == {
        "StringEquals": {
            "AWS:SourceAccount": "111111111111",
            "lambda:FunctionUrlAuthType": "AWS_IAM",
            "aws:PrincipalOrgID": "o-abcdefghij",
            "lambda:EventSourceToken": "token",
        },
        "Bool": {"lambda:InvokedViaFunctionUrl": "true"},
        "ArnLike": {"AWS:SourceArn": TOPIC},
    }


@pytest.mark.parametrize(
    ("elements", "allowed"),
    [
        ({}, True),
        ({"Action": "lambda:*"}, True),
        ({"Action": "*"}, True),
        ({"Action": "LAMBDA:invokefunction"}, True),
        ({"Action": ["lambda:GetFunction", "lambda:Invoke*"]}, True),
        ({"Action": "lambda:InvokeFunctionUrl"}, False),
        ({"Action": None, "NotAction": "lambda:GetFunction"}, True),
        ({"Action": None, "NotAction": "lambda:Invoke*"}, False),
        ({"Resource": "*"}, True),
        ({"Resource": f"{ARN}:live"}, False),
        ({"Resource": f"{ARN}*"}, True),
        ({"Resource": ["arn:aws:lambda:*:*:function:?"]}, True),
        ({"Resource": ARN.upper()}, False),
        ({"Resource": None}, True),
        ({"Resource": None, "NotResource": ARN}, False),
        ({"Effect": "Deny"}, False),
        ({"Effect": "allow"}, False),
    ],
)
def test_actions_and_resources(elements: dict[str, Any], allowed: bool) -> None:
    assert allows(policy(**elements), INVOKE, ARN, USER, {}) is allowed


@pytest.mark.parametrize(
    ("element", "principal", "allowed"),
    [
        ("*", "*", True),
        ("*", USER, True),
        ({"AWS": "*"}, "*", True),
        ({"AWS": ROOT}, ROOT, True),
        ({"AWS": ROOT}, USER, True),
        ({"AWS": ROOT}, SESSION, True),
        ({"AWS": "111111111111"}, USER, True),
        ({"AWS": ROOT}, "arn:aws:iam::222222222222:user/ada", False),
        ({"AWS": ROOT}, "*", False),
        ({"AWS": USER}, USER, True),
        ({"AWS": USER}, ROOT, False),
        ({"AWS": [ROOT, "222222222222"]}, "arn:aws:iam::222222222222:user/ada", True),
        ({"AWS": "arn:aws:iam::111111111111:role/path/deploy"}, SESSION, True),
        ({"AWS": "arn:aws:iam::111111111111:role/other"}, SESSION, False),
        ({"AWS": "arn:aws:iam::222222222222:role/deploy"}, SESSION, False),
        ({"Service": "s3.amazonaws.com"}, "s3.amazonaws.com", True),
        ({"Service": ["sns.amazonaws.com", "s3.amazonaws.com"]}, "s3.amazonaws.com", True),
        ({"Service": "s3.amazonaws.com"}, USER, False),
        ({"Service": "s3.amazonaws.com"}, "*", False),
        (None, USER, True),
        ([], USER, False),
    ],
)
def test_principals(element: Any, principal: str, allowed: bool) -> None:
    assert allows(policy(Principal=element), INVOKE, ARN, principal, {}) is allowed


CONTEXT = {"aws:SourceArn": TOPIC, "AWS:SourceAccount": "111111111111", "lambda:Url": "true"}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:sourceaccount": "111111111111"}}, True),
        ({"StringEquals": {"aws:SourceAccount": ["2", "111111111111"]}}, True),
        ({"StringEquals": {"aws:SourceAccount": "1111*"}}, False),
        ({"StringEquals": {"aws:SourceOwner": "111111111111"}}, False),
        ({"StringEqualsIfExists": {"aws:SourceOwner": "111111111111"}}, True),
        ({"StringEqualsIfExists": {"aws:SourceAccount": "2"}}, False),
        ({"StringNotEquals": {"aws:SourceAccount": "2"}}, True),
        ({"StringNotEquals": {"aws:SourceAccount": ["2", "111111111111"]}}, False),
        ({"StringNotEquals": {"aws:SourceOwner": "2"}}, True),
        ({"StringEqualsIgnoreCase": {"lambda:Url": "TRUE"}}, True),
        ({"StringNotEqualsIgnoreCase": {"lambda:Url": "TRUE"}}, False),
        ({"StringLike": {"aws:SourceAccount": "1111*"}}, True),
        ({"StringNotLike": {"aws:SourceAccount": "1111*"}}, False),
        ({"ArnLike": {"AWS:SourceArn": "arn:aws:sns:*:*:top*"}}, True),
        ({"ArnEquals": {"AWS:SourceArn": TOPIC}}, True),
        ({"ArnLike": {"AWS:SourceArn": "arn:*:topic"}}, False),
        ({"ArnLike": {"AWS:SourceArn": "*"}}, False),
        ({"ArnNotLike": {"AWS:SourceArn": "arn:aws:sqs:*:*:*"}}, True),
        ({"Bool": {"lambda:Url": "true"}}, True),
        ({"Bool": {"lambda:Url": True}}, True),
        ({"Bool": {"lambda:Url": "false"}}, False),
        ({"Bool": {"lambda:Other": "false"}}, False),
        ({"Null": {"lambda:Other": "true"}}, True),
        ({"Null": {"lambda:Url": "true"}}, False),
        ({"Null": {"lambda:Url": "false"}}, True),
        ({"StringEquals": {"lambda:Url": "true", "aws:SourceAccount": "2"}}, False),
        ({"Bool": {"lambda:Url": "true"}, "ArnLike": {"aws:SourceArn": TOPIC}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    assert allows(policy(Condition=condition), INVOKE, ARN, "*", CONTEXT) is holds


def test_a_deny_wins_wherever_it_stands_and_an_unknown_operator_does_not_weaken_it() -> None:
    allow, deny = policy()["Statement"][0], policy(Effect="Deny")["Statement"][0]
    for statements in ([allow, deny], [deny, allow]):
        assert effect({"Statement": statements}, INVOKE, ARN, "*", {}) == "Deny"
    unknown = {**deny, "Condition": {"Resembles": {"aws:SourceIp": "10.0.0.0/8"}}}
    assert effect({"Statement": [allow, unknown]}, INVOKE, ARN, "*", {}) == "Deny"
    assert effect({"Statement": allow}, INVOKE, ARN, "*", {}) == "Allow"
    assert effect({}, INVOKE, ARN, "*", {}) is None


@given(
    st.lists(st.sampled_from(["a", "b", "ab", ":", "*"]), max_size=6),
    st.lists(st.text("ab:", max_size=3), max_size=6),
)
def test_a_text_made_from_a_pattern_is_like_it(parts: list[str], stars: list[str]) -> None:
    fillings = iter([*stars, *[""] * 6])
    text = "".join(next(fillings) if part == "*" else part for part in parts)
    assert matches("".join(parts), text)


@pytest.mark.parametrize(
    ("pattern", "text", "like"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("?", "", False),
        ("a?c", "abc", True),
        ("a*b*c", "axxbyyc", True),
        ("a*b*c", "axxbyy", False),
        ("[a]", "a", False),
        ("a.c", "abc", False),
        ("*a", "aab", False),
        ("**a**", "a", True),
    ],
)
def test_wildcards(pattern: str, text: str, like: bool) -> None:
    assert matches(pattern, text) is like


def test_no_pattern_takes_forever() -> None:
    # one that a regular expression would try for longer than the universe lasts
    assert not matches("a*" * 200 + "b", "a" * 2000)
