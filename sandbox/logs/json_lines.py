"""The platform's events in a function's log in the JSON format, and levels.

Each function returns one line with its line feed. `at` is Unix time in seconds,
durations are milliseconds. Source: the schema of Lambda's telemetry events, and
captures of CloudWatch logs of 2026 for the order of members.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sandbox.logs.lines import Traced, billed_duration_ms

LEVELS = {"TRACE": 0, "DEBUG": 1, "INFO": 2, "WARN": 3, "ERROR": 4, "FATAL": 5}
"""Of ApplicationLogLevel and SystemLogLevel, by weight."""

# Python's names for two of them.
_WEIGHTS = {**LEVELS, "WARNING": LEVELS["WARN"], "CRITICAL": LEVELS["FATAL"]}
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def init_start(
    at: float,
    initialization: str,
    *,
    runtime_version: Mapping[str, str],
    function: str,
    version: str,
    instance: str,
    memory_bytes: int,
) -> bytes:
    """`initialization` is why it starts, in Lambda's words; `runtime_version` has
    `runtimeVersion` and `runtimeVersionArn`, or nothing."""
    record = {
        "initializationType": initialization,
        "phase": "init",
        **runtime_version,
        "functionName": function,
        "functionVersion": version,
        "instanceId": instance,
        "instanceMaxMemory": memory_bytes,
    }
    return _event(at, "initStart", record)


def init_runtime_done(
    at: float, initialization: str, *, phase: str, status: str, error_type: str | None
) -> bytes:
    record = {
        "initializationType": initialization,
        "phase": phase,
        "status": status,
        "errorType": error_type,
    }
    return _event(at, "initRuntimeDone", record)


def init_report(
    at: float,
    duration_ms: float,
    initialization: str,
    *,
    phase: str,
    status: str,
    error_type: str | None,
) -> bytes:
    record = {
        "initializationType": initialization,
        "phase": phase,
        "status": status,
        "errorType": error_type,
        "metrics": {"durationMs": _ms(duration_ms)},
    }
    return _event(at, "initReport", record)


def extension(
    at: float, name: str, state: str, events: Sequence[str], error_type: str | None
) -> bytes:
    record = {"name": name, "state": state, "events": list(events), "errorType": error_type}
    return _event(at, "extension", record)


def subscription(at: float, api: str, name: str, types: Sequence[str]) -> bytes:
    """`api` is `Telemetry` or `Logs`."""
    record = {"name": name, "state": "Subscribed", "types": list(types)}
    return _event(at, f"{api.lower()}Subscription", record)


def start(
    at: float,
    request_id: str,
    *,
    function_arn: str,
    version: str,
    tenant_id: str | None = None,
    traced: Traced | None,
) -> bytes:
    record = {
        "requestId": request_id,
        "functionArn": function_arn,
        "version": version,
        "tenantId": tenant_id,
        "tracing": _tracing(traced),
    }
    return _event(at, "start", record)


def runtime_done(
    at: float,
    request_id: str,
    *,
    tenant_id: str | None = None,
    duration_ms: float,
    produced_bytes: int,
    status: str,
    error_type: str | None,
    traced: Traced | None,
) -> bytes:
    """`status` is success, failure (the runtime reported an error), error or timeout."""
    record = {
        "requestId": request_id,
        "tenantId": tenant_id,
        "status": status,
        "errorType": error_type,
        "metrics": {"durationMs": _ms(duration_ms), "producedBytes": produced_bytes},
        "tracing": _tracing(traced),
    }
    return _event(at, "runtimeDone", record)


def report(
    at: float,
    request_id: str,
    *,
    tenant_id: str | None = None,
    duration_ms: float,
    memory_size: int,
    max_memory_used: int,
    init_duration_ms: float | None,
    status: str,
    error_type: str | None,
    traced: Traced | None,
) -> bytes:
    """Sizes in MiB, as in the Text format; `init_duration_ms` is None where that has none."""
    metrics = {
        "durationMs": _ms(duration_ms),
        "billedDurationMs": billed_duration_ms(duration_ms, init_duration_ms or 0.0),
        "memorySizeMB": memory_size,
        "maxMemoryUsedMB": max_memory_used,
        "initDurationMs": None if init_duration_ms is None else _ms(init_duration_ms),
    }
    record = {
        "requestId": request_id,
        "tenantId": tenant_id,
        "metrics": _present(metrics),
        "status": status,
        "errorType": error_type,
        "tracing": _tracing(traced),
    }
    return _event(at, "report", record)


def keeps(line: bytes, least: int) -> bool:
    """Whether a function's line, or record, of this weight or more is wanted.

    Text that is no JSON object has no level and is always kept. An object without a
    level that Lambda knows, or without a time in RFC 3339, counts as INFO.
    """
    if not line.lstrip().startswith(b"{"):
        return True
    if least <= LEVELS["INFO"] and b'"level"' not in line:
        return True  # INFO, or no object
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return True
    return _weight(document) >= least


def _weight(document: Mapping[str, Any]) -> int:
    level, timestamp = document.get("level"), document.get("timestamp")
    if not (isinstance(level, str) and isinstance(timestamp, str)):
        return LEVELS["INFO"]
    if not _RFC_3339.fullmatch(timestamp):
        return LEVELS["INFO"]
    return _WEIGHTS.get(level.upper(), LEVELS["INFO"])


def _event(at: float, kind: str, record: Mapping[str, Any]) -> bytes:
    moment = datetime.fromtimestamp(at, UTC)
    event = {
        "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z",
        "type": f"platform.{kind}",
        "record": _present(record),
    }
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _ms(duration: float) -> float:
    """Microseconds are the finest that is told, and whole numbers have no fraction."""
    rounded = round(duration, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def _tracing(traced: Traced | None) -> dict[str, str] | None:
    if traced is None:
        return None
    value = f"Root={traced.trace_id};Parent={traced.segment_id};Sampled={int(traced.sampled)}"
    return {"type": "X-Amzn-Trace-Id", "value": value}
