"""The JSON format against captures and the schema of telemetry events, byte for byte; levels."""

from __future__ import annotations

import json

import pytest

from sandbox.logs import json_lines
from sandbox.logs.formats import InitEnd, InvocationEnd, log_format, traced
from sandbox.logs.json_lines import LEVELS, keeps
from sandbox.logs.lines import Traced
from tests.support.functions import make_version

AT = 1_791_444_627.7689
TIME = '{"time":"2026-10-08T07:30:27.768Z","type":"platform.'
ID = "79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36"
ARN = "arn:aws:lambda:eu-central-1:000000000000:function:tenner"
STREAM = "2026/10/08/[$LATEST]22be53a8cfde4e68b844f8ec293b2543"
TRACED = Traced("1-6352a70e-1e2c502e358361800241fd45", "35465b3a9e2f7c6a", True)
TRACE = "Root=1-6352a70e-1e2c502e358361800241fd45;Parent=35465b3a9e2f7c6a;Sampled=1"


def json_version(**logging: str):
    return make_version(LoggingConfig={"LogFormat": "JSON", **logging})


def end(status: str = "success", error_type: str | None = None) -> InvocationEnd:
    return InvocationEnd(ID, 1233.96, 256, 123, 463.512, status, error_type, 4, None)


def test_init_start_is_as_in_a_capture():
    event = json_lines.init_start(
        AT,
        runtime_version={"runtimeVersion": "nodejs:22", "runtimeVersionArn": "arn:x"},
        function="tenner",
        version="$LATEST",
        instance=STREAM,
        memory_bytes=268435456,
    )
    assert event.decode() == (
        f'{TIME}initStart","record":{{"initializationType":"on-demand","phase":"init",'
        '"runtimeVersion":"nodejs:22","runtimeVersionArn":"arn:x","functionName":"tenner",'
        f'"functionVersion":"$LATEST","instanceId":"{STREAM}","instanceMaxMemory":268435456}}}}\n'
    )


def test_start_is_as_in_a_capture():
    event = json_lines.start(AT, ID, function_arn=ARN, version="$LATEST", traced=None)
    assert event.decode() == (
        f'{TIME}start","record":{{"requestId":"{ID}","functionArn":"{ARN}",'
        '"version":"$LATEST"}}\n'
    )


def test_events_of_a_tenants_invocation_name_the_tenant():
    format_ = log_format(json_version(SystemLogLevel="DEBUG"), STREAM)
    events = [
        format_.start(AT, ID, ARN, None, "blue"),
        *format_.end(AT, end()._replace(tenant_id="blue")),
    ]
    records = [json.loads(event)["record"] for event in events]
    assert [list(record)[:2] for record in records[1:]] == [["requestId", "tenantId"]] * 2
    assert [record["tenantId"] for record in records] == ["blue"] * 3


def test_start_of_a_traced_invocation_names_the_trace():
    event = json_lines.start(AT, ID, function_arn=ARN, version="1", traced=TRACED)
    assert json.loads(event)["record"]["tracing"] == {"type": "X-Amzn-Trace-Id", "value": TRACE}


def test_report_is_as_in_a_capture():
    [_, report] = log_format(json_version(), STREAM).end(AT, end())
    assert report.decode() == (
        f'{TIME}report","record":{{"requestId":"{ID}","metrics":{{"durationMs":1233.96,'
        '"billedDurationMs":1698,"memorySizeMB":256,"maxMemoryUsedMB":123,'
        '"initDurationMs":463.512},"status":"success"}}\n'
    )


def test_runtime_done_and_report_of_a_timeout():
    done, report = log_format(json_version(SystemLogLevel="WARN"), STREAM).end(AT, end("timeout"))
    assert done.decode() == (
        f'{TIME}runtimeDone","record":{{"requestId":"{ID}","status":"timeout",'
        '"metrics":{"durationMs":1233.96,"producedBytes":4}}}\n'
    )
    assert json.loads(report)["record"]["status"] == "timeout"


def test_the_end_of_a_failed_initialization():
    failed = InitEnd("invoke", 3000.0, "error", "Runtime.ExitError")
    known = (
        '"initializationType":"on-demand","phase":"invoke","status":"error",'
        '"errorType":"Runtime.ExitError"'
    )
    assert b"".join(log_format(json_version(), STREAM).init_end(AT, failed)).decode() == (
        f'{TIME}initRuntimeDone","record":{{{known}}}}}\n'
        f'{TIME}initReport","record":{{{known},"metrics":{{"durationMs":3000}}}}}}\n'
    )


def told(level: str, *, well: bool) -> list[str]:
    """The kinds of events that a log of this level gets."""
    form = log_format(json_version(SystemLogLevel=level), STREAM)
    status = "success" if well else "error"
    events = [
        form.init_start(AT),
        *form.init_end(AT, InitEnd("init", 1.0, status)),
        form.start(AT, ID, ARN, None),
        *form.end(AT, end(status)),
    ]
    return [json.loads(event)["type"].removeprefix("platform.") for event in events if event]


EVERY = ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"]


@pytest.mark.parametrize(
    ("level", "well", "kinds"),
    [
        ("DEBUG", True, EVERY),
        ("INFO", True, ["initStart", "start", "report"]),
        ("WARN", True, []),
        ("DEBUG", False, EVERY),
        ("INFO", False, EVERY),
        ("WARN", False, ["initRuntimeDone", "initReport", "runtimeDone", "report"]),
    ],
)
def test_the_platforms_events_are_told_by_their_level(level, well, kinds):
    assert told(level, well=well) == kinds


def test_a_runtime_without_a_version_starts_at_debug():
    provided = {"Runtime": "provided.al2023"}
    for level, told_ in (("INFO", False), ("DEBUG", True)):
        logging = {"LogFormat": "JSON", "SystemLogLevel": level}
        version = make_version(LoggingConfig=logging, **provided)
        event = log_format(version, STREAM).init_start(AT)
        assert bool(event) is told_
        assert b"runtimeVersion" not in event


def line(level: object, timestamp: object = "2026-02-11T10:00:00Z") -> bytes:
    return json.dumps({"timestamp": timestamp, "level": level, "message": "m"}).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "weight"),
    [
        (line("TRACE"), "TRACE"),
        (line("debug"), "DEBUG"),
        (line("INFO"), "INFO"),
        (line("WARN"), "WARN"),
        (line("WARNING"), "WARN"),
        (line("ERROR"), "ERROR"),
        (line("CRITICAL"), "FATAL"),
        (line("FATAL", "2026-02-11T10:00:00.123+01:00"), "FATAL"),
        (line("FATAL", "yesterday"), "INFO"),
        (line("FATAL", 1), "INFO"),
        (line(["FATAL"]), "INFO"),
        (line("LOUD"), "INFO"),
        (b'  {"message": "no level"}\n', "INFO"),
        (b'{"level": "TRACE"}\n', "INFO"),
    ],
)
def test_a_line_is_kept_from_its_level_on(data, weight):
    assert [level for level, least in LEVELS.items() if keeps(data, least)] == [
        level for level in LEVELS if LEVELS[level] <= LEVELS[weight]
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"plain\n",
        b"\n",
        b"[1]\n",
        b'"level"\n',
        b'{"level": "TRACE"\n',
        b"{" * 100_000,
        b"\xff\0\n",
    ],
)
def test_what_is_no_object_is_always_kept(data):
    assert keeps(data, LEVELS["FATAL"])


def test_lines_are_kept_as_they_are_or_not_at_all():
    form = log_format(json_version(ApplicationLogLevel="WARN"), STREAM)
    data = b"a\r\n" + line("INFO") + line("ERROR") + b"b\x0c\x85c\n"
    assert form.output(data) == b"a\r\n" + line("ERROR") + b"b\x0c\x85c\n"
    assert log_format(json_version(ApplicationLogLevel="TRACE"), STREAM).output(data) == data


def test_a_record_without_an_end_gets_one_in_json_and_none_in_text():
    assert log_format(json_version(), STREAM).record(b'{"a":1}') == b'{"a":1}\n'
    assert log_format(json_version(), STREAM).record(line("DEBUG")) == b""
    assert log_format(make_version(), STREAM).record(b"a\nb") == b"a\nb"


@pytest.mark.parametrize(
    ("mode", "trace", "told_"),
    [
        ("Active", TRACE, TRACED),
        ("Active", TRACE + ";Lineage=1:abc:0", TRACED),
        ("Active", TRACE.replace("Sampled=1", "Sampled=0"), None),
        ("Active", "Root=1-2-3", None),
        ("Active", None, None),
        ("PassThrough", TRACE, None),
    ],
)
def test_a_trace_is_told_where_tracing_is_active_and_it_is_sampled(mode, trace, told_):
    assert traced(make_version(TracingConfig={"Mode": mode}), trace) == told_


def test_the_text_report_of_a_traced_invocation_has_a_second_line():
    _, report = log_format(make_version(), STREAM).end(AT, end()._replace(traced=TRACED))
    assert report.endswith(
        b"\t\nXRAY TraceId: 1-6352a70e-1e2c502e358361800241fd45\tSegmentId: 35465b3a9e2f7c6a\t"
        b"Sampled: true\t\n"
    )


def test_the_text_format_tells_nothing_of_the_functions_own_errors():
    _, report = log_format(make_version(), STREAM).end(AT, end("failure", "Function.Unknown"))
    assert b"Status" not in report
