"""Policies in IAM's language: statements as AddPermission makes them, and what they allow.

Pure functions. A policy is its document, a dict as `json.loads` gives it. Evaluation knows the
elements that policies of Lambda's resources have: Effect, Principal, Action, Resource, their
Not… forms, and Condition with the operators for text, ARNs, booleans and absence. What it does
not know never allows anything, and denies where it stands in a Deny. Source: the IAM user guide,
"Policy evaluation logic" and "JSON policy elements".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sandbox.errors import CallerError

Statement = dict[str, Any]
Context = Mapping[str, str]
"""Condition keys of a request, as `AWS:SourceArn`: their case does not matter."""

ANYONE = "*"

_ACCOUNT = re.compile(r"[0-9]{12}")
_SERVICE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:amazonaws\.com(?:\.cn)?|amazon\.com)")
_IDENTITY = re.compile(
    r"arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:root|(?:user|role)/\S+)"
    r"|sts::[0-9]{12}:(?:assumed-role|federated-user)/\S+)"
)

# Parameters of AddPermission that become conditions, in the order of Lambda's documents.
_CONDITIONS = (
    ("StringEquals", "AWS:SourceAccount", "SourceAccount"),
    ("StringEquals", "lambda:FunctionUrlAuthType", "FunctionUrlAuthType"),
    ("StringEquals", "aws:PrincipalOrgID", "PrincipalOrgID"),
    ("StringEquals", "lambda:EventSourceToken", "EventSourceToken"),
    ("Bool", "lambda:InvokedViaFunctionUrl", "InvokedViaFunctionUrl"),
    ("ArnLike", "AWS:SourceArn", "SourceArn"),
)


def statement(request: Mapping[str, Any], resource: str) -> Statement:
    """The statement that a request with StatementId, Action, Principal and conditions makes.

    Raises CallerError for a principal that IAM does not know the form of.
    """
    made: Statement = {
        "Sid": request["StatementId"],
        "Effect": "Allow",
        "Principal": _principal(request["Principal"]),
        "Action": request["Action"],
        "Resource": resource,
    }
    conditions: dict[str, dict[str, str]] = {}
    for operator, key, member in _CONDITIONS:
        value = request.get(member)
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else value
            conditions.setdefault(operator, {})[key] = text
    return {**made, "Condition": conditions} if conditions else made


def _principal(text: str) -> str | dict[str, str]:
    if text == ANYONE:
        return ANYONE
    if _ACCOUNT.fullmatch(text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    if is_identity(text):
        return {"AWS": text}
    if is_service(text):
        return {"Service": text}
    raise invalid_principal()


def is_identity(text: str) -> bool:
    """Whether a text names an account, or a user, role or session of one."""
    return _ACCOUNT.fullmatch(text) is not None or _IDENTITY.fullmatch(text) is not None


def is_service(text: str) -> bool:
    """Whether a text names a service of AWS."""
    return _SERVICE.fullmatch(text) is not None


def invalid_principal() -> CallerError:
    return CallerError(
        "The provided principal was invalid. Please check the principal and try again."
    )


def allows(
    policy: Mapping[str, Any], action: str, resource: str, principal: str, context: Context
) -> bool:
    """Whether a policy allows an action on a resource: one statement does, and none denies it.

    `principal` is the caller's ARN, a service as `s3.amazonaws.com`, or `*` for a caller who has
    not said who it is.
    """
    return effect(policy, action, resource, principal, context) == "Allow"


def effect(
    policy: Mapping[str, Any], action: str, resource: str, principal: str, context: Context
) -> str | None:
    """`Deny` when a statement denies it, else `Allow` when one allows it, else None."""
    found = None
    lowered = {key.lower(): value for key, value in context.items()}
    for one in _listed(policy.get("Statement", ())):
        denies = one.get("Effect") == "Deny"
        if _applies(one, action, resource, principal, lowered, unknown=denies):
            if denies:
                return "Deny"
            found = "Allow" if one.get("Effect") == "Allow" else found
    return found


def _applies(
    one: Mapping[str, Any],
    action: str,
    resource: str,
    principal: str,
    context: Context,
    *,
    unknown: bool,
) -> bool:
    """`unknown`: what a condition amounts to whose operator is not known."""
    return (
        _element(one, "Principal", lambda value: _is_principal(value, principal))
        and _element(one, "Action", lambda value: _any(value, action.lower(), _action_matches))
        and _element(one, "Resource", lambda value: _any(value, resource, matches))
        and _conditions_hold(one.get("Condition", {}), context, unknown)
    )


def _element(one: Mapping[str, Any], name: str, holds: Callable[[Any], bool]) -> bool:
    """Whether an element, or its Not… form, includes the request; an absent one includes all."""
    if name in one:
        return holds(one[name])
    return f"Not{name}" not in one or not holds(one[f"Not{name}"])


def _any(patterns: Any, text: str, match: Callable[[str, str], bool]) -> bool:
    return any(match(pattern, text) for pattern in _listed(patterns))


def _listed(value: Any) -> Sequence[Any]:
    """IAM lets one stand for a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


def _action_matches(pattern: str, lowered: str) -> bool:
    return matches(pattern.lower(), lowered)


def _is_principal(element: Any, principal: str) -> bool:
    if element == ANYONE:
        return True
    if not isinstance(element, Mapping):
        return False
    if "Service" in element and principal in _listed(element["Service"]):
        return True
    return any(_stands_for(given, principal) for given in _listed(element.get("AWS", ())))


def _stands_for(given: str, principal: str) -> bool:
    """An account stands for all of its identities, a role for all of its sessions."""
    if given in (ANYONE, principal):
        return True
    parts = principal.split(":", 5)
    if len(parts) < 6:
        return False
    account, rest = parts[4], parts[5].split("/")
    if given == account or (given.endswith(":root") and given.split(":")[4:5] == [account]):
        return True
    # the ARN of a session does not hold the path of its role
    is_session = rest[0] == "assumed-role" and len(rest) > 1
    return is_session and f":{account}:role/" in given and given.rpartition("/")[2] == rest[1]


def _conditions_hold(conditions: Mapping[str, Any], context: Context, unknown: bool) -> bool:
    for name, block in conditions.items():
        operator = name.removesuffix("IfExists")
        if operator not in _OPERATORS:
            if not unknown:
                return False
            continue
        for key, expected in block.items():
            given = context.get(key.lower())
            values = [_text(value) for value in _listed(expected)]
            if given is None and name != operator:
                continue
            if not _OPERATORS[operator](given, values):
                return False
    return True


def _text(value: Any) -> str:
    """Documents may hold true or 12 where IAM means "true" or "12"."""
    return str(value).lower() if isinstance(value, bool) else str(value)


Operator = Callable[[str | None, Sequence[str]], bool]


def _one_of(match: Callable[[str, str], bool]) -> Operator:
    return lambda given, values: given is not None and any(match(value, given) for value in values)


def _none_of(match: Callable[[str, str], bool]) -> Operator:
    return lambda given, values: given is None or not any(match(value, given) for value in values)


def _equal(expected: str, given: str) -> bool:
    return expected == given


def _equal_in_any_case(expected: str, given: str) -> bool:
    return expected.lower() == given.lower()


def _arn_matches(pattern: str, arn: str) -> bool:
    """Part by part: a wildcard does not reach over the first five colons."""
    expected, given = pattern.split(":", 5), arn.split(":", 5)
    return len(expected) == len(given) == 6 and all(map(matches, expected, given))


def _null(given: str | None, values: Sequence[str]) -> bool:
    return ("true" if given is None else "false") in [value.lower() for value in values]


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is like `pattern`, where `*` stands for any text and `?` for a character.

    Never slower than the product of both lengths: patterns come from callers.
    """
    at = place = 0
    star, resume = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at += 1
            place += 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


_OPERATORS: Mapping[str, Operator] = {
    "StringEquals": _one_of(_equal),
    "StringNotEquals": _none_of(_equal),
    "StringEqualsIgnoreCase": _one_of(_equal_in_any_case),
    "StringNotEqualsIgnoreCase": _none_of(_equal_in_any_case),
    "StringLike": _one_of(matches),
    "StringNotLike": _none_of(matches),
    "ArnEquals": _one_of(_arn_matches),
    "ArnNotEquals": _none_of(_arn_matches),
    "ArnLike": _one_of(_arn_matches),
    "ArnNotLike": _none_of(_arn_matches),
    "Bool": _one_of(_equal_in_any_case),
    "Null": _null,
}
