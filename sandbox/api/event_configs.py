"""Event invoke configurations: retries, age and destinations of events, by qualifier.

Source: the Lambda API reference and observed answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sandbox.api.paging import page
from sandbox.api.rules import reference_of, unqualified_key
from sandbox.api.services import Call, Implementation
from sandbox.catalog import EventInvokeConfig, Function, event_configs
from sandbox.errors import CallerError, NotFound
from sandbox.names import LATEST, FunctionKey, function_of_arn

PAGE = 50
_SETTINGS = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
_SERVICES = {
    "OnSuccess": ("sqs", "sns", "lambda", "events"),
    "OnFailure": ("sqs", "sns", "lambda", "events", "s3"),
}


def put_function_event_invoke_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Replaces the whole configuration of a qualifier."""
    key, qualifier = _configurable(call, members)
    change = partial(
        event_configs.put, qualifier=qualifier, request=members, now=call.services.clock.wall()
    )
    function = call.services.catalog.attach(key, change)
    return function.event_configs[qualifier].document


def update_function_event_invoke_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Changes what is given; NotFound when nothing was configured before."""
    key, qualifier = _configurable(call, members)
    change = partial(
        event_configs.updated, qualifier=qualifier, request=members, now=call.services.clock.wall()
    )
    function = call.services.catalog.attach(key, change)
    return function.event_configs[qualifier].document


def get_function_event_invoke_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    reference = reference_of(call, members)
    function = _function(call, reference.key)
    return event_configs.found(function, reference.qualifier or LATEST).document


def delete_function_event_invoke_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    reference = reference_of(call, members)
    _function(call, reference.key)
    change = partial(event_configs.deleted, qualifier=reference.qualifier or LATEST)
    call.services.catalog.attach(reference.key, change)
    return {}


def list_function_event_invoke_configs(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """By qualifier."""
    function = _function(call, unqualified_key(call, members))
    configs = list(function.event_configs.values())
    found, more = page(configs, _place, members, highest=PAGE)
    return {"FunctionEventInvokeConfigs": [config.document for config in found], **more}


def _configurable(call: Call, members: Mapping[str, Any]) -> tuple[FunctionKey, str]:
    """The function and qualifier of a request that may change them as it says."""
    if all(members.get(member) is None for member in _SETTINGS):
        raise CallerError("You must specify at least one of error handling or destination setting.")
    reference = reference_of(call, members)
    function = _function(call, reference.key)
    qualifier = reference.qualifier or LATEST
    if qualifier not in function.versions and qualifier not in function.aliases:
        raise _missing()
    _check_destinations(call, reference.key, members.get("DestinationConfig") or {})
    return reference.key, qualifier


def _function(call: Call, key: FunctionKey) -> Function:
    try:
        return call.services.catalog.function(key)
    except NotFound as error:
        raise _missing() from error


def _missing() -> NotFound:
    return NotFound("The function doesn't exist.")


def _check_destinations(call: Call, key: FunctionKey, config: Mapping[str, Any]) -> None:
    arns = {side: (config.get(side) or {}).get("Destination") for side in _SERVICES}
    for side in ("OnFailure", "OnSuccess"):
        arn = arns[side]
        if arn and arn.split(":")[2:3] == ["lambda"]:
            _check_function(call, key, arn)
    if any(arn and not _possible(arn, _SERVICES[side]) for side, arn in arns.items()):
        shown = ", ".join(
            f"on{side[2:]}={f'{side}(destination={arn})' if arn else 'null'}"
            for side, arn in arns.items()
        )
        raise CallerError(f"The provided destination config DestinationConfig({shown}) is invalid.")


def _possible(arn: str, services: tuple[str, ...]) -> bool:
    """Whether an ARN is of a service that takes records; FIFO queues and topics do not."""
    return arn.startswith("arn:") and arn.split(":")[2] in services and not arn.endswith(".fifo")


def _check_function(call: Call, key: FunctionKey, arn: str) -> None:
    invalid = f"The destination ARN {arn} is invalid."
    try:
        target = function_of_arn(arn)
        call.services.catalog.version(target)
    except (CallerError, NotFound) as error:
        raise CallerError(invalid) from error
    if target.key == key:
        raise CallerError("You can't specify the function as a destination for itself.")


def _place(config: EventInvokeConfig) -> list[Any]:
    return [config.qualifier]


OPERATIONS: dict[str, Implementation] = {
    "DeleteFunctionEventInvokeConfig": delete_function_event_invoke_config,
    "GetFunctionEventInvokeConfig": get_function_event_invoke_config,
    "ListFunctionEventInvokeConfigs": list_function_event_invoke_configs,
    "PutFunctionEventInvokeConfig": put_function_event_invoke_config,
    "UpdateFunctionEventInvokeConfig": update_function_event_invoke_config,
}
