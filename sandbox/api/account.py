"""The account: its limits and its use."""

from __future__ import annotations

from typing import Any

from sandbox.api.services import Call, Implementation

UNZIPPED_BYTES = 262_144_000
ZIPPED_BYTES = 52_428_800


def get_account_settings(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Of the caller's account in the caller's region."""
    account, region = call.context.account, call.context.region
    used = call.services.catalog.room.of(account, region)
    concurrency = call.services.limits.concurrency(account)
    reserved = call.services.catalog.reserved(account, region)
    return {
        "AccountLimit": {
            "TotalCodeSize": call.services.limits.code_storage_bytes(account),
            "CodeSizeUnzipped": UNZIPPED_BYTES,
            "CodeSizeZipped": ZIPPED_BYTES,
            "ConcurrentExecutions": concurrency,
            "UnreservedConcurrentExecutions": concurrency - reserved,
        },
        "AccountUsage": {"TotalCodeSize": used.code_bytes, "FunctionCount": used.functions},
    }


OPERATIONS: dict[str, Implementation] = {
    "GetAccountSettings": get_account_settings,
}
