"""Pages of a list: `Marker` and `MaxItems` in, `NextMarker` out.

A marker says after which item to go on, so that items that come or go between two
requests are neither repeated nor skipped.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sandbox.errors import CallerError

T = TypeVar("T")
Key = list[Any]
"""A sort key of JSON values: every item of a list has one of the same shape."""


def page(
    items: Sequence[T],
    key: Callable[[T], Key],
    members: Mapping[str, Any],
    *,
    highest: int,
) -> tuple[Sequence[T], dict[str, str]]:
    """The items asked for, and the answer's `NextMarker` member when there are more.

    `items` are in the order of `key`; `highest` is the longest page whatever was asked.
    """
    start = 0
    marker = members.get("Marker")
    if marker:
        after = _read(marker)
        try:
            start = bisect.bisect_right(items, after, key=key)
        except TypeError as error:
            raise _invalid() from error
    end = start + min(members.get("MaxItems", highest), highest)
    if end >= len(items):
        return items[start:], {}
    return items[start:end], {"NextMarker": _write(key(items[end - 1]))}


def _write(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode()


def _read(marker: str) -> Key:
    try:
        key = json.loads(base64.urlsafe_b64decode(marker.encode("ascii")))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _invalid() from error
    if not isinstance(key, list):
        raise _invalid()
    return key


def _invalid() -> CallerError:
    return CallerError("The provided Marker is not one that this operation returned.")
