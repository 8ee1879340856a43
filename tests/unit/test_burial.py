"""Dead events are kept within bounds: the oldest make room."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.invocation import Invocation
from sandbox.metrics import Metrics
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import Burial, DeadEvents, EventQueue, Outbox, Size
from sandbox.queue.burial import newest_within
from sandbox.queue.rules import Ending

KEY = FunctionKey("000000000000", "us-east-1", "f")
ENDING = Ending("RetriesExhausted", 3, None, 500, "why")

Bury = Callable[..., None]


@pytest.fixture
def bury(queue: EventQueue, outbox: Outbox) -> Bury:
    """Have an event of this payload die."""

    def bury(payload: bytes) -> None:
        queue.put(Invocation(FunctionReference(KEY, None), payload))
        [event], _ = queue.lease(KEY, 1)
        outbox.end(event, ENDING, [], lost=True)

    return bury


@pytest.fixture
def dead(database: Database, clock: FakeClock, queue: EventQueue, outbox: Outbox) -> DeadEvents:
    return DeadEvents(database, clock, queue, outbox)


def kept(dead: DeadEvents) -> list[bytes]:
    return [dead.show(event.id)[1] for event in dead.list(None)]


def dropped(metrics: Metrics) -> float:
    name = "fnbox_dead_events_dropped_total "
    lines = metrics.exposition().decode().splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_the_oldest_make_room_and_that_is_told(
    database: Database,
    outbox: Outbox,
    dead: DeadEvents,
    bury: Bury,
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    outbox.on_burial(Burial(database, metrics, Size(10, 1000)).buried)
    for number in range(10):
        bury(b"%d" % number)
    assert len(kept(dead)) == 10
    assert dropped(metrics) == 0
    with caplog.at_level(logging.WARNING, "sandbox.queue.burial"):
        bury(b"10")
    assert kept(dead) == [b"%d" % number for number in range(2, 11)]
    assert dropped(metrics) == 2
    [record] = caplog.records
    assert record.getMessage().startswith("2 dead events, the oldest, were dropped")


def test_bytes_are_bounded_too(
    database: Database, outbox: Outbox, dead: DeadEvents, bury: Bury
) -> None:
    outbox.on_burial(Burial(database, Metrics(), Size(1000, 100)).buried)
    for letter in b"abcd":
        bury(bytes([letter]) * 30)
    assert kept(dead) == [letter * 30 for letter in (b"b", b"c", b"d")]
    bury(b"e" * 101)  # more than all may have
    assert kept(dead) == []


def test_what_an_earlier_run_left_counts(
    database: Database, outbox: Outbox, dead: DeadEvents, bury: Bury
) -> None:
    for number in range(10):
        bury(b"%d" % number)
    Burial(database, Metrics(), Size(5, 1000))
    assert kept(dead) == [b"%d" % number for number in range(5, 10)]


def test_what_was_purged_makes_room(
    database: Database, outbox: Outbox, dead: DeadEvents, bury: Bury
) -> None:
    metrics = Metrics()
    outbox.on_burial(Burial(database, metrics, Size(5, 1000)).buried)
    for number in range(5):
        bury(b"%d" % number)
    assert dead.purge() == 5
    for number in range(5):
        bury(b"%d" % number)
    assert len(kept(dead)) == 5
    assert dropped(metrics) == 0


@given(st.lists(st.integers(0, 50)), st.integers(0, 10), st.integers(0, 100))
def test_as_many_of_the_newest_are_kept_as_fit(sizes: list[int], events: int, size: int) -> None:
    rows = [(1000 - number, length) for number, length in enumerate(sizes)]
    last, left = newest_within(rows, Size(events, size))
    count = left.events
    assert last == (rows[count - 1][0] if count else None)
    assert left == (count, sum(sizes[:count]))
    assert left.within(Size(events, size))
    more = Size(count + 1, sum(sizes[: count + 1]))
    assert count == len(sizes) or not more.within(Size(events, size))
