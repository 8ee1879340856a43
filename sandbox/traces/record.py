"""What one invocation notes of itself on its way.

A step costs setting an attribute: nothing is formatted, parsed or added up before
somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sandbox.names import FunctionReference


class Startup(NamedTuple):
    """How an environment came to be. Times as in a Trace."""

    began: float
    spare: bool
    """Whether a booted container stood by; else one was created."""
    init_began: float
    init_ended: float
    error_type: str | None
    """Why its runtime did not get ready; None when it did."""


class Trace:
    """When an invocation took each step, in `clock.monotonic()`; None: it did not take it."""

    # Defaults of the class: an instance holds what was noted, and is made in no time.
    reference: FunctionReference
    request_id: str = ""
    header: str | None = None
    """`Root=…;Parent=…;Sampled=…`, as the runtime gets it."""
    parent_given: bool = False
    """Whether the caller sent its Parent, so that somebody knows that segment."""

    accepted: bool = False
    """This was the acceptance of an event, not a run."""
    attempt: int = 0
    """Number of the run of an event, from 1; 0: the caller waits."""
    enqueued_at: float | None = None
    """Unix time at which the event came to wait for this run."""

    wall: float = 0.0
    """Unix time of `began`."""
    received: float | None = None
    began: float = 0.0
    routed: float | None = None
    """It may run; from here on it waits for an environment."""
    leased: float | None = None
    delivered: float | None = None
    """Its event left for the runtime."""
    answered: float | None = None
    """The runtime had answered, or was late, or had died."""
    ended: float | None = None

    version: str = ""
    environment: str = ""
    startup: Startup | None = None
    """Of its environment, when this is the first invocation there."""
    restarted: bool = False
    """The runtime was started within the invocation."""
    status: str = ""
    """As in the log's platform.report; or refused, throttled, failed: it has no outcome."""
    error_type: str | None = None
    message: str = ""

    segments: Sequence[bytes] = ()
    """Datagrams that the function sent for X-Ray's daemon."""
    dropped: int = 0
    """More of them, that were too many."""
    keep: Callable[[Trace, bytes], None] | None = None
    """Puts a datagram to the others; None: the trace is kept no more."""

    def segment(self, data: bytes, dropped: int) -> None:
        """The function has sent a datagram, or `dropped` ones that were too many."""
        self.dropped += dropped
        if data and self.keep is not None:
            self.keep(self, data)
