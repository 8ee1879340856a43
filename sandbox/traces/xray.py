"""What X-Ray's SDKs send to the daemon: a line that says the format, then a document in JSON.

Nothing here trusts the sender: whatever is no segment, or belongs to another trace, is None
or left out. Source: the AWS X-Ray developer guide, "segment documents" and "sending segment
documents to the daemon".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Document = dict[str, Any]
"""A segment or a subsegment, with its own under `subsegments`."""

DEPTH = 32
"""Subsegments that are nested deeper are left out."""

_LEVELS = 4 * DEPTH
"""Of lists and objects in a document: to write more of them as JSON may fail."""

_ID = re.compile(r"[0-9a-f]{16}")


def parse(datagram: bytes) -> Document | None:
    """The document in a datagram; None when it holds none."""
    head, _, body = datagram.partition(b"\n")
    try:
        header, document = _load(head), _load(body)
    except (ValueError, RecursionError):
        return None
    if header != {"format": "json", "version": 1} or not isinstance(document, dict):
        return None
    if _deeper(document, _LEVELS):
        return None
    return _checked(document, DEPTH)


def graft(datagrams: Iterable[bytes], root: str, parent: str, onto: Document) -> int:
    """Hang the documents of a trace below `onto`: those whose parent is none of them, as the
    segment `parent` that the function was told of. How many datagrams held nothing for it.

    One that was sent in progress and again when it had ended is there once.
    """
    found: dict[str, Document] = {}
    ignored = 0
    for datagram in datagrams:
        document = parse(datagram)
        if document is None or document.get("trace_id", root) != root:
            ignored += 1
            continue
        known = found.get(document["id"])
        if known is None or known.get("in_progress"):
            found[document["id"]] = document
    places: dict[str, Document] = {}
    for document in found.values():
        for at in _flat(document):
            places.setdefault(at["id"], at)
    for document in found.values():
        above = places.get(document.get("parent_id", parent))
        if above is None or any(at is above for at in _flat(document)):
            above = onto
        above.setdefault("subsegments", []).append(document)
    levels = [(onto, 0)]
    while levels:
        at, depth = levels.pop()
        if depth == DEPTH:
            at.pop("subsegments", None)
        below = at.get("subsegments", [])
        below.sort(key=lambda document: document["start_time"])
        levels += [(document, depth + 1) for document in below]
    return ignored


def _load(text: bytes) -> Any:
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested by more than that."""
    row = [value]
    while row and levels:
        levels -= 1
        nested = [one for one in row if isinstance(one, dict | list)]
        row = [
            inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return any(isinstance(one, dict | list) for one in row)


def _checked(document: Document, depth: int) -> Document | None:
    """The document with those of its members that have to be sound; None when they are not."""
    if not all(sound(document.get(name)) for name, sound in _SOUND.items()):
        return None
    checked = {name: value for name, value in document.items() if name != "subsegments"}
    below = document.get("subsegments")
    if isinstance(below, list) and depth:
        kept = [_checked(one, depth - 1) for one in below if isinstance(one, dict)]
        checked["subsegments"] = [one for one in kept if one is not None]
    return checked


def _is_time(value: object) -> bool:
    """Unix time in seconds."""
    return isinstance(value, int | float) and 0 <= value < 1e11


_SOUND: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "id": lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None,
    "start_time": _is_time,
    "end_time": lambda value: value is None or _is_time(value),
    "trace_id": lambda value: value is None or isinstance(value, str),
    "parent_id": lambda value: value is None or isinstance(value, str),
}


def _flat(document: Document) -> Iterator[Document]:
    left = [document]
    while left:
        at = left.pop()
        yield at
        left += at.get("subsegments", ())
