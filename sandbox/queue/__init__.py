"""Event invocations: kept on disk from their acceptance until their end, and until it is told."""

from sandbox.queue.burial import Burial, Size
from sandbox.queue.courier import Courier
from sandbox.queue.dead import DeadEvent, DeadEvents
from sandbox.queue.dispatcher import Dispatcher
from sandbox.queue.outbox import Delivery, Outbox
from sandbox.queue.records import Message
from sandbox.queue.rules import Policy, policy_of
from sandbox.queue.store import Event, EventQueue
from sandbox.queue.targets import TargetDown, Targets, Undeliverable

__all__ = [
    "Burial",
    "Courier",
    "DeadEvent",
    "DeadEvents",
    "Delivery",
    "Dispatcher",
    "Event",
    "EventQueue",
    "Message",
    "Outbox",
    "Policy",
    "Size",
    "TargetDown",
    "Targets",
    "Undeliverable",
    "policy_of",
]
