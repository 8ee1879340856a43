"""Where a call runs: pure decisions over counts, made under the pool's lock.

Calls of a version wait in a queue. An environment that frees up goes to the first
of them. Environments start until there are as many on the way as calls waiting;
when there is no room, idle ones of other versions make some, the longest idle first.
Provisioned environments start after what calls wait for, and make room for nobody;
a tenth of all room is never theirs.
"""

from __future__ import annotations

from typing import NamedTuple


class Census(NamedTuple):
    """What there is, at one moment."""

    waiting: int
    """Calls of this version without an environment."""
    starting: int
    """Environments of this version on their way."""
    alive: int
    """Environments of all versions, whatever their state."""
    retirable: int
    """Spares, and idle environments of other versions."""
    missing: int = 0
    """Provisioned environments of this version that are to start."""


class Limits(NamedTuple):
    environments: int
    """How many may be alive at once."""


class Plan(NamedTuple):
    start: int
    retire: int
    provision: int = 0
    """Provisioned environments to start."""


def plan(census: Census, limits: Limits) -> Plan:
    """How many environments to start for a version, and how many others to retire first."""
    wanted = max(0, census.waiting - census.starting)
    room = max(0, limits.environments - census.alive)
    start = min(wanted, room + census.retirable)
    provision = min(census.missing, room + census.retirable - start)
    return Plan(start, max(0, start + provision - room), provision)


def provisionable(limits: Limits) -> int:
    """How many environments of all versions may be provisioned."""
    return limits.environments - max(1, limits.environments // 10)


def surplus(available_mib: int, floor_mib: int, idle: int) -> int:
    """How many idle environments to retire because the machine's memory is short.

    A quarter of them at a time: what they free shows only once they are gone.
    """
    if available_mib >= floor_mib or not idle:
        return 0
    return max(1, idle // 4)
