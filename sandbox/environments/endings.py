"""How an initialization or an invocation ended: from the init's reports, as values."""

from __future__ import annotations

import math
from typing import NamedTuple

from sandbox.catalog.records import Version
from sandbox.environments import failures
from sandbox.environments.channel import Frame, FrameKind
from sandbox.environments.variables import RESPONSE_BYTES
from sandbox.invocation import STREAM_BYTES, Invocation, Payload
from sandbox.logs.formats import InitEnd, InvocationEnd, traced


class InitFailure(NamedTuple):
    """Why a runtime never asked for an event."""

    memory: int
    error_type: str | None = None
    """None: it ran out of time."""
    payload: Payload = b""
    """What it posted to /init/error."""
    exit_: failures.Failure | None = None
    """Set when it posted nothing and ended."""


class Ending(NamedTuple):
    """How an invocation ended: what its caller and its REPORT line are told."""

    payload: Payload
    duration_ms: float
    memory: int
    status: str = "success"
    """`failure` for the function's own error, `error` or `timeout` when the platform ended it."""
    error_type: str | None = None


def posted_failure(report: Frame, memory: int) -> InitFailure:
    error_type = failures.reported_type(report.meta.get("errorType"), during_init=True)
    return InitFailure(memory, error_type, report.payload)


def init_end(phase: str, duration_ms: float, failure: InitFailure) -> InitEnd:
    status = "timeout" if failure.error_type is None else "error"
    return InitEnd(phase, duration_ms, status, failure.error_type)


def undelivered(report: Frame, request_id: str) -> bool:
    return report.kind is FrameKind.EXITED and report.meta.get("requestId") != request_id


def ending_of_report(report: Frame, restart_ms: float, invocation: Invocation) -> Ending:
    """From the RESULT or EXITED that answers an INVOKE."""
    meta, request_id, stream = report.meta, invocation.request_id, invocation.stream
    duration_ms = meta["durationMs"] + restart_ms
    memory = meta["maxMemoryBytes"]
    if report.kind is FrameKind.EXITED:
        failure = failures.of_exit(meta)
        return Ending(
            failure.document(request_id), duration_ms, memory, "error", failure.error_type
        )
    if meta["outcome"] == "tooLarge":
        streamed = stream is not None and stream.begun
        document = failures.response_too_large(STREAM_BYTES if streamed else RESPONSE_BYTES)
        return Ending(document, duration_ms, memory, "error", failures.RESPONSE_TOO_LARGE)
    if meta["outcome"] == "truncated":
        failure = failures.of_truncation()
        return Ending(
            failure.document(request_id), duration_ms, memory, "error", failure.error_type
        )
    if meta["outcome"] == "error":
        error_type = failures.reported_type(meta.get("errorType"), during_init=False)
        return Ending(report.payload, duration_ms, memory, "failure", error_type)
    payload = report.payload
    if stream is not None and payload:
        # The runtime does not stream, its caller wants it so.
        stream.write(payload, meta.get("contentType"))
        payload = b""
    return Ending(payload, duration_ms, memory)


def ending_of_init(
    failure: InitFailure, seconds: float, duration_ms: float, request_id: str
) -> Ending:
    """Of an invocation whose runtime did not get ready within its `seconds`."""
    if failure.error_type is None:
        return ending_of_timeout(seconds, failure.memory, request_id)
    payload = failure.payload
    if failure.exit_ is not None:
        payload = failure.exit_.document(request_id)
    return Ending(payload, duration_ms, failure.memory, "error", failure.error_type)


def ending_of_timeout(seconds: float, memory: int, request_id: str) -> Ending:
    document = failures.of_timeout(seconds).document(request_id)
    return Ending(document, seconds * 1000.0, memory, "timeout")


def invocation_end(
    version: Version, invocation: Invocation, ending: Ending, init_ms: float | None
) -> InvocationEnd:
    """The ending as the log tells it."""
    used = math.ceil(ending.memory / 2**20)
    if used > version.memory_size or ending.error_type == failures.OUT_OF_MEMORY:
        used = version.memory_size
    return InvocationEnd(
        invocation.request_id,
        duration_ms=ending.duration_ms,
        memory_size=version.memory_size,
        max_memory_used=used,
        init_duration_ms=init_ms,
        status=ending.status,
        error_type=ending.error_type,
        produced_bytes=len(ending.payload),
        traced=traced(version, invocation.trace_id),
        tenant_id=invocation.tenant_id,
    )
