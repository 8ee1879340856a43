"""The log store: what functions wrote, as CloudWatch Logs would show it.

Writing costs its caller microseconds: bytes go to a bounded buffer in memory, and one
thread takes them to disk in batches. A reader sees all that was written before it asked.
What comes faster than the disk takes it is dropped and counted in the log itself; one
stream that floods leaves room for all others. Each group's size on disk is bounded.
A crash of the control plane loses at most what was written in the last tenth of a second.

Under gevent the thread is a greenlet: the disk is only touched in `run_native`, and only
by one of them at a time, which `_disk` sees to. Files that are read need no lock.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from sandbox.clock import Clock
from sandbox.errors import CallerError, NotFound
from sandbox.logs.group import Group, StreamSummary, safe_name
from sandbox.logs.segments import (
    EVENT_BYTES,
    LINES,
    WHOLE,
    Event,
    Page,
    Query,
    Segment,
    page,
    read,
)
from sandbox.names import FunctionKey
from sandbox.threads import run_native

P = ParamSpec("P")
T = TypeVar("T")

STREAM_BUFFER = 2**20
"""Bytes that one stream may have waiting for the disk; the platform's may come to twice that."""
TOTAL_BUFFER = 32 * 2**20
"""Bytes that all streams may have waiting; beyond it each still has RESERVED_BUFFER."""
RESERVED_BUFFER = 16 * 2**10
PARTIAL_BUFFER = 16 * 2**20
"""Bytes of unfinished lines of all streams; beyond it lines are cut short."""

_OVERHEAD = 160  # what keeping one write costs beside its bytes
_BATCH_BYTES = STREAM_BUFFER // 4
_LINGER = 0.1  # seconds; a batch per line would cost more than the lines

_log = logging.getLogger(__name__)


class AlreadyExists(CallerError):
    code = "ResourceAlreadyExistsException"


class GroupKey(NamedTuple):
    """What identifies a log group."""

    account: str
    region: str
    name: str

    @classmethod
    def of(cls, function: FunctionKey) -> GroupKey:
        """The default group of a function."""
        return cls(function.account, function.region, f"/aws/lambda/{function.name}")


class GroupSummary(NamedTuple):
    """Times in ms since the epoch; `size` in bytes on disk."""

    name: str
    created: int
    retention_days: int | None
    tags: dict[str, str]
    size: int


class LogStream:
    """Where one execution environment writes. Never blocks, raises nothing, takes any bytes.

    `at` is when the bytes arrived, in Unix seconds.
    """

    __slots__ = ("_batch", "_held", "_partial", "_partial_at", "_store", "group", "name")

    def __init__(self, store: LogStore, group: GroupKey, name: str) -> None:
        self._store = store
        self.group = group
        self.name = name
        # The writers' side, under the store's lock: bytes waiting in batch `_batch`.
        self._held = 0
        self._batch = 0
        # The disk's side: a line that has not ended yet.
        self._partial = bytearray()
        self._partial_at = 0.0

    def write(self, data: bytes, at: float) -> None:
        """Output, split anywhere: each line is an event, at its first byte's time."""
        if data:
            self._store._accept(self, (data,), at, False, STREAM_BUFFER)

    def records(self, records: Sequence[bytes], at: float) -> None:
        """What the function wrote as events, whatever they hold. Ends an unfinished line."""
        self._store._accept(self, records, at, True, STREAM_BUFFER)

    def events(self, events: Sequence[bytes], at: float) -> None:
        """Events of the platform's, whatever they hold. Ends an unfinished line."""
        self._store._accept(self, events, at, True, 2 * STREAM_BUFFER)

    def close(self) -> None:
        """Nothing more will come: an unfinished line is kept as it stands."""
        self._store._accept(self, (b"",), 0.0, True, 2 * STREAM_BUFFER)

    def _cut(
        self, data: bytes, at: float, whole: bool, limit: int
    ) -> Iterator[tuple[int, float, bytes]]:
        """The records, as kind, time and bytes, that `data` completes."""
        partial = self._partial
        if whole:
            if partial:
                yield WHOLE, self._partial_at, bytes(partial)
                partial.clear()
            if data:
                yield WHOLE, at, data
            return
        end = data.rfind(b"\n") + 1
        begin = 0
        if end and partial:
            begin = data.find(b"\n") + 1
            yield WHOLE, self._partial_at, bytes(partial + data[:begin])
            partial.clear()
        if begin < end:
            yield LINES, at, data[begin:end]
        if end < len(data):
            if not partial:
                self._partial_at = at
            partial += data[end:]
            if len(partial) >= limit:
                cut = len(partial) - len(partial) % limit
                yield WHOLE, self._partial_at, bytes(partial[:cut])
                del partial[:cut]
                self._partial_at = at


class LogStore:
    """All log groups, under `root/<account>/<region>/`, each of at most `max_bytes_per_group`.

    Methods that name a group raise NotFound when there is none, and OSError when the
    disk fails. A group comes into being with the first write to one of its streams.
    """

    def __init__(self, root: Path, clock: Clock, max_bytes_per_group: int) -> None:
        self._root = root
        self._clock = clock
        self._max_bytes = max_bytes_per_group
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._items: list[tuple[LogStream, bytes, float, bool]] = []
        self._dropped: dict[LogStream, int] = {}
        self._held = 0
        self._taken = 0  # batches that left the buffer
        self._kept = 0  # of these, how many are on disk
        self._news = 0  # changes that followers may want to see
        self._closed = False
        self._following = True
        self._something = threading.Event()
        self._hurry = threading.Event()
        # The disk's side, under `_disk`.
        self._disk = threading.Lock()
        self._regions: dict[tuple[str, str], dict[str, Group]] = {}
        self._partials = 0
        self._failing = False
        self._thread = threading.Thread(target=self._drain, name="logs", daemon=True)
        self._thread.start()

    def stream(self, account: str, region: str, group: str, name: str) -> LogStream:
        """A new writer; costs nothing until it is written to."""
        return LogStream(self, GroupKey(account, region, group), name)

    def flush(self) -> None:
        """Wait until everything written before this call can be read."""
        with self._changed:
            target = self._taken + 1 if self._items or self._dropped else self._taken
            if target > self._kept:
                self._hurry.set()
                self._changed.wait_for(lambda: self._kept >= target)

    def end_follows(self) -> None:
        """End every `follow`, now and from now on."""
        with self._changed:
            self._following = False
            self._changed.notify_all()

    def close(self) -> None:
        """Take what is written to disk, end every `follow`, ignore what is written later."""
        self.end_follows()
        with self._changed:
            self._closed = True
            self._hurry.set()
            self._something.set()
            self._changed.notify_all()
        self._thread.join()

    def events(self, group: GroupKey, query: Query) -> Page:
        """What `query` asks for, as far as the group's retention allows."""
        self.flush()
        segments, query = self._on_disk(self._within_retention, group, query)
        return run_native(page, segments, query)

    def follow(
        self, group: GroupKey, since: int | None = None, idle: float | None = None
    ) -> Iterator[Event | None]:
        """Events from `since` (ms) on, those that are there and then those that come.

        In the order of time within what came together. Ends when the store is closed;
        the group need not exist yet. None is yielded after `idle` seconds without an
        event, so that a consumer can find out whether it is still wanted.
        """
        query = Query(start=since)
        number = offset = 0
        while True:
            self.flush()
            with self._lock:
                news, closed = self._news, not self._following
            try:
                segments = self._on_disk(self._readable, group)
            except NotFound:
                segments = []
            if segments and (segments[-1].number, segments[-1].size) < (number, offset):
                number = offset = 0  # the group was deleted and came back
            for segment in segments:
                if segment.number >= number:
                    begin = offset if segment.number == number else 0
                    if begin < segment.size:
                        yield from run_native(read, segment, query, begin)
                    number, offset = segment.number, segment.size
            if closed:
                return
            if not self._wait_for_news(news, idle):
                yield None

    def groups(self, account: str, region: str) -> list[GroupSummary]:
        """By name."""
        self.flush()
        return self._on_disk(self._summaries, account, region)

    def streams(self, group: GroupKey) -> list[StreamSummary]:
        """By name. A stream whose last event was dropped for space or age is gone."""
        self.flush()
        return self._on_disk(lambda: self._group(group).streams())

    def create_group(self, group: GroupKey, tags: dict[str, str] | None = None) -> None:
        self.flush()
        self._on_disk(self._create, group, tags or {})

    def delete_group(self, group: GroupKey) -> None:
        self.flush()
        self._on_disk(self._delete, group)

    def create_stream(self, group: GroupKey, name: str) -> None:
        self.flush()
        self._on_disk(self._create_stream, group, name)

    def delete_stream(self, group: GroupKey, name: str) -> None:
        self.flush()
        self._on_disk(lambda: self._with_stream(group, name).forget_stream(name))

    def put_events(self, group: GroupKey, name: str, events: Iterable[tuple[int, bytes]]) -> None:
        """Add events with timestamps (ms) of the caller's choice to a stream that exists."""
        self.flush()
        self._on_disk(self._put, group, name, list(events))
        self._announce()

    def set_retention(self, group: GroupKey, days: int | None) -> None:
        """Events older than this are not shown and are deleted with their segment."""
        self._on_disk(self._set_retention, group, days)

    def change_tags(self, group: GroupKey, tags: dict[str, str], remove: Iterable[str]) -> None:
        self._on_disk(self._change_tags, group, tags, set(remove))

    # Writers' side

    def _accept(
        self, stream: LogStream, pieces: Sequence[bytes], at: float, whole: bool, limit: int
    ) -> None:
        with self._lock:
            if self._closed:
                return
            if stream._batch != self._taken:
                stream._batch = self._taken
                stream._held = 0
            if self._held >= TOTAL_BUFFER:
                limit = limit // STREAM_BUFFER * RESERVED_BUFFER
            for data in pieces:
                room = max(limit - stream._held - _OVERHEAD, 0)
                if room < len(data):
                    self._dropped[stream] = self._dropped.get(stream, 0) + len(data) - room
                    data = data[:room]
                    if not data:
                        continue
                self._items.append((stream, data, at, whole))
                cost = len(data) + _OVERHEAD
                stream._held += cost
                self._held += cost
            if not self._something.is_set():
                self._something.set()
            if self._held > _BATCH_BYTES and not self._hurry.is_set():
                self._hurry.set()

    # The thread's side

    def _drain(self) -> None:
        closed = False
        while not closed:
            self._something.wait()
            self._hurry.wait(_LINGER)
            with self._lock:
                items, self._items = self._items, []
                dropped, self._dropped = self._dropped, {}
                self._held = 0
                self._taken += 1
                self._something.clear()
                self._hurry.clear()
                closed = self._closed
            try:
                failures = self._on_disk(self._keep, items, dropped)
            except Exception:  # noqa: BLE001 - without this thread every reader would hang
                _log.exception("a batch of logs is lost")
                failures = []
            if failures and not self._failing:
                _log.error("logs cannot be kept, first for %s: %s", *failures[0])
            self._failing = bool(failures)
            with self._changed:
                self._kept = self._taken
                self._news += 1
                self._changed.notify_all()

    def _wait_for_news(self, known: int, timeout: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._following or self._news > known, timeout
            )

    def _announce(self) -> None:
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    # The disk's side: everything below runs in `run_native`, one at a time

    def _on_disk(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._disk:
            return run_native(function, *args, **kwargs)

    def _keep(
        self,
        items: list[tuple[LogStream, bytes, float, bool]],
        dropped: dict[LogStream, int],
    ) -> list[tuple[str, OSError]]:
        """Write a batch. Returns what failed: the names of groups and why."""
        now = self._now()
        counted = [
            (stream, f"fnbox: {count} bytes of log dropped\n".encode(), now / 1000, True)
            for stream, count in dropped.items()
        ]
        by_group: dict[GroupKey, list[tuple[LogStream, bytes, float, bool]]] = {}
        for item in items + counted:
            by_group.setdefault(item[0].group, []).append(item)
        failures = []
        for key, batch in by_group.items():
            try:
                self._append(key, batch, now)
            except OSError as error:
                # What is known of the group may be wrong now: it is read anew when needed.
                self._regions.pop((key.account, key.region), None)
                failures.append((key.name, error))
        return failures

    def _append(
        self, key: GroupKey, batch: list[tuple[LogStream, bytes, float, bool]], now: int
    ) -> None:
        group = self._region(key.account, key.region).get(key.name)
        for stream, data, at, whole in batch:
            before = len(stream._partial)
            limit = EVENT_BYTES if self._partials < PARTIAL_BUFFER else 4096
            records = list(stream._cut(data, at, whole, limit))
            self._partials += len(stream._partial) - before
            for kind, stamp, record in records:
                group = group or self._create(key, {})
                group.append(stream.name, kind, int(stamp * 1000), now, record)
        if group:
            group.commit(now)

    def _now(self) -> int:
        return int(self._clock.wall() * 1000)

    def _region(self, account: str, region: str) -> dict[str, Group]:
        """The groups of an account in a region, read from disk when first asked for."""
        known = self._regions.get((account, region))
        if known is None:
            known = {}
            folder = self._root / safe_name(account) / safe_name(region)
            for directory in folder.iterdir() if folder.is_dir() else ():
                try:
                    group = Group(directory, self._max_bytes)
                except (FileNotFoundError, ValueError):  # half made, half deleted or spoilt
                    shutil.rmtree(directory)
                else:
                    known[group.name] = group
            self._regions[account, region] = known
        return known

    def _group(self, key: GroupKey) -> Group:
        group = self._region(key.account, key.region).get(key.name)
        if group is None:
            raise NotFound("The specified log group does not exist.")
        return group

    def _with_stream(self, key: GroupKey, name: str) -> Group:
        group = self._group(key)
        if not any(name in segment.streams for segment in group.segments()):
            raise NotFound("The specified log stream does not exist.")
        return group

    def _readable(self, key: GroupKey) -> list[Segment]:
        return self._group(key).segments()

    def _within_retention(self, key: GroupKey, query: Query) -> tuple[list[Segment], Query]:
        group = self._group(key)
        expired = group.expired_before(self._now())
        if expired is not None:
            query = replace(query, start=max(query.start or 0, expired))
        return group.segments(), query

    def _summaries(self, account: str, region: str) -> list[GroupSummary]:
        return sorted(
            GroupSummary(g.name, g.created, g.retention_days, dict(g.tags), g.size())
            for g in self._region(account, region).values()
        )

    def _create(self, key: GroupKey, tags: dict[str, str]) -> Group:
        known = self._region(key.account, key.region)
        if key.name in known:
            raise AlreadyExists("The specified log group already exists")
        folder = self._root / safe_name(key.account) / safe_name(key.region)
        directory = folder / safe_name(key.name)
        known[key.name] = Group.create(directory, key.name, self._now(), self._max_bytes, tags)
        return known[key.name]

    def _delete(self, key: GroupKey) -> None:
        self._group(key).delete()
        del self._region(key.account, key.region)[key.name]

    def _create_stream(self, key: GroupKey, name: str) -> None:
        group = self._group(key)
        if any(name in segment.streams for segment in group.segments()):
            raise AlreadyExists("The specified log stream already exists")
        group.declare(name, self._now())
        group.commit(self._now())

    def _put(self, key: GroupKey, name: str, events: list[tuple[int, bytes]]) -> None:
        group = self._with_stream(key, name)
        for timestamp, data in events:
            group.append(name, WHOLE, timestamp, self._now(), data)
        group.commit(self._now())

    def _set_retention(self, key: GroupKey, days: int | None) -> None:
        group = self._group(key)
        group.retention_days = days
        group.save()
        group.trim(self._now())

    def _change_tags(self, key: GroupKey, tags: dict[str, str], remove: set[str]) -> None:
        group = self._group(key)
        kept = {name: value for name, value in group.tags.items() if name not in remove}
        group.tags = kept | tags
        group.save()
