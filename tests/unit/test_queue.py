"""The queue: events are kept until they have run."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.invocation import Invocation
from sandbox.names import FunctionReference
from sandbox.queue import Event, EventQueue, Outbox
from sandbox.queue.rules import SUCCESS, Ending
from tests.support.events import KEY, invocation, key


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
