from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from sandbox.clock import FakeClock, SystemClock
from sandbox.environments.turns import (
    LONGEST_SECONDS,
    QUICK_MS,
    YOUNG_SECONDS,
    Crowding,
    Turn,
    Turns,
)
from tests.support.functions import until
from tests.support.times import Times, turns

MOMENT = 0.001


class Hall:
    """Calls that take their turns, each in a thread; named as they come."""

    def __init__(self, at_once: int = 2, *, crowded: bool = True, quick: str = "f") -> None:
        self.clock = FakeClock()
        self.turns: Turns
        self.times: Times
        self.turns, self.times = turns(self.clock, at_once, crowded=crowded)
        self.begun: dict[str, Turn] = {}
        self.threads: list[threading.Thread] = []
        self.alarms = 0
        set_alarm = self.turns._alarm.set

        def counted(at: float) -> None:
            set_alarm(at)
            self.alarms += 1

        self.turns._alarm.set = counted  # type: ignore[method-assign]
        for function in quick:
            self.call(function, QUICK_MS / 2)

    def call(self, function: str, duration_ms: float) -> None:
        """One that is let in, and over before the next."""
        turn = self.turns.take(function)
        turn.duration_ms = duration_ms
        self.turns.end(turn)

    def come(self, *names: str, function: str = "f") -> None:
        """Each has begun, or waits for its turn, before the next. Turns are for one native thread,
        so what a call does before it waits is over then: the last of it sets the alarm."""
        for name in names:
            alarms = self.alarms
            thread = threading.Thread(target=self._take, args=(name, function), daemon=True)
            thread.start()
            self.threads.append(thread)
            until(lambda n=name, a=alarms: n in self.begun or self.alarms > a)

    def _take(self, name: str, function: str) -> None:
        self.begun[name] = self.turns.take(function)

    def leave(self, name: str) -> None:
        self.turns.end(self.begun[name])

    def have_begun(self, names: str) -> None:
        """Those, and no others."""
        until(lambda: len(self.begun) == len(names))
        assert sorted(self.begun) == sorted(names)
        assert len(self.turns._waiting) == len(self.threads) - len(names)


def test_nobody_waits_where_the_machine_is_not_crowded() -> None:
    hall = Hall(crowded=False)
    hall.come(*"abcde")
    hall.have_begun("abcde")


def test_as_many_begin_as_may_and_another_when_one_ends_in_the_order_of_coming() -> None:
    hall = Hall()
    hall.come(*"abcde")
    hall.have_begun("ab")
    hall.leave("b")
    hall.have_begun("abc")
    hall.leave("a")
    hall.have_begun("abcd")
    hall.leave("c")
    hall.leave("d")
    hall.have_begun("abcde")


def test_one_who_comes_later_does_not_take_the_place_of_one_who_waits() -> None:
    hall = Hall(1)
    hall.come(*"ab")
    hall.leave("a")
    hall.come("c")
    hall.have_begun("ab")
    hall.leave("b")
    hall.have_begun("abc")


def test_a_function_that_nothing_is_known_of_does_not_wait() -> None:
    hall = Hall(1)
    hall.come(*"ab")
    hall.come(*"xyz", function="new")
    hall.have_begun("axyz")
    hall.leave("a")
    hall.have_begun("axyzb")


def test_one_that_is_never_quick_does_not_wait_and_keeps_nobody() -> None:
    hall = Hall(1)
    hall.call("slow", QUICK_MS + 0.1)
    hall.come(*"xyz", function="slow")
    hall.come("a")
    hall.have_begun("xyza")


def test_one_that_has_become_slow_is_no_longer_taken_for_quick() -> None:
    hall = Hall(1)
    for _ in range(200):
        hall.call("f", 2 * QUICK_MS)
    hall.come(*"ab")
    hall.have_begun("ab")


def test_a_call_that_lasts_makes_place_for_another() -> None:
    hall = Hall()
    hall.come(*"abcde")
    hall.times.pass_(YOUNG_SECONDS - MOMENT)
    hall.have_begun("ab")
    hall.times.pass_(MOMENT)
    hall.have_begun("abcd")
    hall.leave("a")  # its place was given already
    hall.have_begun("abcd")
    hall.leave("c")
    hall.have_begun("abcde")


def test_nobody_waits_for_longer_than_it_may_be_however_many_there_are() -> None:
    hall = Hall(1)
    hall.come(*"abcde")
    hall.times.pass_(LONGEST_SECONDS)
    hall.have_begun("abcde")


def test_what_has_no_duration_says_nothing_of_its_function() -> None:
    hall = Hall(1)
    hall.call("f", math.inf)  # no environment could be had
    hall.come(*"ab")
    hall.have_begun("a")
    hall.leave("a")
    hall.have_begun("ab")


class Kernel:
    """What the kernel counts of a thread, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.count(0, 0)
        self.crowding = Crowding(self.clock, path)

    def count(self, running: float, waiting: float) -> None:
        self.path.write_text(f"{running * 1e9:.0f} {waiting * 1e9:.0f} 17\n")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "schedstat")


@pytest.mark.parametrize(("running", "waiting"), [(0.6, 0.0), (0.3, 0.3), (0.0, 0.6)])
def test_a_thread_that_hardly_ever_rests_makes_a_crowded_machine(
    kernel: Kernel, running: float, waiting: float
) -> None:
    assert not kernel.crowding()
    kernel.clock.advance(1)
    kernel.count(running, waiting)
    assert kernel.crowding()
    kernel.clock.advance(1)
    assert not kernel.crowding()


def test_what_was_before_a_long_rest_does_not_count(kernel: Kernel) -> None:
    kernel.clock.advance(1)
    kernel.count(0.9, 0)
    assert kernel.crowding()
    kernel.clock.advance(60)
    kernel.count(1.9, 0)
    assert not kernel.crowding()


def test_it_does_not_look_at_every_call(kernel: Kernel) -> None:
    kernel.clock.advance(1)
    kernel.count(0.9, 0)
    assert kernel.crowding()
    kernel.path.unlink()
    kernel.clock.advance(0.01)
    assert kernel.crowding()


def test_where_the_kernel_does_not_count_no_machine_is_crowded(tmp_path: Path) -> None:
    clock = FakeClock()
    crowding = Crowding(clock, tmp_path / "nothing")
    clock.advance(1)
    assert not crowding()


def test_the_kernel_of_this_machine_counts() -> None:
    before = (crowding := Crowding(SystemClock()))._busy
    until(lambda: sum(range(10**5)) and crowding._busy_seconds() > before)  # counted at ticks
