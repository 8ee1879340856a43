"""What `fnbox doctor` makes of a machine: facts in, findings out."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from typing import Any

import pytest
from click.testing import CliRunner

from sandbox.cli.doctor import doctor
from sandbox.settings import Settings
from sandbox.setup.doctor import Facts, Finding, State, findings, look

ENGINE: dict[str, Any] = {
    "ServerVersion": "20.10.24+dfsg1",
    "CgroupVersion": "2",
    "CgroupDriver": "systemd",
    "Driver": "overlay2",
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"],
    "Runtimes": {"runc": {}, "runsc": {}},
    "MemoryLimit": True,
    "SwapLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
}
MACHINE: dict[str, Any] = {
    "address": "unix:///var/run/docker.sock",
    "engine": ENGINE,
    "kernel": "6.1.0",
    "socket_mode": 0o660,
    "socket_users": ("root", "group docker: ada"),
    "iptables": True,
    "memory_mib": 8192,
    "disks_mib": {"/var/lib/docker": 50_000},
    "images": {"init": "current", "python3.13": "current"},
    "url": "http://127.0.0.1:4566",
    "port": "free",
    "min_free_mib": 512,
}


def judged(**facts: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings(Facts(**{**MACHINE, **facts}))}


def test_a_machine_that_has_everything_is_ok_throughout() -> None:
    assert {finding.state for finding in judged().values()} == {State.OK}


@pytest.mark.parametrize(
    ("name", "state", "says", "facts"),
    [
        ("Docker Engine", "problem", "fnbox up", {"engine": None, "silence": "it is silent"}),
        ("port", "problem", "--port", {"port": "taken"}),
        ("port", "ok", "fnbox answers", {"port": "fnbox"}),
        ("engine's socket", "problem", "chmod o-rw", {"socket_mode": 0o666}),
        (
            "engine's socket",
            "problem",
            "TLS",
            {"socket_mode": None, "address": "tcp://10.0.0.1:2375"},
        ),
        ("iptables", "note", "install iptables", {"iptables": False}),
        ("memory", "problem", "FNBOX_MIN_FREE_MEMORY", {"memory_mib": 500}),
        ("memory", "note", "some 10 small", {"memory_mib": 622}),
        ("disk of /x", "problem", "images prune", {"disks_mib": {"/x": 500}}),
        ("disk of /x", "note", "building", {"disks_mib": {"/x": 3000}}),
        ("images", "note", "fnbox images build", {"images": {"init": "missing"}}),
        ("OCI runtimes", "problem", "make gvisor", {"oci_runtime": "kata"}),
    ],
)
def test_what_follows_from_the_machine(
    name: str, state: str, says: str, facts: dict[str, Any]
) -> None:
    finding = judged(**facts)[name]
    assert finding.state == state
    assert says in finding.follows


@pytest.mark.parametrize(
    ("name", "state", "says", "engine"),
    [
        ("Docker Engine", "problem", "too old", {"ServerVersion": "19.03.1"}),
        ("cgroups", "problem", "memory, processes", {"MemoryLimit": False, "PidsLimit": False}),
        ("cgroups", "note", "swapaccount=1", {"SwapLimit": False}),
        ("storage driver", "note", "overlay2", {"Driver": "vfs"}),
        ("seccomp", "problem", "every system call", {"SecurityOptions": []}),
        ("AppArmor", "note", "without it", {"SecurityOptions": ["name=seccomp"]}),
        ("user namespaces", "note", "not tested", {"SecurityOptions": ["name=userns"]}),
        ("gVisor", "note", "make gvisor", {"Runtimes": {"runc": {}}}),
    ],
)
def test_what_follows_from_the_engine(
    name: str, state: str, says: str, engine: dict[str, Any]
) -> None:
    finding = judged(engine={**ENGINE, **engine})[name]
    assert finding.state == state
    assert says in finding.follows


def test_without_an_engine_the_rest_of_the_machine_is_still_told() -> None:
    told = judged(engine=None, silence="the Docker Engine does not answer", images={})
    assert told["Docker Engine"].found == "the Docker Engine does not answer"
    assert {"kernel", "memory", "port"} <= set(told)
    assert "seccomp" not in told


def run(settings: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(doctor, arguments, env=settings)
    return done.exit_code, done.output


@pytest.mark.usefixtures("unconnected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_command_tells_of_an_engine_that_is_down_and_of_a_port_that_is_taken(
    tmp_path: Path,
) -> None:
    # Whoever has it hangs up at once: a port that is silent costs each look five seconds.
    with TCPServer(("127.0.0.1", 0), BaseRequestHandler) as taken:
        threading.Thread(target=taken.serve_forever, args=(0.01,), daemon=True).start()
        settings = {
            "FNBOX_DOCKER_HOST": f"unix://{tmp_path}/none.sock",
            "FNBOX_STATE_DIR": str(tmp_path / "state"),
            "FNBOX_PORT": str(taken.server_address[1]),
        }
        status, text = run(settings)
        assert status == 1
        assert "problem  Docker Engine" in text
        assert "does not answer" in text
        status, text = run(settings, "--json")
        taken.shutdown()
    assert status == 1
    states = {finding["name"]: finding["state"] for finding in json.loads(text)}
    assert states["Docker Engine"] == states["port"] == "problem"
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("unconnected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_port_that_nobody_has_is_free(tmp_path: Path) -> None:
    with socket.socket() as kept:
        # A port that nobody listens on can be had by all who say so; nobody else gets it.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        host, port = f"unix://{tmp_path}/none.sock", kept.getsockname()[1]
        settings = Settings(docker_host=host, state_dir=tmp_path, port=port)
        assert look(settings).port == "free"


def test_exit_status_0_says_that_there_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.setup.doctor.look", lambda _: Facts(**MACHINE))
    status, text = run({})
    assert status == 0
    assert text.count("\n") == len(judged())
