"""Starts containers and takes them away: what is around an execution environment.

Each has a private directory with the socket that its init dials, and a user id of
its own. Whatever happens, both are given back once the container is gone.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import logging
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.clock import Clock
from sandbox.engines.base import USERS, ContainerEngine, ContainerSpec, ResourceLimits
from sandbox.environments.channel import PROTOCOL, Channel, FrameKind
from sandbox.environments.doors import Doors, bind
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.leftovers import Leftovers
from sandbox.environments.scheduler import Scheduler
from sandbox.errors import EngineError, EnvironmentFailed, OutcomeUnknown
from sandbox.threads import in_background

_LOGGER = logging.getLogger(__name__)
_SOCKET = "control.sock"
_RETRY_SECONDS = 2.0
# Lambda's name of the user. Without one Node.js's AWS SDK ends with an error: it asks for
# the home directory, which need not exist.
_ACCOUNTS = """\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
sbx_user1051:x:{uid}:{uid}::/home/sbx_user1051:/sbin/nologin
"""


class Containers:
    """Every container of this instance."""

    def __init__(
        self,
        engine: ContainerEngine,
        *,
        directory: Path,
        uids: range,
        start_seconds: float,
        scheduler: Scheduler,
        clock: Clock,
        doors: Doors | None = None,
    ) -> None:
        """`doors`: by which functions reach fnbox; None: they do not."""
        self._engine = engine
        self._directory = directory
        self._start_seconds = start_seconds
        self._scheduler = scheduler
        self._clock = clock
        self._leftovers = Leftovers(engine, scheduler, clock)
        self._doors = doors
        self._uids = list(uids)
        self._lock = threading.Lock()

    def clean(self) -> None:
        """Remove what an earlier process of this instance left; tries until the engine answers."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True, mode=0o700)
        self._sweep()

    def _sweep(self) -> None:
        try:
            leftovers = self._engine.containers(earlier=True)
        except EngineError as error:
            _LOGGER.warning("%s; containers of an earlier run are removed once it does", error)
            # Not in the scheduler's thread: an engine that hangs would hold up every deadline.
            again = functools.partial(in_background, self._sweep, "sweep")
            self._scheduler.call_later(_RETRY_SECONDS, again)
            return
        for container in leftovers:
            self._leftovers.remove(container, lambda: None)

    def boot(
        self,
        name: str,
        spec: ContainerSpec,
        limits: ResourceLimits,
        on_lost: Callable[[ExecutionEnvironment], None],
    ) -> ExecutionEnvironment:
        """Start a container and wait for its init. Raises EngineError, EnvironmentFailed."""
        identifier = secrets.token_hex(6)
        full_name = f"{name}-{identifier}"
        directory = self._directory / identifier
        uid = self._take_uid()
        container = None
        try:
            with _listening(directory) as listener:
                users = directory / USERS
                users.write_text(_ACCOUNTS.format(uid=uid))
                users.chmod(0o644)
                if self._doors is not None:
                    self._doors.open(directory)
                container = self._engine.start(full_name, spec, limits, directory)
                channel = self._greet(listener)
        except BaseException as error:
            if isinstance(error, OutcomeUnknown):
                # Its init would find no socket, and end: nothing of it is in use.
                self._leftovers.doubt(full_name)
            self._forget(container, directory, uid)
            raise
        return ExecutionEnvironment(
            identifier,
            container=container,
            spec=spec,
            limits=limits,
            uid=uid,
            channel=channel,
            clock=self._clock,
            scheduler=self._scheduler,
            on_lost=on_lost,
        )

    def limit(self, environment: ExecutionEnvironment, limits: ResourceLimits) -> None:
        """Change what a running container may use. Raises EngineError."""
        self._engine.limit(environment.container, limits)
        environment.limits = limits

    def remove(self, environment: ExecutionEnvironment) -> None:
        """End an environment; returns when it is gone, or will be once the engine answers."""
        environment.close()
        self._forget(environment.container, self._directory / environment.id, environment.uid)

    def _greet(self, listener: socket.socket) -> Channel:
        listener.settimeout(self._start_seconds)
        try:
            connection, _ = listener.accept()
            connection.settimeout(self._start_seconds)
            channel = Channel(connection)
            hello = next(channel.frames(), None)
        except TimeoutError as error:
            raise EnvironmentFailed(
                f"the container's init did not report within {self._start_seconds:g} s; "
                "FNBOX_ENVIRONMENT_TIMEOUT sets how long it may take"
            ) from error
        if hello is None or hello.kind is not FrameKind.HELLO:
            channel.close()
            raise EnvironmentFailed("the container ended before its init reported")
        if hello.meta.get("protocol") != PROTOCOL:
            channel.close()
            raise EnvironmentFailed("the init is of another version: run `fnbox images build`")
        connection.settimeout(None)
        return channel

    def _forget(self, container: str | None, directory: Path, uid: int) -> None:
        if self._doors is not None:
            self._doors.close(directory)

        def forget() -> None:
            shutil.rmtree(directory, ignore_errors=True)
            with self._lock:
                heapq.heappush(self._uids, uid)

        if container is None:
            forget()
        else:
            self._leftovers.remove(container, forget)

    def _take_uid(self) -> int:
        with self._lock:
            if not self._uids:
                raise EnvironmentFailed("no user id is free: every environment is in use")
            return heapq.heappop(self._uids)


@contextmanager
def _listening(directory: Path) -> Iterator[socket.socket]:
    """A socket in a new directory, gone when the block ends: nobody else can ever connect.

    The init is root without the capability to enter what is closed to it: when we are
    another user both are open, within a parent that is not.
    """
    directory.mkdir()
    directory.chmod(0o700 if os.geteuid() == 0 else 0o711)
    with bind(directory, _SOCKET, 1) as listener:
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                (directory / _SOCKET).unlink()
