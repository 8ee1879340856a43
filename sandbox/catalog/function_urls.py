"""Function URLs as they are configured, one for a function and one for each of its aliases.

Pure functions from a function to the function as it is then. Source: the Lambda API reference,
CreateFunctionUrlConfig and its siblings, and observed answers.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandbox.catalog import attachments
from sandbox.catalog.attachments import FunctionUrl
from sandbox.catalog.records import Function
from sandbox.errors import CallerError, Conflict, NotFound
from sandbox.names import LATEST


def new_id() -> str:
    """32 lower-case letters and digits, which nobody can guess."""
    return base64.b32encode(os.urandom(20)).decode().lower()


def found(function: Function, qualifier: str | None) -> FunctionUrl:
    """The URL of a function, or of one of its aliases; raises NotFound."""
    url = function.urls.get(qualifier or LATEST)
    if url is None:
        raise NotFound("The resource you requested does not exist.")
    return url


def created(
    function: Function,
    qualifier: str | None,
    request: Mapping[str, Any],
    url_id: str,
    *,
    now: float,
) -> Function:
    """After CreateFunctionUrlConfig. Raises NotFound for the alias, Conflict, CallerError."""
    if qualifier is not None and qualifier not in function.aliases:
        raise NotFound("Function does not exist")
    if "TenancyConfig" in function.latest.configuration:
        # Lambda documents that they exclude each other, not the text
        raise CallerError("Function URLs are not supported for functions with tenant isolation.")
    arn = function.key.qualified(qualifier)
    if (qualifier or LATEST) in function.urls:
        raise Conflict(
            f"Failed to create function url config for [functionArn = {arn}]. Error message:  "
            "FunctionUrlConfig exists for this Lambda function"
        )
    return _with(
        function,
        FunctionUrl(
            function.key,
            qualifier or LATEST,
            url_id,
            request["AuthType"],
            request.get("Cors") or {},
            request.get("InvokeMode"),
            now,
            now,
        ),
    )


def updated(
    function: Function, qualifier: str | None, request: Mapping[str, Any], *, now: float
) -> Function:
    """After UpdateFunctionUrlConfig: what it leaves out stays, Cors is replaced whole. NotFound."""
    url = found(function, qualifier)
    return _with(
        function,
        replace(
            url,
            auth_type=request.get("AuthType") or url.auth_type,
            cors=url.cors if request.get("Cors") is None else request["Cors"],
            invoke_mode=request.get("InvokeMode") or url.invoke_mode,
            modified_at=now,
        ),
    )


def deleted(function: Function, qualifier: str | None) -> Function:
    """After DeleteFunctionUrlConfig; raises NotFound."""
    url = found(function, qualifier)
    return replace(function, urls=attachments.removed(function.urls, url.qualifier))


def _with(function: Function, url: FunctionUrl) -> Function:
    return replace(function, urls=attachments.added(function.urls, url.qualifier, url))
