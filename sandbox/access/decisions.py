"""Whether a caller may: what its identity policies and the resource's policy make together.

Pure functions. A Deny anywhere wins. Within an account it is enough that one side allows; a
resource policy that names the account as a whole leaves it to the identity policies, as on AWS.
Between accounts both sides have to allow. The root user may do in its own account whatever no
policy denies; the instance's administrator may do everything. Source: the IAM user guide, "Policy
evaluation logic", "Cross-account policy evaluation logic" and "Troubleshoot access denied error
messages".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sandbox.access.principals import Principal
from sandbox.catalog import iam
from sandbox.catalog.conditions import Context
from sandbox.catalog.layers import LayerKey
from sandbox.errors import AccessDenied
from sandbox.names import FunctionReference

Document = Mapping[str, Any]

ANYTHING = "*"
"""The resource of an action that has none of its own."""

_RESOURCE = "resource-based policy"
_STABLE_KEYS = frozenset(
    {
        *("aws:principalarn", "aws:principalaccount", "aws:principaltype", "aws:username"),
        *("aws:userid", "aws:requestedregion", "aws:resourceaccount", "aws:securetransport"),
        *("aws:sourcearn", "aws:sourceaccount", "aws:principalorgid", "aws:principalisawsservice"),
        *("lambda:functionurlauthtype", "lambda:invokedviafunctionurl"),
    }
)
"""Keys, in lower case, that are the same whenever one caller asks one thing of one resource."""
_STABLE_PREFIX = "aws:resourcetag/"


class Ask(NamedTuple):
    """One action on one resource, as policies name both."""

    action: str
    resource: str
    account: str
    """Whose the resource is."""
    of: FunctionReference | tuple[LayerKey, int] | None = None
    """What may have a policy and tags."""
    keys: Context = MappingProxyType({})
    """Condition keys of this action, beside those that every request has."""
    refused: str = ""
    """Why nobody may, whoever asks."""


class Decision(NamedTuple):
    allowed: bool
    reason: str
    """Of a denial as AWS words it, else what allows it."""


def decide(principal: Principal, ask: Ask, policy: Document | None, context: Context) -> Decision:
    """`policy` is the resource's own; `context` holds the request's condition keys."""
    if ask.refused:
        return Decision(False, ask.refused)
    if principal.kind == "administrator":
        return Decision(True, "administrator")
    if principal.failure is not None:
        return Decision(False, str(principal.failure))
    keys = {**context, **principal_keys(principal), **ask.keys}
    keys["aws:ResourceAccount"] = ask.account
    action, resource = ask.action, ask.resource
    own = principal.account == ask.account and principal.kind != "anonymous"
    by_identity = _by_identity(principal, action, resource, keys)
    if by_identity == "Deny":
        return Decision(False, "with an explicit deny in an identity-based policy")
    by_resource = iam.effect(policy or {}, action, resource, principal.arn, keys, itself=own)
    if by_resource == "Deny":
        return Decision(False, "with an explicit deny in a resource-based policy")
    if own:
        if by_identity or by_resource:
            return Decision(True, by_identity or _RESOURCE)
        return Decision(False, f"because no identity-based policy allows the {action} action")
    if not by_identity:
        return Decision(False, f"because no identity-based policy allows the {action} action")
    if not by_resource:
        return Decision(False, f"because no resource-based policy allows the {action} action")
    return Decision(True, f"{by_identity}, {_RESOURCE}")


def _by_identity(principal: Principal, action: str, resource: str, keys: Context) -> str | None:
    """`Deny`, what allows it, or None."""
    if principal.kind == "anonymous":
        return "anybody"  # nobody's policies say anything: it is the resource's that counts
    found = "root user" if principal.kind in ("account", "unverified") else None
    for policy in principal.policies:
        effect = iam.effect(policy, action, resource, principal.arn, keys)
        if effect == "Deny":
            return effect
        if effect == "Allow":
            found = found or "identity-based policy"
    return found


def principal_keys(principal: Principal) -> dict[str, str]:
    """The condition keys that say who calls."""
    if principal.kind == "anonymous":
        return {"aws:PrincipalType": "Anonymous"}
    keys = {
        "aws:PrincipalArn": principal.arn,
        "aws:PrincipalAccount": principal.account,
        "aws:PrincipalType": "Account",
        "aws:PrincipalIsAWSService": "false",
    }
    resource = principal.arn.rpartition(":")[2]
    kind, _, name = resource.partition("/")
    if kind == "user":
        keys["aws:PrincipalType"] = "User"
        keys["aws:username"] = name.rpartition("/")[2]
    elif kind == "assumed-role":
        role = name.rpartition("/")[0]
        keys["aws:PrincipalType"] = "AssumedRole"
        keys["aws:PrincipalArn"] = f"arn:aws:iam::{principal.account}:role/{role}"
    return keys


def denied(principal: Principal, ask: Ask, reason: str) -> AccessDenied:
    """The error, in AWS's words."""
    if ask.refused:
        return AccessDenied(ask.refused)
    caller = "anonymous" if principal.kind == "anonymous" else principal.arn
    return AccessDenied(
        f"User: {caller} is not authorized to perform: {ask.action} "
        f"on resource: {ask.resource} {reason}"
    )


def is_stable(policies: Iterable[Document | None]) -> bool:
    """Whether these policies decide alike until one of them, or the resource's tags, change."""
    keys = {key for policy in policies if policy for key in iam.keys_read(policy)}
    return all(key in _STABLE_KEYS or key.startswith(_STABLE_PREFIX) for key in keys)
