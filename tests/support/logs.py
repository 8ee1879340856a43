"""A log group, what it holds, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.logs import GroupKey, LogStore, Query
from sandbox.names import FunctionKey

GROUP = GroupKey.of(FunctionKey("000000000000", "us-east-1", "hello"))


def messages(logs: LogStore, **query: Any) -> list[str]:
    return [event.message for event in logs.events(GROUP, Query(**query)).events]


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "logs").rglob("*") if path.is_file()]
