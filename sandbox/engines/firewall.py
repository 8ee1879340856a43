"""What functions with a network of fnbox's own may send, and where to: rules for iptables.

Each bridge has a chain of fnbox's in the kernel's filter table, which DOCKER-USER jumps to for
what the bridge forwards, and INPUT for what would reach the host itself: nothing may. IPv6 is
dropped whole. Of chains that are not fnbox's only jumps are added, and they are taken away again;
chains are named after the instance, so that what a crash has left is found.

Functions hold no capability to send what is no TCP, UDP or ping, or from an address of another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import NetworkUnavailable

BRIDGE_PREFIX = "fnbox"
"""Of every bridge of every instance: what goes from one to another is refused by it."""

_METADATA = ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.0/24")
"""Link-local, with most clouds' metadata; Azure's, Alibaba's and Oracle's are elsewhere."""
_NOWHERE = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")
"""This host, loopback, multicast, reserved and broadcast."""
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15")
"""RFC 1918, carriers' shared space, and what tests of devices use."""
REFUSED = {"internet": (*_METADATA, *_NOWHERE, *_PRIVATE), "full": (*_METADATA, *_NOWHERE)}
"""Destinations, by network policy. What is not here goes on to the other rules of Docker's."""

CONNECTIONS = 1000
"""That an environment may have open at once, to whatever it reaches."""

_REFUSE = (
    "-p tcp -j REJECT --reject-with tcp-reset",  # at once: ICMP's answers are rationed
    "-j REJECT --reject-with icmp-admin-prohibited",
)
_SECONDS = 10
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_Rules = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Fence:
    """The rules around one bridge."""

    bridge: str
    chain: str
    """Chains are this and what its name is prolonged by."""
    policy: str
    """`internet` or `full`."""

    def rules(self) -> _Rules:
        """What fnbox's own chains hold, in IPv4."""
        refuse = f"{self.chain}-no"
        return {
            refuse: _REFUSE,
            self.chain: (
                # a port of the host that leads to a container; what is answered is no DNAT
                f"-m conntrack --ctstate DNAT -j {refuse}",
                f"-o {BRIDGE_PREFIX}+ -j {refuse}",
                f"-o docker0 -j {refuse}",  # from other bridges Docker keeps its own apart
                *(f"-d {network} -j {refuse}" for network in REFUSED[self.policy]),
                # the kernel's table of connections is the whole machine's
                f"-m conntrack --ctstate NEW -m connlimit --connlimit-above {CONNECTIONS} "
                f"--connlimit-mask 32 --connlimit-saddr -j {refuse}",
            ),
        }

    def jumps(self) -> dict[str, str]:
        """By the chain that is not ours."""
        return {
            "DOCKER-USER": f"-i {self.bridge} -j {self.chain}",
            "INPUT": f"-i {self.bridge} -j {self.chain}-no",
        }

    def rules_6(self) -> _Rules:
        return {self.chain: ("-j DROP",)}

    def jumps_6(self) -> dict[str, str]:
        jump = f"-i {self.bridge} -j {self.chain}"
        return {"INPUT": jump, "FORWARD": jump}


def put_up(fence: Fence) -> None:
    """See that its rules hold, and come first. Raises NetworkUnavailable, saying why not."""
    _put_up("iptables", fence.rules(), fence.jumps())
    if _has_ipv6():
        _put_up("ip6tables", fence.rules_6(), fence.jumps_6())


def take_down(chain: str) -> None:
    """Remove every rule and chain whose name begins so; there may be none."""
    for program in ("iptables", "ip6tables"):
        if (path := _program(program)) is None or os.geteuid() != 0:
            continue  # then nothing has been put up
        present = _run(path, "-w", "-S").splitlines()
        jumps = [line for line in present if _jumps_to(line, chain) and f"-A {chain}" not in line]
        chains = [line.split()[1] for line in present if line.startswith(f"-N {chain}")]
        changes = [f"-D {line.removeprefix('-A ')}" for line in jumps]
        changes += [f"-F {name}" for name in chains]
        changes += [f"-X {name}" for name in chains]
        if changes:
            _restore(path, changes)


def _put_up(program: str, rules: _Rules, jumps: dict[str, str]) -> None:
    path = _program(program)
    if path is None:
        raise NetworkUnavailable(f"{program} is not installed where fnbox runs")
    present = _run(path, "-w", "-S").splitlines()
    if "DOCKER-USER" in jumps and "-N DOCKER-USER" not in present:
        raise NetworkUnavailable(
            "there is no firewall of a Docker Engine where fnbox runs: "
            "the engine is on another machine, rootless, or fnbox is in a container"
        )
    if changes := changes_for(present, rules, jumps):
        _restore(path, changes)


def changes_for(present: Sequence[str], rules: _Rules, jumps: dict[str, str]) -> list[str]:
    """What iptables-restore is to do; nothing when everything is as it should be.

    `present`: what `iptables -S` prints.
    """
    changes = []
    declared = []
    for chain, wanted in rules.items():
        if _of(present, chain) != list(wanted):
            declared.append(f":{chain} - [0:0]")  # makes, or empties, it
            changes += [f"-A {chain} {rule}" for rule in wanted]
    for chain, jump in jumps.items():
        found = _of(present, chain)
        # Whoever comes before ours may let pass what ours refuse.
        above = found[: found.index(jump)] if jump in found else []
        if jump not in found or not all(f"-i {BRIDGE_PREFIX}" in rule for rule in above):
            changes += [f"-D {chain} {jump}"] * found.count(jump)
            changes.append(f"-I {chain} 1 {jump}")
    return declared + changes


def _of(present: Sequence[str], chain: str) -> list[str]:
    start = f"-A {chain} "
    return [line.removeprefix(start) for line in present if line.startswith(start)]


def _jumps_to(line: str, chain: str) -> bool:
    return line.startswith("-A ") and f" -j {chain}" in line


def _restore(path: str, changes: Iterable[str]) -> None:
    """All of it or nothing."""
    text = "\n".join(["*filter", *changes, "COMMIT", ""])
    _run(f"{path}-restore", "-w", "--noflush", stdin=text)


def _run(*command: str, stdin: str = "") -> str:
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkUnavailable(f"{command[0]} does not work: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise NetworkUnavailable(
            f"{command[0]} is refused: {said[0] if said else done.returncode}; "
            "fnbox has to be root on the machine of the Docker Engine"
        )
    return done.stdout


def _program(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()
