"""The states of an execution environment. Nothing else may change one.

A state says what may happen next; a StopReason says why an environment ended.
Freezing is not a state: the init stops and continues its processes by itself.
"""

from __future__ import annotations

from enum import Enum, auto

from sandbox.logs.formats import ON_DEMAND


class State(Enum):
    __hash__ = object.__hash__  # Enum's is written in Python, and each call looks in the table

    STARTING = auto()
    """The container is being started."""
    SPARE = auto()
    """Booted; no version assigned yet."""
    INITIALIZING = auto()
    """The runtime of a version is starting."""
    IDLE = auto()
    """Ready for an invocation."""
    BUSY = auto()
    """Runs an invocation."""
    RESET = auto()
    """The runtime is dead, the container and its /tmp are kept; the next invocation starts it."""
    STOPPING = auto()
    """The container is being removed."""
    STOPPED = auto()
    """Nothing is left of it."""


class Event(Enum):
    __hash__ = object.__hash__

    BOOTED = auto()
    ASSIGNED = auto()
    INITIALIZED = auto()
    INIT_FAILED = auto()
    LEASED = auto()
    RELEASED = auto()
    RUNTIME_LOST = auto()
    STOP = auto()
    REMOVED = auto()


class StopReason(Enum):
    KEEP_ALIVE_EXPIRED = auto()
    MADE_ROOM = auto()
    """Retired so that another version's environment could start."""
    LOW_MEMORY = auto()
    VERSION_RETIRED = auto()
    START_FAILED = auto()
    INIT_FAILED = auto()
    """Its runtime could not start and nobody waits for it."""
    DEPROVISIONED = auto()
    """So many are no longer provisioned."""
    REPLACED = auto()
    """It is provisioned and its runtime is dead: one that is ready takes its place; or it has been
    there for so long that its keys would end."""
    LOST = auto()
    """The container ended, or stopped answering."""
    SHUTDOWN = auto()


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.STARTING, Event.BOOTED): State.SPARE,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.SPARE, Event.ASSIGNED): State.INITIALIZING,
    (State.SPARE, Event.STOP): State.STOPPING,
    (State.INITIALIZING, Event.INITIALIZED): State.IDLE,
    (State.INITIALIZING, Event.INIT_FAILED): State.RESET,
    (State.INITIALIZING, Event.STOP): State.STOPPING,
    (State.IDLE, Event.LEASED): State.BUSY,
    (State.IDLE, Event.STOP): State.STOPPING,
    (State.BUSY, Event.RELEASED): State.IDLE,
    (State.BUSY, Event.RUNTIME_LOST): State.RESET,
    (State.BUSY, Event.STOP): State.STOPPING,
    (State.RESET, Event.LEASED): State.BUSY,
    (State.RESET, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.REMOVED): State.STOPPED,
}


class IllegalTransition(RuntimeError):
    """An event that the state does not allow: a bug of ours."""


def after(state: State, event: Event) -> State:
    """The state that `event` leads to; raises IllegalTransition and changes nothing."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.name} while {state.name}") from None


def init_seconds(initialization: str, timeout: float) -> float:
    """How long an environment may take to initialize before an invocation: on demand 10 s, else
    as long as an invocation of its function may, within bounds."""
    return 10.0 if initialization == ON_DEMAND else min(max(130.0, timeout), 900.0)
