"""Sends traces to an OpenTelemetry collector as they end: OTLP over HTTP, the extra `otlp`.

On a thread of its own and never on a call's path: a call appends its trace to a queue that
is bounded, and what the collector does not take in time is dropped, and counted.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sandbox.errors import StartupError
from sandbox.threads import give_way, run_native
from sandbox.traces.documents import documents
from sandbox.traces.record import Trace
from sandbox.traces.xray import Document

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

QUEUE = 4096
"""Traces that wait at most."""
BATCH = 32
"""Traces that are sent together."""
SPANS = 256
"""Spans in one request: more would hold up the event loop while they are encoded."""

_PATH = "/v1/traces"
_INTERVAL_SECONDS = 0.5
_SEND_SECONDS = 5.0
_CLOSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


def check(endpoint: str) -> str:
    """The URL that traces are posted to; empty for none.

    Raises StartupError when it is no URL, or the extra is not installed. Imports nothing, for
    the process that is about to be patched by gevent.
    """
    if not endpoint:
        return ""
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise StartupError(
            f"FNBOX_OTLP_ENDPOINT={endpoint} is no URL: expected is http://HOST:4318, or https"
        )
    try:
        found = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise StartupError(
            "FNBOX_OTLP_ENDPOINT is set and OpenTelemetry is not installed: "
            "run `pip install 'fnbox[otlp]'`"
        )
    return endpoint.rstrip("/").removesuffix(_PATH) + _PATH


class OtlpExport:
    """Sends what it is given until it is closed."""

    def __init__(self, url: str) -> None:
        """`url`: what `check` has returned."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        self.dropped = 0
        """Traces that were not sent."""
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=_SEND_SECONDS)
        self._queue: deque[Trace] = deque()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, trace: Trace) -> None:
        """Have a trace sent soon."""
        if len(self._queue) < QUEUE:
            self._queue.append(trace)
        else:
            self.dropped += 1

    def flush(self) -> None:
        """Send what waits; gives up, until the next time, when the collector does not take it."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        while self._queue:
            count = min(len(self._queue), BATCH)
            found: list[ReadableSpan] = []
            for _ in range(count):
                trace = self._queue.popleft()
                # A function may have sent 1,000 segments; most send none.
                found += run_native(spans, trace) if trace.segments else spans(trace)
                give_way()
            for start in range(0, len(found), SPANS):
                result = self._exporter.export(found[start : start + SPANS])
                if result is not SpanExportResult.SUCCESS:
                    self.dropped += count  # the exporter has said why
                    return

    def close(self) -> None:
        """Send what waits, for a second at most."""
        self._closed.set()
        self._thread.join(_CLOSE_SECONDS)
        # ends a wait between two tries
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        self.dropped += len(self._queue)
        self._queue.clear()

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._closed.wait(_INTERVAL_SECONDS)
            try:
                self.flush()
            except Exception:  # noqa: BLE001 - this is the thread's top
                _log.exception("traces were not sent")


def spans(trace: Trace) -> list[ReadableSpan]:
    """A trace as OpenTelemetry has it. Ids are X-Ray's, which have the same length."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    key = trace.reference.key
    resource = Resource(
        {
            "service.name": key.name,
            "cloud.provider": "aws",
            "cloud.platform": "aws_lambda",
            "cloud.region": key.region,
            "cloud.account.id": key.account,
        }
    )
    segments = documents(trace)
    number = int(segments[0]["trace_id"][2:].replace("-", ""), 16)  # less its version

    def context(identifier: str, *, remote: bool = False) -> SpanContext:
        return SpanContext(number, int(identifier, 16), remote, TraceFlags(TraceFlags.SAMPLED))

    made = []
    left: list[tuple[Document, str]] = [(one, one.get("parent_id", "")) for one in segments]
    for document, parent in left:  # which grows
        left += [(below, document["id"]) for below in document.get("subsegments", ())]
        start = document["start_time"]
        end = document.get("end_time") or segments[0].get("end_time", start)
        service = document is segments[0]
        failed = any(document.get(flag) for flag in ("error", "fault", "throttle"))
        status = Status(StatusCode.ERROR, _reason(document)) if failed else Status(StatusCode.UNSET)
        span = ReadableSpan(
            name=_text(document["name"]),
            context=context(document["id"]),
            parent=context(parent, remote=service) if parent else None,
            resource=resource,
            attributes=_attributes(document, trace),
            kind=_kind(document, SpanKind),
            status=status,
            start_time=_nanoseconds(start),
            end_time=_nanoseconds(max(start, end)),
        )
        made.append(span)
    return made


def _kind(document: Document, kinds: Any) -> Any:
    if document.get("origin") == "AWS::Lambda":
        return kinds.SERVER
    return kinds.CLIENT if document.get("namespace") in ("aws", "remote") else kinds.INTERNAL


def _attributes(document: Document, trace: Trace) -> dict[str, str | int | float]:
    """What the platform knows of a segment, or what the function has annotated its own with."""
    if "origin" in document:
        return {
            "faas.invocation_id": trace.request_id,
            "faas.version": trace.version,
            "faas.coldstart": trace.startup is not None,
            "cloud.resource_id": trace.reference.arn,
            "aws.xray.origin": document["origin"],
        }
    annotations = document.get("annotations")
    if not isinstance(annotations, dict):
        return {}
    return {
        _text(name): _text(value) if isinstance(value, str) else value
        for name, value in islice(annotations.items(), 128)
        if isinstance(value, str | int | float) and -(2**63) <= _number(value) < 2**63
    }


def _number(value: str | int | float) -> float:
    return 0 if isinstance(value, str) else value


def _reason(document: Document) -> str:
    """The first exception of a cause."""
    try:
        exception = document["cause"]["exceptions"][0]
        told = (exception.get("type"), exception.get("message"))
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""  # a function may send anything
    return _text(": ".join(str(word) for word in told if word))


def _text(value: str) -> str:
    """JSON may hold halves of characters, UTF-8 may not."""
    return value.encode("utf-8", "replace").decode()


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1000
