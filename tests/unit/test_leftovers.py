"""Containers that could not be removed: who is told; and an engine that hangs holds up nobody."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.clock import FakeClock
from sandbox.environments import leftovers
from sandbox.environments.leftovers import Leftovers
from sandbox.errors import EngineError, EngineUnavailable
from tests.support.times import Times


class Engine:
    """Removes what it has, unless it fails."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.asked: list[str] = []
        self.error: Exception | None = None

    def remove(self, container: str) -> None:
        self.asked.append(container)
        if self.error:
            raise self.error
        self.there.discard(container)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def times() -> Times:
    return Times(FakeClock())


@pytest.fixture
def left(engine: Any, times: Any, monkeypatch: pytest.MonkeyPatch) -> Leftovers:
    monkeypatch.setattr(leftovers, "in_background", lambda function, name: function())
    return Leftovers(engine, times, times._clock)


def test_what_is_removed_at_once_is_done_at_once(engine: Engine, left: Leftovers) -> None:
    done: list[str] = []
    left.remove("one", lambda: done.append("one"))
    assert (done, len(left)) == (["one"], 0)


def test_what_could_not_be_removed_is_tried_until_it_is_gone_and_then_told_once(
    engine: Engine, left: Leftovers, times: Times
) -> None:
    done: list[str] = []
    engine.error = EngineUnavailable("silence")
    for name in ("one", "two", "three"):
        left.remove(name, lambda name=name: done.append(name))  # type: ignore[misc]
    engine.asked.clear()
    times.pass_(20)
    # One question for all of them: who hangs on one hangs on the others.
    assert set(engine.asked) == {"one"}
    assert 8 <= len(engine.asked) <= 10
    engine.error = None
    times.pass_(20)
    assert (done, len(left)) == (["one", "two", "three"], 0)
    engine.asked.clear()
    times.pass_(200)
    assert engine.asked == []


def test_one_that_the_engine_fails_to_remove_does_not_keep_the_others(
    left: Leftovers, engine: Engine, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    engine.error = EngineUnavailable("silence")
    for name in ("stuck", "other"):
        left.remove(name, lambda name=name: done.append(name))  # type: ignore[misc]

    def remove(container: str) -> None:
        if container == "stuck":
            raise EngineError("device is busy")

    monkeypatch.setattr(engine, "remove", remove)
    times.pass_(3)
    assert (done, len(left)) == (["other"], 1)


def test_a_container_in_doubt_is_looked_for_again_when_the_engine_may_have_made_it(
    left: Leftovers, engine: Engine, times: Times
) -> None:
    left.doubt("late")
    times.pass_(3)
    assert engine.asked == ["late"]
    engine.there.add("late")  # what hung has been done after all
    times.pass_(130)
    assert (engine.there, len(left)) == (set(), 0)


def test_a_doubt_does_not_make_others_wait(left: Leftovers, engine: Engine, times: Times) -> None:
    left.doubt("late")
    times.pass_(3)
    done: list[str] = []
    engine.error = EngineUnavailable("silence")
    left.remove("one", lambda: done.append("one"))
    engine.error = None
    times.pass_(3)
    assert done == ["one"]
