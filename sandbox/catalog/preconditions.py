"""What has to hold before a function is changed, in Lambda's words. Source: observed answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.catalog.records import Function, Version
from sandbox.errors import Conflict, NotFound, PreconditionFailed
from sandbox.names import FunctionKey


def not_found(key: FunctionKey, qualifier: str | None = None) -> NotFound:
    """The error for a function, or a qualifier of it, that is not there."""
    return NotFound(f"Function not found: {key.qualified(qualifier)}")


def existing(function: Function | None, key: FunctionKey) -> Function:
    """The function; raises NotFound when there is none."""
    if function is None:
        raise not_found(key)
    return function


def refuse_existing(function: Function | None) -> None:
    """Raise Conflict when there is one already."""
    if function is not None:
        raise Conflict(f"Function already exist: {function.key.name}")


def refuse_busy(function: Function) -> None:
    """Raise Conflict while $LATEST is created or updated."""
    latest = function.latest
    if latest.state == "Pending":
        raise Conflict(
            "The operation cannot be performed at this time. "
            "The function is currently in the following state: Pending"
        )
    if not latest.settled:
        raise Conflict(
            "The operation cannot be performed at this time. "
            f"An update is in progress for resource: {function.key.arn}"
        )


def check_revision(request: Mapping[str, Any], current: str) -> None:
    """Raise PreconditionFailed when the request is about another RevisionId."""
    if request.get("RevisionId") not in (None, current):
        raise PreconditionFailed(
            "The Revision Id provided does not match the latest Revision Id. Call the "
            "GetFunction/GetAlias API to retrieve the latest Revision Id"
        )


def updatable(function: Function, request: Mapping[str, Any]) -> Version:
    """$LATEST, when it may be updated now by this request."""
    refuse_busy(function)
    check_revision(request, function.latest.configuration["RevisionId"])
    return function.latest
