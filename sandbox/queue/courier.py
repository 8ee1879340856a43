"""Delivers the messages of an outbox when they are due.

A target that is down is tried again with growing delays for about a quarter of an hour, and does
not hold up the messages to others; what it has not taken by then, or refuses, is a dead event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sandbox.clock import Clock
from sandbox.errors import FnboxError
from sandbox.metrics import Metrics
from sandbox.queue.lanes import Lanes
from sandbox.queue.outbox import Delivery, Outbox
from sandbox.queue.rules import back_off
from sandbox.queue.targets import TargetDown

MAXIMUM_FAILURES = 11

_log = logging.getLogger(__name__)


class Courier:
    """Delivers messages through `send`, until it is closed."""

    def __init__(
        self,
        outbox: Outbox,
        send: Callable[[Delivery], None],
        clock: Clock,
        metrics: Metrics,
        *,
        parallel: int = 32,
        retry_scale: float = 1.0,
    ) -> None:
        """`send` raises TargetDown when another try may help, else another FnboxError."""
        self._outbox = outbox
        self._send = send
        self._clock = clock
        self._metrics = metrics
        self._scale = retry_scale
        self._lanes: Lanes[str, Delivery] = Lanes(
            outbox.lease, self._deliver, clock, parallel=parallel, name="courier"
        )

    def __repr__(self) -> str:
        running, waiting = self._lanes.census()
        return f"<Courier running={running} targets_waiting={waiting}>"

    def start(self) -> None:
        """Begin, with the messages that an earlier run left."""
        self._outbox.on_put(self._lanes.note)
        self._lanes.start(self._outbox.due().items())

    def wake(self) -> None:
        """Look at the clock again: for tests that move it."""
        self._lanes.wake()

    def close(self, timeout: float) -> bool:
        """Start no more, wait `timeout` seconds for those on their way; True when all ended.

        Those that did not end are delivered again after the next start.
        """
        return self._lanes.close(timeout)

    def _deliver(self, delivery: Delivery) -> float | None:
        """Try a message once; when it is due again, None when it has ended."""
        try:
            self._send(delivery)
        except TargetDown as error:
            return self._put_off(delivery, str(error))
        except FnboxError as error:
            self._bury(delivery, str(error))
        except Exception as error:  # noqa: BLE001 - this is the thread's top
            _log.exception("%r met a defect", delivery)
            return self._put_off(delivery, repr(error))
        else:
            self._outbox.delivered(delivery)
            self._metrics.deliveries.labels("delivered").inc()
        return None

    def _put_off(self, delivery: Delivery, why: str) -> float | None:
        if delivery.failures + 1 >= MAXIMUM_FAILURES:
            self._bury(delivery, why)
            return None
        due_at = self._clock.wall() + back_off(delivery.failures) * self._scale
        self._outbox.postpone(delivery, due_at)
        self._metrics.deliveries.labels("retried").inc()
        return due_at

    def _bury(self, delivery: Delivery, why: str) -> None:
        self._outbox.bury(delivery, why)
        _log.warning("%r cannot be delivered: %s", delivery, why)
        self._metrics.deliveries.labels("failed").inc()
