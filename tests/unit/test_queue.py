"""Events: kept until they have run, shared out fairly, tried again by Lambda's rules."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.errors import EngineUnavailable, NotFound, RecursiveInvocation, TooManyRequests
from sandbox.invocation import Invocation, Outcome
from sandbox.metrics import Metrics
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import DeadEvents, Dispatcher, Event, EventQueue, Outbox, Policy
from sandbox.queue.lanes import fair_share
from sandbox.queue.rules import MAXIMUM_AGE, SUCCESS, Ending
from tests.support.functions import until

KEY = FunctionKey("000000000000", "us-east-1", "f")
QUEUE = "arn:aws:sqs:us-east-1:000000000000:dlq"
TOPIC = "arn:aws:sns:us-east-1:000000000000:failed"
GOOD = Outcome(b"{}", None, "$LATEST", b"", 1.0)
BAD = Outcome(b"{}", "Unhandled", "$LATEST", b"", 1.0)


def key(name: str) -> FunctionKey:
    return KEY._replace(name=name)


def invocation(name: str = "f", payload: bytes = b"{}", qualifier: str | None = None) -> Invocation:
    return Invocation(FunctionReference(key(name), qualifier), payload, trace_id="Root=1-2-3")


class Policies:
    """Stands for the catalog: what is configured now."""

    def __init__(self) -> None:
        self.now = Policy()
        self.asked: list[tuple[FunctionReference, str | None]] = []

    def __call__(self, reference: FunctionReference, executed_version: str | None) -> Policy:
        self.asked.append((reference, executed_version))
        return self.now


@pytest.fixture
def policies() -> Policies:
    return Policies()


class Runner:
    """Stands for the service: answers what a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Outcome | Exception] = []
        self.ran: list[Invocation] = []
        self.gate = threading.Event()
        self.gate.set()
        self._changed = threading.Condition()

    def __call__(self, asked: Invocation) -> Outcome:
        with self._changed:
            self.ran.append(asked)
            answer = self.answers.pop(0) if self.answers else GOOD
            self._changed.notify_all()
        assert self.gate.wait(10)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ran) >= count, 10)

    def names(self) -> Counter[str]:
        return Counter(asked.reference.key.name for asked in self.ran)


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def dispatch(
    queue: EventQueue, outbox: Outbox, runner: Runner, policies: Policies, clock: FakeClock
) -> Iterator[Callable[..., Dispatcher]]:
    made: list[Dispatcher] = []

    def start(**options: float) -> Dispatcher:
        made.append(
            Dispatcher(queue, outbox, runner, policies, clock, Metrics(), **options)  # type: ignore[arg-type]
        )
        made[-1].start()
        return made[-1]

    yield start
    runner.gate.set()
    for one in made:
        assert one.close(10)


def idle(dispatcher: Dispatcher) -> bool:
    return repr(dispatcher) == "<Dispatcher running=0 functions_waiting=0>"


# the queue


def test_an_event_comes_back_as_it_was_put(queue: EventQueue, clock: FakeClock) -> None:
    put = replace(invocation(payload=b"\x00\xff{}", qualifier="prod"), tenant_id="blue")
    queue.put(put)
    [event], next_due = queue.lease(KEY, 10)
    assert event == Event(event.id, put, clock.wall(), attempts=1, refusals=0)
    assert next_due is None


def test_a_memoryview_is_a_payload_too(queue: EventQueue) -> None:
    queue.put(Invocation(FunctionReference(KEY, None), memoryview(b"abc")))
    [event], _ = queue.lease(KEY, 1)
    assert event.invocation.payload == b"abc"


def test_events_are_leased_once_the_longest_due_first(queue: EventQueue, clock: FakeClock) -> None:
    for number in range(3):
        queue.put(invocation(payload=b"%d" % number))
        clock.advance(1)
    queue.put(invocation("other"))
    events, next_due = queue.lease(KEY, 2)
    assert [event.invocation.payload for event in events] == [b"0", b"1"]
    assert next_due == clock.wall() - 1
    events, next_due = queue.lease(KEY, 2)
    assert [event.invocation.payload for event in events] == [b"2"]
    assert next_due is None
    assert queue.due() == {key("other"): clock.wall()}


def test_an_event_that_is_given_back_waits_until_it_is_due(
    queue: EventQueue, clock: FakeClock
) -> None:
    queue.put(invocation())
    [event], _ = queue.lease(KEY, 1)
    queue.release(event, clock.wall() + 60, refused=False)
    assert queue.lease(KEY, 1) == ([], clock.wall() + 60)
    clock.advance(60)
    [again], _ = queue.lease(KEY, 1)
    assert (again.attempts, again.refusals) == (2, 0)
    queue.release(again, clock.wall(), refused=True)
    [again], _ = queue.lease(KEY, 1)
    assert (again.attempts, again.refusals) == (2, 1)


def test_an_event_that_ended_is_gone(queue: EventQueue, outbox: Outbox, database: Database) -> None:
    queue.put(invocation())
    [event], _ = queue.lease(KEY, 1)
    outbox.end(event, Ending(SUCCESS, 1), [], lost=False)
    assert EventQueue(database, FakeClock()).due() == {}


def test_what_a_dead_process_had_leased_may_be_leased_again_and_its_attempt_counts(
    queue: EventQueue, database: Database, clock: FakeClock
) -> None:
    queue.put(invocation())
    queue.lease(KEY, 1)
    assert queue.due() == {}
    after = EventQueue(database, clock)
    assert after.due() == {KEY: clock.wall()}
    [event], _ = after.lease(KEY, 1)
    assert event.attempts == 2


def test_no_accepted_event_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    script = """
        import sys, threading
        from pathlib import Path
        from sandbox.catalog.database import Database
        from sandbox.clock import SystemClock
        from sandbox.invocation import Invocation
        from sandbox.names import FunctionKey, FunctionReference
        from sandbox.queue import EventQueue

        queue = EventQueue(Database.at(Path(sys.argv[1])), SystemClock())
        reference = FunctionReference(FunctionKey("000000000000", "us-east-1", "f"), None)

        def put():
            while True:
                invocation = Invocation(reference, b"{}")
                queue.put(invocation)
                sys.stdout.write(invocation.request_id + chr(10))

        for _ in range(8):
            threading.Thread(target=put).start()
    """
    command = [sys.executable, "-u", "-c", dedent(script), str(tmp_path / "db")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        accepted = [process.stdout.readline() for _ in range(50)]
        process.kill()
        accepted += process.stdout.readlines()
    database = Database.at(tmp_path / "db")
    events, _ = EventQueue(database, FakeClock(time.time() + 1000)).lease(KEY, 100_000)
    database.close()
    kept = {event.invocation.request_id for event in events}
    assert {line.strip() for line in accepted if line.endswith("\n")} <= kept


# the dispatcher


def test_an_event_runs_and_is_forgotten(
    queue: EventQueue, runner: Runner, dispatch: Callable[..., Dispatcher], database: Database
) -> None:
    dispatcher = dispatch()
    put = invocation()
    queue.put(put)
    runner.wait_for(1)
    assert runner.ran == [put]
    until(lambda: idle(dispatcher))
    assert EventQueue(database, FakeClock()).due() == {}


def test_events_of_an_earlier_run_are_run_at_the_start(
    queue: EventQueue, runner: Runner, dispatch: Callable[..., Dispatcher]
) -> None:
    queue.put(invocation("a"))
    queue.put(invocation("b"))
    dispatch()
    runner.wait_for(2)
    assert runner.names() == {"a": 1, "b": 1}


def test_a_backlog_leaves_room_for_other_functions(
    queue: EventQueue, runner: Runner, dispatch: Callable[..., Dispatcher]
) -> None:
    runner.gate.clear()
    for _ in range(50):
        queue.put(invocation("busy"))
    dispatcher = dispatch(parallel=8)
    runner.wait_for(4)
    queue.put(invocation("other"))
    runner.wait_for(5)
    assert runner.names() == {"busy": 4, "other": 1}
    runner.gate.set()
    runner.wait_for(51)
    until(lambda: idle(dispatcher))
    assert runner.names() == {"busy": 50, "other": 1}


def test_no_more_run_at_once_than_allowed(
    queue: EventQueue, runner: Runner, dispatch: Callable[..., Dispatcher]
) -> None:
    runner.gate.clear()
    for number in range(30):
        queue.put(invocation(f"f{number % 10}"))
    dispatcher = dispatch(parallel=3)
    runner.wait_for(3)
    assert "running=3" in repr(dispatcher)
    assert len(runner.ran) == 3
    runner.gate.set()
    runner.wait_for(30)
    assert set(runner.names().values()) == {3}


@pytest.mark.parametrize(
    ("parallel", "running", "own", "share"),
    [
        (32, 0, 0, 16),
        (32, 16, 16, 0),
        (32, 15, 15, 1),
        (32, 16, 0, 8),
        (32, 31, 0, 1),
        (32, 31, 1, 0),
        (32, 32, 0, 0),
        (1, 0, 0, 1),
        (2, 1, 0, 1),
    ],
)
def test_shares(parallel: int, running: int, own: int, share: int) -> None:
    assert fair_share(parallel, running, own) == share


def test_a_function_that_fails_runs_three_times_with_lambdas_delays(
    queue: EventQueue,
    runner: Runner,
    clock: FakeClock,
    dispatch: Callable[..., Dispatcher],
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner.answers = [BAD, BAD, BAD]
    dispatcher = dispatch()
    put = invocation()
    queue.put(put)
    for runs, delay in ((1, 60), (2, 120)):
        runner.wait_for(runs)
        until(lambda: queue.due() != {})
        assert queue.due() == {KEY: clock.wall() + delay}
        clock.advance(delay)
        dispatcher.wake()
    runner.wait_for(3)
    until(lambda: idle(dispatcher))
    assert {asked.request_id for asked in runner.ran} == {put.request_id}
    assert queue.due() == {}
    assert "is given up: RetriesExhausted: {}" in caplog.text


def test_delays_can_be_scaled(
    queue: EventQueue, runner: Runner, clock: FakeClock, dispatch: Callable[..., Dispatcher]
) -> None:
    runner.answers = [BAD]
    dispatch(retry_scale=0.5)
    queue.put(invocation())
    runner.wait_for(1)
    until(lambda: queue.due() != {})
    assert queue.due() == {KEY: clock.wall() + 30}


def test_a_refused_event_runs_when_there_is_room_again(
    queue: EventQueue, runner: Runner, clock: FakeClock, dispatch: Callable[..., Dispatcher]
) -> None:
    runner.answers = [TooManyRequests("x"), EngineUnavailable("y"), BAD]
    dispatcher = dispatch()
    queue.put(invocation())
    for runs, delay in ((1, 1), (2, 2), (3, 60)):
        runner.wait_for(runs)
        until(lambda: queue.due() != {})
        assert queue.due() == {KEY: clock.wall() + delay}
        clock.advance(delay)
        dispatcher.wake()
    runner.wait_for(4)


def test_an_event_of_a_function_that_is_gone_is_given_up(
    queue: EventQueue,
    runner: Runner,
    dispatch: Callable[..., Dispatcher],
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner.answers = [NotFound("Function not found: arn")]
    dispatcher = dispatch()
    queue.put(invocation())
    runner.wait_for(1)
    until(lambda: idle(dispatcher))
    assert "given up: RetriesExhausted: Function not found: arn" in caplog.text


def test_an_event_is_given_up_rather_than_tried_too_late(
    queue: EventQueue, runner: Runner, clock: FakeClock, dispatch: Callable[..., Dispatcher]
) -> None:
    runner.answers = [TooManyRequests("x"), TooManyRequests("x")]
    queue.put(invocation())
    clock.advance(MAXIMUM_AGE - 2)
    running = dispatch()
    runner.wait_for(1)
    until(lambda: queue.due() != {})
    clock.advance(1)
    running.wake()
    runner.wait_for(2)
    until(lambda: idle(running))
    assert queue.due() == {}


def test_an_event_that_takes_the_process_down_is_not_tried_for_ever(
    queue: EventQueue, database: Database, runner: Runner, dispatch: Callable[..., Dispatcher]
) -> None:
    queue.put(invocation())
    for _ in range(3):
        queue.lease(KEY, 1)
        EventQueue(database, FakeClock())
    running = dispatch()
    until(lambda: idle(running))
    assert runner.ran == []
    assert EventQueue(database, FakeClock()).due() == {}


def test_a_defect_costs_the_dispatcher_nothing(
    queue: EventQueue,
    runner: Runner,
    dispatch: Callable[..., Dispatcher],
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner.answers = [ZeroDivisionError("a defect of ours")]
    dispatch()
    queue.put(invocation("a"))
    runner.wait_for(1)
    until(lambda: queue.due() != {})
    queue.put(invocation("b"))
    runner.wait_for(2)
    assert "a defect of ours" in caplog.text
    assert list(queue.due()) == [key("a")]


def test_closing_waits_for_what_runs_and_starts_nothing_more(
    queue: EventQueue, outbox: Outbox, runner: Runner, policies: Policies, clock: FakeClock
) -> None:
    runner.gate.clear()
    running = Dispatcher(queue, outbox, runner, policies, clock, Metrics(), parallel=2)
    for _ in range(4):
        queue.put(invocation())
    running.start()
    runner.wait_for(1)
    assert not running.close(0)
    runner.gate.set()
    assert running.close(10)
    ran = len(runner.ran)
    assert ran < 4
    left, _ = queue.lease(KEY, 10)
    assert len(left) == 4 - ran


def test_a_dispatcher_outlives_a_failing_disk(
    queue: EventQueue,
    outbox: Outbox,
    database: Database,
    runner: Runner,
    policies: Policies,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner.gate.clear()
    running = Dispatcher(queue, outbox, runner, policies, clock, Metrics())
    running.start()
    queue.put(invocation())
    runner.wait_for(1)
    database.close()
    runner.gate.set()
    assert running.close(10)
    assert "cannot be put away" in caplog.text


def test_a_dispatcher_that_never_started_can_be_closed(
    queue: EventQueue, outbox: Outbox, runner: Runner, policies: Policies, clock: FakeClock
) -> None:
    assert Dispatcher(queue, outbox, runner, policies, clock, Metrics()).close(0)


# how events end


def failing(count: int) -> list[Outcome | Exception]:
    return [BAD] * count


def run_to_the_end(dispatcher: Dispatcher, queue: EventQueue, clock: FakeClock) -> list[float]:
    """Move the clock to each next run until none is left; the delays."""
    delays: list[float] = []
    while (due_at := next_run(queue, clock)) is not None:
        delays.append(due_at - clock.wall())
        clock.advance(due_at - clock.wall())
        dispatcher.wake()
    return delays


def next_run(queue: EventQueue, clock: FakeClock) -> float | None:
    """When the only event is due again, once it has run; None when it has ended."""
    found: list[float] = []

    def settled() -> bool:
        found[:] = [due_at for due_at in queue.due().values() if due_at > clock.wall()]
        return bool(found) or queue.count() == 0

    until(settled)
    return found[0] if found else None


@pytest.mark.parametrize(("retries", "delays"), [(0, []), (1, [60]), (2, [60, 120])])
def test_the_number_of_retries_is_what_is_configured(
    queue: EventQueue,
    outbox: Outbox,
    database: Database,
    runner: Runner,
    policies: Policies,
    clock: FakeClock,
    dispatch: Callable[..., Dispatcher],
    retries: int,
    delays: list[float],
) -> None:
    policies.now = Policy(retries=retries, dead_letter=QUEUE, on_failure=TOPIC)
    runner.answers = failing(3)
    queue.put(invocation(payload=b'{"n":1}'))
    assert run_to_the_end(dispatch(), queue, clock) == delays
    assert len(runner.ran) == retries + 1
    [[letter], [told]] = [outbox.lease(target, 9)[0] for target in (QUEUE, TOPIC)]
    assert letter.message.body == b'{"n":1}'
    context = json.loads(told.message.body)["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == (
        "RetriesExhausted",
        retries + 1,
    )
    assert DeadEvents(database, clock, queue, outbox).count() == 0


def test_what_is_configured_is_asked_when_it_is_decided(
    queue: EventQueue,
    runner: Runner,
    policies: Policies,
    clock: FakeClock,
    dispatch: Callable[..., Dispatcher],
) -> None:
    runner.answers = failing(3)
    dispatcher = dispatch()
    queue.put(invocation(qualifier="prod"))
    runner.wait_for(1)
    until(lambda: queue.due() != {})
    policies.now = Policy(retries=0)
    clock.advance(60)
    dispatcher.wake()
    until(lambda: queue.count() == 0)
    assert len(runner.ran) == 1
    prod = FunctionReference(KEY, "prod")
    assert policies.asked == [(prod, None), (prod, "$LATEST"), (prod, None)]


def test_an_event_whose_retry_would_come_too_late_ends_before_it_sleeps(
    queue: EventQueue,
    outbox: Outbox,
    runner: Runner,
    policies: Policies,
    clock: FakeClock,
    dispatch: Callable[..., Dispatcher],
) -> None:
    policies.now = Policy(maximum_age=60, on_failure=TOPIC)
    runner.answers = failing(1)
    queue.put(invocation())
    clock.advance(0.001)
    assert run_to_the_end(dispatch(), queue, clock) == []
    [told], _ = outbox.lease(TOPIC, 9)
    record = json.loads(told.message.body)
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("EventAgeExceeded", 1)
    assert record["responseContext"]["functionError"] == "Unhandled"


def test_an_event_that_waited_too_long_does_not_run(
    queue: EventQueue,
    outbox: Outbox,
    runner: Runner,
    policies: Policies,
    clock: FakeClock,
    dispatch: Callable[..., Dispatcher],
) -> None:
    policies.now = Policy(maximum_age=60, on_failure=TOPIC)
    queue.put(invocation())
    clock.advance(61)
    dispatch()
    until(lambda: queue.count() == 0)
    assert runner.ran == []
    [told], _ = outbox.lease(TOPIC, 9)
    record = json.loads(told.message.body)
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("EventAgeExceeded", 0)
    assert "responseContext" not in record


@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 2.0])
def test_a_scale_changes_delays_and_nothing_else(
    queue: EventQueue,
    runner: Runner,
    policies: Policies,
    clock: FakeClock,
    dispatch: Callable[..., Dispatcher],
    scale: float,
) -> None:
    policies.now = Policy(maximum_age=100)
    runner.answers = [TooManyRequests("x")] * 20
    queue.put(invocation())
    clock.advance(0.001)
    delays = run_to_the_end(dispatch(retry_scale=scale), queue, clock)
    expected = [] if scale == 0 else [1, 2, 4, 8, 16, 32]
    assert delays == pytest.approx([scale * delay for delay in expected], abs=1e-6)
    assert len(runner.ran) == 7


def test_a_function_that_may_not_run_at_all_ends_its_events_at_once(
    queue: EventQueue,
    outbox: Outbox,
    runner: Runner,
    policies: Policies,
    dispatch: Callable[..., Dispatcher],
) -> None:
    policies.now = Policy(blocked=True, on_failure=TOPIC, dead_letter=QUEUE)
    put = invocation()
    queue.put(put)
    dispatch()
    until(lambda: queue.count() == 0)
    assert runner.ran == []
    [told], _ = outbox.lease(TOPIC, 9)
    record = json.loads(told.message.body)
    assert list(record) == ["version", "timestamp", "requestContext", "requestPayload"]
    context = record["requestContext"]
    assert context["condition"] == "ZeroReservedConcurrency"
    assert context["approximateInvokeCount"] == 0
    [letter], _ = outbox.lease(QUEUE, 9)
    assert letter.message.attributes == {
        "RequestID": put.request_id,
        "ErrorCode": "429",
        "ErrorMessage": "Rate Exceeded.",
    }


def test_an_event_of_a_loop_is_told_and_not_tried_again(
    queue: EventQueue,
    outbox: Outbox,
    runner: Runner,
    policies: Policies,
    dispatch: Callable[..., Dispatcher],
) -> None:
    policies.now = Policy(on_failure=TOPIC, dead_letter=QUEUE)
    runner.answers = [RecursiveInvocation("too often")]
    queue.put(invocation())
    dispatch()
    until(lambda: queue.count() == 0)
    assert len(runner.ran) == 1
    [told], _ = outbox.lease(TOPIC, 9)
    record = json.loads(told.message.body)
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RecursiveInvocation", 0)
    assert "responseContext" not in record
    [letter], _ = outbox.lease(QUEUE, 9)
    assert letter.message.body == b"{}"
    assert letter.message.attributes["ErrorCode"] == "400"
    assert letter.message.attributes["ErrorMessage"] == "too often"


def test_a_success_is_told_and_leaves_no_dead_letter(
    queue: EventQueue,
    outbox: Outbox,
    policies: Policies,
    dispatch: Callable[..., Dispatcher],
) -> None:
    policies.now = Policy(on_success=TOPIC, on_failure=QUEUE, dead_letter=QUEUE)
    queue.put(invocation())
    dispatch()
    until(lambda: queue.count() == 0)
    assert list(outbox.due()) == [TOPIC]


def test_a_failure_that_nobody_is_told_of_is_a_dead_event(
    queue: EventQueue,
    outbox: Outbox,
    database: Database,
    runner: Runner,
    policies: Policies,
    clock: FakeClock,
    dispatch: Callable[..., Dispatcher],
) -> None:
    policies.now = Policy(retries=0, on_success=TOPIC)
    runner.answers = failing(1)
    put = replace(invocation(payload=b'"a"', qualifier="1"), tenant_id="blue")
    queue.put(put)
    dispatch()
    until(lambda: queue.count() == 0)
    assert outbox.count() == 0
    dead = DeadEvents(database, clock, queue, outbox)
    [event] = dead.list(None)
    assert (event.reference, event.request_id) == (put.reference, put.request_id)
    assert (event.condition, event.attempts, event.reason) == ("RetriesExhausted", 1, "{}")
    dead.retry_one(event.id)
    runner.wait_for(2)
    assert runner.ran[1] == put
    until(lambda: queue.count() == 0)
    assert dead.count() == 0


def test_a_poison_event_is_told_after_three_attempts_over_restarts(
    queue: EventQueue,
    outbox: Outbox,
    database: Database,
    runner: Runner,
    policies: Policies,
    clock: FakeClock,
    dispatch: Callable[..., Dispatcher],
) -> None:
    policies.now = Policy(dead_letter=QUEUE)
    queue.put(invocation())
    for _ in range(3):
        queue.lease(KEY, 1)
        EventQueue(database, clock)
    dispatch()
    until(lambda: queue.count() == 0)
    assert runner.ran == []
    [letter], _ = outbox.lease(QUEUE, 9)
    assert letter.message.attributes["ErrorCode"] == "500"
