"""LoggingConfig.LogFormat: how an environment's log is worded, chosen once for each.

A format words what the platform has to say and passes on, or leaves out, what the
function wrote. What it returns is what the log and the tail get, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple, Protocol

from sandbox.catalog.records import Version
from sandbox.logs import json_lines, lines
from sandbox.logs.json_lines import LEVELS
from sandbox.logs.lines import Traced

ON_DEMAND = "on-demand"
PROVISIONED = "provisioned-concurrency"


class InitEnd(NamedTuple):
    """How an initialization ended: `status` is success, error or timeout."""

    phase: str
    """`init`, or `invoke` for one inside an invocation."""
    duration_ms: float
    status: str = "success"
    error_type: str | None = None


class InvocationEnd(NamedTuple):
    """How an invocation ended, as its log tells it. Sizes in MiB.

    `status` is success, failure (the function's own error), error or timeout.
    """

    request_id: str
    duration_ms: float
    memory_size: int
    max_memory_used: int
    init_duration_ms: float | None
    status: str
    error_type: str | None
    produced_bytes: int
    traced: Traced | None
    tenant_id: str | None = None


class LogFormat(Protocol):
    """`at` is Unix time in seconds. An event is bytes with a line feed, or empty: not logged."""

    def init_start(self, at: float) -> bytes: ...

    def init_end(self, at: float, end: InitEnd) -> list[bytes]: ...

    def extension(
        self, at: float, name: str, state: str, events: Sequence[str], error_type: str | None
    ) -> bytes: ...

    def subscription(self, at: float, api: str, name: str, types: Sequence[str]) -> bytes:
        """An extension has subscribed to an API: `Telemetry` or `Logs`."""

    def start(
        self,
        at: float,
        request_id: str,
        function_arn: str,
        traced: Traced | None,
        tenant_id: str | None = None,
    ) -> bytes: ...

    def end(self, at: float, end: InvocationEnd) -> list[bytes]: ...

    def output(self, data: bytes) -> bytes:
        """What is kept of whole lines, or of a piece of one that is very long."""

    def record(self, data: bytes) -> bytes:
        """What is kept of one record, which may hold and may lack line feeds; a line that the
        platform has to end is one too."""


def log_format(version: Version, stream: str, initialization: str = ON_DEMAND) -> LogFormat:
    """The format of a version's environment that logs to `stream`.

    `initialization` is Lambda's name of why it was started: ON_DEMAND or PROVISIONED.
    """
    logging = version.configuration.get("LoggingConfig") or {}
    if logging.get("LogFormat") != "JSON":
        return _Text(version, initialization)
    return _Json(version, stream, logging, initialization)


def traced(version: Version, trace_id: str | None) -> Traced | None:
    """What the log tells of the trace `Root=…;Parent=…;Sampled=…`: of one that is sampled and
    of a function with active tracing."""
    if not version.active_tracing:
        return None
    trace = dict(part.partition("=")[::2] for part in (trace_id or "").split(";"))
    if trace.get("Sampled") != "1" or not trace.get("Root") or not trace.get("Parent"):
        return None
    return Traced(trace["Root"], trace["Parent"], True)


def runtime_version(version: Version) -> tuple[str, str] | None:
    """The runtime's version and its ARN; None for a container image or `provided`."""
    managed = re.fullmatch(r"([a-z]+)([\d.]+)x?", version.runtime or "")
    if managed is None:
        return None
    named = version.configuration.get("RuntimeVersionConfig") or {}
    return f"{managed[1]}:{managed[2].rstrip('.')}", str(named.get("RuntimeVersionArn", ""))


class _Text:
    def __init__(self, version: Version, initialization: str) -> None:
        self._version = version
        self._on_demand = initialization == ON_DEMAND

    def init_start(self, at: float) -> bytes:
        runtime = runtime_version(self._version)
        return lines.init_start(*runtime) if runtime else b""

    def init_end(self, at: float, end: InitEnd) -> list[bytes]:
        if end.status == "success" and self._on_demand:
            return []
        return [
            lines.init_report(
                end.duration_ms, phase=end.phase, status=end.status, error_type=end.error_type
            )
        ]

    def extension(
        self, at: float, name: str, state: str, events: Sequence[str], error_type: str | None
    ) -> bytes:
        return lines.extension(name, state, events, error_type)

    def subscription(self, at: float, api: str, name: str, types: Sequence[str]) -> bytes:
        return lines.subscription(api, name, types)

    def start(
        self,
        at: float,
        request_id: str,
        function_arn: str,
        traced: Traced | None,
        tenant_id: str | None = None,
    ) -> bytes:
        return lines.start(request_id, self._version.version)

    def end(self, at: float, end: InvocationEnd) -> list[bytes]:
        ended_by_platform = end.status in ("error", "timeout")
        report = lines.report(
            end.request_id,
            duration_ms=end.duration_ms,
            memory_size=end.memory_size,
            max_memory_used=end.max_memory_used,
            init_duration_ms=end.init_duration_ms,
            status=end.status if ended_by_platform else None,
            error_type=end.error_type if ended_by_platform else None,
            traced=end.traced,
        )
        return [lines.end(end.request_id), report]

    def output(self, data: bytes) -> bytes:
        return data

    def record(self, data: bytes) -> bytes:
        # Python's tracebacks end without a line feed, and then END follows on their last
        # line, in LogResult on AWS too.
        return data


class _Json:
    def __init__(
        self, version: Version, stream: str, logging: Mapping[str, Any], initialization: str
    ) -> None:
        self._version = version
        self._initialization = initialization
        self._stream = stream
        self._application = LEVELS[logging.get("ApplicationLogLevel", "INFO")]
        self._system = LEVELS[logging.get("SystemLogLevel", "INFO")]

    def init_start(self, at: float) -> bytes:
        version = self._version
        runtime = runtime_version(version)
        names = ("runtimeVersion", "runtimeVersionArn")
        event = json_lines.init_start(
            at,
            self._initialization,
            runtime_version=dict(zip(names, runtime, strict=True)) if runtime else {},
            function=version.key.name,
            version=version.version,
            instance=self._stream,
            memory_bytes=version.memory_size * 2**20,
        )
        return self._if("INFO" if runtime else "DEBUG", event)

    def init_end(self, at: float, end: InitEnd) -> list[bytes]:
        level = "DEBUG" if end.status == "success" else "WARN"
        done = json_lines.init_runtime_done(
            at,
            self._initialization,
            phase=end.phase,
            status=end.status,
            error_type=end.error_type,
        )
        report = json_lines.init_report(
            at,
            end.duration_ms,
            self._initialization,
            phase=end.phase,
            status=end.status,
            error_type=end.error_type,
        )
        return [self._if(level, done), self._if(level, report)]

    def extension(
        self, at: float, name: str, state: str, events: Sequence[str], error_type: str | None
    ) -> bytes:
        event = json_lines.extension(at, name, state, events, error_type)
        return self._if("WARN" if error_type else "INFO", event)

    def subscription(self, at: float, api: str, name: str, types: Sequence[str]) -> bytes:
        return self._if("INFO", json_lines.subscription(at, api, name, types))

    def start(
        self,
        at: float,
        request_id: str,
        function_arn: str,
        traced: Traced | None,
        tenant_id: str | None = None,
    ) -> bytes:
        event = json_lines.start(
            at,
            request_id,
            function_arn=function_arn,
            version=self._version.version,
            tenant_id=tenant_id,
            traced=traced,
        )
        return self._if("INFO", event)

    def end(self, at: float, end: InvocationEnd) -> list[bytes]:
        success = end.status == "success"
        # That both events tell a failure's status and type is not confirmed by a capture.
        done = json_lines.runtime_done(
            at,
            end.request_id,
            tenant_id=end.tenant_id,
            duration_ms=end.duration_ms,
            produced_bytes=end.produced_bytes,
            status=end.status,
            error_type=end.error_type,
            traced=end.traced,
        )
        report = json_lines.report(
            at,
            end.request_id,
            tenant_id=end.tenant_id,
            duration_ms=end.duration_ms,
            memory_size=end.memory_size,
            max_memory_used=end.max_memory_used,
            init_duration_ms=end.init_duration_ms,
            status=end.status,
            error_type=end.error_type,
            traced=end.traced,
        )
        return [
            self._if("DEBUG" if success else "WARN", done),
            self._if("INFO" if success else "WARN", report),
        ]

    def output(self, data: bytes) -> bytes:
        if self._application == LEVELS["TRACE"]:
            return data
        return b"".join(line for line in BytesIO(data) if json_lines.keeps(line, self._application))

    def record(self, data: bytes) -> bytes:
        # Node's records lack a line feed; two objects on one line are no JSON.
        whole = data if data.endswith(b"\n") else data + b"\n"
        return whole if json_lines.keeps(data, self._application) else b""

    def _if(self, level: str, event: bytes) -> bytes:
        return event if LEVELS[level] >= self._system else b""
