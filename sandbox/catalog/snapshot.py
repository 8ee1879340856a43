"""All functions at one moment."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.catalog.records import Function
from sandbox.names import FunctionKey


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Never changed: a change makes another one."""

    functions: Mapping[FunctionKey, Function]
    keys: Mapping[tuple[str, str], tuple[FunctionKey, ...]]
    """Of the functions in an account and a region, sorted."""
    used: Mapping[FunctionKey, int]
    """The last version number of functions that were deleted."""

    @classmethod
    def of(
        cls, functions: Mapping[FunctionKey, Function], used: Mapping[FunctionKey, int]
    ) -> Snapshot:
        keys: dict[tuple[str, str], list[FunctionKey]] = {}
        for key in sorted(functions):
            keys.setdefault((key.account, key.region), []).append(key)
        return cls(functions, {place: tuple(found) for place, found in keys.items()}, used)

    def replaced(self, key: FunctionKey, new: Function | None) -> Snapshot:
        """With `new` in place of what `key` names now; None removes it."""
        old = self.functions.get(key)
        functions = dict(self.functions)
        functions.pop(key, None)
        used = dict(self.used)
        used.pop(key, None)
        if new is not None:
            functions[key] = new
        elif old is not None and old.last_version:
            used[key] = old.last_version
        if (old is None) == (new is None):
            return Snapshot(functions, self.keys, used)
        place = (key.account, key.region)
        keys = self.keys.get(place, ())
        at = bisect_left(keys, key)
        middle = () if new is None else (key,)
        keys = (*keys[:at], *middle, *keys[at + (new is None) :])
        return Snapshot(functions, {**self.keys, place: keys}, used)
