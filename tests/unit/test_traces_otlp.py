"""Traces on their way to a collector, which is a small HTTP server here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sandbox.clock import FakeClock
from sandbox.errors import EngineUnavailable, StartupError
from sandbox.traces import otlp
from sandbox.traces.record import Startup, Trace
from sandbox.traces.store import Traces
from tests.support.functions import make_invocation
from tests.unit.test_traces import HEADER, PARENT, ROOT, datagram, noted


class Collector(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[tuple[str, bytes]] = []
        self.status = 200
        self.arrived = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> dict[str, Any]:
        """The spans by name, those of a segment by its origin; and the services' names."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        found: dict[str, Any] = {}
        for path, body in self.posted:
            assert path == "/v1/traces"
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = attributes(group.resource)
                for scope in group.scope_spans:
                    for span in scope.spans:
                        name = attributes(span).get("aws.xray.origin", span.name)
                        assert name not in found
                        found[name] = span
                        assert resource["service.name"] == "my-function"
        return found


def attributes(owner: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in owner.attributes}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.arrived.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra is not there")
    with Collector() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def export(collector: Collector) -> otlp.OtlpExport:
    return otlp.OtlpExport(otlp.check(collector.url))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def traces(clock: FakeClock, export: otlp.OtlpExport) -> Traces:
    return Traces(clock, count=10, max_bytes=2**20, on_end=export.put)


def test_a_trace_arrives_with_the_ids_that_x_ray_gave(
    clock: FakeClock, traces: Traces, export: otlp.OtlpExport, collector: Collector
) -> None:
    now = clock.monotonic()
    noted(
        clock,
        traces,
        parent_given=True,
        startup=Startup(now, True, now + 0.001, now + 0.002, None),
        segments=[
            datagram(namespace="aws", annotations={"user": "Ada", "n": 7, "huge": 2**80, "l": []}),
            datagram(
                id="2".zfill(16), name="\ud800", error=True, cause={"exceptions": [{"type": "X"}]}
            ),
        ],
    )
    export.flush()
    spans = collector.spans()
    assert set(spans) == {
        "AWS::Lambda", "AWS::Lambda::Function", "Routing", "Wait", "Environment start",
        "Initialization", "Invocation", "Overhead", "s", "?",
    }  # fmt: skip
    assert {span.trace_id.hex() for span in spans.values()} == {ROOT[2:].replace("-", "")}
    parents = {name: span.parent_span_id.hex() for name, span in spans.items()}
    assert parents["AWS::Lambda"] == PARENT
    assert parents["AWS::Lambda::Function"] == spans["AWS::Lambda"].span_id.hex()
    assert parents["Invocation"] == spans["AWS::Lambda::Function"].span_id.hex()
    assert parents["s"] == spans["Invocation"].span_id.hex()
    assert parents["Environment start"] == spans["Wait"].span_id.hex()
    routing = spans["Routing"]
    assert routing.start_time_unix_nano == 1_700_000_000_000_000_000
    assert routing.end_time_unix_nano - routing.start_time_unix_nano == 2_000_000
    assert attributes(spans["s"]) == {"user": "Ada", "n": 7}
    assert attributes(spans["AWS::Lambda"])["faas.coldstart"] is True
    assert (spans["?"].status.code, spans["?"].status.message) == (2, "X")


def test_a_call_that_failed_is_an_error(
    clock: FakeClock, traces: Traces, export: otlp.OtlpExport, collector: Collector
) -> None:
    noted(clock, traces, EngineUnavailable("down"), until="")
    export.flush()
    status = collector.spans()["AWS::Lambda"].status
    assert (status.code, status.message) == (2, "ServiceException: down")


def test_what_waits_is_bounded_and_the_rest_is_counted(export: otlp.OtlpExport) -> None:
    for _ in range(otlp.QUEUE + 5):
        export.put(Trace())
    assert export.dropped == 5


def test_what_the_collector_refuses_is_counted(
    clock: FakeClock, traces: Traces, export: otlp.OtlpExport, collector: Collector
) -> None:
    collector.status = 400
    for _ in range(otlp.BATCH + 1):
        noted(clock, traces)
    export.flush()
    assert (len(collector.posted), export.dropped) == (1, otlp.BATCH)
    export.flush()
    assert export.dropped == otlp.BATCH + 1


def test_the_end_sends_what_waits(
    clock: FakeClock,
    traces: Traces,
    export: otlp.OtlpExport,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otlp, "_CLOSE_SECONDS", 10.0)
    export.start()
    with traces.of(make_invocation(trace_id=HEADER)):
        clock.advance(1)
    export.close()
    assert collector.arrived.wait(10)
    assert set(collector.spans()) == {"AWS::Lambda", "Routing"}
    assert export.dropped == 0


def test_without_the_extra_the_setting_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:2])
    with pytest.raises(StartupError, match=r"pip install 'fnbox\[otlp\]'"):
        otlp.check("http://127.0.0.1:4318")


def test_an_endpoint_is_a_url_with_or_without_its_path() -> None:
    assert otlp.check("") == ""
    with pytest.raises(StartupError, match="FNBOX_OTLP_ENDPOINT=localhost:4318 is no URL"):
        otlp.check("localhost:4318")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra is not there")
    for given in ("http://h:4318", "http://h:4318/", "http://h:4318/v1/traces"):
        assert otlp.check(given) == "http://h:4318/v1/traces"
