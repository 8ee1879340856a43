"""Function logs: the platform's lines, and a CloudWatch-shaped store on disk."""

from __future__ import annotations

from sandbox.logs.group import StreamSummary
from sandbox.logs.pattern import compile_pattern
from sandbox.logs.segments import Event, Page, Position, Query
from sandbox.logs.store import AlreadyExists, GroupKey, GroupSummary, LogStore, LogStream

__all__ = [
    "AlreadyExists",
    "Event",
    "GroupKey",
    "GroupSummary",
    "LogStore",
    "LogStream",
    "Page",
    "Position",
    "Query",
    "StreamSummary",
    "compile_pattern",
]
