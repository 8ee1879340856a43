"""What functions keep of their account's concurrency: the rule of what they may reserve."""

from __future__ import annotations

from dataclasses import replace

from sandbox.catalog.records import Function
from sandbox.errors import CallerError

LEAST_UNRESERVED = 100
"""Concurrent calls of an account, in a region, that no function may keep for itself."""


def provisioned_total(function: Function) -> int:
    """The concurrency that all of a function's versions have provisioned."""
    return sum(config.requested for config in function.provisioned.values())


def kept(function: Function | None) -> int:
    """The concurrent calls that are a function's alone: those that it reserves, of which those
    that it provisions are a part, else those that it provisions."""
    if function is None:
        return 0
    reserved = function.reserved_concurrency
    return provisioned_total(function) if reserved is None else reserved


def reserving(function: Function, wanted: int | None, *, others: int, most: int | None) -> Function:
    """The function with so many calls reserved; None: it shares what nobody has reserved.

    Raises CallerError when it would, with what `others` keep, be more than `most`, or less than
    the function has provisioned.
    """
    if wanted is not None and wanted < provisioned_total(function):
        raise CallerError(  # with Lambda's own spaces
            f" ReservedConcurrentExecutions  {wanted} should not be lower than function's total "
            f"provisioned concurrency [{provisioned_total(function)}]."
        )
    # 0 stops a function, which must always be possible
    if wanted and most is not None and others + wanted > most:
        raise CallerError(
            "Specified ReservedConcurrentExecutions for function decreases account's "
            f"UnreservedConcurrentExecution below its minimum value of [{LEAST_UNRESERVED}]."
        )
    return replace(function, reserved_concurrency=wanted)
