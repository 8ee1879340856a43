"""Functions in a catalog, and what it says when it refuses something."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.catalog import Catalog, Version
from sandbox.errors import FnboxError
from sandbox.names import LATEST, FunctionKey, FunctionReference
from tests.support.api import zip_bytes

KEY = FunctionKey("000000000000", "us-east-1", "f")
FN = "arn:aws:lambda:us-east-1:000000000000:function:f"
STALE = (
    "The Revision Id provided does not match the latest Revision Id. Call the "
    "GetFunction/GetAlias API to retrieve the latest Revision Id"
)


def zipped(text: str = "x = 1\n") -> bytes:
    return zip_bytes({"app.py": text})


REQUEST: dict[str, Any] = {
    "Runtime": "python3.13",
    "Handler": "app.handler",
    "Role": "arn:aws:iam::000000000000:role/r",
    "Code": {"ZipFile": zipped()},
}


def ref(qualifier: str | None = None, key: FunctionKey = KEY) -> FunctionReference:
    return FunctionReference(key, qualifier)


def revision_id(catalog: Catalog) -> str:
    return str(catalog.function(KEY).latest.configuration["RevisionId"])


def update(catalog: Catalog, **members: Any) -> Version | None:
    catalog.update_configuration(KEY, members)
    return catalog.activate(KEY, LATEST)


def publish(catalog: Catalog, text: str, **members: Any) -> Version:
    """A version with other code than all before."""
    catalog.update_code(KEY, {"ZipFile": zipped(text)})
    catalog.activate(KEY, LATEST)
    return catalog.publish_version(KEY, members)


def refused(kind: type[FnboxError], text: str, call: Any, *arguments: Any) -> None:
    with pytest.raises(kind) as refusal:
        call(*arguments)
    assert type(refusal.value) is kind
    assert str(refusal.value) == text
