"""Policies in IAM's language: statements as AddPermission makes them, and what they allow.

Pure functions. A policy is its document, a dict as `json.loads` gives it. Evaluation knows the
elements that policies of Lambda's resources have: Effect, Principal, Action, Resource, their
Not… forms, and Condition (see `conditions`); documents of Version 2012-10-17 may hold variables
in Resource and Condition. What it does not know never allows anything, and denies where it stands
in a Deny. Source: the IAM user guide, "Policy evaluation logic" and "JSON policy elements".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sandbox.catalog.conditions import (
    Context,
    conditions_hold,
    keys_of,
    listed,
    matches,
    substituted,
    variables_of,
)
from sandbox.errors import CallerError

Statement = dict[str, Any]

ANYONE = "*"
_VERSION_WITH_VARIABLES = "2012-10-17"

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
    policy: Mapping[str, Any],
    action: str,
    resource: str,
    principal: str,
    context: Context,
    *,
    itself: bool = False,
) -> str | None:
    """`Deny` when a statement denies it, else `Allow` when one allows it, else None.

    `itself`: an Allow for the caller's whole account is none: that leaves it to the account to
    allow its own users and roles.
    """
    found = None
    lowered = {key.lower(): value for key, value in context.items()}
    variables = policy.get("Version") == _VERSION_WITH_VARIABLES
    for one in listed(policy.get("Statement", ())):
        denies = one.get("Effect") == "Deny"
        asked = _Request(action, resource, principal, lowered, denies, variables, itself)
        if _applies(one, asked):
            if denies:
                return "Deny"
            found = "Allow" if one.get("Effect") == "Allow" else found
    return found


def keys_read(policy: Mapping[str, Any]) -> set[str]:
    """The condition keys, in lower case, on which the effect of a policy may depend."""
    found: set[str] = set()
    for one in listed(policy.get("Statement", ())):
        found |= keys_of(one.get("Condition", {}))
        for element in ("Resource", "NotResource"):
            for text in listed(one.get(element, ())):
                found |= variables_of(text)
    return found


class _Request(NamedTuple):
    """What one statement is asked."""

    action: str
    resource: str
    principal: str
    context: Context
    unknown: bool
    """What amounts to what is not known."""
    variables: bool
    """Whether the document may hold `${…}`."""
    itself: bool


def _applies(one: Mapping[str, Any], asked: _Request) -> bool:
    itself = asked.itself and not asked.unknown
    return (
        _element(one, "Principal", lambda value: _is_principal(value, asked.principal, itself))
        and _element(one, "Action", lambda value: _is_action(value, asked.action.lower()))
        and _includes_resource(one, asked)
        and conditions_hold(
            one.get("Condition", {}),
            asked.context,
            unknown=asked.unknown,
            variables=asked.variables,
        )
    )


def _element(one: Mapping[str, Any], name: str, holds: Callable[[Any], bool]) -> bool:
    """Whether an element, or its Not… form, includes the request; an absent one includes all."""
    if name in one:
        return holds(one[name])
    return f"Not{name}" not in one or not holds(one[f"Not{name}"])


def _is_action(patterns: Any, lowered: str) -> bool:
    return any(matches(pattern.lower(), lowered) for pattern in listed(patterns))


def _includes_resource(one: Mapping[str, Any], asked: _Request) -> bool:
    """A pattern with a variable that has no value includes nothing; that it excludes nothing
    would widen what is allowed."""
    given = listed(one.get("Resource", one.get("NotResource", "*")))
    patterns = [substituted(text, asked.context) if asked.variables else text for text in given]
    found = any(text is not None and matches(text, asked.resource) for text in patterns)
    if "Resource" in one or "NotResource" not in one:
        return found
    return not found and (asked.unknown or None not in patterns)


def _is_principal(element: Any, principal: str, itself: bool) -> bool:
    if element == ANYONE:
        return True
    if not isinstance(element, Mapping):
        return False
    if "Service" in element and principal in listed(element["Service"]):
        return True
    return any(_stands_for(given, principal, itself) for given in listed(element.get("AWS", ())))


def _stands_for(given: str, principal: str, itself: bool) -> bool:
    """An account stands for all of its identities, a role for all of its sessions."""
    if given in (ANYONE, principal):
        return True
    parts = principal.split(":", 5)
    if len(parts) < 6:
        return False
    account, rest = parts[4], parts[5].split("/")
    if given == account or (given.endswith(":root") and given.split(":")[4:5] == [account]):
        return not itself
    # the ARN of a session does not hold the path of its role
    is_session = rest[0] == "assumed-role" and len(rest) > 1
    return is_session and f":{account}:role/" in given and given.rpartition("/")[2] == rest[1]
