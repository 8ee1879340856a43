"""All functions at one moment."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.catalog.records import Function
from sandbox.names import FunctionKey


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Never changed: a change makes another one."""

    functions: Mapping[FunctionKey, Function]
    names: Mapping[tuple[str, str], tuple[str, ...]]
    """Of the functions in an account and a region, sorted."""
    used: Mapping[FunctionKey, int]
    """The last version number of functions that were deleted."""
    reserved: Mapping[tuple[str, str], int]
    """The sum of what the functions of an account and a region reserve of its concurrency: every
    call asks for it, so it is not added up then."""

    @classmethod
    def of(
        cls, functions: Mapping[FunctionKey, Function], used: Mapping[FunctionKey, int]
    ) -> Snapshot:
        names: dict[tuple[str, str], list[str]] = {}
        for account, region, name in sorted(functions):
            names.setdefault((account, region), []).append(name)
        reserved: Counter[tuple[str, str]] = Counter()
        for key, function in functions.items():
            reserved[key.account, key.region] += function.reserved_concurrency or 0
        sorted_names = {place: tuple(found) for place, found in names.items()}
        return cls(functions, sorted_names, used, reserved)

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
        place = (key.account, key.region)
        reserved = self.reserved
        if _reserved(old) != _reserved(new):
            total = reserved.get(place, 0) - _reserved(old) + _reserved(new)
            reserved = {**reserved, place: total}
        if (old is None) == (new is None):
            return Snapshot(functions, self.names, used, reserved)
        names = self.names.get(place, ())
        at = bisect_left(names, key.name)
        middle = () if new is None else (key.name,)
        names = (*names[:at], *middle, *names[at + (new is None) :])
        return Snapshot(functions, {**self.names, place: names}, used, reserved)


def _reserved(function: Function | None) -> int:
    return (function.reserved_concurrency or 0) if function else 0
