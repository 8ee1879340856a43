"""Event invocations: kept on disk from their acceptance until they have run."""

from sandbox.queue.dispatcher import Dispatcher
from sandbox.queue.store import Event, EventQueue

__all__ = ["Dispatcher", "Event", "EventQueue"]
