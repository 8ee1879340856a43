"""Provisioned concurrency: how many environments of a version or an alias are to be ready.

Pure functions from a function to the function as it is then. Source: the Lambda API reference,
PutProvisionedConcurrencyConfig, and observed answers; the texts that say so are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from sandbox.catalog.attachments import ProvisionedConcurrency, added, removed
from sandbox.catalog.records import Alias, Function
from sandbox.catalog.reservations import LEAST_UNRESERVED, provisioned_total
from sandbox.errors import CallerError, Conflict, NotFound
from sandbox.names import LATEST


def put(
    function: Function, qualifier: str, requested: int, *, now: float, account: int, others: int
) -> Function:
    """After PutProvisionedConcurrencyConfig, in an account of which other functions keep `others`.

    Raises NotFound, Conflict, CallerError.
    """
    check_qualifier(function, qualifier)
    if LATEST in reached(function, qualifier):
        raise unpublished()
    _refuse_shared(function, qualifier)
    for version in reached(function, qualifier):
        snap_start = function.versions[version].configuration.get("SnapStart") or {}
        if snap_start.get("ApplyOn") == "PublishedVersions":  # the text is ours
            raise CallerError("Provisioned Concurrency is not supported for SnapStart functions.")
        if function.versions[version].configuration.get("TenancyConfig"):  # and so is this
            raise CallerError(
                "Provisioned Concurrency is not supported for functions with a TenancyConfig."
            )
    former = function.provisioned.get(qualifier)
    _check_room(
        function,
        requested,
        provisioned_total(function) - (former.requested if former else 0),
        account=account,
        others=others,
    )
    config = ProvisionedConcurrency(function.key, qualifier, requested, now)
    return replace(function, provisioned=added(function.provisioned, qualifier, config))


def without(function: Function, qualifier: str) -> Function:
    """The function without what is provisioned for a qualifier, if anything is."""
    if qualifier not in function.provisioned:
        return function
    return replace(function, provisioned=removed(function.provisioned, qualifier))


def check_qualifier(function: Function, qualifier: str) -> None:
    """Raise NotFound, with Lambda's text, unless it is a version or an alias of the function."""
    if qualifier in function.versions or qualifier in function.aliases:
        return
    if qualifier.isdigit() or qualifier == LATEST:
        raise NotFound(f"Function not found: {function.key.qualified(qualifier)}")
    raise NotFound(f"Cannot find alias arn: {function.key.qualified(qualifier)}")


def check_alias(function: Function, alias: Alias) -> None:
    """Raise what keeps an alias that has provisioned concurrency from being changed into `alias`.

    CallerError for $LATEST, Conflict for a version that has its own.
    """
    if alias.name not in function.provisioned:
        return
    if LATEST in (alias.function_version, *alias.weights):
        raise unpublished()
    _refuse_shared(replace(function, aliases={**function.aliases, alias.name: alias}), alias.name)


def reached(function: Function, qualifier: str) -> tuple[str, ...]:
    """The versions that calls of a version or an alias may run."""
    alias = function.aliases.get(qualifier)
    return (qualifier,) if alias is None else (alias.function_version, *alias.weights)


def shares(function: Function, qualifier: str) -> Mapping[str, int]:
    """What is provisioned for a qualifier, by version: for an alias with weights in proportion,
    and at least one for each version that it may call, as long as there are two."""
    config = function.provisioned[qualifier]
    alias = function.aliases.get(qualifier)
    if alias is None:
        return {qualifier: config.requested}
    counts = {}
    left = config.requested
    for version, weight in alias.weights.items():
        share = round(config.requested * weight)
        if config.requested > 1:
            share = min(max(share, int(weight > 0)), config.requested - int(weight < 1))
        counts[version] = share
        left -= share
    return {alias.function_version: left, **counts}


def targets(function: Function) -> Mapping[str, int]:
    """How many environments each version is to have ready."""
    wanted: Counter[str] = Counter()
    for qualifier in function.provisioned:
        wanted.update(shares(function, qualifier))
    return wanted


def _check_room(
    function: Function, requested: int, provisioned: int, *, account: int, others: int
) -> None:
    """`provisioned` is what the function's other qualifiers have."""
    if function.reserved_concurrency is not None:
        if requested + provisioned > function.reserved_concurrency:
            raise CallerError(
                "Requested Provisioned Concurrency should not be greater than the "
                "reservedConcurrentExecution for function"
            )
        return
    unreserved = account - others - provisioned
    if requested > unreserved:
        raise CallerError(
            "Specified ConcurrentExecutions for function is greater than account's unreserved "
            f"concurrency [{max(0, unreserved)}]."
        )
    if unreserved - requested < LEAST_UNRESERVED:
        raise CallerError(
            "Specified ConcurrentExecutions for function decreases account's "
            f"UnreservedConcurrentExecution below its minimum value of [{LEAST_UNRESERVED}]."
        )


def _refuse_shared(function: Function, qualifier: str) -> None:
    """A version may have provisioned concurrency once: its own, or that of one alias."""
    own = set(reached(function, qualifier))
    for other in function.provisioned:
        if other != qualifier and own.intersection(reached(function, other)):
            raise Conflict(
                "Alias can't be used for Provisioned Concurrency configuration on an already "
                "Provisioned version"
                if qualifier in function.aliases
                else "Version is pointed by a Provisioned Concurrency alias"
            )


def unpublished() -> CallerError:
    """The refusal of `$LATEST`."""
    return CallerError(
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    )
