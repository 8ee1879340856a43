"""The command `fnbox`, as it is typed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instance import (
    AWS,
    Function,
    Instance,
    Start,
    containers,
    environment,
    free_port,
)

GREET = """
def greet(event, context):
    if event.get("fail"):
        raise ValueError("asked to")
    name = event.get("name", "World")
    print("greeting", name)
    return {"message": f"Hello, {name}!"}
"""


def fnbox(
    variables: dict[str, str], *arguments: str, stdin: str = "", status: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        Instance.command(*arguments),
        env=variables,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "greeter"
    path.mkdir()
    (path / "app.py").write_text(GREET)
    return path


@pytest.fixture
def greeter(instance: Instance, folder: Path) -> Iterator[Function]:
    """Deployed by the command, on the shared instance."""
    fnbox(instance.variables, "deploy", str(folder), "--handler", "app.greet")
    function = Function(instance, "greeter")
    yield function
    function.delete()


def test_deploy_prints_the_function_and_again_changes_what_differs(
    instance: Instance, folder: Path, greeter: Function
) -> None:
    again = json.loads(fnbox(instance.variables, "deploy", str(folder)).stdout)
    assert again["FunctionName"] == "greeter"
    assert (again["Handler"], again["State"]) == ("app.greet", "Active")
    (folder / "app.py").write_text(GREET.replace("Hello", "Good day"))
    options = ("--timeout", "9", "--memory", "256", "--env", "GREETING=hi")
    changed = json.loads(fnbox(instance.variables, "deploy", str(folder), *options).stdout)
    assert (changed["Timeout"], changed["MemorySize"]) == (9, 256)
    assert changed["Environment"] == {"Variables": {"GREETING": "hi"}}
    assert changed["CodeSha256"] != again["CodeSha256"]
    assert greeter.invoke({}).document == {"message": "Good day, World!"}


def test_invoke_prints_the_response_and_nothing_else(instance: Instance, greeter: Function) -> None:
    command = ("invoke", "greeter", "--payload")
    done = fnbox(instance.variables, *command, '{"name": "Ada"}')
    assert (done.stdout, done.stderr) == ('{"message": "Hello, Ada!"}\n', "")
    done = fnbox(instance.variables, *command, "-", "--log", stdin='{"name": "Bob"}')
    assert json.loads(done.stdout) == {"message": "Hello, Bob!"}
    assert "greeting Bob" in done.stderr
    assert "REPORT RequestId" in done.stderr


def test_invoke_of_a_function_that_fails_is_a_failure(
    instance: Instance, greeter: Function
) -> None:
    done = fnbox(instance.variables, "invoke", "greeter", "--payload", '{"fail": 1}', status=1)
    assert json.loads(done.stdout)["errorMessage"] == "asked to"
    assert done.stderr == "fnbox: the function failed (Unhandled)\n"


def test_an_event_runs_and_shows_in_the_log(instance: Instance, greeter: Function) -> None:
    options = ("--event", "--payload", '{"name": "Eve"}')
    assert fnbox(instance.variables, "invoke", "greeter", *options).stdout == ""
    with subprocess.Popen(
        Instance.command("logs", "--follow", "greeter"),
        env=instance.variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        assert "greeting Eve\n" in follower.stdout
        follower.terminate()
    printed = fnbox(instance.variables, "logs", "greeter").stdout
    assert "greeting Eve" in printed.splitlines()
    event = json.loads(fnbox(instance.variables, "logs", "greeter", "--json").stdout.split("\n")[0])
    assert {"timestamp", "stream", "message"} <= set(event)


def test_a_mistake_is_one_line_that_says_what_to_do(instance: Instance, folder: Path) -> None:
    done = fnbox(instance.variables, "invoke", "absent", status=1)
    assert done.stderr.startswith("fnbox: ResourceNotFoundException: Function not found: arn:")
    assert len(done.stderr.splitlines()) == 1
    nowhere = environment(port=free_port(), state_dir=folder)
    for command in (("invoke", "absent"), ("logs", "absent"), ("deploy", str(folder))):
        done = fnbox(nowhere, *command, status=1)
        (line,) = done.stderr.splitlines()
        assert "run `fnbox up`" in line


def test_env_points_aws_clients_to_the_instance(instance: Instance, greeter: Function) -> None:
    script = (
        f'eval "$({" ".join(Instance.command("env"))})"; '
        f"{AWS} lambda list-functions --query 'Functions[].FunctionName' --output text"
    )
    done = subprocess.run(
        ["sh", "-ec", script],
        env=environment(port=instance.port, state_dir=instance.state_dir),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "greeter" in done.stdout.split()


def test_status_tells_whether_it_runs(instance: Instance, tmp_path: Path) -> None:
    found = json.loads(fnbox(instance.variables, "status").stdout)
    assert found["running"] is True
    assert found["url"] == instance.url
    nowhere = environment(port=free_port(), state_dir=tmp_path)
    assert json.loads(fnbox(nowhere, "status", status=1).stdout)["running"] is False


def test_down_ends_the_instance_and_leaves_no_container(start: Start) -> None:
    instance = start()
    instance.deploy(GREET.replace("greet(", "handler(")).invoke({})
    assert len(instance.containers()) >= 1
    fnbox(instance.variables, "down")
    assert instance.wait() == 0
    assert instance.containers() == set()
    fnbox(instance.variables, "down")  # which is fine


def test_up_starts_it_once_and_down_ends_it(tmp_path: Path) -> None:
    variables = environment(state_dir=tmp_path / "state", port=free_port())
    try:
        fnbox(variables, "up")
        first = json.loads(fnbox(variables, "status").stdout)
        assert first["running"] is True
        pid = (tmp_path / "state" / "lock").read_text()
        fnbox(variables, "up")
        assert (tmp_path / "state" / "lock").read_text() == pid
    finally:
        fnbox(variables, "down")
    assert containers((tmp_path / "state" / "instance").read_text()) == set()
    fnbox(variables, "status", status=1)
