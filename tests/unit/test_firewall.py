from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

import pytest

from sandbox.engines import firewall
from sandbox.engines.firewall import REFUSED, Fence, changes_for
from sandbox.errors import NetworkUnavailable

FENCE = Fence("fnbox0123abcdi", "FNBOX-0123abcd-i", "internet")
EMPTY = ["-P INPUT ACCEPT", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER"]
EMPTY += ["-A DOCKER-USER -j RETURN"]
OTHERS = "-i fnbox99999999f -j FNBOX-99999999-f-no"


def refuses(policy: str, address: str) -> bool:
    return any(ip_address(address) in ip_network(network) for network in REFUSED[policy])


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "203.0.113.10", "172.15.255.255", "172.32.0.0", "223.1.1.1"]
)
def test_public_addresses_are_reached(address: str) -> None:
    assert not refuses("internet", address)
    assert not refuses("full", address)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1", "198.18.0.1"],
)
def test_private_addresses_are_reached_under_full_alone(address: str) -> None:
    assert refuses("internet", address)
    assert not refuses("full", address)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
        *("0.0.0.0", "127.0.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    ],
)
def test_metadata_and_what_is_no_host_is_never_reached(address: str) -> None:
    assert refuses("internet", address)
    assert refuses("full", address)


def after(present: Sequence[str], changes: Sequence[str]) -> list[str]:
    """What `iptables -S` would print then."""
    found = list(present)
    for change in changes:
        verb, _, rest = change.partition(" ")
        if verb.startswith(":"):
            chain = verb[1:]
            found = [line for line in found if not line.startswith(f"-A {chain} ")]
            if f"-N {chain}" not in found:
                found.append(f"-N {chain}")
        elif verb == "-A":
            found.append(change)
        elif verb == "-D":
            found.remove(f"-A {rest}")
        else:
            chain, _, rule = rest.partition(" 1 ")
            first = next(
                (i for i, line in enumerate(found) if line.startswith(f"-A {chain} ")), len(found)
            )
            found.insert(first, f"-A {chain} {rule}")
    return found


def changes(present: Sequence[str]) -> list[str]:
    return changes_for(present, FENCE.rules(), FENCE.jumps())


COMPLETE = after(EMPTY, changes(EMPTY))


def test_what_is_as_it_should_be_is_left_alone() -> None:
    assert changes(COMPLETE) == []


def test_rules_come_before_the_jumps_to_them() -> None:
    made = changes(EMPTY)
    jumps = [number for number, change in enumerate(made) if change.startswith("-I ")]
    rules = [number for number, change in enumerate(made) if change.startswith("-A FNBOX")]
    assert max(rules) < min(jumps)
    assert [made[number] for number in jumps] == [
        "-I DOCKER-USER 1 -i fnbox0123abcdi -j FNBOX-0123abcd-i",
        "-I INPUT 1 -i fnbox0123abcdi -j FNBOX-0123abcd-i-no",
    ]


DAMAGE: Mapping[str, list[str]] = {
    "a rule is gone": [line for line in COMPLETE if "10.0.0.0/8" not in line],
    "a rule is added": [*COMPLETE, "-A FNBOX-0123abcd-i -j ACCEPT"],
    "a chain is empty": [line for line in COMPLETE if "-A FNBOX-0123abcd-i-no" not in line],
    "a jump is gone": [line for line in COMPLETE if "-A INPUT" not in line],
    "another rule comes first": ["-A INPUT -p tcp -j ACCEPT", *COMPLETE],
    "everything is gone": EMPTY,
}


@pytest.mark.parametrize("present", DAMAGE.values(), ids=DAMAGE)
def test_what_somebody_has_changed_is_mended(present: list[str]) -> None:
    mended = after(present, changes(present))
    assert changes(mended) == []
    for chain in ("INPUT", "DOCKER-USER", "FNBOX-0123abcd-i", "FNBOX-0123abcd-i-no"):
        start = f"-A {chain} "
        own = [line for line in mended if line.startswith(start)]
        whole = [line for line in COMPLETE if line.startswith(start)]
        assert own[: len(whole)] == whole


def test_rules_of_other_instances_may_come_first() -> None:
    assert changes([f"-A INPUT {OTHERS}", *COMPLETE]) == []


def test_where_there_is_no_firewall_of_dockers_nothing_is_put_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[tuple[str, ...]] = []

    def run(*command: str, stdin: str = "") -> str:
        ran.append(command)
        return "-P INPUT ACCEPT\n"

    monkeypatch.setattr(firewall, "_program", lambda name: name)
    monkeypatch.setattr(firewall, "_run", run)
    with pytest.raises(NetworkUnavailable, match="no firewall of a Docker Engine"):
        firewall.put_up(FENCE)
    assert ran == [("iptables", "-w", "-S")]


def test_without_the_program_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall, "_program", lambda name: None)
    with pytest.raises(NetworkUnavailable, match="iptables is not installed"):
        firewall.put_up(FENCE)


def test_all_of_an_instance_is_taken_down_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present = [*COMPLETE, f"-A INPUT {OTHERS}", "-N FNBOX-99999999-f-no"]
    given: list[str] = []

    def run(*command: str, stdin: str = "") -> str:
        given.extend(stdin.splitlines())
        return "\n".join(present) if command == ("iptables", "-w", "-S") else ""

    monkeypatch.setattr(firewall, "_program", lambda name: name)
    monkeypatch.setattr(firewall, "_run", run)
    monkeypatch.setattr(firewall.os, "geteuid", lambda: 0)
    firewall.take_down("FNBOX-0123abcd")
    assert given == [
        "*filter",
        "-D DOCKER-USER -i fnbox0123abcdi -j FNBOX-0123abcd-i",
        "-D INPUT -i fnbox0123abcdi -j FNBOX-0123abcd-i-no",
        "-F FNBOX-0123abcd-i-no",
        "-F FNBOX-0123abcd-i",
        "-X FNBOX-0123abcd-i-no",
        "-X FNBOX-0123abcd-i",
        "COMMIT",
    ]
