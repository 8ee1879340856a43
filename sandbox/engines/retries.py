"""Tries again what an engine did not answer: bounded in attempts and in time.

Whatever is passed in must be idempotent: an attempt that got no answer may have done its work.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_ATTEMPTS = 8
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.3


class Patience(NamedTuple):
    """How long one call of the engine is waited for: an attempt for the first of these seconds,
    and when it was not answered the next for the second. Their sum bounds the whole, except that
    there is always a second attempt: of a machine that stood still the first learns nothing."""

    seconds: tuple[float, ...]

    @property
    def total(self) -> float:
        return sum(self.seconds)


def persist(
    attempt: Callable[[float], T],
    patience: Patience,
    *,
    transient: Callable[[Exception], bool],
    errors: tuple[type[Exception], ...],
    pause: Callable[[float], object],
    now: Callable[[], float] = time.monotonic,
    spread: Callable[[], float] = random.random,
) -> T:
    """What `attempt(timeout)` returns, once it does. Raises its error when that is not
    `transient`, or when patience has run out.

    An attempt that is answered with an error at once costs next to no patience, so those are
    limited in number too, with pauses that grow. An attempt that hangs has its time.
    """
    deadline = now() + patience.total
    for number in range(_ATTEMPTS):
        began = now()
        timeout = patience.seconds[min(number, len(patience.seconds) - 1)]
        try:
            return attempt(min(timeout, max(deadline - began, 0.05)) if number > 1 else timeout)
        except errors as error:
            # So that many calls that failed together do not come back together.
            rest = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE) * (0.5 + spread() / 2)
            last = number == _ATTEMPTS - 1 or (number > 0 and now() + rest >= deadline)
            if last or not transient(error):
                raise
            pause(rest)
    raise AssertionError("the last attempt returns or raises")
