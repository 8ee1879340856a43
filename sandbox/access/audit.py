"""The audit log: who asked for what, and whether it was allowed, as lines of JSON.

`audit.log` in the state directory, and `audit.log.1`, which it becomes when it is large; readable
by this user alone. Requests do not wait for it, but for one that is denied: its answer leaves when
its line is in the file. What comes faster than the disk takes it is dropped, but for denials, and
a line says how many. Neither payloads nor secrets are ever handed to it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.threads import run_native

NAME = "audit.log"
WAITING = 10_000
"""Entries that may wait to be written."""

_LOGGER = logging.getLogger(__name__)

ALLOWED = "allowed"
DENIED = "denied"
WOULD_BE_DENIED = "would be denied"
"""What a mode that only watches has let pass."""


class Entry(NamedTuple):
    """One request. Without a value a member is left out of its line."""

    at: float
    """Seconds since the Unix epoch."""
    request_id: str
    principal: str
    """Its ARN; `*` for somebody anonymous."""
    account: str
    access_key: str | None
    """Its id, which is no secret."""
    source: str
    """The caller's address."""
    action: str
    resource: str
    decision: str
    reason: str
    status: int
    """Of the answer; 0 for what another service answers."""


class AuditLog:
    """Safe to be used by many threads."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """`max_bytes` of both files together. Raises OSError when it cannot be written."""
        self._path = path
        self._half = max(max_bytes // 2, 1)
        self._waiting: deque[Entry] = deque()
        self._put = 0
        self._written = 0
        """How many entries of all that were put are in the file, or lost with it."""
        self._dropped = 0
        self._closed = False
        self._change = threading.Condition()
        os.close(_open(path))
        self._writer = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._writer.start()

    def note(self, entry: Entry) -> None:
        """Have an entry written; returns at once, or for a denial when it is."""
        denied = entry.decision == DENIED
        with self._change:
            if len(self._waiting) >= WAITING and not denied:
                self._dropped += 1
                return
            self._waiting.append(entry)
            self._put += 1
            number = self._put
            if len(self._waiting) == 1:
                self._change.notify_all()
            if denied:
                self._change.wait_for(lambda: self._written >= number)

    def close(self) -> None:
        """Write what waits."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._writer.join()

    def _write_all(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                batch, self._waiting = self._waiting, deque()
                dropped, self._dropped = self._dropped, 0
            if not batch:
                return
            try:
                run_native(_append, self._path, [*batch], dropped, self._half)
            except OSError as error:
                _LOGGER.error("%d entries of the audit log are lost: %s", len(batch), error)
            with self._change:
                self._written += len(batch)
                self._change.notify_all()


def _append(path: Path, batch: list[Entry], dropped: int, half: int) -> None:
    text = "".join(line(entry) for entry in batch)
    if dropped:
        text += json.dumps({"time": iso(batch[-1].at), "dropped": dropped}) + "\n"
    file = _open(path)
    try:
        if (size := os.fstat(file).st_size) and size + len(text) > half:
            path.replace(path.with_name(f"{path.name}.1"))
            os.close(file)
            file = _open(path)
        left = memoryview(text.encode())
        while left:
            left = left[os.write(file, left) :]
    finally:
        os.close(file)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def line(entry: Entry) -> str:
    """An entry as it is written."""
    members: dict[str, Any] = {
        "time": iso(entry.at),
        "requestId": entry.request_id,
        "principal": entry.principal,
        "account": entry.account,
        "accessKey": entry.access_key,
        "source": entry.source,
        "action": entry.action,
        "resource": entry.resource,
        "decision": entry.decision,
        "reason": entry.reason,
        "status": entry.status or None,
    }
    kept = {name: value for name, value in members.items() if value not in (None, "")}
    return json.dumps(kept, separators=(",", ":")) + "\n"


def iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Note = Callable[[Entry], None]


def source_of(environ: Mapping[str, Any]) -> str:
    """Where a request comes from; nothing of one that came by a Unix socket."""
    address: str = environ.get("REMOTE_ADDR", "")
    return address
