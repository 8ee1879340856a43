"""The rules of aliases. Source: CreateAlias, UpdateAlias and Lambda's observed answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandbox.catalog.records import Alias, Function
from sandbox.errors import CallerError, NotFound
from sandbox.names import LATEST


def created(function: Function, request: Mapping[str, Any]) -> Alias:
    """The alias that CreateAlias asks for; raises CallerError or NotFound."""
    blank = Alias(function.key, request["Name"], request["FunctionVersion"], "", {}, "")
    return updated(function, blank, request)


def updated(function: Function, alias: Alias, request: Mapping[str, Any]) -> Alias:
    """The alias after UpdateAlias: what is absent stays, an empty RoutingConfig ends routing."""
    changed = replace(alias, revision_id=str(uuid.uuid4()))
    if request.get("FunctionVersion") is not None:
        changed = replace(changed, function_version=request["FunctionVersion"])
    if request.get("Description") is not None:
        changed = replace(changed, description=request["Description"])
    if request.get("RoutingConfig") is not None:
        weights = request["RoutingConfig"].get("AdditionalVersionWeights") or {}
        changed = replace(changed, weights=dict(weights))
    _check(function, changed)
    return changed


def _check(function: Function, alias: Alias) -> None:
    main = alias.function_version
    if len(alias.weights) > 1:
        raise CallerError("Number of items in AdditionalVersionWeights cannot be greater than 1")
    if main in alias.weights:
        raise CallerError(
            f"Invalid function version {main}. Function version {main} is already included in "
            "routing configuration."
        )
    if alias.weights and LATEST in (main, *alias.weights):
        raise CallerError("$LATEST is not supported for an alias pointing to more than 1 version")
    for version in (main, *alias.weights):
        if version not in function.versions:
            raise NotFound(f"Function not found: {function.key.qualified(version)}")
