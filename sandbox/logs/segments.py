"""Segment files: log records in the order they came, and reading them in order of time.

A segment is a file of records, appended to until it is full and never changed after.
Each record is a header and bytes: the name of a stream that is new to this segment,
a run of whole lines that arrived together, or one event that may hold line feeds.
Lines become events when they are read, so that keeping them costs no work per line.
A full segment has a JSON file beside it that says which streams it holds.

Nothing here locks: a `Segment` that was handed out is a snapshot. A segment that was
dropped since reads as empty.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

EVENT_BYTES = 256 * 2**10
"""CloudWatch's limit for one event; what is longer becomes several."""

DECLARATION, LINES, WHOLE = 1, 2, 3

HEADER = struct.Struct(">BxxxIIqq")
"""Kind, stream's number in this segment, length, timestamp and ingestion time in ms."""

_BEGINNING = -(2**63)
_END = 2**63 - 1


class Position(NamedTuple):
    """Where an event stands in its group, in the order in which events are answered."""

    timestamp: int
    segment: int
    offset: int


class Event(NamedTuple):
    """One log event; the first three members are its position."""

    timestamp: int
    segment: int
    offset: int
    stream: str
    ingestion: int
    data: bytes

    @property
    def position(self) -> Position:
        return Position(self.timestamp, self.segment, self.offset)

    @property
    def message(self) -> str:
        """The text as written, line feed included; what is not UTF-8 is replaced."""
        return self.data.decode("utf-8", "replace")


class Span(NamedTuple):
    """What a segment holds of a stream; times in ms, None when there is no event."""

    number: int
    created: int
    first: int | None = None
    last: int | None = None
    ingested: int | None = None

    def grown(self, timestamp: int, ingestion: int) -> Span:
        return Span(
            self.number,
            self.created,
            timestamp if self.first is None else min(self.first, timestamp),
            timestamp if self.last is None else max(self.last, timestamp),
            ingestion,
        )


@dataclass(slots=True)
class Segment:
    number: int
    path: Path
    size: int = 0
    streams: dict[str, Span] = field(default_factory=dict)

    @property
    def first(self) -> int | None:
        return min((s.first for s in self.streams.values() if s.first is not None), default=None)

    @property
    def last(self) -> int | None:
        return max((s.last for s in self.streams.values() if s.last is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which events: of streams that `streams` accepts, `start` ≤ timestamp < `end`,
    strictly between `after` and `before`, whose message `match` accepts.

    At most `limit` events and about `max_bytes` of text, from the oldest on, or from
    the newest on when `reverse`.
    """

    streams: Callable[[str], bool] | None = None
    start: int | None = None
    end: int | None = None
    after: Position | None = None
    before: Position | None = None
    match: Callable[[str], bool] | None = None
    limit: int = 10_000
    max_bytes: int = 2**20
    reverse: bool = False


class Page(NamedTuple):
    events: list[Event]
    more: bool
    """Whether the query has further events."""


def load(path: Path) -> Segment:
    """Find out what a segment holds: from its index, else by a walk over its records.

    What a crash cut short or spoilt is removed.
    """
    segment = Segment(int(path.stem), path, path.stat().st_size)
    try:
        streams = json.loads(path.with_suffix(".json").read_bytes())
    except (FileNotFoundError, ValueError):
        return _scan(path)
    segment.streams = {name: Span(*span) for name, span in streams.items()}
    return segment


def _scan(path: Path) -> Segment:
    segment = Segment(int(path.stem), path)
    content = path.read_bytes()
    names: dict[int, str] = {}
    for kind, stream, start, end, timestamp, ingestion in _records(content, 0):
        if kind == DECLARATION:
            names[stream] = content[start:end].decode("utf-8", "replace")
            segment.streams[names[stream]] = Span(stream, timestamp)
        elif stream in names:
            name = names[stream]
            segment.streams[name] = segment.streams[name].grown(timestamp, ingestion)
        else:
            break
        segment.size = end
    if segment.size < len(content):
        os.truncate(path, segment.size)
    return segment


def save_index(segment: Segment) -> None:
    index = segment.path.with_suffix(".json")
    part = index.with_suffix(".part")
    part.write_text(json.dumps(segment.streams))
    part.replace(index)


def read(segment: Segment, query: Query, offset: int = 0) -> list[Event]:
    """The events of one segment, in order of time; `match` and the limits are not applied.

    `offset` is where a record begins. A stream that is not in `segment.streams` was deleted.
    """
    names = {
        span.number: name
        for name, span in segment.streams.items()
        if query.streams is None or query.streams(name)
    }
    if not names:
        return []
    start = _BEGINNING if query.start is None else query.start
    end = _END if query.end is None else query.end
    if query.after:
        start = max(start, query.after.timestamp)
    if query.before:
        end = min(end, query.before.timestamp + 1)
    try:
        with segment.path.open("rb") as file:
            content = file.read(segment.size)
    except FileNotFoundError:
        return []
    events: list[Event] = []
    for kind, stream, at, stop, timestamp, ingestion in _records(content, offset):
        name = names.get(stream)
        if name is None or kind == DECLARATION or not start <= timestamp < end:
            continue
        for begin, finish in _events(kind, content, at, stop):
            event = Event(timestamp, segment.number, begin, name, ingestion, content[begin:finish])
            if query.after and event[:3] <= query.after:
                continue
            if query.before and event[:3] >= query.before:
                continue
            events.append(event)
    events.sort()
    return events


def page(segments: Sequence[Segment], query: Query) -> Page:
    """What the query asks for, in the order it asks for."""
    events: list[Event] = []
    held = 0
    for event in _ordered(segments, query):
        if query.match and not query.match(event.message):
            continue
        held += len(event.data)
        if events and (len(events) >= query.limit or held > query.max_bytes):
            return Page(events, True)
        events.append(event)
    return Page(events, False)


def _ordered(segments: Sequence[Segment], query: Query) -> Iterator[Event]:
    """Merge segments, whose times overlap a little, holding no more of them than overlap."""
    bounds = [
        (first, last, segment)
        for segment in segments
        if (first := segment.first) is not None
        and (last := segment.last) is not None
        and not (query.start is not None and last < query.start)
        and not (query.after and last < query.after.timestamp)
        and not (query.end is not None and first >= query.end)
        and not (query.before and first > query.before.timestamp)
    ]
    if query.reverse:
        bounds.sort(key=lambda bound: bound[1], reverse=True)
    else:
        bounds.sort(key=lambda bound: bound[0])
    held: list[Event] = []
    for index, (_, _, segment) in enumerate(bounds):
        held = sorted(held + read(segment, query), reverse=query.reverse)
        if index + 1 == len(bounds):
            break
        first, last, _ = bounds[index + 1]
        if query.reverse:
            ready = sum(event.timestamp > last for event in held)
        else:
            ready = sum(event.timestamp < first for event in held)
        yield from held[:ready]
        held = held[ready:]
    yield from held


def _records(content: bytes, offset: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Kind, stream, begin and end of the bytes, timestamp, ingestion time, of whole records."""
    while offset + HEADER.size <= len(content):
        kind, stream, length, timestamp, ingestion = HEADER.unpack_from(content, offset)
        begin = offset + HEADER.size
        offset = begin + length
        if kind not in (DECLARATION, LINES, WHOLE) or offset > len(content):
            return
        yield kind, stream, begin, offset, timestamp, ingestion


def _events(kind: int, content: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the events of one record begin and end."""
    while begin < end:
        finish = (kind == LINES and content.find(b"\n", begin, end) + 1) or end
        while finish - begin > EVENT_BYTES:
            yield begin, begin + EVENT_BYTES
            begin += EVENT_BYTES
        yield begin, finish
        begin = finish
