"""The platform's own lines in a function's log, in the Text format, byte for byte.

Each function returns one log event, with its line feed. Durations are milliseconds,
sizes MiB (which Lambda prints as MB). Source: captures of CloudWatch logs of 2025-26,
with the billing rule of 1 August 2025: initialization is billed.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple


class Restored(NamedTuple):
    """How long a snapshot took to restore, in ms: as measured and as billed (whole ms)."""

    duration_ms: float
    billed_ms: int


class Traced(NamedTuple):
    """The X-Ray segment of an invocation: `1-8hex-24hex` and 16 hex digits."""

    trace_id: str
    segment_id: str
    sampled: bool


def stream_name(version: str, at: float, *, function: str = "") -> str:
    """A new environment's log stream: `YYYY/MM/DD/[version]` and 32 hex digits.

    `at` is Unix time in seconds; the date is UTC. A log group that functions share
    takes the function's name too; that form is not confirmed by a capture.
    """
    date = datetime.fromtimestamp(at, UTC).strftime("%Y/%m/%d")
    return f"{date}/{function}[{version}]{uuid.uuid4().hex}"


def init_start(runtime_version: str, runtime_version_arn: str) -> bytes:
    """The first line of an environment whose runtime has a version.

    Others, container images for one, have no such line.
    """
    return (
        f"INIT_START Runtime Version: {runtime_version}\t"
        f"Runtime Version ARN: {runtime_version_arn}\n"
    ).encode()


def init_report(
    duration_ms: float, *, phase: str, status: str, error_type: str | None = None
) -> bytes:
    """Printed for an initialization that failed or timed out, and for any that is provisioned;
    that one which went well says `success` is not confirmed by a capture.

    `phase` is `init`, or `invoke` for one that ran inside an invocation.
    """
    fields = [f"INIT_REPORT Init Duration: {duration_ms:.2f} ms", f"Phase: {phase}"]
    return ("\t".join(fields + _status(status, error_type)) + "\n").encode()


def extension(name: str, state: str, events: Sequence[str], error_type: str | None) -> bytes:
    """What has become of an extension when an initialization ends, in Lambda's words."""
    fields = [f"EXTENSION\tName: {name}", f"State: {state}", f"Events: [{','.join(events)}]"]
    if error_type:
        fields.append(f"Error Type: {error_type}")
    return ("\t".join(fields) + "\n").encode()


def subscription(api: str, name: str, types: Sequence[str]) -> bytes:
    """An extension has subscribed; `api` is `Telemetry` or `Logs`."""
    streams = ", ".join(kind.capitalize() for kind in types)
    return f"{api.upper()}\tName: {name}\tState: Subscribed\tTypes: [{streams}]\n".encode()


def start(request_id: str, version: str) -> bytes:
    return f"START RequestId: {request_id} Version: {version}\n".encode()


def end(request_id: str) -> bytes:
    return f"END RequestId: {request_id}\n".encode()


def report(
    request_id: str,
    *,
    duration_ms: float,
    memory_size: int,
    max_memory_used: int,
    init_duration_ms: float | None = None,
    restored: Restored | None = None,
    status: str | None = None,
    error_type: str | None = None,
    traced: Traced | None = None,
) -> bytes:
    """The last line of an invocation; with `traced` a second line of the same event.

    `init_duration_ms` belongs to the first invocation after an on-demand start that
    went well and to no other. `status` is `timeout` or `error`, None otherwise, also
    for an exception that the runtime reported.
    """
    billed = billed_duration_ms(duration_ms, init_duration_ms or 0.0)
    fields = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {duration_ms:.2f} ms",
        f"Billed Duration: {billed + (restored.billed_ms if restored else 0)} ms",
        f"Memory Size: {memory_size} MB",
        f"Max Memory Used: {max_memory_used} MB",
    ]
    if restored:
        fields.append(f"Restore Duration: {restored.duration_ms:.2f} ms")
        fields.append(f"Billed Restore Duration: {restored.billed_ms} ms")
    elif init_duration_ms is not None:
        fields.append(f"Init Duration: {init_duration_ms:.2f} ms")
    # Only a line without a status ends in a tab.
    fields += _status(status, error_type) if status else [""]
    text = "\t".join(fields) + "\n"
    if traced:
        text += (
            f"XRAY TraceId: {traced.trace_id}\tSegmentId: {traced.segment_id}\t"
            f"Sampled: {'true' if traced.sampled else 'false'}\t\n"
        )
    return text.encode()


def billed_duration_ms(duration_ms: float, init_duration_ms: float = 0.0) -> int:
    """What is billed: whole milliseconds, rounded up, of the durations as they are printed."""
    # Two roundings, as the second only makes an integer of what the first has decided.
    hundredths = round(round(duration_ms, 2) * 100) + round(round(init_duration_ms, 2) * 100)
    return -(-hundredths // 100)


def _status(status: str, error_type: str | None) -> list[str]:
    return [f"Status: {status}"] + ([f"Error Type: {error_type}"] if error_type else [])
