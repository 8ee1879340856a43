"""From a version to a running environment: image, limits, code, configuration, log."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

from sandbox.access.sessions import RENEWAL_SECONDS, Sessions, role_name
from sandbox.catalog import choices
from sandbox.catalog.choices import NONE
from sandbox.catalog.code_store import CodeStore
from sandbox.catalog.records import Version
from sandbox.clock import Clock
from sandbox.engines.base import ContainerSpec, ResourceLimits
from sandbox.environments import variables
from sandbox.environments.containers import Containers
from sandbox.environments.doors import ENDPOINT
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.log import LogWriter
from sandbox.environments.runtimes import RuntimeImage
from sandbox.environments.supply import ImageSupply
from sandbox.errors import CallerError, EngineError, FnboxError
from sandbox.logs import lines
from sandbox.names import FunctionKey
from sandbox.settings import Settings

_DEFAULT_MEMORY_MIB = 128
_DEFAULT_TMP_MIB = 512
_OVERHEAD_MIB = 48
"""For the init, the code that came by frame, and the kernel's share, on top of the function's."""
_OWN_KERNEL_MIB = 128
"""For what runs beside the function where another OCI runtime is asked for: gVisor's kernel."""
_MIB_PER_CPU = 1769
_SHARES_PER_CPU = 1024


class LogStreams(Protocol):
    """Where the launcher opens the log of an environment."""

    def stream(self, account: str, region: str, group: str, name: str) -> LogWriter:
        """A new stream in a group, which is made when it is not there."""


class Launcher:
    """Boots environments and gives them their version."""

    def __init__(
        self,
        *,
        images: ImageSupply,
        containers: Containers,
        code: CodeStore,
        logs: LogStreams,
        settings: Settings,
        clock: Clock,
        sessions: Sessions,
        tags: Callable[[FunctionKey], Mapping[str, str]] = lambda _: {},
    ) -> None:
        """`sessions` makes the keys that functions get; `tags`: those of a function."""
        self._find = images.find
        self.provide = images.provide
        self._containers = containers
        self._code = code
        self._logs = logs
        self._settings = settings
        self._clock = clock
        self._sessions = sessions
        self._tags = tags
        self._images: dict[tuple[str, str | None], RuntimeImage] = {}
        """By id, which stands for the same image for ever, and the runtime that it runs."""
        self._holds: dict[ExecutionEnvironment, Callable[[], None]] = {}
        """What keeps mounted code on the disk while a container uses it."""

    def spec(self, version: Version) -> ContainerSpec:
        """What container a version needs. Raises ImageMissing and other EngineErrors."""
        found = self._find(version)
        self._images[found.image.id, version.runtime] = found
        tags = self._tags(version.key)
        try:
            network = choices.network(tags, self._settings)
            oci_runtime = choices.oci_runtime(tags, self._settings)
        except CallerError as error:  # the instance has other settings than when it was tagged
            raise EngineError(str(error)) from error
        inline = version.code is None or self._code.archive(version.code) is not None
        return ContainerSpec(
            image=found.image.id,
            code=None if inline or version.code is None else self._code.tree(version.code),
            whole=version.package_type == "Image",
            tmp_mib=version.ephemeral_storage,
            layers=None if version.layers is None else self._code.tree(version.layers),
            network=network,
            oci_runtime=oci_runtime,
        )

    def boot(
        self,
        version: Version | None,
        spec: ContainerSpec,
        on_lost: Callable[[ExecutionEnvironment], None],
    ) -> ExecutionEnvironment:
        """Start a container for `version`, or a spare."""
        if version is None:
            return self._containers.boot("fnbox-spare", spec, self._limits(None, spec), on_lost)
        began = self._clock.monotonic()
        release = self._hold(version, spec)
        # Those on one network may look up each other's names, which then say nothing.
        name = f"fnbox-{version.key.name}" if spec.network == NONE else "fnbox"
        try:
            environment = self._containers.boot(name, spec, self._limits(version, spec), on_lost)
        except FnboxError:
            release()
            raise
        environment.asked = (began, False)
        self._holds[environment] = release
        return environment

    def _hold(self, version: Version, spec: ContainerSpec) -> Callable[[], None]:
        """Keep on the disk what a container has mounted, until the answer is called."""
        mounted = [
            part
            for part, path in ((version.code, spec.code), (version.layers, spec.layers))
            if part is not None and path is not None
        ]
        releases = [self._code.hold(part) for part in mounted]

        def release() -> None:
            for each in releases:
                each()

        return release

    def initialize(self, environment: ExecutionEnvironment, version: Version) -> bool:
        """Assign the version and start its runtime; whether it is ready for an event."""
        environment.asked = environment.asked or (self._clock.monotonic(), True)
        environment.renew_at = self._clock.monotonic() + RENEWAL_SECONDS
        limits = self._limits(version, environment.spec)
        if limits != environment.limits:
            self._containers.limit(environment, limits)
        group = str(version.configuration["LoggingConfig"]["LogGroup"])
        shared = group != f"/aws/lambda/{version.key.name}"
        stream = lines.stream_name(
            version.version, self._clock.wall(), function=version.key.name if shared else ""
        )
        known = self._images.get((environment.spec.image, version.runtime))
        image, substitute = known or self._find(version)
        role = role_name(version.configuration["Role"])
        configuration = variables.configuration(
            version,
            image,
            self._sessions.issue(version.key.account, role, version.key.name),
            uid=environment.uid,
            log_group=group,
            log_stream=stream,
            initialization=environment.initialization,
            endpoint=ENDPOINT if self._settings.function_api else "",
        )
        log = self._logs.stream(version.key.account, version.key.region, group, stream)
        if substitute is not None:
            note = f"fnbox: no image of {version.runtime} is here; {substitute} runs it instead\n"
            log.write(note.encode(), self._clock.wall())
        inline = version.code if environment.spec.code is None else None
        environment.assign(
            version, configuration, self._code.archive(inline) if inline else None, log
        )
        return environment.initialize()

    def remove(self, environment: ExecutionEnvironment) -> None:
        """End an environment."""
        self._containers.remove(environment)
        self._holds.pop(environment, _nothing)()

    def _limits(self, version: Version | None, spec: ContainerSpec) -> ResourceLimits:
        memory = version.memory_size if version else _DEFAULT_MEMORY_MIB
        tmp = version.ephemeral_storage if version else _DEFAULT_TMP_MIB
        overhead = _OVERHEAD_MIB + (_OWN_KERNEL_MIB if spec.oci_runtime else 0)
        cpus = memory / _MIB_PER_CPU
        if self._settings.cpu != "lambda":
            cpus = max(1.0, cpus)
        return ResourceLimits(
            memory_bytes=(memory + tmp + overhead) * 2**20,
            nano_cpus=int(min(cpus, os.cpu_count() or 1) * 1e9),
            cpu_shares=max(2, round(_SHARES_PER_CPU * memory / _MIB_PER_CPU)),
        )


def _nothing() -> None:
    """What there is to release when nothing is held."""
