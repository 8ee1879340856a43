"""Permissions: the policy of a function, version or alias.

Source: the Lambda API reference and observed answers.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from sandbox.api.rules import reference_of
from sandbox.api.services import Call, Implementation
from sandbox.catalog import permissions
from sandbox.errors import NotFound
from sandbox.names import LATEST


def add_permission(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Adds one statement, and answers it as JSON text."""
    key, qualifier = reference_of(call, members)
    change = partial(permissions.added, qualifier=qualifier, request=members)
    function = call.services.catalog.attach(key, change)
    statement = function.policies[qualifier or LATEST].statements[-1]
    return {"Statement": json.dumps(statement, separators=(",", ":"))}


def get_policy(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """The whole policy as JSON text; NotFound without a statement, too."""
    key, qualifier = reference_of(call, members)
    missing = NotFound("The resource you requested does not exist.")
    try:
        function = call.services.catalog.function(key)
    except NotFound as error:
        raise missing from error
    policy = function.policies.get(qualifier or LATEST)
    if policy is None:
        raise missing
    return {"Policy": policy.text, "RevisionId": policy.revision_id}


def remove_permission(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key, qualifier = reference_of(call, members)
    change = partial(permissions.removed, qualifier=qualifier, request=members)
    try:
        call.services.catalog.function(key)
    except NotFound as error:
        raise NotFound(f"No policy found for: {key.arn}") from error
    call.services.catalog.attach(key, change)
    return {}


OPERATIONS: dict[str, Implementation] = {
    "AddPermission": add_permission,
    "GetPolicy": get_policy,
    "RemovePermission": remove_permission,
}
