"""The control plane, put together: everything that one instance owns, from start to end."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial

from sandbox import memory
from sandbox.access import audit
from sandbox.access.audit import AuditLog
from sandbox.access.authentication import Authentication
from sandbox.access.limits import AccountLimits
from sandbox.access.secret import instance_secret
from sandbox.access.sessions import Sessions
from sandbox.access.store import AccessStore
from sandbox.api.app import create_app
from sandbox.api.authorization import Authorization
from sandbox.api.services import Services
from sandbox.aws.clients import AwsClients
from sandbox.aws.companion import Companion
from sandbox.catalog.catalog import Catalog
from sandbox.clock import SystemClock
from sandbox.engines.docker import DockerEngine
from sandbox.engines.images import DockerImages
from sandbox.engines.pulls import Pulls
from sandbox.environments.containers import Containers
from sandbox.environments.doors import Doors
from sandbox.environments.launch import Launcher
from sandbox.environments.pool import EnvironmentPool
from sandbox.environments.provisioning import Provisioning
from sandbox.environments.runtimes import RuntimeImages
from sandbox.environments.scheduler import Scheduler
from sandbox.environments.supply import ImageSupply
from sandbox.environments.turns import CALLS_PER_CPU, Crowding, Turns
from sandbox.errors import EngineError, NotFound
from sandbox.logs.store import LogStore
from sandbox.metrics import Metrics
from sandbox.names import FunctionKey
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
_OWN_KEYS_SECONDS = 10 * 365 * 86_400.0
"""The control plane's own keys, of accounts that it delivers messages for, never leave it."""
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
        secret = instance_secret(state_dir)
        sessions = Sessions(secret, clock)
        accounts = AccessStore(self.catalog.database, secret, clock, settings.account)
        limits = AccountLimits.of(settings, accounts)
        self.catalog.room.limit(limits)
        authentication = Authentication(
            mode=settings.iam,
            store=accounts,
            sessions=sessions,
            secret=secret,
            clock=clock,
            own_account=settings.account,
        )
        self._audit: AuditLog | None = None
        if settings.audit or authentication.verifies:
            self._audit = AuditLog(state_dir / audit.NAME, settings.audit_bytes)
        note = self._audit.note if self._audit else None
        authorization = Authorization(authentication, self.catalog, clock, note)
        self.logs = LogStore(state_dir / "logs", clock, settings.log_bytes)
        self._scheduler = Scheduler(clock)
        engine = DockerEngine(
            address=settings.docker_host,
            instance=instance_id(state_dir),
            state_dir=state_dir,
            dns=settings.network_dns,
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
        pulls = Pulls(lambda: DockerImages(settings.docker_host), clock)
        runtimes = RuntimeImages(
            engine.image,
            named=settings.runtime_images,
            buildable=RUNTIMES,
            substitutes=settings.substitute_runtimes,
            registry=settings.runtime_registry,
        )
        images = ImageSupply(engine.image, runtimes, pulls)
        self._remove_networks()
        self._watch_networks()
        launcher = Launcher(
            images=images,
            containers=containers,
            code=self.catalog.code,
            logs=self.logs,
            settings=settings,
            clock=clock,
            sessions=sessions,
            tags=self._tags,
        )
        self.pool = EnvironmentPool(
            launcher,
            scheduler=self._scheduler,
            clock=clock,
            keep_alive=settings.keep_alive,
            max_environments=settings.max_environments,
            spares=settings.spares,
            min_free_mib=settings.min_free_memory,
            free_mib=memory.free_mib,
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
        events = EventQueue(database, clock, limits.queued_events)
        outbox = Outbox(database, clock)
        most_dead = Size(settings.dead_events, settings.dead_event_bytes)
        outbox.on_burial(Burial(database, metrics, most_dead).buried)
        dead_events = DeadEvents(database, clock, events, outbox)
        self.service = InvokeService(
            catalog=self.catalog,
            pool=self.pool,
            put_event=events.put,
            metrics=metrics,
            traces=traces,
            wait_timeout=settings.wait_timeout,
            limits=limits,
            turns=Turns(
                CALLS_PER_CPU * (os.cpu_count() or 1), Crowding(clock), self._scheduler, clock
            ),
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
        clients = AwsClients(
            settings.service_endpoints,
            settings.url,
            partial(sessions.issue, role=None, name="fnbox", seconds=_OWN_KEYS_SECONDS)
            if authentication.verifies
            else None,
        )
        strict = authorization.enforces
        self._companion = Companion(state_dir, clock, strict=strict) if settings.aws else None
        self._courier = Courier(
            outbox,
            Targets(clients, self.service.enqueue, authorization.check_delivery).send,
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
                authentication=authentication,
                authorization=authorization,
                limits=limits,
                catalog=self.catalog,
                service=self.service,
                logs=self.logs,
                dead_events=dead_events,
                metrics=metrics,
                traces=traces,
                activate=self.service.activate,
                provided=provisioning.provided,
                image_id=images.identity,
                check_runtime=images.check_runtime,
                pulls=pulls.running,
                clients=clients,
                companion=self._companion.connect if self._companion else None,
            )
        )

    def _tags(self, key: FunctionKey) -> Mapping[str, str]:
        try:
            return self.catalog.function(key).tags
        except NotFound:
            return {}  # deleted, with calls that still run

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
        if self._audit is not None:
            self._audit.close()
        self.catalog.close()
