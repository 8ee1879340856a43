"""The account: its limits, its use, and the concurrency that functions reserve of it."""

from __future__ import annotations

from typing import Any

from sandbox.api.rules import unqualified_key
from sandbox.api.services import Call, Implementation
from sandbox.catalog import Function
from sandbox.catalog.reservations import LEAST_UNRESERVED
from sandbox.errors import NotFound
from sandbox.names import LATEST, FunctionKey

TOTAL_CODE_BYTES = 322_122_547_200
UNZIPPED_BYTES = 262_144_000
ZIPPED_BYTES = 52_428_800


def get_account_settings(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Of the caller's account in the caller's region."""
    account, region = call.context.account, call.context.region
    functions = call.services.catalog.functions(account, region)
    layers = call.services.catalog.layers.layers(account, region)
    concurrency = call.services.settings.account_concurrency
    reserved = call.services.catalog.reserved(account, region)
    return {
        "AccountLimit": {
            "TotalCodeSize": TOTAL_CODE_BYTES,
            "CodeSizeUnzipped": UNZIPPED_BYTES,
            "CodeSizeZipped": ZIPPED_BYTES,
            "ConcurrentExecutions": concurrency,
            "UnreservedConcurrentExecutions": concurrency - reserved,
        },
        "AccountUsage": {
            "TotalCodeSize": sum(
                version.code.size
                for function in functions
                for version in function.versions.values()
                if version.code is not None
            )
            + sum(version.code.size for layer in layers for version in layer.versions.values()),
            "FunctionCount": len(functions),
        },
    }


def put_function_concurrency(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    function = _function(call, members)
    wanted: int = members["ReservedConcurrentExecutions"]
    most = call.services.settings.account_concurrency - LEAST_UNRESERVED
    call.services.catalog.put_concurrency(function.key, wanted, most=most)
    return {"ReservedConcurrentExecutions": wanted}


def get_function_concurrency(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    reserved = _function(call, members).reserved_concurrency
    return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}


def delete_function_concurrency(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    call.services.catalog.put_concurrency(_function(call, members).key, None)
    return {}


def _function(call: Call, members: dict[str, Any]) -> Function:
    key: FunctionKey = unqualified_key(call, members)
    try:
        return call.services.catalog.function(key)
    except NotFound as error:
        # these operations alone print the qualifier
        raise NotFound(f"Function not found: {key.qualified(LATEST)}") from error


OPERATIONS: dict[str, Implementation] = {
    "DeleteFunctionConcurrency": delete_function_concurrency,
    "GetAccountSettings": get_account_settings,
    "GetFunctionConcurrency": get_function_concurrency,
    "PutFunctionConcurrency": put_function_concurrency,
}
