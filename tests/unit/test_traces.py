"""Traces of invocations: what is noted, what is kept, and what it looks like to X-Ray."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.clock import FakeClock
from sandbox.environments.channel import Frame, FrameKind
from sandbox.errors import EngineUnavailable, FnboxError, NotFound, TooManyRequests
from sandbox.invocation import Invocation
from sandbox.traces import xray
from sandbox.traces.documents import documents, summary, trace_id
from sandbox.traces.record import Startup, Trace
from sandbox.traces.store import TRACE_BYTES, Traces
from tests.support.functions import KeptLog, make_invocation, make_version
from tests.support.scripted_init import boot, result

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
PARENT = "53995c3f42cd8ad8"
HEADER = f"Root={ROOT};Parent={PARENT};Sampled=1"
HEAD = b'{"format":"json","version":1}\n'


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


@pytest.fixture
def traces(clock: FakeClock) -> Traces:
    return Traces(clock, count=100, max_bytes=2**20)


def steps(document: dict[str, Any]) -> list[Any]:
    """Name, start and end of a document, and of all below it, in ms from 1000 s."""
    end = document.get("end_time")
    times = [round((at - 1000) * 1000) for at in (document["start_time"], end) if at is not None]
    return [document["name"], *times, *(steps(one) for one in document.get("subsegments", ()))]


def noted(
    clock: FakeClock,
    traces: Traces,
    error: FnboxError | None = None,
    until: str = "answered",
    **members: Any,
) -> Trace:
    """A call that took 1 ms for each step, as far as it got."""
    invocation = make_invocation(trace_id=HEADER)
    trace = invocation.trace
    trace.received = clock.monotonic()
    clock.advance(0.001)
    traces.begin(invocation)
    vars(trace).update(members)
    names = ("routed", "leased", "delivered", "answered")
    for name in names[: names.index(until) + 1] if until else ():
        clock.advance(0.001)
        setattr(trace, name, clock.monotonic())
    clock.advance(0.001)
    traces.end(trace, error)
    return trace


def datagram(**members: Any) -> bytes:
    document = {"name": "s", "id": "0" * 15 + "1", "trace_id": ROOT, "parent_id": PARENT}
    return HEAD + json.dumps(document | {"start_time": 1, "end_time": 2} | members).encode()


def test_a_warm_call_is_two_segments(clock: FakeClock, traces: Traces) -> None:
    service, function = documents(noted(clock, traces))
    assert steps(service) == ["my-function", 0, 6, ["Routing", 0, 2], ["Wait", 2, 3]]
    assert steps(function) == ["my-function", 3, 6, ["Invocation", 4, 5], ["Overhead", 5, 6]]
    assert (service["origin"], function["origin"]) == ("AWS::Lambda", "AWS::Lambda::Function")
    assert service["trace_id"] == function["trace_id"] == ROOT
    assert function["parent_id"] == service["id"]
    assert "error" not in service | function


def test_a_cold_start_shows_while_the_call_waited(clock: FakeClock, traces: Traces) -> None:
    startup = Startup(1000.0021, False, 1000.0024, 1000.0029, None)
    service, function = documents(noted(clock, traces, startup=startup))
    [_, wait] = service["subsegments"]
    assert [one["name"] for one in wait["subsegments"]] == ["Environment start"]
    assert wait["subsegments"][0]["metadata"] == {"fnbox": {"container": "new"}}
    names = [one["name"] for one in function["subsegments"]]
    assert names == ["Initialization", "Invocation", "Overhead"]
    assert function["start_time"] == 1000.0024

    earlier = Startup(990.0, True, 990.1, 990.2, None)
    service, function = documents(noted(clock, traces, startup=earlier))
    assert "subsegments" not in service["subsegments"][1]
    assert [one["name"] for one in function["subsegments"]] == ["Invocation", "Overhead"]


def test_an_init_that_failed_shows_beside_the_one_within_the_call(
    clock: FakeClock, traces: Traces
) -> None:
    startup = Startup(1000.0021, True, 1000.0024, 1000.0029, "Runtime.ExitError")
    trace = noted(
        clock, traces, until="leased", startup=startup, restarted=True, status="error",
        error_type="Runtime.ExitError",
    )  # fmt: skip
    _, function = documents(trace)
    first, second = function["subsegments"]
    assert (first["name"], second["name"]) == ("Initialization", "Initialization")
    assert first["id"] != second["id"]
    assert first["cause"]["exceptions"][0]["type"] == "Runtime.ExitError"
    assert function["error"]


@pytest.mark.parametrize(
    ("error", "until", "flag", "names"),
    [
        (NotFound("no such function"), "", "error", ["Routing"]),
        (TooManyRequests("ConcurrentInvocationLimitExceeded"), "", "throttle", ["Routing"]),
        (TooManyRequests("ConcurrentInvocationLimitExceeded"), "routed", "throttle",
         ["Routing", "Wait"]),
        (EngineUnavailable("down"), "routed", "fault", ["Routing", "Wait"]),
    ],
)  # fmt: skip
def test_a_call_that_never_ran_says_why(
    clock: FakeClock, traces: Traces, error: FnboxError, until: str, flag: str, names: list[str]
) -> None:
    trace = noted(clock, traces, error, until)
    [service] = documents(trace)
    assert service[flag] is True
    [exception] = service["cause"]["exceptions"]
    assert (exception["type"], exception["message"]) == (error.code, str(error))
    assert [one["name"] for one in service["subsegments"]] == names
    assert summary(trace)["errorType"] == error.code


def test_a_call_that_goes_on_is_in_progress(clock: FakeClock, traces: Traces) -> None:
    invocation = make_invocation(trace_id=HEADER)
    traces.begin(invocation)
    invocation.trace.routed = clock.monotonic()
    [service] = documents(invocation.trace)
    assert service["in_progress"]
    assert service["subsegments"][1]["in_progress"]
    assert "in_progress" not in service["subsegments"][0]
    assert summary(invocation.trace)["durationMs"] is None


def test_an_attempt_of_an_event_belongs_to_its_acceptance(clock: FakeClock, traces: Traces) -> None:
    acceptance = make_invocation(trace_id=HEADER)
    acceptance.trace.accepted = acceptance.trace.parent_given = True
    with traces.of(acceptance):
        acceptance.trace.routed = clock.monotonic()
    [accepted] = documents(acceptance.trace)
    assert accepted["parent_id"] == PARENT
    assert [one["name"] for one in accepted["subsegments"]] == ["Routing", "Queue"]
    runs = []
    for attempt in (1, 2):
        run = make_invocation(trace_id=HEADER, request_id=acceptance.request_id)
        run.trace.attempt = attempt
        run.trace.enqueued_at = 999.0 if attempt == 1 else None
        clock.advance(1)
        with traces.of(run):
            run.trace.routed = run.trace.leased = clock.monotonic()
        runs.append(documents(run.trace))
    assert runs[0][0]["subsegments"][0]["name"] == "Dwell Time"
    for number, (service, function) in enumerate(runs, 1):
        attempt_span = service["subsegments"][-1]
        assert attempt_span["name"] == f"Attempt #{number}"
        assert function["parent_id"] == attempt_span["id"]
        assert service["parent_id"] == accepted["id"]
    identifiers = [one["id"] for run in [[accepted], *runs] for one in run]
    assert len(set(identifiers)) == 5
    assert len(traces.find(acceptance.request_id)) == len(traces.find(ROOT)) == 3


def test_a_parent_that_no_caller_sent_is_the_function_s_own_segment(
    clock: FakeClock, traces: Traces
) -> None:
    service, function = documents(noted(clock, traces))
    assert function["id"] == PARENT
    assert "parent_id" not in service
    service, function = documents(noted(clock, traces, parent_given=True))
    assert function["id"] != PARENT
    assert service["parent_id"] == PARENT


def test_ids_stay_the_same_and_a_call_without_a_trace_has_one(
    clock: FakeClock, traces: Traces
) -> None:
    trace = noted(clock, traces)
    assert documents(trace) == documents(trace)
    invocation = make_invocation()
    with traces.of(invocation):
        clock.advance(1)
    assert re.fullmatch("1-[0-9a-f]{8}-[0-9a-f]{24}", trace_id(invocation.trace))


def kept(traces: Traces) -> list[str]:
    return [trace.request_id for trace in reversed(traces.recent(1000))]


def test_no_more_are_kept_than_are_wanted(clock: FakeClock) -> None:
    traces = Traces(clock, count=3, max_bytes=2**20)
    made = [make_invocation() for _ in range(5)]
    for invocation in made:
        traces.begin(invocation)
    assert kept(traces) == [invocation.request_id for invocation in made[2:]]
    made[0].trace.segment(b"late", 0)
    assert made[0].trace.segments == ()
    assert traces.find(made[4].request_id) == [made[4].trace]
    assert traces.find(made[0].request_id) == []


def test_no_more_bytes_are_kept_than_are_wanted(clock: FakeClock) -> None:
    traces = Traces(clock, count=100, max_bytes=5 * TRACE_BYTES)
    made = [make_invocation() for _ in range(4)]
    for invocation in made:
        traces.begin(invocation)
    made[0].trace.segment(bytes(TRACE_BYTES), 0)
    assert (len(traces), traces.size) == (4, 5 * TRACE_BYTES)
    made[3].trace.segment(bytes(TRACE_BYTES), 0)
    assert kept(traces) == [invocation.request_id for invocation in made[1:]]
    assert traces.size == 4 * TRACE_BYTES
    made[3].trace.segment(bytes(6 * TRACE_BYTES), 0)
    assert (len(traces), traces.size, made[3].trace.segments) == (0, 0, ())


def below(trace: Trace) -> list[dict[str, Any]]:
    _, function = documents(trace)
    [invocation] = [one for one in function["subsegments"] if one["name"] == "Invocation"]
    return list(invocation.get("subsegments", ()))


def sent(clock: FakeClock, traces: Traces, datagrams: Iterable[bytes]) -> Trace:
    return noted(clock, traces, segments=list(datagrams))


def test_what_a_function_sends_hangs_where_it_belongs(clock: FakeClock, traces: Traces) -> None:
    a, b, c = ("0" * 15 + digit for digit in "abc")
    trace = sent(
        clock,
        traces,
        [
            datagram(name="b", id=b, parent_id=c, start_time=5),
            datagram(name="a", id=a, start_time=4, annotations={"user": "Ada"}),
            datagram(name="whole", id="0" * 15 + "1", start_time=3, end_time=None,
                     subsegments=[{"name": "inner", "id": c, "start_time": 3.5}]),
            datagram(name="nobody's", parent_id="f" * 16, id="0" * 15 + "2", start_time=9),
        ],
    )  # fmt: skip
    found = below(trace)
    assert [one["name"] for one in found] == ["whole", "a", "nobody's"]
    assert found[1]["annotations"] == {"user": "Ada"}
    [inner] = found[0]["subsegments"]
    assert [one["name"] for one in inner["subsegments"]] == ["b"]


def test_a_segment_that_has_ended_replaces_the_one_in_progress(
    clock: FakeClock, traces: Traces
) -> None:
    going, done = datagram(end_time=None, in_progress=True), datagram(end_time=7)
    for order in ([going, done], [done, going]):
        [one] = below(sent(clock, traces, order))
        assert one["end_time"] == 7


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        b"no json",
        HEAD + b"[]",
        HEAD + b"{}",
        HEAD + b"[" * 100_000,
        datagram(metadata={}).replace(b"{}", b'{"a":' * 500 + b"1" + b"}" * 500),
        b'{"format":"json","version":2}\n{}',
        datagram(trace_id="1-00000000-000000000000000000000000"),
        datagram(id="short"),
        datagram(id=7),
        datagram(name=None),
        datagram(start_time="now"),
        datagram(start_time=True, end_time=10**400),
        datagram(start_time=float("nan")),
        datagram(parent_id=[]),
        datagram(trace_id={}),
    ],
)
def test_what_is_no_segment_of_the_trace_is_counted_and_left_out(
    clock: FakeClock, traces: Traces, data: bytes
) -> None:
    trace = sent(clock, traces, [data])
    trace.dropped = 3
    assert below(trace) == []
    _, function = documents(trace)
    assert function["metadata"] == {"fnbox": {"segments": {"dropped": 3, "ignored": 1}}}


_IDS = st.sampled_from([f"{number:016x}" for number in range(6)])
_DOCUMENTS = st.recursive(
    st.fixed_dictionaries({"id": _IDS, "parent_id": _IDS}),
    lambda inner: st.fixed_dictionaries(
        {"id": _IDS, "parent_id": _IDS, "subsegments": st.lists(inner, max_size=3)}
    ),
)


@given(st.lists(_DOCUMENTS, max_size=12))
def test_whatever_a_function_sends_is_a_tree_that_can_be_written(sent_: list[Any]) -> None:
    def whole(document: dict[str, Any]) -> dict[str, Any]:
        inner = [whole(one) for one in document.get("subsegments", ())]
        return document | {"name": "n", "start_time": 1, "subsegments": inner}

    clock = FakeClock(1000.0)
    traces = Traces(clock, count=1, max_bytes=2**20)
    datagrams = [HEAD + json.dumps(whole(one)).encode() for one in sent_]
    assert json.dumps(documents(sent(clock, traces, datagrams)))


def test_a_chain_that_is_too_deep_is_cut(clock: FakeClock, traces: Traces) -> None:
    chain = [
        datagram(id=f"{number + 1:016x}", parent_id=f"{number:016x}") for number in range(1000)
    ]
    text = json.dumps(documents(sent(clock, traces, chain)))
    assert text.count('"name": "s"') == xray.DEPTH


def test_an_environment_notes_what_an_invocation_does_there(clock: FakeClock) -> None:
    def traced(invoke: Frame) -> list[Frame]:
        segments = [
            Frame(FrameKind.SEGMENT, {}, datagram(name="s3")),
            Frame(FrameKind.SEGMENT, {"dropped": 12}),
        ]
        return [*segments, result(invoke, b"{}", "error", errorType="Function.Boom")]

    environment, init = boot({FrameKind.INVOKE: traced}, clock=clock)
    environment.assign(make_version(), {"command": []}, None, KeptLog())
    environment.initialize()
    traces = Traces(clock, count=10, max_bytes=2**20)

    def run() -> Invocation:
        invocation = make_invocation(trace_id=HEADER)
        with traces.of(invocation):
            environment.invoke(invocation)
        return invocation

    first, second = run().trace, run().trace
    assert first.startup is not None
    assert second.startup is None
    for trace in (first, second):
        assert trace.environment == environment.id
        assert (trace.status, trace.error_type) == ("failure", "Function.Boom")
        assert (len(trace.segments), trace.dropped) == (1, 12)
        assert [one["name"] for one in below(trace)] == ["s3"]
    environment.close()
    assert init.received
