"""Keeps what is provisioned in the catalog and in the pool the same.

Every change of a function tells the pool how many environments each of its versions is to have
ready; the pool itself replaces those that end. Nothing is polled.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from sandbox.catalog import provisioned
from sandbox.catalog.attachments import ProvisionedConcurrency
from sandbox.catalog.catalog import Catalog
from sandbox.catalog.records import Function
from sandbox.environments.pool import EnvironmentPool
from sandbox.environments.provisioned import Provided
from sandbox.errors import NotFound
from sandbox.names import FunctionKey

_Applied = tuple[Mapping[str, ProvisionedConcurrency], Mapping[tuple[str, str], int]]
"""The second by version and its revision, which another network changes."""


class Provisioning:
    """Between one catalog and one pool."""

    def __init__(self, catalog: Catalog, pool: EnvironmentPool) -> None:
        self._catalog = catalog
        self._pool = pool
        self._applying = threading.Lock()
        self._applied: dict[FunctionKey, _Applied] = {}
        catalog.on_change(self._changed)

    def restore(self) -> None:
        """Have everything started that was provisioned before this process."""
        for function in self._catalog.every():
            if function.provisioned:
                self._changed(function.key)

    def provided(self, function: Function, qualifier: str) -> Provided:
        """What there is of a version or alias that is provisioned."""
        ready, failures = 0, []
        for version, share in provisioned.shares(function, qualifier).items():
            found = self._pool.provided(function.versions[version])
            ready += min(found.ready, share)
            failures += [found.failure] if found.failure else []
        return Provided(ready, failures[0] if failures else None)

    def _changed(self, key: FunctionKey) -> None:
        # one at a time: whoever comes last sees the last state
        with self._applying:
            function = self._found(key)
            if not (function and function.provisioned):
                if self._applied.pop(key, None):
                    self._pool.provision(key, ())
                return
            targets = {
                version: count
                for version, count in provisioned.targets(function).items()
                if function.versions[version].state != "Pending"
            }
            versions = function.versions
            by_revision = {(name, versions[name].revision): targets[name] for name in targets}
            wanted = (function.provisioned, by_revision)
            if wanted != self._applied.get(key):
                self._applied[key] = wanted
                self._pool.provision(
                    key, [(versions[name], count) for name, count in targets.items()]
                )

    def _found(self, key: FunctionKey) -> Function | None:
        try:
            return self._catalog.function(key)
        except NotFound:
            return None
