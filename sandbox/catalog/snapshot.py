"""All functions at one moment."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.catalog.attachments import FunctionUrl
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
    urls: Mapping[str, FunctionUrl]
    """By id."""

    @classmethod
    def of(
        cls, functions: Mapping[FunctionKey, Function], used: Mapping[FunctionKey, int]
    ) -> Snapshot:
        names: dict[tuple[str, str], list[str]] = {}
        for account, region, name in sorted(functions):
            names.setdefault((account, region), []).append(name)
        urls = {
            url.url_id: url for function in functions.values() for url in function.urls.values()
        }
        reserved: Counter[tuple[str, str]] = Counter()
        for key, function in functions.items():
            reserved[key.account, key.region] += function.reserved_concurrency or 0
        sorted_names = {place: tuple(found) for place, found in names.items()}
        return cls(functions, sorted_names, used, reserved, urls)

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
        urls = _urls(self.urls, old, new)
        place = (key.account, key.region)
        reserved = self.reserved
        if _reserved(old) != _reserved(new):
            total = reserved.get(place, 0) - _reserved(old) + _reserved(new)
            reserved = {**reserved, place: total}
        if (old is None) == (new is None):
            return Snapshot(functions, self.names, used, reserved, urls)
        names = self.names.get(place, ())
        at = bisect_left(names, key.name)
        middle = () if new is None else (key.name,)
        names = (*names[:at], *middle, *names[at + (new is None) :])
        return Snapshot(functions, {**self.names, place: names}, used, reserved, urls)


def _urls(
    urls: Mapping[str, FunctionUrl], old: Function | None, new: Function | None
) -> Mapping[str, FunctionUrl]:
    before, after = old.urls if old else {}, new.urls if new else {}
    if before == after:
        return urls
    gone = {url.url_id for url in before.values()}
    left = {url_id: url for url_id, url in urls.items() if url_id not in gone}
    return left | {url.url_id: url for url in after.values()}


def _reserved(function: Function | None) -> int:
    return (function.reserved_concurrency or 0) if function else 0
