"""Event invoke configurations: how the events of a function, version or alias are tried again,
and who is told of their end.

Pure functions from a function to the function as it is then. Source: the Lambda API reference,
PutFunctionEventInvokeConfig and its siblings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandbox.catalog.records import EventInvokeConfig, Function
from sandbox.errors import NotFound


def found(function: Function, qualifier: str) -> EventInvokeConfig:
    """What is configured for one of a function's qualifiers; raises NotFound."""
    config = function.event_configs.get(qualifier)
    if config is None:
        arn = function.key.qualified(qualifier)
        raise NotFound(f"The function {arn} doesn't have an EventInvokeConfig")
    return config


def put(function: Function, qualifier: str, request: Mapping[str, Any], *, now: float) -> Function:
    """After PutFunctionEventInvokeConfig: what the request leaves out is not set."""
    blank = EventInvokeConfig(function.key, qualifier, now)
    return _with(function, _merged(blank, request, now))


def updated(
    function: Function, qualifier: str, request: Mapping[str, Any], *, now: float
) -> Function:
    """After UpdateFunctionEventInvokeConfig: what it leaves out stays. Raises NotFound."""
    return _with(function, _merged(found(function, qualifier), request, now))


def deleted(function: Function, qualifier: str) -> Function:
    """After DeleteFunctionEventInvokeConfig; raises NotFound."""
    found(function, qualifier)
    return without(function, qualifier)


def without(function: Function, qualifier: str) -> Function:
    """The function without what is configured for a qualifier, if anything is."""
    left = {name: one for name, one in function.event_configs.items() if name != qualifier}
    return replace(function, event_configs=left)


def _merged(config: EventInvokeConfig, request: Mapping[str, Any], now: float) -> EventInvokeConfig:
    changed = replace(config, last_modified=now)
    if request.get("MaximumRetryAttempts") is not None:
        changed = replace(changed, maximum_retry_attempts=request["MaximumRetryAttempts"])
    if request.get("MaximumEventAgeInSeconds") is not None:
        changed = replace(changed, maximum_event_age=request["MaximumEventAgeInSeconds"])
    destinations = request.get("DestinationConfig")
    if destinations is not None:
        changed = replace(
            changed,
            on_success=_destination(destinations, "OnSuccess"),
            on_failure=_destination(destinations, "OnFailure"),
        )
    return changed


def _destination(destinations: Mapping[str, Any], side: str) -> str | None:
    return (destinations.get(side) or {}).get("Destination") or None


def _with(function: Function, config: EventInvokeConfig) -> Function:
    configs = {**function.event_configs, config.qualifier: config}
    return replace(function, event_configs=dict(sorted(configs.items())))
