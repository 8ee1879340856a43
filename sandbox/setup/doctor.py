"""What this machine offers fnbox, and what follows from it for its user.

`look` gathers facts and changes nothing; `findings` judges them, one line each, and is pure.
An engine that is down is a finding like the others.
"""

from __future__ import annotations

import grp
import platform
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from sandbox import memory
from sandbox.engines.docker import information
from sandbox.engines.images import DockerImages
from sandbox.errors import EngineError, StartupError
from sandbox.settings import Settings
from sandbox.setup import instance, recipes

_ENVIRONMENT_MIB = 11
"""An idle one of Python's, with the engine's shim for it."""
_PLENTY = 20
"""Environments that there should be room for."""
_LEAST_DISK_MIB = 1024
_BUILD_DISK_MIB = 4096
_OLDEST_ENGINE = (20, 10)


class State(StrEnum):
    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


class Finding(NamedTuple):
    name: str
    found: str
    state: State
    follows: str
    """What that means for the user, and for a problem what to do."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of the machine, as `look` finds them."""

    address: str
    engine: Mapping[str, Any] | None = None
    """What `docker info` says; None when the engine does not answer."""
    silence: str = ""
    """Why not."""
    kernel: str = ""
    socket_mode: int | None = None
    """Of the engine's socket; None when it has none, or is not there."""
    socket_users: tuple[str, ...] = ()
    """Its owner, and `group: members`."""
    iptables: bool = False
    memory_mib: int
    """What processes can still be given."""
    disks_mib: Mapping[str, int] = field(default_factory=dict)
    """Free, by directory."""
    images: Mapping[str, str] = field(default_factory=dict)
    """`current`, `outdated` or `missing`, by name, of those that `fnbox up` sees to."""
    url: str
    port: str
    """Whose it is: `free`, `fnbox`, `taken`."""
    min_free_mib: int = 0
    oci_runtime: str = ""
    """As set for the instance."""


def look(settings: Settings) -> Facts:
    """The facts of this machine. Takes some seconds at most."""
    engine, silence, images = None, "", {}
    try:
        engine = information(settings.docker_host)
        images = _images(settings)
    except (EngineError, StartupError) as error:
        silence = str(error)
    mode, users = _socket(settings.docker_host)
    return Facts(
        address=settings.docker_host,
        engine=engine,
        silence=silence,
        kernel=str((engine or {}).get("KernelVersion") or platform.release()),
        socket_mode=mode,
        socket_users=users,
        iptables=bool(shutil.which("iptables")) or Path("/usr/sbin/iptables").exists(),
        memory_mib=memory.free_mib(),
        disks_mib=_disks([(engine or {}).get("DockerRootDir", ""), str(settings.state_dir)]),
        images=images,
        url=settings.url,
        port=_port(settings),
        min_free_mib=settings.min_free_memory,
        oci_runtime=settings.oci_runtime,
    )


def _images(settings: Settings) -> dict[str, str]:
    root = recipes.sources()
    there = {image.reference: image.inputs for image in DockerImages(settings.docker_host).list()}
    states = {}
    for recipe in recipes.select([]):
        current = there.get(recipe.reference) == recipes.inputs(recipe, root)
        state = "current" if current else "outdated"
        states[recipe.name] = state if recipe.reference in there else "missing"
    return states


def _socket(address: str) -> tuple[int | None, tuple[str, ...]]:
    path = Path(address.removeprefix("unix://"))
    if not address.startswith("unix://") or not path.exists():
        return None, ()
    try:
        group = grp.getgrgid(path.stat().st_gid)
        members = f"group {group.gr_name}: {', '.join(group.gr_mem) or 'nobody'}"
    except KeyError:
        members = f"group {path.stat().st_gid}"
    return stat.S_IMODE(path.stat().st_mode), (path.owner(), members)


def _disks(directories: list[str]) -> dict[str, int]:
    """Free space, by the nearest directory that is there; an engine's may be elsewhere."""
    free = {}
    for directory in filter(None, directories):
        there = next(path for path in (Path(directory), *Path(directory).parents) if path.exists())
        free[directory] = shutil.disk_usage(there).free // 2**20
    return free


def _port(settings: Settings) -> str:
    if instance.healthy(settings):
        return "fnbox"
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return "taken"
    return "free"


def findings(facts: Facts) -> list[Finding]:
    """What follows from the facts, the engine first."""
    return [
        *_engine(facts),
        *([] if facts.engine is None else _isolation(facts.engine, facts.oci_runtime)),
        *_machine(facts),
    ]


def _engine(facts: Facts) -> Iterator[Finding]:
    if facts.engine is None:
        follows = "nothing runs without it: `fnbox up` starts it where it may, or says what to do"
        yield Finding("Docker Engine", facts.silence, State.PROBLEM, follows)
    else:
        version = str(facts.engine["ServerVersion"])
        found = f"{version} at {facts.address}"
        if _numbers(version) < _OLDEST_ENGINE:
            yield Finding("Docker Engine", found, State.PROBLEM, "too old: install 20.10 or newer")
        else:
            yield Finding("Docker Engine", found, State.OK, "answers")
    if facts.socket_mode is not None:
        found = f"{facts.socket_mode:o}, {', '.join(facts.socket_users)}"
        if facts.socket_mode & stat.S_IWOTH:
            follows = "everybody here is root by it: `chmod o-rw` the socket"
            yield Finding("engine's socket", found, State.PROBLEM, follows)
        else:
            follows = "who may open it is root on this machine; functions never see it"
            yield Finding("engine's socket", found, State.OK, follows)
    elif facts.address.startswith(("tcp:", "http:")):
        follows = "who reaches it is root on its machine: let it listen on a socket, or use TLS"
        yield Finding("engine's socket", facts.address, State.PROBLEM, follows)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _isolation(engine: Mapping[str, Any], oci_runtime: str) -> Iterator[Finding]:
    found = f"version {engine.get('CgroupVersion', '1')}, driver {engine.get('CgroupDriver')}"
    limits = {"MemoryLimit": "memory", "PidsLimit": "processes", "CpuCfsQuota": "CPU"}
    missing = [name for key, name in limits.items() if not engine.get(key)]
    if missing:
        follows = f"no function is limited in {', '.join(missing)}: boot with these cgroups"
        yield Finding("cgroups", found, State.PROBLEM, follows)
    elif not engine.get("SwapLimit"):
        follows = "functions can swap: boot with swapaccount=1, or without swap"
        yield Finding("cgroups", found, State.NOTE, follows)
    else:
        yield Finding("cgroups", found, State.OK, "memory, processes and CPU are limited")

    driver = str(engine["Driver"])
    if driver in ("overlay2", "overlayfs", "fuse-overlayfs"):
        yield Finding("storage driver", driver, State.OK, "containers share their image's files")
    else:
        follows = "containers may start slowly, or each copy its image: overlay2 does not"
        yield Finding("storage driver", driver, State.NOTE, follows)

    options = {
        option.removeprefix("name=").partition(",")[0]
        for option in engine.get("SecurityOptions") or ()
    }
    if "seccomp" in options:
        follows = "functions make the system calls of fnbox's profile and no others"
        yield Finding("seccomp", "yes", State.OK, follows)
    else:
        follows = "functions can make every system call: use a kernel and an engine that have it"
        yield Finding("seccomp", "no", State.PROBLEM, follows)
    if "apparmor" in options:
        yield Finding("AppArmor", "yes", State.OK, "the engine's profile confines containers too")
    else:
        follows = "seccomp, no capabilities and read-only files confine functions without it"
        yield Finding("AppArmor", "no", State.NOTE, follows)
    if options & {"userns", "rootless"}:
        follows = "fnbox is not tested with it: should environments not start, turn it off"
        yield Finding("user namespaces", "remapped", State.NOTE, follows)
    else:
        follows = "the init is root without capabilities that reach outside; functions never are"
        yield Finding("user namespaces", "not remapped", State.OK, follows)

    runtimes = engine.get("Runtimes") or {}
    if oci_runtime and oci_runtime not in runtimes:
        follows = f"FNBOX_OCI_RUNTIME={oci_runtime}: no function starts; `make gvisor` adds runsc"
        yield Finding("OCI runtimes", ", ".join(runtimes), State.PROBLEM, follows)
    elif "runsc" not in runtimes:
        follows = "functions share the kernel; `make gvisor` adds one that does not let them"
        yield Finding("gVisor", "no runsc", State.NOTE, follows)
    else:
        follows = "FNBOX_OCI_RUNTIME=runsc, or the tag fnbox:oci-runtime=runsc, gives it"
        yield Finding("gVisor", "runsc", State.OK, follows)


def _machine(facts: Facts) -> Iterator[Finding]:
    follows = "functions share it, but under gVisor: keep it up to date"
    yield Finding("kernel", facts.kernel, State.OK, follows)
    if facts.iptables:
        yield Finding("iptables", "yes", State.OK, "networks of functions can be filtered")
    else:
        follows = "networks of functions cannot be filtered: install iptables to give them one"
        yield Finding("iptables", "no", State.NOTE, follows)

    room = max(0, facts.memory_mib - facts.min_free_mib) // _ENVIRONMENT_MIB
    found, follows = f"{facts.memory_mib} MiB free", f"room for some {room} small environments"
    if not room:
        kept = f"FNBOX_MIN_FREE_MEMORY keeps {facts.min_free_mib} MiB free"
        follows = f"none, as {kept}: idle environments end at once; end other programs"
        yield Finding("memory", found, State.PROBLEM, follows)
    else:
        yield Finding("memory", found, State.NOTE if room < _PLENTY else State.OK, follows)
    for directory, free in facts.disks_mib.items():
        name, found = f"disk of {directory}", f"{free} MiB free"
        if free < _LEAST_DISK_MIB:
            follows = "too little: `fnbox images prune`, `docker system df`"
            yield Finding(name, found, State.PROBLEM, follows)
        elif free < _BUILD_DISK_MIB:
            yield Finding(name, found, State.NOTE, "little for building more images")
        else:
            yield Finding(name, found, State.OK, "enough")

    stale = [name for name, state in facts.images.items() if state != "current"]
    if stale:
        found = ", ".join(f"{name} {facts.images[name]}" for name in stale)
        follows = "`fnbox up`, or `fnbox images build`, sees to it"
        yield Finding("images", found, State.NOTE, follows)
    elif facts.images:
        yield Finding("images", f"{len(facts.images)} built", State.OK, "current")

    if facts.port == "taken":
        follows = "another program listens there: give `--port`, or FNBOX_PORT"
        yield Finding("port", facts.url, State.PROBLEM, follows)
    elif facts.port == "fnbox":
        yield Finding("port", facts.url, State.OK, "fnbox answers")
    else:
        yield Finding("port", facts.url, State.OK, "free: `fnbox up` starts fnbox")
