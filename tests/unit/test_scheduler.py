from __future__ import annotations

import threading

import pytest

from sandbox.clock import SystemClock
from sandbox.environments.scheduler import Scheduler


def test_calls_come_in_the_order_in_which_they_are_due() -> None:
    scheduler = Scheduler(SystemClock())
    calls: list[str] = []
    done = threading.Event()
    scheduler.call_later(0.02, done.set)
    scheduler.call_later(0.01, lambda: calls.append("second"))
    scheduler.call_later(0, lambda: calls.append("first"))
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
