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
6. Provisioned environments are used first, make room for nobody and are replaced when they end.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from sandbox.catalog.records import Version
from sandbox.clock import Clock
from sandbox.engines.base import ContainerSpec
from sandbox.environments import placement
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.groups import Group, GroupKey, Todo, Waiter, group_key
from sandbox.environments.launch import Launcher
from sandbox.environments.lifecycle import Event, StopReason
from sandbox.environments.provisioned import INIT_FAILURE, Provided
from sandbox.environments.scheduler import Scheduler
from sandbox.environments.spares import Spares
from sandbox.errors import EnvironmentFailed, FnboxError, TooManyRequests
from sandbox.logs.formats import ON_DEMAND, PROVISIONED
from sandbox.names import FunctionKey
from sandbox.threads import in_background

_LOGGER = logging.getLogger(__name__)
_TEND_SECONDS = 5.0
_CLOSING = "fnbox is shutting down"
_ALIVE = ("starting", "busy", "idle", "spare")


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
        self.provide = launcher.provide
        """Raises ImageMissing, or another EngineError, when a version's image cannot be had."""
        self._scheduler = scheduler
        self._clock = clock
        self._keep_alive = keep_alive
        self._tend_seconds = min(_TEND_SECONDS, max(0.1, keep_alive / 4))
        self._limits = placement.Limits(max_environments)
        self._spare_target = spares
        self._min_free_mib = min_free_mib
        self._free_mib = free_mib
        self._lock = threading.Lock()
        self._closed = False
        self._groups: dict[GroupKey, Group] = {}
        self._idle: OrderedDict[ExecutionEnvironment, Group] = OrderedDict()
        """The longest idle first."""
        self._ready: dict[ExecutionEnvironment, Group] = {}
        """Provisioned ones that no call uses."""
        self._spares = Spares()
        self._starved: dict[Group, None] = {}
        """Versions with calls that no environment is on its way to, for want of room."""
        self._alive = 0
        """Environments and starts that count against the limit."""
        self._stopping = 0
        self.cold_starts = 0
        """Environments that have started for a call, ready or not, since the pool was made."""
        self._gone = threading.Condition(self._lock)
        scheduler.call_later(self._tend_seconds, self._tend)

    def __repr__(self) -> str:
        with self._lock:
            states, waiting = self._count(), sum(len(g.waiters) for g in self._groups.values())
            counts = ", ".join(f"{states[state]} {state}" for state in _ALIVE)
            return f"<EnvironmentPool {self._alive} alive: {counts}, {waiting} waiting>"

    def census(self) -> dict[str, int]:
        """Environments by state."""
        with self._lock:
            return self._count()

    def _count(self) -> dict[str, int]:
        groups = self._groups.values()
        return {
            "starting": sum(group.on_the_way for group in groups) + self._spares.booting,
            "busy": sum(len(group.busy) for group in groups),
            "idle": len(self._idle) + len(self._ready),
            "spare": len(self._spares),
            "stopping": self._stopping,
        }

    def lease(
        self, version: Version, timeout: float, tenant_id: str | None = None
    ) -> ExecutionEnvironment:
        """An environment of `version` that no other tenant has used, BUSY, for the caller alone.

        Raises TooManyRequests after `timeout` seconds, or what kept one from starting.
        """
        key = group_key(version, tenant_id)
        with self._lock:
            if (warm := self._take_idle(key)) is not None:
                return warm  # it takes room from nobody: there was nothing more to decide
        with self._deciding() as todo:
            if self._closed:
                raise EnvironmentFailed(_CLOSING)
            if (warm := self._take_idle(key)) is not None:
                return warm
            group = self._group(version, tenant_id)
            waiter = Waiter()
            group.waiters.append(waiter)
            self._plan(group, todo)
        if not waiter.answered.wait(timeout):
            with self._deciding():
                if not waiter.answered.is_set():
                    group.waiters.remove(waiter)
                    self._drop_if_empty(group)
                    raise TooManyRequests("ConcurrentInvocationLimitExceeded")
        return waiter.result()

    def release(self, environment: ExecutionEnvironment, *, lost: bool = False) -> None:
        """Give back a lease; `lost` when the container is gone or cannot be used again."""
        with self._deciding() as todo:
            group = self._groups.get(group_key(environment.version, environment.tenant_id))
            if group is None or environment not in group.busy:
                return  # closing has ended it
            group.busy.remove(environment)
            lives = environment.runtime_lives
            worn = self._clock.monotonic() >= environment.renew_at
            if lost or worn or (not lives and environment in group.provision.ready):
                group.provision.ready.discard(environment)
                self._stop(environment, StopReason.LOST if lost else StopReason.REPLACED, todo)
                self._plan(group, todo)
            else:
                environment.apply(Event.RELEASED if lives else Event.RUNTIME_LOST)
                self._place(group, environment, todo)
            self._drop_if_empty(group)

    def prepare(self, version: Version) -> None:
        """Have a spare ready for a version that may be called soon. Raises EngineError."""
        self._top_up(self._launcher.spec(version), version)

    def provision(self, key: FunctionKey, targets: Iterable[tuple[Version, int]]) -> None:
        """Keep so many environments of a function's versions ready, and of its others none."""
        wanted = {group_key(version): (version, target) for version, target in targets}
        with self._deciding() as todo:
            if self._closed:
                return
            for version, _ in wanted.values():
                self._group(version)
            for name, group in list(self._groups.items()):
                if name[0] == key:
                    _, target = wanted.get(name, (None, 0))
                    group.provision.aim(target)
                    for environment in group.provision.free[: group.provision.excess]:
                        self._withdraw_ready(environment, StopReason.DEPROVISIONED, todo)
                    self._drop_if_empty(group)
            self._plan_missing(todo)

    def provided(self, version: Version) -> Provided:
        """How far a version's provisioned concurrency has come."""
        with self._lock:
            group = self._groups.get(group_key(version))
            return group.provision.provided if group else Provided(0, None)

    def retire(self, key: FunctionKey, serving: Iterable[Version]) -> None:
        """A function has changed: what is there for versions that are not `serving` ends."""
        kept = {group_key(version) for version in serving}
        with self._deciding() as todo:
            for name, group in list(self._groups.items()):
                if name[0] == key:
                    group.retired = group_key(group.version) not in kept
                    for environment in list(group.idle) if group.retired else ():
                        self._withdraw(environment, StopReason.VERSION_RETIRED, todo)
            for spare in self._spares.keep(key, kept):
                self._withdraw_spare(spare, StopReason.VERSION_RETIRED, todo)

    def close(self) -> None:
        """Refuse who waits, end every environment, busy or not, and return when none is left."""
        with self._deciding() as todo:
            self._closed = True
            for group in list(self._groups.values()):
                while group.waiters:
                    group.refuse(EnvironmentFailed(_CLOSING))
                while group.busy:
                    self._stop(group.busy.pop(), StopReason.SHUTDOWN, todo)
                self._drop_if_empty(group)
            self._starved.clear()
            for environment in [*self._idle, *self._ready, *self._spares]:
                self._withdraw_unused(environment, StopReason.SHUTDOWN, todo)
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
            in_background(functools.partial(self._start, group), "start")
        for group in todo.provide:
            in_background(functools.partial(self._start, group, provisioned=True), "provide")
        for environment in todo.stop:
            in_background(functools.partial(self._end, environment), "stop")

    def _group(self, version: Version, tenant_id: str | None = None) -> Group:
        key = group_key(version, tenant_id)
        if key not in self._groups:
            self._groups[key] = Group(version, tenant_id)
        return self._groups[key]

    def _take_idle(self, key: GroupKey) -> ExecutionEnvironment | None:
        """One that no call uses, a provisioned one first."""
        group = self._groups.get(key)
        if group is None:
            return None
        if group.provision.free:
            environment = group.provision.free.pop()
            del self._ready[environment]
        elif group.idle:
            environment = group.idle.pop()
            del self._idle[environment]
        else:
            return None
        return self._lease(group, environment)

    def _lease(self, group: Group, environment: ExecutionEnvironment) -> ExecutionEnvironment:
        environment.apply(Event.LEASED)
        group.busy.add(environment)
        return environment

    def _plan(self, group: Group, todo: Todo) -> None:
        """Start what a version needs, for calls that wait and provisioned; make room for it."""
        provisionable = placement.provisionable(self._limits)
        missing = 0 if self._closed else group.missing(self._groups.values(), provisionable)
        census = placement.Census(
            waiting=len(group.waiters),
            starting=group.starting,
            alive=self._alive,
            retirable=len(self._idle) - (0 if missing else len(group.idle)) + len(self._spares),
            missing=missing,
        )
        plan = placement.plan(census, self._limits)
        room = plan.retire
        for spare in list(itertools.islice(self._spares, room)):
            self._withdraw_spare(spare, StopReason.MADE_ROOM, todo)
            room -= 1
        others = (idle for idle, owner in self._idle.items() if missing or owner is not group)
        for environment in list(itertools.islice(others, room)):
            self._withdraw(environment, StopReason.MADE_ROOM, todo)
        group.starting += plan.start
        group.provision.starting += plan.provision
        self._alive += plan.start + plan.provision
        todo.start += [group] * plan.start
        todo.provide += [group] * plan.provision
        short = census.waiting - census.starting > plan.start or missing > plan.provision
        if short and not self._closed:
            self._starved[group] = None
        else:
            self._starved.pop(group, None)

    def _plan_missing(self, todo: Todo) -> None:
        """What is provisioned has changed: versions that lack some may have room now."""
        for group in list(self._groups.values()):
            if group.provision.missing:
                self._plan(group, todo)

    def _place(self, group: Group, environment: ExecutionEnvironment, todo: Todo) -> None:
        """A free environment goes to the first call that waits, else it is idle, else it ends."""
        if self._closed:
            self._stop(environment, StopReason.SHUTDOWN, todo)
        elif group.waiters:
            waiter = group.waiters.popleft()
            waiter.environment = self._lease(group, environment)
            waiter.answered.set()
        elif environment in group.provision.ready:
            if group.provision.excess:
                group.provision.ready.remove(environment)
                self._stop(environment, StopReason.DEPROVISIONED, todo)
                self._plan_missing(todo)
            else:
                group.provision.free.append(environment)
                self._ready[environment] = group
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

    def _withdraw_ready(
        self, environment: ExecutionEnvironment, reason: StopReason, todo: Todo
    ) -> Group:
        """End a provisioned environment that no call uses; its group is the caller's to drop."""
        group = self._ready.pop(environment)
        group.provision.free.remove(environment)
        group.provision.ready.remove(environment)
        self._stop(environment, reason, todo)
        return group

    def _withdraw_spare(self, spare: ExecutionEnvironment, reason: StopReason, todo: Todo) -> None:
        self._spares.remove(spare)
        self._stop(spare, reason, todo)

    def _withdraw_unused(self, one: ExecutionEnvironment, why: StopReason, todo: Todo) -> None:
        if one in self._idle:
            self._withdraw(one, why, todo)
        elif one in self._ready:
            self._plan(self._withdraw_ready(one, why, todo), todo)
        elif one in self._spares:
            self._withdraw_spare(one, why, todo)

    def _stop(self, environment: ExecutionEnvironment, reason: StopReason, todo: Todo) -> None:
        environment.apply(Event.STOP)
        environment.stop_reason = reason
        self._alive -= 1
        self._stopping += 1
        todo.stop.append(environment)

    def _drop_if_empty(self, group: Group) -> None:
        if group.empty:
            self._groups.pop(group_key(group.version, group.tenant_id), None)
            self._starved.pop(group, None)

    # Doing: outside the lock.

    def _start(self, group: Group, *, provisioned: bool = False) -> None:
        """Bring up one environment of a version and place it.

        If it fails one waiter learns, or who asks what is provisioned.
        """
        environment: ExecutionEnvironment | None = None
        try:
            spec = self._launcher.spec(group.version)
            with self._lock:
                environment = self._spares.take(spec)
                # It counts among the living, and so does the start that it stands in for.
                self._alive -= environment is not None
            if environment is None:
                environment = self._boot(group.version, spec)
            with self._lock:
                environment.apply(Event.ASSIGNED)
                environment.tenant_id = group.tenant_id
                environment.initialization = PROVISIONED if provisioned else ON_DEMAND
            ready = self._launcher.initialize(environment, group.version)
        except FnboxError as error:
            self._start_failed(group, environment, error, provisioned)
            return
        with self._deciding() as todo:
            self.cold_starts += not provisioned
            environment.apply(Event.INITIALIZED if ready else Event.INIT_FAILED)
            group.arrived(provisioned=provisioned)
            if ready and provisioned:
                group.provision.joined(environment)
            elif provisioned:
                self._rest(group, INIT_FAILURE)
            if ready or (group.waiters and not provisioned):
                self._place(group, environment, todo)
            else:
                self._stop(environment, StopReason.INIT_FAILED, todo)
            self._drop_if_empty(group)
        self._top_up(spec, group.version)

    def _boot(self, version: Version, spec: ContainerSpec) -> ExecutionEnvironment:
        """A container that calls wait for. Raises FnboxError."""
        with self._lock:
            self._spares.hurry()
        try:
            return self._launcher.boot(version, spec, self._lost)
        finally:
            with self._lock:
                postponed = self._spares.hurried()
            for other in postponed:
                self._top_up(other)

    def _start_failed(
        self,
        group: Group,
        environment: ExecutionEnvironment | None,
        error: FnboxError,
        provisioned: bool,
    ) -> None:
        with self._deciding() as todo:
            group.arrived(provisioned=provisioned)
            if environment is None:
                self._alive -= 1
                self._gone.notify_all()
            else:
                self._stop(environment, StopReason.START_FAILED, todo)
            if provisioned:
                self._rest(group, str(error))
            if group.waiters and not provisioned:
                group.refuse(error)
            else:
                _LOGGER.warning("an environment of %s did not start: %s", group.version.arn, error)
            self._plan(group, todo)
            self._drop_if_empty(group)

    def _rest(self, group: Group, reason: str) -> None:
        """One could not be provisioned: try again later, once however many fail."""
        rest = group.provision.failed(reason)

        def again() -> None:
            with self._deciding() as todo:
                if group.provision.wake(rest):
                    self._plan(group, todo)

        if rest:
            self._scheduler.call_later(rest.seconds, again)

    def _end(self, environment: ExecutionEnvironment) -> None:
        self._launcher.remove(environment)
        with self._gone:
            environment.apply(Event.REMOVED)
            self._stopping -= 1
            self._gone.notify_all()

    def _top_up(self, spec: ContainerSpec, version: Version | None = None) -> None:
        """See that spares of what a version is made of are there or on their way."""
        if spec.dedicated:
            return
        with self._lock:
            if version is not None:
                self._spares.use(spec, group_key(version))
            if self._spares.postpone(spec):
                return
            have = self._spares.expected(spec)
            room = self._limits.environments - self._alive
            count = 0 if self._closed else max(0, min(self._spare_target - have, room))
            self._alive += count
            self._spares.coming(spec, count)
        for _ in range(count):
            in_background(functools.partial(self._boot_spare, spec), "spare")

    def _boot_spare(self, spec: ContainerSpec) -> None:
        spare: ExecutionEnvironment | None = None
        try:
            spare = self._launcher.boot(None, spec, self._lost)
        except FnboxError as error:
            _LOGGER.warning("a spare of %s did not start: %s", spec.image, error)
        with self._deciding() as todo:
            self._spares.coming(spec, -1)
            if spare is None:
                self._alive -= 1
                self._gone.notify_all()
                return
            self._spares.add(spare)
            if self._closed or not self._spares.used(spec):
                reason = StopReason.SHUTDOWN if self._closed else StopReason.VERSION_RETIRED
                self._withdraw_spare(spare, reason, todo)

    def _lost(self, environment: ExecutionEnvironment) -> None:
        """The channel of an environment has closed; whoever runs a call in it finds out itself."""
        with self._deciding() as todo:
            self._withdraw_unused(environment, StopReason.LOST, todo)

    def _tend(self) -> None:
        """End what has been idle for too long, and more when the machine's memory is short."""
        now, free_mib = self._clock.monotonic(), self._free_mib()
        with self._deciding() as todo:
            if self._closed:
                return
            unused = (*self._idle, *self._ready)
            for one in [one for one in unused if min(one.expires_at, one.renew_at) <= now]:
                self._withdraw_unused(one, StopReason.KEEP_ALIVE_EXPIRED, todo)
            surplus = placement.surplus(free_mib, self._min_free_mib, len(self._idle))
            for environment in list(self._idle)[:surplus]:
                self._withdraw(environment, StopReason.LOW_MEMORY, todo)
        self._scheduler.call_later(self._tend_seconds, self._tend)
