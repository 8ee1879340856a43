"""One log group on disk: a directory of segments, bounded by dropping the oldest.

`group.json` holds what was set by callers; a directory without it is being made or
being deleted and counts for nothing. Nothing here locks: the store sees to it that
one call at a time touches a group.
"""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from sandbox.logs.segments import DECLARATION, HEADER, Segment, Span, load, save_index

_DAY_MS = 24 * 60 * 60 * 1000


class StreamSummary(NamedTuple):
    """A stream as far as its events are still kept; times in ms, None without events."""

    name: str
    created: int
    first: int | None
    last: int | None
    ingested: int | None


class Group:
    """See the module. Times are Unix milliseconds; every method may raise OSError."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        document = json.loads((directory / "group.json").read_bytes())
        self.directory = directory
        self.name: str = document["name"]
        self.created: int = document["creationTime"]
        self.retention_days: int | None = document["retentionInDays"]
        self.tags: dict[str, str] = document["tags"]
        self._max_bytes = max_bytes
        self._segment_bytes = max(max_bytes // 16, 4096)
        self._segments = [load(path) for path in sorted(directory.glob("*.log"))]
        self._next = self._segments[-1].number + 1 if self._segments else 1
        # Whether the last segment may be appended to; a closed one has its index beside it.
        self._open = bool(self._segments) and not _index(self._segments[-1]).exists()
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    @classmethod
    def create(
        cls, directory: Path, name: str, now: int, max_bytes: int, tags: dict[str, str]
    ) -> Group:
        directory.mkdir(parents=True, exist_ok=True)
        _save(directory, name, now, None, tags)
        return cls(directory, max_bytes)

    def save(self) -> None:
        """Keep what was set on the group."""
        _save(self.directory, self.name, self.created, self.retention_days, self.tags)

    def delete(self) -> None:
        (self.directory / "group.json").unlink()
        shutil.rmtree(self.directory)

    def declare(self, stream: str, now: int) -> Span:
        """Make sure that the segment being written knows the stream."""
        segment = self._active()
        span = segment.streams.get(stream)
        if span is None:
            span = Span(len(segment.streams) + 1, now)
            self._write(DECLARATION, span.number, now, now, stream.encode())
            segment.streams[stream] = span
        return span

    def append(self, stream: str, kind: int, timestamp: int, now: int, data: bytes) -> None:
        """Add a record; it is on disk after `commit`."""
        span = self.declare(stream, now)
        self._write(kind, span.number, timestamp, now, data)
        self._segments[-1].streams[stream] = span.grown(timestamp, now)

    def commit(self, now: int) -> None:
        """Write what was appended and drop what is too old or too much."""
        self._flush()
        self.trim(now)

    def trim(self, now: int) -> None:
        expired = self.expired_before(now)
        while self._segments and (
            (self.size() > self._max_bytes and len(self._segments) > 1)
            or (expired is not None and (self._segments[0].last or now) < expired)
        ):
            dropped = self._segments.pop(0)
            dropped.path.unlink(missing_ok=True)
            _index(dropped).unlink(missing_ok=True)
        self._open = self._open and bool(self._segments)

    def expired_before(self, now: int) -> int | None:
        """Events with an older timestamp are past the group's retention."""
        return now - self.retention_days * _DAY_MS if self.retention_days else None

    def forget_stream(self, stream: str) -> None:
        """Delete a stream: its records stay in their segments, which no longer list it."""
        if self._open:
            self._close()
        for segment in self._segments:
            if stream in segment.streams:
                segment.streams = {
                    name: span for name, span in segment.streams.items() if name != stream
                }
                save_index(segment)

    def segments(self) -> list[Segment]:
        """What may be read without this group being held, oldest first."""
        closed, last = self._segments[:-1], self._segments[-1:]
        return closed + [Segment(s.number, s.path, s.size, dict(s.streams)) for s in last]

    def size(self) -> int:
        return sum(segment.size for segment in self._segments)

    def streams(self) -> list[StreamSummary]:
        """By name."""
        found: dict[str, StreamSummary] = {}
        for segment in self._segments:
            for name, span in segment.streams.items():
                known = found.get(name)
                found[name] = StreamSummary(
                    name,
                    known.created if known else span.created,
                    _least(known and known.first, span.first),
                    _most(known and known.last, span.last),
                    span.ingested or (known.ingested if known else None),
                )
        return sorted(found.values())

    def _active(self) -> Segment:
        """The segment to write to; a full one is closed first."""
        if self._open and self._segments[-1].size + self._pending_bytes >= self._segment_bytes:
            self._close()
        if not self._open:
            self._segments.append(Segment(self._next, self.directory / f"{self._next:012d}.log"))
            self._next += 1
            self._open = True
        return self._segments[-1]

    def _close(self) -> None:
        self._flush()
        save_index(self._segments[-1])
        self._open = False

    def _write(self, kind: int, stream: int, timestamp: int, now: int, data: bytes) -> None:
        self._pending += (HEADER.pack(kind, stream, len(data), timestamp, now), data)
        self._pending_bytes += HEADER.size + len(data)

    def _flush(self) -> None:
        if not self._pending:
            return
        segment = self._segments[-1]
        data = b"".join(self._pending)
        file = os.open(segment.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(file, data[written:], segment.size + written)
        finally:
            os.close(file)
        segment.size += len(data)
        self._pending.clear()
        self._pending_bytes = 0


def safe_name(text: str) -> str:
    """A file name for any text, at most 255 bytes, the same for the same text."""
    quoted = quote(text, safe="").replace(".", "%2E")
    if len(quoted) <= 200:
        return quoted
    return f"{quoted[:120]}~{sha256(text.encode()).hexdigest()}"


def _save(
    directory: Path, name: str, created: int, retention: int | None, tags: dict[str, str]
) -> None:
    part = directory / "group.json.part"
    document = {"name": name, "creationTime": created, "retentionInDays": retention, "tags": tags}
    part.write_text(json.dumps(document))
    part.replace(directory / "group.json")


def _index(segment: Segment) -> Path:
    return segment.path.with_suffix(".json")


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _most(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
