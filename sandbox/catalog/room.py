"""What accounts have deployed, as running totals, and whether they may have more of it.

The catalog and its layers keep it in step with what they hold, under the lock that they write
under, so that no two changes get the last place. Limits hold for an account in all regions
together; what Lambda shows is a region's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from sandbox.catalog.records import Code, Function
from sandbox.errors import CodeStorageExceeded, QuotaExceeded

Place = tuple[str, str]
"""Account and region."""


class Size(NamedTuple):
    functions: int = 0
    code_bytes: int = 0
    """Of packages as they were uploaded, each version's own."""

    def grown_to(self, after: Size) -> Size:
        """What has to be added to this to become `after`."""
        return Size(after.functions - self.functions, after.code_bytes - self.code_bytes)


class Limits(Protocol):
    """Of an account, by its number; None: no limit."""

    def functions(self, account: str) -> int | None: ...

    def code_storage_bytes(self, account: str) -> int | None: ...


class Room:
    """Totals by account and region."""

    def __init__(self) -> None:
        self._functions: Counter[Place] = Counter()
        self._code: Counter[Place] = Counter()
        self._all: dict[str, Size] = {}
        self._limits: Limits | None = None

    def limit(self, limits: Limits) -> None:
        """From now on; what there is already stays."""
        self._limits = limits

    def of(self, account: str, region: str) -> Size:
        place = account, region
        return Size(self._functions[place], self._code[place])

    def check(self, account: str, growth: Size) -> None:
        """Raise QuotaExceeded, CodeStorageExceeded when an account may not grow by so much."""
        if self._limits is None or (growth.functions <= 0 and growth.code_bytes <= 0):
            return
        have = self._all.get(account, Size())
        most = self._limits.functions(account)
        if growth.functions > 0 and most is not None and have.functions >= most:
            raise QuotaExceeded(
                f"The account {account} has {have.functions} functions, and may have {most}."
            )
        room = self._limits.code_storage_bytes(account)
        if growth.code_bytes > 0 and room is not None and have.code_bytes + growth[1] > room:
            raise CodeStorageExceeded("Code storage limit exceeded.")

    def add(self, account: str, region: str, growth: Size) -> None:
        self._functions[account, region] += growth.functions
        self._code[account, region] += growth.code_bytes
        have = self._all.get(account, Size())
        self._all[account] = Size(have.functions + growth[0], have.code_bytes + growth[1])


def size_of(function: Function | None) -> Size:
    if function is None:
        return Size()
    return Size(1, bytes_of(version.code for version in function.versions.values()))


def bytes_of(packages: Iterable[Code | None]) -> int:
    return sum(package.size for package in packages if package is not None)


def packages_of(function: Function | None) -> Counter[str]:
    """How often each package is in use by a function, by SHA-256."""
    if function is None:
        return Counter()
    versions = [*function.versions.values(), *([function.former] if function.former else [])]
    used = [part for version in versions for part in (version.code, version.layers) if part]
    return Counter(part.sha256 for part in used)
