"""Where an environment writes: its log stream, and the tail of the invocation that runs.

Both get the same bytes in the same order: the platform's events, and what the function
printed and recorded. Lines stay whole: a record never lands inside one that is still
being printed.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sandbox.clock import Clock
from sandbox.environments.channel import Frame
from sandbox.invocation import LogTail
from sandbox.logs.formats import LogFormat

UNFINISHED_BYTES = 64 * 2**10
"""As much of a line is kept back until its end is printed."""


class LogWriter(Protocol):
    """Where an environment's output goes; never blocks."""

    @property
    def name(self) -> str:
        """The log stream's."""

    def write(self, data: bytes, at: float) -> None:
        """Append output that came at `at`, seconds since the Unix epoch; one event a line."""

    def records(self, records: Sequence[bytes], at: float) -> None:
        """Append what the function wrote as events."""

    def events(self, events: Sequence[bytes], at: float) -> None:
        """Append events of the platform's."""

    def close(self) -> None:
        """No more will come."""


class EnvironmentLog:
    """One thread writes output while another writes events."""

    def __init__(self, writer: LogWriter, format_: LogFormat, clock: Clock) -> None:
        self.format = format_
        self._writer = writer
        self._clock = clock
        self._lock = threading.Lock()
        self._tail = LogTail()
        self._unfinished = b""

    def begin_tail(self) -> None:
        """What is written from now on belongs to a new invocation."""
        self._tail = LogTail()

    def event(self, *events: bytes) -> None:
        """Write events of the platform; empty ones are those that are not wanted."""
        with self._lock:
            self._events(events)

    def extension(self, meta: Mapping[str, Any]) -> None:
        """Write what an EXTENSION frame tells."""
        now, name = self._clock.wall(), meta["name"]
        if "api" in meta:
            self.event(self.format.subscription(now, meta["api"], name, meta["types"]))
        else:
            self.event(
                self.format.extension(
                    now, name, meta["state"], meta["events"], meta.get("errorType")
                )
            )

    def end(self, *events: bytes) -> bytes:
        """Write an invocation's last events; the end of its log."""
        with self._lock:
            self._events(events)
            return self._tail.bytes()

    def _events(self, events: Sequence[bytes]) -> None:
        wanted = [event for event in events if event]
        if not wanted:
            return
        if self._unfinished:
            self._end_line()
        self._tail.write(b"".join(wanted))
        self._writer.events(wanted, self._clock.wall())

    def output(self, frame: Frame) -> None:
        """Write what a LOG frame holds."""
        data = bytes(frame.payload)
        holds = frame.meta.get("holds")
        with self._lock:
            if holds == "events":
                ends = list(itertools.accumulate(frame.meta["sizes"]))
                records = (data[start:end] for start, end in itertools.pairwise([0, *ends]))
                self._records([kept for record in records if (kept := self.format.record(record))])
            elif holds == "lines":
                self._lines(self.format.output(data))
            else:
                self._printed(data)

    def close(self) -> None:
        with self._lock:
            self._end_line()
        self._writer.close()

    def _printed(self, data: bytes) -> None:
        if self._unfinished:
            data = self._unfinished + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > UNFINISHED_BYTES:
            end = len(data)
        self._unfinished = data[end:]
        self._lines(self.format.output(data[:end]))

    def _end_line(self) -> None:
        line, self._unfinished = self._unfinished, b""
        if line:
            self._lines(self.format.record(line))

    def _lines(self, data: bytes) -> None:
        if data:
            self._tail.write(data)
            self._writer.write(data, self._clock.wall())

    def _records(self, records: Sequence[bytes]) -> None:
        if records:
            self._tail.write(b"".join(records))
            self._writer.records(records, self._clock.wall())
