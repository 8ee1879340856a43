"""What the HTTP surface needs from the rest of the control plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sandbox.access.authentication import Authentication
from sandbox.access.limits import AccountLimits
from sandbox.api.authorization import Authorization
from sandbox.api.context import RequestContext
from sandbox.aws.clients import AwsClients
from sandbox.aws.companion import Connect
from sandbox.clock import Clock
from sandbox.engines.pulls import Pull
from sandbox.environments.provisioned import Provided
from sandbox.invocation import Invocation, Outcome, ResponseStream
from sandbox.names import FunctionKey, FunctionReference
from sandbox.settings import Settings

if TYPE_CHECKING:
    from sandbox.catalog import Catalog, Function
    from sandbox.logs import LogStore
    from sandbox.metrics import Metrics
    from sandbox.queue import DeadEvents
    from sandbox.traces.store import Traces


class Invoking(Protocol):
    """Runs functions."""

    def invoke(self, invocation: Invocation) -> Outcome:
        """Run it and wait. A function that fails is an Outcome; raises FnboxError."""

    def stream(self, invocation: Invocation) -> ResponseStream:
        """Run it; its response once that has begun or ended. Raises as `invoke` does."""

    def enqueue(self, invocation: Invocation) -> None:
        """Return once the event is safe on the disk; raises NotFound for no such function."""

    def check(self, reference: FunctionReference, tenant_id: str | None = None) -> None:
        """Raise NotFound unless there is something to invoke."""


@dataclass(frozen=True)
class Services:
    """The parts that operations call."""

    settings: Settings
    clock: Clock
    authentication: Authentication
    authorization: Authorization
    limits: AccountLimits
    catalog: Catalog
    service: Invoking
    logs: LogStore
    dead_events: DeadEvents
    metrics: Metrics
    traces: Traces
    activate: Callable[[FunctionKey, str], None]
    """Called after a version was created or changed: ends its Pending or InProgress in the
    background, through `catalog.activate`. Must return at once."""
    provided: Callable[[Function, str], Provided]
    """What there is of a function's version or alias that is provisioned."""
    image_id: Callable[[str], str]
    """What stands for an image's content, `name@digest` or the engine's id. Raises ImageMissing,
    RegistryUnavailable when it is not here, or another EngineError."""
    check_runtime: Callable[[str], None]
    """Raises ImageMissing when no image runs a managed runtime, or another EngineError."""
    pulls: Callable[[], list[Pull]] = list
    """Images that are being pulled."""
    clients: AwsClients = field(default_factory=lambda: AwsClients({}))
    """Of other AWS services."""
    companion: Connect | None = None
    """Connects to what stands for other AWS services here, if anything does."""


@dataclass(frozen=True, slots=True)
class Call:
    """What every operation is given beside its members."""

    services: Services
    context: RequestContext
    headers: list[tuple[str, str]]
    """Headers that the answer carries beside the modelled ones, also when it is an error."""


Implementation = Callable[[Call, dict[str, Any]], dict[str, Any]]
"""One operation: the request's members in, the answer's members out."""
