"""Publishing: a version made of $LATEST, under the next number or as `$LATEST.PUBLISHED`.

Pure functions from a function to the function as it is then. Source: the Lambda API reference,
PublishVersion, and `Publish` and `PublishTo` of CreateFunction and UpdateFunctionCode.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandbox.catalog import documents
from sandbox.catalog.records import Function, Version, version_order
from sandbox.names import LATEST_PUBLISHED

Request = Mapping[str, Any]


def published(function: Function, request: Request, now: float) -> Function:
    """With a version made of $LATEST, unless the last one is the same.

    PublishTo names the one version that is not numbered: what it was before is replaced.
    """
    latest, last = function.latest, function.versions.get(_last_name(function, request))
    if last and documents.same_content(last.configuration, latest.configuration):
        return function
    number = function.last_version + 1
    name = LATEST_PUBLISHED if request.get("PublishTo") else str(number)
    document = documents.published(latest.configuration, name, request.get("Description"), now)
    version = replace(latest, version=name, configuration=document, revision=uuid.uuid4().hex)
    versions = {**function.versions, name: version}
    return replace(
        function,
        versions=dict(sorted(versions.items(), key=lambda item: version_order(item[0]))),
        last_version=function.last_version if request.get("PublishTo") else number,
    )


def last(function: Function, request: Request) -> Version:
    """What `published` has made, or found to be the same."""
    return function.versions[_last_name(function, request)]


def changed(function: Function, request: Request, now: float) -> Function:
    """A function that was created or updated, published when the request asks for that too."""
    return published(function, request, now) if _asked_for(request) else function


def answered(function: Function, request: Request) -> Version:
    """What the answer to a creation or an update tells: what was published, else $LATEST."""
    return last(function, request) if _asked_for(request) else function.latest


def _asked_for(request: Request) -> bool:
    return bool(request.get("Publish") or request.get("PublishTo"))


def _last_name(function: Function, request: Request) -> str:
    return LATEST_PUBLISHED if request.get("PublishTo") else str(function.last_version)
