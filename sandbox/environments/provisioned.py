"""What is provisioned of one version: how many environments are to be ready, and which are.

Bookkeeping alone, changed under the pool's lock. Provisioned environments are used before all
others and are not idle in the pool's sense: neither time, nor another version's need of room,
nor short memory ends one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sandbox.environments.environment import ExecutionEnvironment

INIT_FAILURE = "FUNCTION_ERROR_INIT_FAILURE"
NO_ROOM = (
    "No more environments may be provisioned here: FNBOX_MAX_ENVIRONMENTS says how many there may "
    "be, and a tenth of them is kept for calls on demand"
)

_REST_SECONDS = 5.0
_LONGEST_REST_SECONDS = 300.0


class Provided(NamedTuple):
    """How far a version's provisioned concurrency has come."""

    ready: int
    """Environments that have initialized and live."""
    failure: str | None
    """Why it is not complete, when something went wrong."""


@dataclass(eq=False, frozen=True, slots=True)
class Rest:
    """The time between a failure and the next attempt."""

    seconds: float


@dataclass(eq=False, slots=True)
class Provision:
    """The provisioned environments of a version."""

    target: int = 0
    starting: int = 0
    ready: set[ExecutionEnvironment] = field(default_factory=set)
    """Initialized, whether free or busy."""
    free: list[ExecutionEnvironment] = field(default_factory=list)
    """Those that wait for a call; the most recently used last."""
    failure: str | None = None
    resting: Rest | None = None
    """Nothing starts until it has ended."""
    _failures: int = 0

    @property
    def count(self) -> int:
        return self.starting + len(self.ready)

    @property
    def in_use(self) -> bool:
        return bool(self.target or self.count)

    @property
    def missing(self) -> int:
        """Environments to start now."""
        return 0 if self.resting else max(0, self.target - self.count)

    @property
    def excess(self) -> int:
        """Environments to end, once they are free."""
        return max(0, len(self.ready) - self.target)

    @property
    def provided(self) -> Provided:
        return Provided(len(self.ready), self.failure)

    def aim(self, target: int) -> None:
        """Set how many are wanted; what failed before is tried again at once."""
        self.target = target
        self.failure, self.resting, self._failures = None, None, 0

    def joined(self, environment: ExecutionEnvironment) -> None:
        """One is ready."""
        self.ready.add(environment)
        if len(self.ready) >= self.target:
            self.failure, self._failures = None, 0

    def failed(self, reason: str) -> Rest | None:
        """One did not start. The rest that begins now; None: it has begun already."""
        self.failure = reason
        if self.resting:
            return None
        self.resting = Rest(
            min(_REST_SECONDS * 2 ** min(self._failures, 10), _LONGEST_REST_SECONDS)
        )
        self._failures += 1
        return self.resting

    def wake(self, rest: Rest | None) -> bool:
        """End a rest, unless it has ended before."""
        if self.resting is not rest:
            return False
        self.resting = None
        return True
