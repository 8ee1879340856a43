from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.catalog.choices import NETWORK as TAG
from sandbox.catalog.choices import network
from sandbox.engines import firewall, networks
from sandbox.engines.firewall import Fence
from sandbox.engines.networks import Networks, name_servers
from sandbox.errors import CallerError, EngineError, NetworkUnavailable
from sandbox.settings import Settings


class FakeApi:
    """An engine, and the devices that its networks are on this machine."""

    def __init__(self, devices: Path) -> None:
        self.devices = devices
        self.known: dict[str, str] = {}
        self.done: list[str] = []
        self.makes_devices = True
        self.in_use: set[str] = set()

    def create_network(self, name: str, options: dict[str, str]) -> None:
        self.done.append(f"create {name}")
        self.known[name] = options["com.docker.network.bridge.name"]
        if self.makes_devices:
            (self.devices / self.known[name]).touch()

    def networks(self) -> list[str]:
        return list(self.known)

    def remove_network(self, name: str) -> None:
        if name in self.in_use:
            raise EngineError(f"{name} has active endpoints")
        self.done.append(f"remove {name}")
        (self.devices / self.known.pop(name)).unlink(missing_ok=True)


class Rig:
    def __init__(self, devices: Path, monkeypatch: pytest.MonkeyPatch, *, local: bool) -> None:
        self.api = FakeApi(devices)
        self.networks = Networks(self.api, "instance", local=local)
        self.now = 1000.0
        self.trouble: str | None = None
        done = self.api.done

        def put_up(fence: Fence) -> None:
            if self.trouble:
                raise NetworkUnavailable(self.trouble)
            done.append(f"rules {fence.policy}")

        self.filtered = devices / "filtered"
        self.filtered.write_text("1\n")
        monkeypatch.setattr(networks, "_BRIDGES", devices)
        monkeypatch.setattr(networks, "_FILTERED", self.filtered)
        monkeypatch.setattr(networks.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(firewall, "put_up", put_up)
        monkeypatch.setattr(firewall, "take_down", lambda chain: done.append("no rules"))

    def did(self) -> list[str]:
        """Since it was asked last."""
        done = [step.replace(self.networks._short, "x") for step in self.api.done]
        self.api.done.clear()
        return done


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch, local=True)


@pytest.mark.parametrize("name", ["none", "bridge", "own"])
def test_other_networks_than_fnboxs_own_are_the_engines(rig: Rig, name: str) -> None:
    assert rig.networks.join(name) == name
    assert rig.did() == []


@pytest.mark.parametrize("name", ["host", "container:0123"])
def test_nobodys_network_but_an_own_one_is_joined(rig: Rig, name: str) -> None:
    with pytest.raises(NetworkUnavailable, match="a network of their own"):
        rig.networks.join(name)


def test_the_rules_are_there_before_the_network(rig: Rig) -> None:
    name = rig.networks.join("internet")
    assert rig.did() == ["rules internet", "create fnbox-x-internet"]
    assert len(rig.api.known[name]) <= 15


def test_rules_are_looked_at_again_before_containers_join(rig: Rig) -> None:
    rig.networks.join("full")
    rig.did()
    rig.networks.join("full")
    assert rig.did() == []
    rig.now += 5
    rig.networks.join("full")
    assert rig.did() == ["rules full"]


def test_a_network_whose_device_is_gone_is_made_again(rig: Rig) -> None:
    name = rig.networks.join("full")
    (rig.api.devices / rig.api.known[name]).unlink()
    rig.did()
    rig.now += 5
    rig.networks.join("full")
    assert rig.did() == ["rules full", "remove fnbox-x-full", "create fnbox-x-full"]


def test_without_rules_nothing_joins(rig: Rig) -> None:
    rig.trouble = "no iptables"
    for _ in range(2):
        with pytest.raises(NetworkUnavailable, match="policy internet cannot be had: no iptables"):
            rig.networks.join("internet")
    assert rig.did() == []


def test_rules_that_cannot_be_had_any_more_end_it(rig: Rig) -> None:
    rig.networks.join("internet")
    rig.now += 5
    rig.trouble = "no iptables"
    with pytest.raises(NetworkUnavailable):
        rig.networks.join("internet")


def test_an_engine_elsewhere_has_no_such_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch, local=False)
    with pytest.raises(NetworkUnavailable, match="on another machine"):
        rig.networks.join("internet")
    assert rig.did() == []


def test_an_engine_whose_networks_are_not_here_gets_nothing_of_it(rig: Rig) -> None:
    rig.api.makes_devices = False
    with pytest.raises(NetworkUnavailable, match="rootless, or in a VM"):
        rig.networks.join("internet")
    assert rig.did()[-2:] == ["remove fnbox-x-internet", "no rules"]


def test_a_kernel_that_lets_neighbours_talk_is_refused(rig: Rig) -> None:
    rig.filtered.write_text("0\n")
    with pytest.raises(NetworkUnavailable, match="bridge-nf-call-iptables has to be 1"):
        rig.networks.join("internet")
    assert rig.did()[-2:] == ["remove fnbox-x-internet", "no rules"]


def test_the_end_leaves_nothing(rig: Rig) -> None:
    rig.networks.join("internet")
    rig.networks.join("full")
    rig.did()
    rig.networks.remove()
    assert rig.did() == ["remove fnbox-x-internet", "remove fnbox-x-full", "no rules"]
    rig.networks.join("full")  # and it can be had again
    assert rig.did() == ["rules full", "create fnbox-x-full"]


def test_what_is_in_use_keeps_its_rules(rig: Rig) -> None:
    rig.api.in_use.add(rig.networks.join("internet"))
    rig.did()
    rig.networks.remove()
    assert rig.did() == []


def test_rules_are_watched_while_a_network_is_there(rig: Rig) -> None:
    rig.networks.watch()
    assert rig.did() == []
    rig.networks.join("internet")
    rig.did()
    rig.networks.watch()
    assert rig.did() == ["rules internet"]


def test_names_are_asked_of_the_given_servers_under_internet_alone() -> None:
    assert name_servers("internet", "1.1.1.1, 9.9.9.9") == {
        "Dns": ["1.1.1.1", "9.9.9.9"],
        "DnsSearch": ["."],
    }
    assert name_servers("full", "1.1.1.1") == name_servers("own", "1.1.1.1") == {}


@pytest.mark.parametrize(
    ("tags", "default", "choices", "expected"),
    [
        ({}, "none", "none,internet", "none"),
        ({}, "own", "", "own"),
        ({TAG: "internet"}, "none", "none,internet", "internet"),
        ({TAG: "none"}, "full", "none, internet", "none"),
        ({TAG: "full"}, "full", "", "full"),
        ({TAG: "own"}, "none", "own", "own"),
    ],
)
def test_a_function_has_what_its_tag_says_or_its_instance(
    tags: dict[str, str], default: str, choices: str, expected: str
) -> None:
    assert network(tags, Settings(network=default, network_choices=choices)) == expected


@pytest.mark.parametrize("name", ["full", "bridge", "host", "", "Internet"])
def test_a_function_may_choose_no_other(name: str) -> None:
    with pytest.raises(CallerError, match="fnbox:network may be none, internet here"):
        network({TAG: name}, Settings(network="none", network_choices="none,internet"))
