"""Permissions: the policy of a function, version or alias.

Source: the Lambda API reference and observed answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from sandbox.api.rules import reference_of
from sandbox.api.services import Call, Implementation
from sandbox.catalog import Function, permissions, policy_documents
from sandbox.errors import NotFound
from sandbox.names import LATEST, FunctionReference


def add_permission(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Adds one statement, and answers it as JSON text."""
    key, qualifier = reference_of(call, members)
    change = partial(permissions.added, qualifier=qualifier, request=members)
    function = call.services.catalog.attach(key, change)
    statement = function.policies[qualifier or LATEST].statements[-1]
    return {"Statement": json.dumps(statement, separators=(",", ":"))}


def get_policy(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """The whole policy as JSON text; NotFound without a statement, too."""
    return _answer(call, reference_of(call, members))


def remove_permission(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    reference = reference_of(call, members)
    _lose(call, reference, partial(permissions.removed, request=members))
    return {}


def put_resource_policy(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Replaces the whole policy by what the caller wrote."""
    key, qualifier = reference = _resource(call, members)
    document = policy_documents.read(members["Policy"])
    change = partial(permissions.put, qualifier=qualifier, request=members, document=document)
    call.services.catalog.attach(key, change)
    return _answer(call, reference)


def get_resource_policy(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """The same as GetPolicy, for an ARN."""
    return _answer(call, _resource(call, members))


def delete_resource_policy(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    _lose(call, _resource(call, members), partial(permissions.deleted, request=members))
    return {}


def _resource(call: Call, members: dict[str, Any]) -> FunctionReference:
    """The function, version or alias of an ARN; NotFound for a customer's runtime."""
    arn: str = members["ResourceArn"]
    if ":runtime/" in arn:
        raise _missing()
    return reference_of(call, {"FunctionName": arn})


def _answer(call: Call, reference: FunctionReference) -> dict[str, Any]:
    try:
        function = call.services.catalog.function(reference.key)
    except NotFound as error:
        raise _missing() from error
    policy = function.policies.get(reference.qualifier or LATEST)
    if policy is None:
        raise _missing()
    return {"Policy": policy.text, "RevisionId": policy.revision_id}


def _lose(call: Call, reference: FunctionReference, change: Callable[..., Function]) -> None:
    """Change what must be there already."""
    key, qualifier = reference
    try:
        call.services.catalog.function(key)
    except NotFound as error:
        raise NotFound(f"No policy found for: {key.arn}") from error
    call.services.catalog.attach(key, partial(change, qualifier=qualifier))


def _missing() -> NotFound:
    return NotFound("The resource you requested does not exist.")


OPERATIONS: dict[str, Implementation] = {
    "AddPermission": add_permission,
    "DeleteResourcePolicy": delete_resource_policy,
    "GetPolicy": get_policy,
    "GetResourcePolicy": get_resource_policy,
    "PutResourcePolicy": put_resource_policy,
    "RemovePermission": remove_permission,
}
