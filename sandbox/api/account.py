"""The account: its limits and its use."""

from __future__ import annotations

from typing import Any

from sandbox.api.services import Call, Implementation

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


OPERATIONS: dict[str, Implementation] = {
    "GetAccountSettings": get_account_settings,
}
