"""Networks of an instance's own, one for each network policy that its functions use.

A network is made when the first container needs it and ends with the instance. Its rules are
there before it is, and are looked at again before containers join it: no function ever runs
with more than its policy. Where that cannot be had, it is not run.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from sandbox.catalog.choices import INTERNET
from sandbox.engines import firewall
from sandbox.engines.firewall import BRIDGE_PREFIX, REFUSED, Fence
from sandbox.errors import EngineError, NetworkUnavailable

_LOGGER = logging.getLogger(__name__)
_BRIDGES = Path("/sys/class/net")
_FILTERED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_TRUSTED_SECONDS = 5.0
"""So long after a look at the rules containers start without another."""
_FENCED = frozenset(REFUSED)
"""The policies that have rules of fnbox's. Other names than these are Docker's networks."""


class NetworkApi(Protocol):
    """What the engine does; raises EngineError."""

    def create_network(self, name: str, options: dict[str, str]) -> None: ...

    def networks(self) -> Sequence[str]:
        """Names of those of this instance."""

    def remove_network(self, name: str) -> None:
        """One that is gone is fine."""


class Networks:
    """See the module. `local`: the engine's address is a socket of this machine."""

    def __init__(self, api: NetworkApi, instance: str, *, local: bool) -> None:
        self._api = api
        self._local = local
        self._short = hashlib.sha256(instance.encode()).hexdigest()[:8]
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}

    def join(self, policy: str) -> str:
        """What a container's NetworkMode is. Raises NetworkUnavailable, EngineError."""
        if policy not in _FENCED:
            if policy == "host" or policy.startswith("container:"):
                raise NetworkUnavailable(f"functions have a network of their own, never {policy}")
            return policy
        with self._lock:
            now = time.monotonic()
            if now - self._looked.get(policy, -_TRUSTED_SECONDS) >= _TRUSTED_SECONDS:
                try:
                    self._make(policy)
                except NetworkUnavailable as error:
                    raise NetworkUnavailable(
                        f"the network policy {policy} cannot be had: {error}"
                    ) from error
                self._looked[policy] = now
        return self._name(policy)

    def watch(self) -> None:
        """Put back the rules that somebody has taken away while functions run."""
        with self._lock:
            for policy in self._looked:
                try:
                    firewall.put_up(self._fence(policy))
                except NetworkUnavailable as error:
                    _LOGGER.error("the rules of the network policy %s: %s", policy, error)

    def remove(self) -> None:
        """Those of this instance, with their rules; one that is in use stays, with a warning."""
        with self._lock:
            left = False
            for name in self._api.networks():
                try:
                    self._api.remove_network(name)
                except EngineError as error:
                    left = True
                    _LOGGER.warning("the network %s is still there: %s", name, error)
            self._looked.clear()
            if not left and self._local:
                with contextlib.suppress(NetworkUnavailable):  # then there never were any
                    firewall.take_down(self._chain)

    @property
    def _chain(self) -> str:
        return f"FNBOX-{self._short}"

    def _name(self, policy: str) -> str:
        return f"fnbox-{self._short}-{policy}"

    def _fence(self, policy: str) -> Fence:
        # The kernel knows a device by 15 characters at most.
        bridge = f"{BRIDGE_PREFIX}{self._short}{policy[0]}"
        return Fence(bridge, f"{self._chain}-{policy[0]}", policy)

    def _make(self, policy: str) -> None:
        if not self._local:
            raise NetworkUnavailable("the Docker Engine is on another machine")
        fence = self._fence(policy)
        firewall.put_up(fence)
        bridge, name = _BRIDGES / fence.bridge, self._name(policy)
        if not bridge.exists():
            if name in self._api.networks():
                self._api.remove_network(name)  # of an engine that has lost its bridge
            self._api.create_network(name, _options(fence.bridge))
        why = ""
        if not bridge.exists():
            why = "the Docker Engine's networks are not this machine's: it is rootless, or in a VM"
        elif not _filters_bridges():
            why = "containers of one network are not kept apart: /proc/sys/net/bridge/"
            why += "bridge-nf-call-iptables has to be 1"
        if why:
            self._api.remove_network(name)
            firewall.take_down(fence.chain)
            raise NetworkUnavailable(why)


def _options(bridge: str) -> dict[str, str]:
    driver = "com.docker.network.bridge"
    return {
        f"{driver}.name": bridge,
        f"{driver}.enable_icc": "false",
        f"{driver}.enable_ip_masquerade": "true",
    }


def _filters_bridges() -> bool:
    try:
        return _FILTERED.read_text().strip() == "1"
    except OSError:
        return False


def name_servers(policy: str, servers: str) -> dict[str, Any]:
    """What a container's HostConfig says of DNS.

    Under `internet` names are asked of public servers only, and looked up as they are: the
    host's own, which may know more, are never asked. Docker's resolver passes them on from
    inside the container, so that the policy's rules hold for where they go.
    """
    if policy != INTERNET:
        return {}
    return {"Dns": [one.strip() for one in servers.split(",")], "DnsSearch": ["."]}
