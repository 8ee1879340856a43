"""How events end: after how many attempts and how long, and who is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.errors import RecursiveInvocation, TooManyRequests
from sandbox.invocation import Outcome
from sandbox.names import FunctionReference
from sandbox.queue import DeadEvents, Dispatcher, EventQueue, Outbox, Policy
from tests.support.events import BAD, KEY, Policies, Runner, invocation
from tests.support.functions import until

QUEUE = "arn:aws:sqs:us-east-1:000000000000:dlq"
TOPIC = "arn:aws:sns:us-east-1:000000000000:failed"


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
