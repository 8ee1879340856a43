"""What the pool keeps of each version: its environments and the calls that wait for one.

Values without a lock of their own: the pool's holds for them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from sandbox.catalog.records import Version
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.provisioned import NO_ROOM, Provision
from sandbox.errors import FnboxError
from sandbox.names import FunctionKey

GroupKey = tuple[FunctionKey, str, str, str | None]


def group_key(version: Version, tenant_id: str | None = None) -> GroupKey:
    return version.key, version.version, version.revision, tenant_id


@dataclass(eq=False, slots=True)
class Waiter:
    """A call that waits. Under the pool's lock it is given an environment or an error, once."""

    answered: threading.Event = field(default_factory=threading.Event)
    environment: ExecutionEnvironment | None = None
    error: FnboxError | None = None

    def result(self) -> ExecutionEnvironment:
        """What it was given; raises what it was refused with."""
        if self.environment is None:
            assert self.error is not None, "an answer is an environment or an error"
            try:
                raise self.error
            finally:
                self.error = None  # its traceback holds this waiter, and the call with its payload
        return self.environment


@dataclass(eq=False, slots=True)
class Group:
    """The environments of one version, or of one tenant of it, and the calls that wait for one."""

    version: Version
    tenant_id: str | None = None
    idle: list[ExecutionEnvironment] = field(default_factory=list)
    """The most recently used last, and the first to be used again."""
    waiters: deque[Waiter] = field(default_factory=deque)
    starting: int = 0
    busy: set[ExecutionEnvironment] = field(default_factory=set)
    retired: bool = False
    provision: Provision = field(default_factory=Provision)

    @property
    def on_the_way(self) -> int:
        """Environments that start, for a call or provisioned."""
        return self.starting + self.provision.starting

    @property
    def empty(self) -> bool:
        used = self.idle or self.waiters or self.starting or self.busy or self.provision.in_use
        return not used

    def missing(self, groups: Iterable[Group], provisionable: int) -> int:
        """How many provisioned environments may start, of so many that all groups may have."""
        own = self.provision
        if not own.missing:
            return 0
        allowed = max(0, provisionable - sum(other.provision.count for other in groups))
        if allowed < own.missing:
            own.failure = NO_ROOM
        return min(own.missing, allowed)

    def arrived(self, *, provisioned: bool) -> None:
        """A start has come to its end."""
        if provisioned:
            self.provision.starting -= 1
        else:
            self.starting -= 1

    def refuse(self, error: FnboxError) -> None:
        """The first call that waits gets an error in place of an environment."""
        waiter = self.waiters.popleft()
        waiter.error = error
        waiter.answered.set()


@dataclass(slots=True)
class Todo:
    """What was decided under the lock and is done outside it."""

    start: list[Group] = field(default_factory=list)
    """One environment for each mention."""
    provide: list[Group] = field(default_factory=list)
    """And one provisioned for each."""
    stop: list[ExecutionEnvironment] = field(default_factory=list)
