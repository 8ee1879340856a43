"""The control plane as a container that drives the host's engine, by the README's command."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.settings import Settings
from tests.support.functions import until
from tests.support.instance import (
    Function,
    Instance,
    containers,
    docker,
    environment,
)

README = Path(__file__).resolve().parents[2] / "README.md"
DOCKER_RUN = next(
    line for line in README.read_text().splitlines() if line.startswith("docker run ")
)

ECHO = """
def handler(event, context):
    print("handling", event)
    return event
"""
BLOB = b"".join(number.to_bytes(4, "big") for number in range(2**21))

Run = Callable[[str], "Contained"]


class Contained(Instance):
    """An instance whose control plane is in a container."""

    def __init__(self, name: str, state: str, directory: Path) -> None:
        super().__init__(directory / "unused")
        self.name = name
        words = DOCKER_RUN.replace("--name fnbox", f"--name {name}")
        words = words.replace("127.0.0.1:4566", f"127.0.0.1:{self.port}")
        words = words.replace("/var/lib/fnbox:/var/lib/fnbox", state)
        inside = state.partition(":")[2]
        command = shlex.split(words)
        command[-1:] = ["--env", f"FNBOX_STATE_DIR={inside}", command[-1]]
        docker(*command[1:])

    @property
    def id(self) -> str:
        return docker("exec", self.name, "sh", "-c", 'cat "$FNBOX_STATE_DIR/instance"')

    def tail(self) -> str:
        return subprocess.run(
            ["docker", "logs", self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout

    def answers(self) -> bool:
        assert docker("inspect", "--format", "{{.State.Running}}", self.name) == "true", self.tail()
        done = subprocess.run(
            Instance.command("status"), env=self.variables, capture_output=True, text=True
        )
        return done.returncode == 0


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    """The image is made of the code that is tested."""
    command = [sys.executable, "-m", "sandbox", "images", "build", "control-plane"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def volume() -> Iterator[str]:
    """Named before `run`, so that it is there until the containers have ended."""
    name = f"fnbox-test-{uuid.uuid4().hex[:8]}"
    docker("volume", "create", name)
    yield name
    docker("volume", "rm", name)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run the command with another name, port and state; it leaves no container."""
    assert Settings.load().docker_host == "unix:///var/run/docker.sock"
    made: list[Contained] = []

    def create(state: str) -> Contained:
        made.append(Contained(f"fnbox-test-{uuid.uuid4().hex[:8]}", state, tmp_path))
        until(made[-1].answers, 60)
        return made[-1]

    yield create
    for contained in made:
        contained.client.close()
        try:
            label = contained.id
            docker("stop", "--time", "50", contained.name)
            code = docker("inspect", "--format", "{{.State.ExitCode}}", contained.name)
            assert (code, containers(label)) == ("0", set()), contained.tail()
        finally:
            docker("rm", "--force", "--volumes", contained.name)


def use(instance: Instance) -> None:
    """Deploy and invoke small code, which travels by frame, and large code, which is mounted."""
    small = instance.deploy(ECHO)
    assert small.invoke({"name": "Bob"}).document == {"name": "Bob"}
    small.invoke("queued", InvocationType="Event", LogType="None")
    small.await_log("handling queued")
    large = instance.deploy({"handler.py": ECHO, "blob.bin": BLOB})
    assert large.invoke([1, 2, 3]).document == [1, 2, 3]


def test_with_its_state_bound_at_the_same_path(run: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    instance = run(f"{state}:{state}")
    use(instance)
    assert (state / "instance").is_file()


def test_with_its_state_in_a_volume_that_outlives_its_process(volume: str, run: Run) -> None:
    instance = run(f"{volume}:/var/lib/fnbox")
    use(instance)
    docker("restart", "--time", "50", instance.name)
    until(instance.answers, 60)
    assert Function(instance, "function-0").invoke("again").document == "again"


def test_killed_it_leaves_no_container(run: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    instance = run(f"{state}:{state}")
    use(instance)
    label = instance.id
    docker("kill", instance.name)
    until(lambda: containers(label) == set())
    docker("start", instance.name)
    until(instance.answers, 60)


def test_the_command_is_found_in_it(run: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    instance = run(f"{state}:{state}")
    found = json.loads(docker("exec", instance.name, "fnbox", "status"))
    assert found["running"] is True
