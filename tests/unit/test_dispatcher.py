"""The dispatcher: events are shared out fairly, and tried again by Lambda's rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.errors import EngineUnavailable, NotFound, TooManyRequests
from sandbox.metrics import Metrics
from sandbox.queue import Dispatcher, EventQueue, Outbox
from sandbox.queue.lanes import fair_share
from sandbox.queue.rules import MAXIMUM_AGE
from tests.support.events import BAD, KEY, Policies, Runner, invocation, key
from tests.support.functions import until


def idle(dispatcher: Dispatcher) -> bool:
    return repr(dispatcher) == "<Dispatcher running=0 functions_waiting=0>"


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
