"""All functions at one moment."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.catalog.attachments import FunctionUrl
from sandbox.catalog.records import Function
from sandbox.catalog.reservations import kept
from sandbox.names import FunctionKey


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Never changed: a change makes another one."""

    functions: Mapping[FunctionKey, Function]
    keys: Mapping[tuple[str, str], tuple[FunctionKey, ...]]
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
        keys: dict[tuple[str, str], list[FunctionKey]] = {}
        for key in sorted(functions):
            keys.setdefault((key.account, key.region), []).append(key)
        urls = {
            url.url_id: url for function in functions.values() for url in function.urls.values()
        }
        reserved: Counter[tuple[str, str]] = Counter()
        for key, function in functions.items():
            reserved[key.account, key.region] += kept(function)
        sorted_keys = {place: tuple(found) for place, found in keys.items()}
        return cls(functions, sorted_keys, used, reserved, urls)

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
        before, after = kept(old), kept(new)
        if before != after:
            reserved = {**reserved, place: reserved.get(place, 0) - before + after}
        if (old is None) == (new is None):
            return Snapshot(functions, self.keys, used, reserved, urls)
        keys = self.keys.get(place, ())
        at = bisect_left(keys, key)
        middle = () if new is None else (key,)
        keys = (*keys[:at], *middle, *keys[at + (new is None) :])
        return Snapshot(functions, {**self.keys, place: keys}, used, reserved, urls)


def _urls(
    urls: Mapping[str, FunctionUrl], old: Function | None, new: Function | None
) -> Mapping[str, FunctionUrl]:
    before, after = old.urls if old else {}, new.urls if new else {}
    if before == after:
        return urls
    gone = {url.url_id for url in before.values()}
    left = {url_id: url for url_id, url in urls.items() if url_id not in gone}
    return left | {url.url_id: url for url in after.values()}
