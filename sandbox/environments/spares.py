"""The containers that are kept booted, by what they are made of.

Bookkeeping alone, under the pool's lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator

from sandbox.engines.base import ContainerSpec
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.groups import GroupKey
from sandbox.names import FunctionKey


class Spares:
    """Those that are there, in the order of their coming, and those on their way."""

    def __init__(self) -> None:
        self._shelves: dict[ContainerSpec, list[ExecutionEnvironment]] = {}
        self._booting: Counter[ContainerSpec] = Counter()
        self._urgent = 0
        self._postponed: set[ContainerSpec] = set()
        self._versions: dict[ContainerSpec, set[GroupKey]] = {}
        """What is made of images that are functions."""

    def __len__(self) -> int:
        return sum(len(shelf) for shelf in self._shelves.values())

    def __iter__(self) -> Iterator[ExecutionEnvironment]:
        return (spare for shelf in self._shelves.values() for spare in shelf)

    def __contains__(self, environment: ExecutionEnvironment) -> bool:
        return environment in self._shelves.get(environment.spec, ())

    @property
    def booting(self) -> int:
        """How many are on their way."""
        return self._booting.total()

    def coming(self, spec: ContainerSpec, count: int) -> None:
        """So many more are on their way; or less, when negative."""
        self._booting[spec] += count

    def expected(self, spec: ContainerSpec) -> int:
        """How many there are, or will be."""
        return len(self._shelves.get(spec, ())) + self._booting[spec]

    def use(self, spec: ContainerSpec, version: GroupKey) -> None:
        """A version is made of it."""
        if spec.whole:
            self._versions.setdefault(spec, set()).add(version)

    def keep(self, function: FunctionKey, kept: Container[GroupKey]) -> list[ExecutionEnvironment]:
        """A function has only these versions any more; the spares that nothing is made of."""
        for spec, versions in list(self._versions.items()):
            versions -= {one for one in versions if one[0] == function and one not in kept}
            if not versions:
                del self._versions[spec]
        return [spare for spare in self if not self.used(spare.spec)]

    def used(self, spec: ContainerSpec) -> bool:
        """Whether any version is made of it; the image of a runtime counts as used."""
        return not spec.whole or spec in self._versions

    def postpone(self, spec: ContainerSpec) -> bool:
        """Whether spares have to wait for containers that calls wait for."""
        if self._urgent:
            self._postponed.add(spec)
        return self._urgent > 0

    def hurry(self) -> None:
        """A container is being started for calls."""
        self._urgent += 1

    def hurried(self) -> set[ContainerSpec]:
        """It has been: of what spares are to be looked after now."""
        self._urgent -= 1
        if self._urgent:
            return set()
        due, self._postponed = self._postponed, set()
        return due

    def add(self, spare: ExecutionEnvironment) -> None:
        self._shelves.setdefault(spare.spec, []).append(spare)

    def remove(self, spare: ExecutionEnvironment) -> None:
        self._shelves[spare.spec].remove(spare)

    def take(self, spec: ContainerSpec) -> ExecutionEnvironment | None:
        """The oldest of its kind, if there is one."""
        shelf = self._shelves.get(spec)
        return shelf.pop(0) if shelf else None
