"""The policies of functions, versions and aliases: AddPermission and RemovePermission change one
statement, PutResourcePolicy and DeleteResourcePolicy the whole.

Pure functions from a function to the function as it is then. A policy has a RevisionId of its
own; a change of it is one of what it hangs on too, whose RevisionId changes with it. Source: the
Lambda API reference and observed answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandbox.catalog import attachments, iam
from sandbox.catalog.attachments import Policy
from sandbox.catalog.records import Function
from sandbox.errors import CallerError, Conflict, NotFound, PolicyTooLong, PreconditionFailed
from sandbox.names import LATEST

POLICY_BYTES = 20_480

Document = Mapping[str, Any]

_EMPTY: Document = {"Version": "2012-10-17", "Id": "default", "Statement": []}


def added(function: Function, qualifier: str | None, request: Mapping[str, Any]) -> Function:
    """After AddPermission. Raises NotFound, CallerError, Conflict, PreconditionFailed,
    PolicyTooLong."""
    place = _place(qualifier)
    if request.get("FunctionUrlAuthType") and request["Action"] != "lambda:InvokeFunctionUrl":
        raise CallerError(
            "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action"
        )
    revision = _revision(function, place)
    statement = iam.statement(request, function.key.qualified(qualifier))
    policy = function.policies.get(place)
    _check_revision(request, policy, revision, "GetPolicy")
    held = policy.document if policy else _EMPTY
    sid = request["StatementId"]
    if any(one.get("Sid") == sid for one in held["Statement"]):
        raise Conflict(
            f"The statement id ({sid}) provided already exists. Please provide a new statement "
            "id, or remove the existing statement."
        )
    document = {**held, "Statement": [*held["Statement"], statement]}
    return _with(function, place, _new(function, place, document))


def removed(function: Function, qualifier: str | None, request: Mapping[str, Any]) -> Function:
    """After RemovePermission; the last statement takes the policy with it. Raises NotFound,
    PreconditionFailed."""
    place = qualifier or LATEST
    policy = function.policies.get(place)
    if policy is None:
        raise NotFound("No policy is associated with the given resource.")
    sid = request["StatementId"]
    left = [one for one in policy.statements if one.get("Sid") != sid]
    if len(left) == len(policy.statements):
        raise NotFound(f"Statement {sid} is not found in resource policy.")
    _check_revision(request, policy, "", "GetPolicy")
    if not left:
        return _with(function, place, None)
    document = {**policy.document, "Statement": left}
    new = replace(policy, document=document, revision_id=str(uuid.uuid4()))
    return _with(function, place, new)


def put(
    function: Function, qualifier: str | None, request: Mapping[str, Any], document: Document
) -> Function:
    """After PutResourcePolicy, with its policy read and checked. Raises NotFound, CallerError,
    PreconditionFailed, PolicyTooLong."""
    place = _place(qualifier)
    revision = _revision(function, place)
    _check_revision(request, function.policies.get(place), revision, "GetResourcePolicy")
    return _with(function, place, _new(function, place, document))


def deleted(function: Function, qualifier: str | None, request: Mapping[str, Any]) -> Function:
    """After DeleteResourcePolicy. Raises NotFound, PreconditionFailed."""
    place = qualifier or LATEST
    policy = function.policies.get(place)
    if policy is None:
        raise NotFound("No policy is associated with the given resource.")
    _check_revision(request, policy, "", "GetResourcePolicy")
    return _with(function, place, None)


def _new(function: Function, place: str, document: Document) -> Policy:
    policy = Policy(function.key, place, document, str(uuid.uuid4()))
    size = len(policy.text.encode())
    if size > POLICY_BYTES:
        raise PolicyTooLong(
            f"The final policy size ({size}) is bigger than the limit ({POLICY_BYTES})."
        )
    return policy


def _place(qualifier: str | None) -> str:
    """Where a policy is kept that is to be changed."""
    if qualifier == LATEST:
        raise CallerError("We currently do not support adding policies for $LATEST.")
    return qualifier or LATEST


def _revision(function: Function, place: str) -> str:
    """The RevisionId of what a policy is to hang on; raises NotFound."""
    if place in function.aliases:
        return function.aliases[place].revision_id
    if place in function.versions:
        return str(function.versions[place].configuration["RevisionId"])
    arn = function.key.qualified(place)
    if place.isdigit():
        raise NotFound(f"Function not found: {arn}")
    raise NotFound(f"Cannot find alias arn: {arn}")


def _check_revision(
    request: Mapping[str, Any], policy: Policy | None, revision: str, ask: str
) -> None:
    """`revision`: of what the policy hangs on; `ask`: which operation tells the policy's."""
    current, ask = (policy.revision_id, ask) if policy else (revision, "GetFunction/GetAlias")
    if request.get("RevisionId") not in (None, current):
        raise PreconditionFailed(
            "The Revision Id provided does not match the latest Revision Id. Call the "
            f"{ask} API to retrieve the latest Revision Id"
        )


def _with(function: Function, place: str, policy: Policy | None) -> Function:
    fresh = str(uuid.uuid4())
    held = function.policies
    changed = attachments.added(held, place, policy) if policy else attachments.removed(held, place)
    function = replace(function, policies=changed)
    if place in function.aliases:
        alias = replace(function.aliases[place], revision_id=fresh)
        return replace(function, aliases={**function.aliases, place: alias})
    version = function.versions[place]
    version = replace(version, configuration={**version.configuration, "RevisionId": fresh})
    return replace(function, versions={**function.versions, place: version})
