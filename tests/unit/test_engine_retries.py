"""How often an engine is asked again, and for how long."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sandbox.engines.retries import Patience, persist


class Gone(Exception):
    """No answer came."""


class Engine:
    """Takes its time over each question, by a clock of its own."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self.at = 0.0
        self.allowed: list[float] = []
        self._seconds = iter(seconds)

    def asked(self) -> str:
        return persist(
            self._answer,
            Patience((1, 2, 3)),
            transient=lambda _: True,
            errors=(Gone,),
            pause=self._pass,
            now=lambda: self.at,
            spread=lambda: 1.0,
        )

    def _pass(self, seconds: float) -> None:
        self.at += seconds

    def _answer(self, allowed: float) -> str:
        self.allowed.append(round(allowed, 2))
        seconds = next(self._seconds, 0.0)
        self.at += seconds
        if seconds > 0:
            raise Gone
        return "answered"


def test_attempts_that_hang_end_with_the_patience() -> None:
    engine = Engine([1, 2, 3, 3])
    with pytest.raises(Gone):
        engine.asked()
    assert engine.allowed == [1, 2, 2.94]
    assert 6 <= engine.at < 6.1


def test_after_a_stall_that_took_all_patience_there_is_a_second_attempt() -> None:
    engine = Engine([60])
    assert engine.asked() == "answered"
    assert engine.allowed == [1, 2]


def test_there_is_no_third_attempt_then() -> None:
    engine = Engine([60, 2])
    with pytest.raises(Gone):
        engine.asked()
    assert engine.allowed == [1, 2]


def test_errors_that_come_at_once_are_limited_in_number() -> None:
    engine = Engine([0.001] * 20)
    with pytest.raises(Gone):
        engine.asked()
    assert len(engine.allowed) == 8
