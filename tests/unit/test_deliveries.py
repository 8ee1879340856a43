"""Messages about the end of events: kept, delivered, tried again, and dead in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.aws.clients import AwsClients
from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.errors import Conflict, NotFound
from sandbox.invocation import Invocation
from sandbox.metrics import Metrics
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import (
    Courier,
    DeadEvents,
    Delivery,
    EventQueue,
    Message,
    Outbox,
    TargetDown,
    Targets,
    Undeliverable,
)
from sandbox.queue.courier import MAXIMUM_FAILURES
from sandbox.queue.rules import Ending
from sandbox.queue.targets import object_key
from tests.support.functions import until

KEY = FunctionKey("000000000000", "us-east-1", "f")
ONE = "arn:aws:sqs:us-east-1:000000000000:one"
TWO = "arn:aws:sqs:us-east-1:000000000000:two"
ENDING = Ending("RetriesExhausted", 3, None, 500, "why")


@pytest.fixture
def dead(database: Database, clock: FakeClock, queue: EventQueue, outbox: Outbox) -> DeadEvents:
    return DeadEvents(database, clock, queue, outbox)


def message(target: str = ONE, body: bytes = b"{}", **members: Any) -> Message:
    reference = FunctionReference(KEY, "prod")
    given = {"kind": "OnFailure", "attributes": {}} | members
    return Message(reference, "id", "Root=1", target=target, body=body, **given)


@pytest.fixture
def write(queue: EventQueue, outbox: Outbox) -> Callable[..., Invocation]:
    """End an event, and tell of it."""

    def write(*messages: Message, name: str = "f", lost: bool = False) -> Invocation:
        put = Invocation(FunctionReference(KEY._replace(name=name), None), b'"x"', trace_id="t")
        queue.put(put)
        [event], _ = queue.lease(put.reference.key, 1)
        outbox.end(event, ENDING, messages, lost=lost)
        return put

    return write


class Target:
    """Takes messages, unless a test says otherwise."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []
        self.failures: dict[str, Exception] = {}
        self.gates: dict[str, threading.Event] = {}

    def __call__(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        target = delivery.message.target
        if target in self.gates:
            assert self.gates[target].wait(10)
        if target in self.failures:
            raise self.failures[target]


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
def courier(outbox: Outbox, target: Target, clock: FakeClock) -> Iterator[Courier]:
    courier = Courier(outbox, target, clock, Metrics(), parallel=4)
    courier.start()
    yield courier
    for gate in target.gates.values():
        gate.set()
    assert courier.close(10)


def test_a_message_is_delivered_and_forgotten(
    write: Callable[..., Invocation], outbox: Outbox, target: Target, courier: Courier
) -> None:
    sent = message(attributes={"ErrorCode": "200"}, body=b"\x00\xff")
    write(sent)
    until(lambda: outbox.count() == 0)
    assert [delivery.message for delivery in target.got] == [sent]


def test_an_end_and_its_messages_are_written_together(
    write: Callable[..., Invocation], queue: EventQueue, outbox: Outbox, database: Database
) -> None:
    write(message(ONE), message(TWO))
    assert (queue.count(), outbox.count()) == (0, 2)
    outbox.lease(ONE, 1)
    assert list(outbox.due()) == [TWO]
    assert set(Outbox(database, FakeClock()).due()) == {ONE, TWO}


def test_what_an_earlier_run_left_is_delivered(
    write: Callable[..., Invocation], outbox: Outbox, target: Target, clock: FakeClock
) -> None:
    write(message(ONE), message(TWO))
    courier = Courier(outbox, target, clock, Metrics())
    courier.start()
    until(lambda: outbox.count() == 0)
    assert courier.close(10)


def test_a_target_that_hangs_does_not_hold_up_others(
    write: Callable[..., Invocation], outbox: Outbox, target: Target, courier: Courier
) -> None:
    target.gates[ONE] = threading.Event()
    write(*[message(ONE) for _ in range(9)])
    until(lambda: len(target.got) == 2)
    write(message(TWO))
    until(lambda: list(outbox.due()) == [ONE] and len(target.got) == 3)
    assert target.got[-1].message.target == TWO


def test_a_target_that_is_down_is_tried_again_and_then_the_message_is_dead(
    write: Callable[..., Invocation],
    outbox: Outbox,
    dead: DeadEvents,
    target: Target,
    courier: Courier,
    clock: FakeClock,
) -> None:
    target.failures[ONE] = TargetDown("refused")
    write(message())
    delays = []
    for tries in range(1, MAXIMUM_FAILURES):
        until(lambda tries=tries: len(target.got) == tries and outbox.due() != {})
        delays.append(outbox.due()[ONE] - clock.wall())
        clock.advance(delays[-1])
        courier.wake()
    until(lambda: dead.count() == 1)
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert outbox.count() == 0
    [event] = dead.list(KEY)
    assert (event.target, event.kind, event.reason) == (ONE, "OnFailure", "refused")
    assert (event.condition, event.attempts) == (None, None)

    del target.failures[ONE]
    dead.retry()
    until(lambda: outbox.count() == 0)
    assert (len(target.got), dead.count()) == (MAXIMUM_FAILURES + 1, 0)
    assert target.got[-1].message == message()


def test_a_message_that_is_refused_is_dead_at_once(
    write: Callable[..., Invocation], dead: DeadEvents, target: Target, courier: Courier
) -> None:
    target.failures[ONE] = Undeliverable("no such queue")
    write(message())
    until(lambda: dead.count() == 1)
    assert len(target.got) == 1


def test_a_defect_is_logged_and_the_message_kept(
    write: Callable[..., Invocation],
    outbox: Outbox,
    target: Target,
    courier: Courier,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target.failures[ONE] = ZeroDivisionError("a defect of ours")
    write(message())
    until(lambda: outbox.due() != {} and outbox.count() == 1 and "a defect of ours" in caplog.text)


# dead events


def test_dead_events_are_listed_by_pages_and_by_function(
    write: Callable[..., Invocation], dead: DeadEvents, clock: FakeClock
) -> None:
    put = [write(name=name, lost=True) for name in ("f", "g", "f")]
    everything = dead.list(None)
    assert [event.request_id for event in everything] == [one.request_id for one in put]
    assert dead.list(None, after=everything[0].id, limit=1) == [everything[1]]
    assert [event.id for event in dead.list(KEY)] == [everything[0].id, everything[2].id]
    event, payload = dead.show(everything[0].id)
    assert (event, payload) == (everything[0], b'"x"')
    assert (event.size, event.died_at, event.reason) == (3, clock.wall(), "why")


def test_all_of_a_function_run_again_as_new_events(
    write: Callable[..., Invocation], dead: DeadEvents, queue: EventQueue, clock: FakeClock
) -> None:
    put = [write(name=name, lost=True) for name in ("f", "g", "f")]
    clock.advance(100)
    assert dead.retry(KEY) == 2
    events, _ = queue.lease(KEY, 9)
    assert [event.invocation for event in events] == [put[0], put[2]]
    assert {(event.attempts, event.enqueued_at) for event in events} == {(1, clock.wall())}
    assert [event.reference.key.name for event in dead.list(None)] == ["g"]


def test_more_than_one_batch_is_retried(
    write: Callable[..., Invocation],
    dead: DeadEvents,
    queue: EventQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sandbox.queue.dead._BATCH", 2)
    for _ in range(5):
        write(lost=True)
    assert dead.retry() == 5
    assert (dead.count(), queue.count()) == (0, 5)


def test_dead_events_are_purged(write: Callable[..., Invocation], dead: DeadEvents) -> None:
    for name in ("f", "g", "f", "h"):
        write(name=name, lost=True)
    dead.purge_one(dead.list(None)[1].id)
    assert dead.purge(KEY) == 2
    assert dead.purge() == 1
    for call in (dead.show, dead.retry_one, dead.purge_one):
        with pytest.raises(NotFound, match="There is no dead event 1"):
            call(1)


# targets


def delivery(target: str, **members: Any) -> Delivery:
    return Delivery(1, message(target, **members), 1_764_039_131.1236, 0)


def test_a_function_is_invoked_inside_fnbox() -> None:
    accepted: list[Invocation] = []
    arn = "arn:aws:lambda:eu-west-1:111122223333:function:next:prod"
    Targets(AwsClients({}), accepted.append).send(delivery(arn, body=b'{"a":1}'))
    [invocation] = accepted
    key = FunctionKey("111122223333", "eu-west-1", "next")
    assert invocation.reference == FunctionReference(key, "prod")
    assert (invocation.payload, invocation.trace_id) == (
        b'{"a":1}',
        "Root=1;Lineage=1:aa64d701:0",
    )


def test_a_function_that_cannot_take_it_now_may_later() -> None:
    def enqueue(_: Invocation) -> None:
        raise Conflict("Pending")

    arn = "arn:aws:lambda:us-east-1:000000000000:function:next"
    with pytest.raises(TargetDown, match="Pending"):
        Targets(AwsClients({}), enqueue).send(delivery(arn))


@pytest.mark.parametrize(
    ("arn", "text"),
    [
        (ONE, "or set FNBOX_ENDPOINTS=sqs=http://…"),
        ("arn:aws:iam::000000000000:role/r", "is of no service that takes messages"),
        ("queue", "queue is no ARN"),
    ],
)
def test_what_nobody_can_be_told(arn: str, text: str) -> None:
    with pytest.raises(Undeliverable, match=text):
        Targets(AwsClients({}), lambda _: None).send(delivery(arn))


def test_a_target_that_does_not_answer_is_down() -> None:
    targets = Targets(AwsClients({"sqs": "http://127.0.0.1:9"}), lambda _: None)
    with pytest.raises(TargetDown, match="Could not connect"):
        targets.send(delivery(ONE))


def test_a_record_has_the_same_name_in_a_bucket_each_time() -> None:
    key = object_key(delivery("arn:aws:s3:::bucket"))
    assert key.startswith("aws/lambda/async/f/2025/11/25/2025-11-25T02.52.11-")
    assert key == object_key(delivery("arn:aws:s3:::bucket"))
