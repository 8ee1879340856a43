"""What becomes of a function that calls itself again and again: it is stopped, or allowed to."""

from __future__ import annotations

from typing import Any

from sandbox.api.rules import unqualified_key
from sandbox.api.services import Call, Implementation


def get_function_recursion_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """`Terminate` unless another was put."""
    function = call.services.catalog.function(unqualified_key(call, members))
    return {"RecursiveLoop": function.recursive_loop}


def put_function_recursion_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """`Terminate` or `Allow`; also for chains of calls that are under way."""
    key = unqualified_key(call, members)
    call.services.catalog.put_recursive_loop(key, members["RecursiveLoop"])
    return {"RecursiveLoop": members["RecursiveLoop"]}


OPERATIONS: dict[str, Implementation] = {
    "GetFunctionRecursionConfig": get_function_recursion_config,
    "PutFunctionRecursionConfig": put_function_recursion_config,
}
