"""The control plane, put together: everything that one instance owns, from start to end."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from sandbox.api.app import create_app
from sandbox.api.services import Services
from sandbox.aws.clients import AwsClients
from sandbox.aws.companion import Companion
from sandbox.catalog.catalog import Catalog
from sandbox.clock import SystemClock
from sandbox.engines.docker import DockerEngine
from sandbox.engines.networks import network_of
from sandbox.environments.containers import Containers
from sandbox.environments.doors import Doors
from sandbox.environments.launch import Launcher
from sandbox.environments.pool import EnvironmentPool
from sandbox.environments.provisioning import Provisioning
from sandbox.environments.scheduler import Scheduler
from sandbox.errors import EngineError
from sandbox.logs.store import LogStore
from sandbox.metrics import Metrics
from sandbox.queue import (
    Burial,
    Courier,
    DeadEvents,
    Dispatcher,
    EventQueue,
    Outbox,
    Size,
    Targets,
    policy_of,
)
from sandbox.service import InvokeService
from sandbox.settings import Settings
from sandbox.setup.recipes import RUNTIMES
from sandbox.state import instance_id
from sandbox.traces import otlp
from sandbox.traces.store import Traces

_LOGGER = logging.getLogger(__name__)
_EVENT_SECONDS = 10.0
"""What runs for an event may take so long after SIGTERM; then the event runs again later."""
_WATCH_SECONDS = 15.0
"""How often it is seen to that the rules of functions' networks are there."""
_DELIVERY_SECONDS = 1.0
"""And messages on their way so long; then they are delivered again later."""


class ControlPlane:
    """One instance. `close` ends it and leaves no container."""

    def __init__(self, settings: Settings) -> None:
        clock = SystemClock()
        state_dir = settings.state_dir
        self.catalog = Catalog.open(state_dir, clock=clock)
        self.logs = LogStore(state_dir / "logs", clock, settings.log_bytes)
        self._scheduler = Scheduler(clock)
        engine = DockerEngine(
            address=settings.docker_host,
            instance=instance_id(state_dir),
            state_dir=state_dir,
            dns=settings.network_dns,
            oci_runtime=settings.oci_runtime,
        )
        self._networks = engine.own_networks
        self.doors = Doors()
        """Who answers at them is to be said: `answer_by`."""
        containers = Containers(
            engine,
            directory=state_dir / "run",
            uids=range(settings.first_uid, settings.first_uid + 2 * settings.max_environments),
            start_seconds=settings.environment_timeout,
            scheduler=self._scheduler,
            clock=clock,
            doors=self.doors if settings.function_api else None,
        )
        containers.clean()
        self._remove_networks()
        self._watch_networks()
        launcher = Launcher(
            engine=engine,
            containers=containers,
            code=self.catalog.code,
            logs=self.logs,
            settings=settings,
            clock=clock,
            buildable=RUNTIMES,
            network=partial(network_of, self.catalog, settings),
        )
        self.pool = EnvironmentPool(
            launcher,
            scheduler=self._scheduler,
            clock=clock,
            keep_alive=settings.keep_alive,
            max_environments=settings.max_environments,
            spares=settings.spares,
            min_free_mib=settings.min_free_memory,
            free_mib=free_memory_mib,
        )
        metrics = Metrics()
        self._export: otlp.OtlpExport | None = None
        if url := otlp.check(settings.otlp_endpoint):
            self._export = export = otlp.OtlpExport(url)
            export.start()
            metrics.counter(
                "fnbox_otlp_dropped", "Traces that were not sent", lambda: export.dropped
            )
        traces = Traces(
            clock,
            count=settings.traces,
            max_bytes=settings.trace_bytes,
            on_end=None if self._export is None else self._export.put,
        )
        metrics.gauge("fnbox_traces", "Traces that are kept", lambda: len(traces))
        database = self.catalog.database
        events = EventQueue(database, clock)
        outbox = Outbox(database, clock)
        limits = Size(settings.dead_events, settings.dead_event_bytes)
        outbox.on_burial(Burial(database, metrics, limits).buried)
        dead_events = DeadEvents(database, clock, events, outbox)
        self.service = InvokeService(
            catalog=self.catalog,
            pool=self.pool,
            put_event=events.put,
            metrics=metrics,
            traces=traces,
            wait_timeout=settings.wait_timeout,
            account_concurrency=settings.account_concurrency,
        )
        provisioning = Provisioning(self.catalog, self.pool)
        self.service.activate_unsettled()
        provisioning.restore()
        self._dispatcher = Dispatcher(
            events,
            outbox,
            self.service.invoke,
            partial(policy_of, self.catalog),
            clock,
            metrics,
            parallel=settings.event_parallel,
            retry_scale=settings.event_retry_scale,
        )
        clients = AwsClients(settings.service_endpoints)
        self._companion = Companion(state_dir, clock) if settings.aws else None
        self._courier = Courier(
            outbox,
            Targets(clients, self.service.enqueue).send,
            clock,
            metrics,
            parallel=settings.event_parallel,
            retry_scale=settings.event_retry_scale,
        )
        self._dispatcher.start()
        self._courier.start()
        metrics.watch("fnbox_environments", "Environments by state", "state", self.pool.census)
        metrics.counter(
            "fnbox_cold_starts",
            "Environments that were started for a call",
            lambda: self.pool.cold_starts,
        )
        metrics.gauge(
            "fnbox_events_running", "Events that run now", lambda: self._dispatcher.running
        )
        metrics.gauge("fnbox_events_queued", "Events that have not ended", events.count)
        metrics.gauge("fnbox_deliveries_queued", "Messages on their way", outbox.count)
        metrics.gauge("fnbox_events_dead", "Dead events", dead_events.count)
        self.app = create_app(
            Services(
                settings=settings,
                clock=clock,
                catalog=self.catalog,
                service=self.service,
                logs=self.logs,
                dead_events=dead_events,
                metrics=metrics,
                traces=traces,
                activate=self.service.activate,
                provided=provisioning.provided,
                image_id=lambda uri: engine.image(uri).id,
                check_runtime=launcher.check_runtime,
                clients=clients,
                companion=self._companion.connect if self._companion else None,
            )
        )

    def _remove_networks(self) -> None:
        """Those of an earlier run, or of this one. The engine may not answer: then another day."""
        try:
            self._networks.remove()
        except EngineError as error:
            _LOGGER.warning("networks of functions may be left: %s", error)

    def _watch_networks(self) -> None:
        self._networks.watch()
        self._scheduler.call_later(_WATCH_SECONDS, self._watch_networks)

    def wind_down(self) -> None:
        """Calls in flight go on; nothing else holds up the end."""
        self.logs.end_follows()
        self._dispatcher.close(_EVENT_SECONDS)
        self._courier.close(_DELIVERY_SECONDS)

    def close(self) -> None:
        """End every environment, and write what is to be written."""
        self.wind_down()
        if self._companion is not None:
            self._companion.close()
        self.pool.close()
        self._remove_networks()
        self._scheduler.close()
        if self._export is not None:
            self._export.close()
        self.logs.close()
        self.catalog.close()


def free_memory_mib() -> int:
    """What the machine can still give to processes, in MiB; plenty where Linux does not say."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    except FileNotFoundError:
        return 2**31
    return int(fields["MemAvailable"].split()[0]) // 1024
