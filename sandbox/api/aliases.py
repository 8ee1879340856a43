"""Aliases: names for versions."""

from __future__ import annotations

from typing import Any

from sandbox.api.paging import page
from sandbox.api.rules import unqualified_key
from sandbox.api.services import Call, Implementation
from sandbox.catalog import Alias

PAGE = 10_000


def create_alias(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    return call.services.catalog.create_alias(unqualified_key(call, members), members).document


def get_alias(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    return call.services.catalog.alias(unqualified_key(call, members), members["Name"]).document


def update_alias(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key = unqualified_key(call, members)
    return call.services.catalog.update_alias(key, members["Name"], members).document


def delete_alias(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    call.services.catalog.delete_alias(unqualified_key(call, members), members["Name"])
    return {}


def list_aliases(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """By name; only those that point to `FunctionVersion` when it is given."""
    function = call.services.catalog.function(unqualified_key(call, members))
    wanted = members.get("FunctionVersion")
    aliases = [
        alias
        for alias in function.aliases.values()
        if wanted is None or wanted == alias.function_version or wanted in alias.weights
    ]
    found, more = page(aliases, _place, members, highest=PAGE)
    return {"Aliases": [alias.document for alias in found], **more}


def _place(alias: Alias) -> list[Any]:
    return [alias.name]


OPERATIONS: dict[str, Implementation] = {
    "CreateAlias": create_alias,
    "DeleteAlias": delete_alias,
    "GetAlias": get_alias,
    "ListAliases": list_aliases,
    "UpdateAlias": update_alias,
}
