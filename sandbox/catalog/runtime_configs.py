"""When a version gets a newer runtime: Put and GetRuntimeManagementConfig.

Here a runtime is an image, and changes when that is built anew; what is configured is kept and
answered. A function that names a runtime version (`Manual`) has it in its configuration and in
its log. Source: the Lambda API reference. Texts that no capture shows are ours.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandbox.catalog import attachments, documents
from sandbox.catalog.attachments import RuntimeManagement
from sandbox.catalog.records import Function, Version
from sandbox.errors import CallerError, NotFound
from sandbox.names import LATEST


def found(function: Function, qualifier: str | None) -> RuntimeManagement:
    """What holds for a version; `Auto` where nobody has said. Raises NotFound, CallerError."""
    place = _version(function, qualifier).version
    blank = RuntimeManagement(function.key, place, "Auto", None)
    return function.runtime_management.get(place, blank)


def put(function: Function, qualifier: str | None, request: Mapping[str, Any]) -> Function:
    """After PutRuntimeManagementConfig. Raises NotFound, CallerError."""
    version = _version(function, qualifier)
    update_on, arn = request["UpdateRuntimeOn"], request.get("RuntimeVersionArn")
    if update_on == "Manual":
        if not arn:
            raise CallerError(
                "RuntimeVersionArn is required when UpdateRuntimeOn is set to Manual."
            )
        if version.package_type == "Image":
            raise CallerError("A container image has no runtime version to choose.")
    elif arn:
        raise CallerError(
            "RuntimeVersionArn can only be given when UpdateRuntimeOn is set to Manual."
        )
    config = RuntimeManagement(function.key, version.version, update_on, arn)
    changed = attachments.added(function.runtime_management, version.version, config)
    return _showing(replace(function, runtime_management=changed), version, arn)


def _version(function: Function, qualifier: str | None) -> Version:
    version = function.versions.get(qualifier or LATEST)
    if version is not None:
        return version
    if qualifier in function.aliases:
        raise CallerError("Runtime management is configured for $LATEST and for versions only.")
    raise NotFound(f"Function not found: {function.key.qualified(qualifier)}")


def _showing(function: Function, version: Version, arn: str | None) -> Function:
    """With the runtime version in the configuration that is chosen, or else the latest."""
    if version.runtime is None:
        return function
    shown = documents.runtime_version(version.runtime, function.key, arn)
    document = {**version.configuration, "RuntimeVersionConfig": shown}
    if document == version.configuration:
        return function
    document["RevisionId"] = str(uuid.uuid4())
    versions = {**function.versions, version.version: replace(version, configuration=document)}
    return replace(function, versions=versions)
