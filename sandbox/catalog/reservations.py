"""The rule of reserved concurrency: how much of an account's must stay for everybody."""

from __future__ import annotations

from dataclasses import replace

from sandbox.catalog.records import Function
from sandbox.errors import CallerError

LEAST_UNRESERVED = 100
"""Concurrent calls of an account, in a region, that no function may reserve."""


def reserving(function: Function, wanted: int | None, *, others: int, most: int | None) -> Function:
    """The function with so many calls reserved; None: it shares what nobody has reserved.

    Raises CallerError when it would, with what `others` reserve, be more than `most`.
    """
    # 0 stops a function, which must always be possible
    if wanted and most is not None and others + wanted > most:
        raise CallerError(
            "Specified ReservedConcurrentExecutions for function decreases account's "
            f"UnreservedConcurrentExecution below its minimum value of [{LEAST_UNRESERVED}]."
        )
    return replace(function, reserved_concurrency=wanted)
