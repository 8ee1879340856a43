"""Runtime management of versions. Source: the Lambda API reference."""

from __future__ import annotations

from functools import partial
from typing import Any

from sandbox.api.rules import reference_of
from sandbox.api.services import Call, Implementation
from sandbox.catalog import RuntimeManagement, runtime_configs
from sandbox.names import FunctionReference


def put_runtime_management_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    reference = reference_of(call, members)
    change = partial(runtime_configs.put, qualifier=reference.qualifier, request=members)
    function = call.services.catalog.attach(reference.key, change)
    return _answer(reference, runtime_configs.found(function, reference.qualifier))


def get_runtime_management_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """`Auto` where nothing was put."""
    reference = reference_of(call, members)
    function = call.services.catalog.function(reference.key)
    return _answer(reference, runtime_configs.found(function, reference.qualifier))


def _answer(reference: FunctionReference, config: RuntimeManagement) -> dict[str, Any]:
    answer = {"UpdateRuntimeOn": config.update_on, "FunctionArn": reference.arn}
    arn = config.runtime_version_arn
    return answer | ({"RuntimeVersionArn": arn} if arn else {})


OPERATIONS: dict[str, Implementation] = {
    "GetRuntimeManagementConfig": get_runtime_management_config,
    "PutRuntimeManagementConfig": put_runtime_management_config,
}
