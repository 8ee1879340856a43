"""Published versions of a function."""

from __future__ import annotations

from typing import Any

from sandbox.api.functions import settle
from sandbox.api.paging import page
from sandbox.api.rules import reference_of, unqualified_key
from sandbox.api.services import Call, Implementation
from sandbox.catalog import Version
from sandbox.catalog.documents import listed
from sandbox.catalog.records import version_order

PAGE = 50


def publish_version(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """A snapshot of `$LATEST`; the last version again when nothing changed since."""
    key = unqualified_key(call, members)
    version = call.services.catalog.publish_version(key, members)
    settle(call, key)
    return dict(version.configuration)


def list_versions_by_function(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """`$LATEST` first, then the oldest."""
    key, _ = reference_of(call, members)
    versions = list(call.services.catalog.function(key).versions.values())
    found, more = page(versions, _place, members, highest=PAGE)
    return {"Versions": [listed(version.described(version.version)) for version in found], **more}


def _place(version: Version) -> list[Any]:
    return [version_order(version.version)]


OPERATIONS: dict[str, Implementation] = {
    "ListVersionsByFunction": list_versions_by_function,
    "PublishVersion": publish_version,
}
