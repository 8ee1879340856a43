from __future__ import annotations

import threading

import pytest

from sandbox.clock import FakeClock, SystemClock
from sandbox.environments.scheduler import Alarm, Scheduler
from tests.support.pool import HeldScheduler


def test_calls_come_in_the_order_in_which_they_are_due() -> None:
    clock = FakeClock()
    scheduler = Scheduler(clock)
    calls: list[str] = []
    done = threading.Event()
    scheduler.call_later(0.03, done.set)
    scheduler.call_later(0.02, lambda: calls.append("second"))
    scheduler.call_later(0.01, lambda: calls.append("first"))
    clock.advance(1)
    assert done.wait(10)
    assert calls == ["first", "second"]
    scheduler.close()


def test_a_call_that_raises_is_logged_and_the_next_still_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler = Scheduler(SystemClock())
    done = threading.Event()
    scheduler.call_later(0, lambda: [][0])
    scheduler.call_later(0, done.set)
    assert done.wait(10)
    assert "a scheduled call failed" in caplog.text
    scheduler.close()


def test_what_is_not_due_when_it_closes_is_forgotten() -> None:
    scheduler = Scheduler(SystemClock())
    called = threading.Event()
    scheduler.call_later(3600, called.set)
    scheduler.close()
    assert not called.is_set()


def alarmed() -> tuple[Alarm, HeldScheduler, FakeClock, list[float]]:
    later, clock, rung = HeldScheduler(), FakeClock(start=100), list[float]()
    return Alarm(later, clock, lambda: rung.append(clock.monotonic())), later, clock, rung  # type: ignore[arg-type]


def test_an_alarm_that_is_put_off_asks_the_scheduler_once() -> None:
    alarm, later, clock, rung = alarmed()
    for _ in range(100):
        alarm.set(clock.monotonic() + 3)
        clock.advance(0.01)
    [(seconds, look)] = later.calls
    assert seconds == 3
    clock.advance(2)
    look()
    assert rung == []
    assert later.calls[1][0] == pytest.approx(0.99)
    clock.advance(0.99)
    later.calls[1][1]()
    assert rung == [pytest.approx(103.99)]


def test_an_alarm_that_is_cleared_does_not_ring() -> None:
    alarm, later, clock, rung = alarmed()
    alarm.set(103)
    alarm.clear()
    clock.advance(3)
    later.calls[0][1]()
    assert rung == []
    assert len(later.calls) == 1


def test_an_alarm_may_be_set_to_an_earlier_time() -> None:
    alarm, later, clock, rung = alarmed()
    alarm.set(190)
    alarm.set(101)
    clock.advance(1)
    later.calls[1][1]()
    assert rung == [101]
