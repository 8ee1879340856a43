"""The pool: which environment runs which call.

Contract:
1. `lease` gives an environment of exactly the version and the tenant asked for, to one
   caller at a time, or raises; whoever got one gives it back with `release`.
2. An environment that frees up goes to the first call that waits for its version, in
   the same critical section; nothing is given to a caller that has gone away.
3. Under the lock there are only decisions; containers and sockets are outside it.
4. At most `max_environments` are alive. A call that needs room takes it from an idle
   environment of another version, the longest idle first.
5. An environment of a version that has been replaced serves nobody new.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sandbox.catalog.records import Version
from sandbox.clock import Clock
from sandbox.engines.base import ContainerSpec
from sandbox.environments import placement
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.launch import Launcher
from sandbox.environments.lifecycle import Event, StopReason
from sandbox.environments.scheduler import Scheduler
from sandbox.errors import EnvironmentFailed, FnboxError, TooManyRequests
from sandbox.names import FunctionKey

_LOGGER = logging.getLogger(__name__)
_TEND_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class Waiter:
    """A call that waits. Under the pool's lock it is given an environment or an error, once."""

    answered: threading.Event = field(default_factory=threading.Event)
    environment: ExecutionEnvironment | None = None
    error: FnboxError | None = None


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

    @property
    def empty(self) -> bool:
        return not (self.idle or self.waiters or self.starting or self.busy)


@dataclass(slots=True)
class Todo:
    """What was decided under the lock and is done outside it."""

    start: list[Group] = field(default_factory=list)
    """One environment for each mention."""
    stop: list[ExecutionEnvironment] = field(default_factory=list)


GroupKey = tuple[FunctionKey, str, str, str | None]


def _key(version: Version, tenant_id: str | None = None) -> GroupKey:
    return version.key, version.version, version.revision, tenant_id


class EnvironmentPool:
    """See the module."""

    def __init__(
        self,
        launcher: Launcher,
        *,
        scheduler: Scheduler,
        clock: Clock,
        keep_alive: float,
        max_environments: int,
        spares: int,
        min_free_mib: int,
        free_mib: Callable[[], int],
    ) -> None:
        self._launcher = launcher
        self._scheduler = scheduler
        self._clock = clock
        self._keep_alive = keep_alive
        self._limits = placement.Limits(max_environments)
        self._spare_target = spares
        self._min_free_mib = min_free_mib
        self._free_mib = free_mib
        self._lock = threading.Lock()
        self._closed = False
        self._groups: dict[GroupKey, Group] = {}
        self._idle: OrderedDict[ExecutionEnvironment, Group] = OrderedDict()
        """The longest idle first."""
        self._spares: dict[ContainerSpec, list[ExecutionEnvironment]] = {}
        self._booting: dict[ContainerSpec, int] = {}
        """Spares on their way."""
        self._starved: dict[Group, None] = {}
        """Versions with calls that no environment is on its way to, for want of room."""
        self._alive = 0
        """Environments and starts that count against the limit."""
        self._stopping = 0
        self._cold_starts = 0
        self._gone = threading.Condition(self._lock)
        scheduler.call_later(self._tend_seconds, self._tend)

    def __repr__(self) -> str:
        with self._lock:
            counts = (
                f"{sum(group.starting for group in self._groups.values())} starting, "
                f"{sum(len(group.busy) for group in self._groups.values())} busy, "
                f"{len(self._idle)} idle, {self._spare_count()} spare, "
                f"{sum(len(group.waiters) for group in self._groups.values())} waiting"
            )
            return f"<EnvironmentPool {self._alive} alive: {counts}>"

    def census(self) -> dict[str, int]:
        """Environments by state."""
        with self._lock:
            groups = self._groups.values()
            return {
                "starting": sum(group.starting for group in groups) + sum(self._booting.values()),
                "busy": sum(len(group.busy) for group in groups),
                "idle": len(self._idle),
                "spare": self._spare_count(),
                "stopping": self._stopping,
            }

    def cold_starts(self) -> int:
        """Environments that have started, ready or not, since the pool was made."""
        return self._cold_starts

    def lease(
        self, version: Version, timeout: float, tenant_id: str | None = None
    ) -> ExecutionEnvironment:
        """An environment of `version` that no other tenant has used, BUSY, for the caller alone.

        Raises TooManyRequests after `timeout` seconds, or what kept one from starting.
        """
        key = _key(version, tenant_id)
        with self._lock:
            warm = self._take_idle(key)
        if warm is not None:
            return warm  # it takes room from nobody: there was nothing more to decide
        with self._deciding() as todo:
            if self._closed:
                raise _closing()
            warm = self._take_idle(key)
            if warm is not None:
                return warm
            group = self._groups.setdefault(key, Group(version, tenant_id))
            waiter = Waiter()
            group.waiters.append(waiter)
            self._plan(group, todo)
        if not waiter.answered.wait(timeout):
            with self._deciding():
                if not waiter.answered.is_set():
                    group.waiters.remove(waiter)
                    self._drop_if_empty(group)
                    raise TooManyRequests("ConcurrentInvocationLimitExceeded")
        if waiter.environment is None:
            assert waiter.error is not None, "an answer is an environment or an error"
            raise waiter.error
        return waiter.environment

    def release(self, environment: ExecutionEnvironment, *, lost: bool = False) -> None:
        """Give back a lease; `lost` when the container is gone or cannot be used again."""
        with self._deciding() as todo:
            group = self._groups.get(_key(environment.version, environment.tenant_id))
            if group is None or environment not in group.busy:
                return  # closing has ended it
            group.busy.remove(environment)
            if lost:
                self._stop(environment, StopReason.LOST, todo)
                self._plan(group, todo)
            else:
                lives = environment.runtime_lives
                environment.apply(Event.RELEASED if lives else Event.RUNTIME_LOST)
                self._place(group, environment, todo)
            self._drop_if_empty(group)

    def prepare(self, version: Version) -> None:
        """Have a spare ready for a version that may be called soon. Raises EngineError."""
        self._top_up(self._launcher.spec(version))

    def check(self, version: Version) -> None:
        """Raise ImageMissing, or another EngineError, when the version's image cannot be had."""
        self._launcher.check(version)

    def retire(self, key: FunctionKey, serving: Iterable[Version]) -> None:
        """A function has changed: environments of versions that are not `serving` end."""
        kept = {_key(version) for version in serving}
        with self._deciding() as todo:
            for name, group in list(self._groups.items()):
                if name[0] != key:
                    continue
                group.retired = _key(group.version) not in kept
                if group.retired:
                    for environment in list(group.idle):
                        self._withdraw(environment, StopReason.VERSION_RETIRED, todo)

    def close(self) -> None:
        """Refuse who waits, end every environment, busy or not, and return when none is left."""
        with self._deciding() as todo:
            self._closed = True
            for group in list(self._groups.values()):
                while group.waiters:
                    _refuse(group, _closing())
                while group.busy:
                    self._stop(group.busy.pop(), StopReason.SHUTDOWN, todo)
                self._drop_if_empty(group)
            self._starved.clear()
            for environment in list(self._idle):
                self._withdraw(environment, StopReason.SHUTDOWN, todo)
            for spare in self._all_spares():
                self._withdraw_spare(spare, StopReason.SHUTDOWN, todo)
        with self._gone:
            self._gone.wait_for(lambda: self._alive == 0 and self._stopping == 0)

    # Decisions: made while the lock is held; what is left to do goes into a Todo.

    @contextmanager
    def _deciding(self) -> Iterator[Todo]:
        """Hold the lock, then do what was decided."""
        todo = Todo()
        with self._lock:
            yield todo
            for group in list(self._starved):
                self._plan(group, todo)
        for group in todo.start:
            _in_background(functools.partial(self._start, group), "start")
        for environment in todo.stop:
            _in_background(functools.partial(self._end, environment), "stop")

    def _take_idle(self, key: GroupKey) -> ExecutionEnvironment | None:
        group = self._groups.get(key)
        if group is None or not group.idle:
            return None
        environment = group.idle.pop()
        del self._idle[environment]
        return self._lease(group, environment)

    def _lease(self, group: Group, environment: ExecutionEnvironment) -> ExecutionEnvironment:
        environment.apply(Event.LEASED)
        group.busy.add(environment)
        return environment

    def _plan(self, group: Group, todo: Todo) -> None:
        """Start what the waiting calls of a version need, and make room for it."""
        census = placement.Census(
            waiting=len(group.waiters),
            starting=group.starting,
            alive=self._alive,
            retirable=len(self._idle) - len(group.idle) + self._spare_count(),
        )
        plan = placement.plan(census, self._limits)
        room = plan.retire
        for spare in self._all_spares()[:room] if room else ():
            self._withdraw_spare(spare, StopReason.MADE_ROOM, todo)
            room -= 1
        others = [idle for idle, owner in self._idle.items() if owner is not group] if room else []
        for environment in others[:room]:
            self._withdraw(environment, StopReason.MADE_ROOM, todo)
        group.starting += plan.start
        self._alive += plan.start
        todo.start += [group] * plan.start
        if census.waiting - census.starting > plan.start and not self._closed:
            self._starved[group] = None
        else:
            self._starved.pop(group, None)

    def _place(self, group: Group, environment: ExecutionEnvironment, todo: Todo) -> None:
        """A free environment goes to the first call that waits, else it is idle, else it ends."""
        if self._closed:
            self._stop(environment, StopReason.SHUTDOWN, todo)
        elif group.waiters:
            waiter = group.waiters.popleft()
            waiter.environment = self._lease(group, environment)
            waiter.answered.set()
        elif group.retired:
            self._stop(environment, StopReason.VERSION_RETIRED, todo)
        else:
            environment.expires_at = self._clock.monotonic() + self._keep_alive
            group.idle.append(environment)
            self._idle[environment] = group

    def _withdraw(self, environment: ExecutionEnvironment, reason: StopReason, todo: Todo) -> None:
        """End an idle environment."""
        group = self._idle.pop(environment)
        group.idle.remove(environment)
        self._stop(environment, reason, todo)
        self._drop_if_empty(group)

    def _withdraw_spare(self, spare: ExecutionEnvironment, reason: StopReason, todo: Todo) -> None:
        self._spares[spare.spec].remove(spare)
        self._stop(spare, reason, todo)

    def _stop(self, environment: ExecutionEnvironment, reason: StopReason, todo: Todo) -> None:
        environment.apply(Event.STOP)
        environment.stop_reason = reason
        self._alive -= 1
        self._stopping += 1
        todo.stop.append(environment)

    def _drop_if_empty(self, group: Group) -> None:
        if group.empty:
            self._groups.pop(_key(group.version, group.tenant_id), None)
            self._starved.pop(group, None)

    def _all_spares(self) -> list[ExecutionEnvironment]:
        return [spare for shelf in self._spares.values() for spare in shelf]

    def _spare_count(self) -> int:
        return sum(len(shelf) for shelf in self._spares.values())

    def _take_spare(self, spec: ContainerSpec) -> ExecutionEnvironment | None:
        """It counts among the living, and so does the start that it stands in for."""
        with self._lock:
            if not self._spares.get(spec):
                return None
            self._alive -= 1
            return self._spares[spec].pop(0)

    # Doing: outside the lock.

    def _start(self, group: Group) -> None:
        """Bring up one environment of a version and place it; one waiter learns if it fails."""
        environment: ExecutionEnvironment | None = None
        try:
            spec = self._launcher.spec(group.version)
            environment = self._take_spare(spec)
            if environment is None:
                environment = self._launcher.boot(group.version, spec, self._lost)
            with self._lock:
                environment.apply(Event.ASSIGNED)
                environment.tenant_id = group.tenant_id
            ready = self._launcher.initialize(environment, group.version)
        except FnboxError as error:
            self._start_failed(group, environment, error)
            return
        with self._deciding() as todo:
            group.starting -= 1
            self._cold_starts += 1
            environment.apply(Event.INITIALIZED if ready else Event.INIT_FAILED)
            if ready or group.waiters:
                self._place(group, environment, todo)
            else:
                self._stop(environment, StopReason.INIT_FAILED, todo)
            self._drop_if_empty(group)
        self._top_up(spec)

    def _start_failed(
        self, group: Group, environment: ExecutionEnvironment | None, error: FnboxError
    ) -> None:
        with self._deciding() as todo:
            group.starting -= 1
            if environment is None:
                self._alive -= 1
                self._gone.notify_all()
            else:
                self._stop(environment, StopReason.START_FAILED, todo)
            if group.waiters:
                _refuse(group, error)
            else:
                _LOGGER.warning("an environment of %s did not start: %s", group.version.arn, error)
            self._plan(group, todo)
            self._drop_if_empty(group)

    def _end(self, environment: ExecutionEnvironment) -> None:
        self._launcher.remove(environment)
        with self._gone:
            environment.apply(Event.REMOVED)
            self._stopping -= 1
            self._gone.notify_all()

    def _top_up(self, spec: ContainerSpec) -> None:
        """See that spares of a container in use are there or on their way."""
        if spec.dedicated:
            return
        with self._lock:
            have = len(self._spares.get(spec, ())) + self._booting.get(spec, 0)
            room = self._limits.environments - self._alive
            count = 0 if self._closed else max(0, min(self._spare_target - have, room))
            self._alive += count
            self._booting[spec] = self._booting.get(spec, 0) + count
        for _ in range(count):
            _in_background(functools.partial(self._boot_spare, spec), "spare")

    def _boot_spare(self, spec: ContainerSpec) -> None:
        spare: ExecutionEnvironment | None = None
        try:
            spare = self._launcher.boot(None, spec, self._lost)
        except FnboxError as error:
            _LOGGER.warning("a spare of %s did not start: %s", spec.image, error)
        with self._deciding() as todo:
            self._booting[spec] -= 1
            if spare is None:
                self._alive -= 1
                self._gone.notify_all()
                return
            self._spares.setdefault(spec, []).append(spare)
            if self._closed:
                self._withdraw_spare(spare, StopReason.SHUTDOWN, todo)

    def _lost(self, environment: ExecutionEnvironment) -> None:
        """The channel of an environment has closed; whoever runs a call in it finds out itself."""
        with self._deciding() as todo:
            if environment in self._idle:
                self._withdraw(environment, StopReason.LOST, todo)
            elif environment in self._spares.get(environment.spec, ()):
                self._withdraw_spare(environment, StopReason.LOST, todo)

    @property
    def _tend_seconds(self) -> float:
        return min(_TEND_SECONDS, max(0.1, self._keep_alive / 4))

    def _tend(self) -> None:
        """End what has been idle for too long, and more when the machine's memory is short."""
        now = self._clock.monotonic()
        free_mib = self._free_mib()
        with self._deciding() as todo:
            if self._closed:
                return
            for environment in [idle for idle in self._idle if idle.expires_at <= now]:
                self._withdraw(environment, StopReason.KEEP_ALIVE_EXPIRED, todo)
            surplus = placement.surplus(free_mib, self._min_free_mib, len(self._idle))
            for environment in list(self._idle)[:surplus]:
                self._withdraw(environment, StopReason.LOW_MEMORY, todo)
        self._scheduler.call_later(self._tend_seconds, self._tend)


def _refuse(group: Group, error: FnboxError) -> None:
    """The first call that waits gets an error in place of an environment."""
    waiter = group.waiters.popleft()
    waiter.error = error
    waiter.answered.set()


def _closing() -> EnvironmentFailed:
    return EnvironmentFailed("fnbox is shutting down")


def _in_background(function: Callable[[], None], name: str) -> None:
    threading.Thread(target=function, name=name, daemon=True).start()
