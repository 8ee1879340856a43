"""When what fnbox stands on fails, or fnbox itself: what goes on, and what is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.support.functions import until
from tests.support.instance import Instance, Start, docker, environment, free_port, gone
from tests.support.proxy import EngineProxy

SLEEP = """
import socket, time, uuid
ENVIRONMENT = uuid.uuid4().hex
def handler(seconds, context):
    print("begun", seconds, socket.gethostname(), flush=True)
    time.sleep(seconds or 0)
    print("done", seconds, flush=True)
    return [ENVIRONMENT, socket.gethostname()]
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProxy]:
    """Named before `start`, so that it is there until the instances have ended."""
    with EngineProxy(tmp_path / "docker.sock") as proxy:
        yield proxy


def refused(instance: Instance, name: str, **members: object) -> tuple[int, str, float]:
    """HTTP status and text of a call that fnbox cannot run, and how long that took."""
    began = time.monotonic()
    with pytest.raises(ClientError) as caught:
        instance.client.invoke(FunctionName=name, **members)
    elapsed = time.monotonic() - began
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"], elapsed


# The engine


@pytest.mark.parametrize("how", ["stop", "fall_silent"])
def test_without_an_engine_warm_calls_go_on_and_cold_ones_are_refused(
    engine: EngineProxy, start: Start, how: str
) -> None:
    instance = start(docker_host=engine.address)
    warm, cold = instance.deploy(SLEEP), instance.deploy(SLEEP)
    before = warm.invoke(0).document
    until(lambda: instance.environments("spare") == 1)
    getattr(engine, how)()
    for _ in range(2):
        status, text, elapsed = refused(instance, cold.name)
        assert status >= 500
        assert "Docker Engine does not answer" in text
        assert elapsed < 8  # 3 s, and room for a slow machine
        assert warm.invoke(0).document == before
    engine.start()
    assert cold.invoke(0).error is None
    assert warm.invoke(0).document == before


def test_fnbox_starts_without_an_engine_and_finds_it_later(
    engine: EngineProxy, start: Start
) -> None:
    engine.stop()
    instance = start(docker_host=engine.address)
    function = instance.deploy(SLEEP)
    status, text, _ = refused(instance, function.name)
    assert status >= 500
    assert "Docker Engine does not answer" in text
    engine.start()
    assert function.invoke(0).error is None


def test_without_an_engine_an_end_leaves_no_container(engine: EngineProxy, start: Start) -> None:
    instance = start(docker_host=engine.address)
    instance.deploy(SLEEP).invoke(0)
    until(lambda: instance.environments("spare") == 1)
    engine.stop()
    instance.terminate()
    assert instance.wait() == 0
    until(lambda: instance.containers() == set())
    engine.start()
    instance.start()  # which removes the rest


def test_what_could_not_be_removed_is_removed_once_the_engine_is_back(
    engine: EngineProxy, start: Start
) -> None:
    instance = start(docker_host=engine.address, spares=0)
    function = instance.deploy(SLEEP)
    before = {function.invoke(0).document[1]}
    engine.stop()
    function.delete()
    engine.start()
    gone(instance, before)
    until(lambda: instance.leftovers() == [])


def test_a_container_that_is_killed_is_replaced(start: Start) -> None:
    instance = start()
    function = instance.deploy(SLEEP)
    before = function.invoke(0).document
    docker("kill", before[1])
    gone(instance, {before[1]})
    assert function.invoke(0).document[0] != before[0]
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(refused, instance, function.name, Payload="20")
        docker("kill", function.await_log("begun 20").split()[-1])
        status, text, elapsed = running.result()
    assert status >= 500
    assert "ended" in text
    assert elapsed < 20


def test_a_runtime_without_an_image_is_refused_and_told_what_to_do(start: Start) -> None:
    instance = start(substitute_runtimes=0)
    with pytest.raises(ClientError) as caught:
        instance.deploy(SLEEP, Runtime="python3.12")
    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidParameterValueException"
    assert "fnbox/python3.12:latest is missing" in error["Message"]
    assert "docker pull" in error["Message"]


def test_the_nearest_version_stands_in_for_a_runtime_and_the_log_says_so(start: Start) -> None:
    source = "import sys\ndef handler(event, context): return sys.version_info[:2]"
    function = start().deploy(source, Runtime="python3.12")
    assert function.invoke().document == [3, 13]
    assert "no image of python3.12 is here; python3.13 runs it instead" in function.log()


# fnbox itself


def test_after_a_crash_nothing_is_left_and_others_are_untouched(start: Start) -> None:
    instance, other = start(), start()
    neighbour = other.deploy(SLEEP)
    kept = neighbour.invoke(0).document
    until(lambda: other.environments("spare") == 1)
    function = instance.deploy(SLEEP)
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(function.invoke, 20) for _ in range(2)]
        until(lambda: function.log().count("begun") == 2)
        others = other.containers()
        instance.kill()
        for call in calls:
            assert call.exception() is not None
    # What no crash of ours leaves, but another's could.
    label = f"dev.fnbox.instance={instance.id}"
    image = "fnbox/python3.13:latest"
    docker("run", "--detach", "--label", label, "--entrypoint", "sleep", image, "1000")
    docker("create", "--label", label, image)
    for directory in ("run", "code/tmp"):
        (instance.state_dir / directory / "left").mkdir()
        (instance.state_dir / directory / "left" / "control.sock").touch()
    before = instance.containers()
    assert len(before) >= 2

    instance.start()
    gone(instance, before)
    until(lambda: instance.leftovers() == [])
    assert function.invoke(0).error is None
    assert other.containers() == others
    assert neighbour.invoke(0).document == kept


def test_functions_versions_and_aliases_outlive_a_crash(start: Start) -> None:
    instance = start()
    function = instance.deploy(SLEEP)
    function.publish()
    instance.client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    before = instance.client.get_function(FunctionName=function.name)["Configuration"]
    instance.kill()
    instance.start()
    after = instance.client.get_function(FunctionName=function.name)["Configuration"]
    assert after == before
    assert function.invoke(0, qualifier="live").version == "1"


def test_events_that_were_accepted_run_after_a_crash(start: Start) -> None:
    instance = start(max_environments=2)
    function = instance.deploy(SLEEP)
    accepted = [1 + 0.01 * number for number in range(1, 6)]
    for event in accepted:
        assert function.invoke(event, InvocationType="Event", LogType="None").status == 202
    instance.kill()
    instance.start()
    for event in accepted:
        function.await_log(f"done {event}\n")


def test_a_worker_that_dies_is_replaced(start: Start) -> None:
    instance = start()
    function = instance.deploy(SLEEP)
    before = function.invoke(0).document
    for _ in range(2):
        worker = instance.worker
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        instance.client.close()
        until(lambda worker=worker: instance.worker not in (None, worker))
        after = function.invoke(0).document
        assert after[0] != before[0]
        gone(instance, {before[1]})
        before = after


def test_asked_to_end_it_finishes_its_calls(start: Start) -> None:
    instance = start()
    function = instance.deploy(SLEEP)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(function.invoke, 2)
        function.await_log("begun")
        instance.terminate()
        assert running.result().error is None
    assert instance.wait() == 0
    assert instance.containers() == set()
    assert instance.leftovers() == []


def test_interrupted_it_ends_at_once_and_leaves_nothing(start: Start) -> None:
    instance = start()
    function = instance.deploy(SLEEP)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(function.invoke, 28)
        function.await_log("begun")
        os.kill(instance.pid, signal.SIGINT)
        assert instance.wait(20) == 0
        assert running.exception() is not None
    assert instance.containers() == set()
    assert instance.leftovers() == []


def test_a_call_that_takes_longer_than_the_grace_is_ended(start: Start) -> None:
    instance = start(grace=1)
    function = instance.deploy(SLEEP)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(function.invoke, 28)
        function.await_log("begun")
        instance.terminate()
        assert running.exception() is not None
    assert instance.wait(20) == 0
    assert instance.containers() == set()


def test_neither_a_follower_nor_an_idle_connection_holds_up_the_end(start: Start) -> None:
    instance = start()
    function = instance.deploy(SLEEP)
    function.invoke(0)
    with (
        socket.create_connection(("127.0.0.1", instance.port)) as idle,
        function.follow() as messages,
    ):
        next(messages)
        instance.terminate()
        assert instance.wait(20) == 0
        for _ in messages:
            pass
        assert idle.recv(1) == b""
    assert instance.containers() == set()
    assert "Traceback" not in instance.log_path.read_text()


def test_a_second_one_on_the_same_state_directory_is_refused(start: Start) -> None:
    instance = start()
    function = instance.deploy(SLEEP)
    before = function.invoke(0).document
    line = _refusal(state_dir=instance.state_dir, port=free_port())
    assert line.startswith(f"fnbox: another fnbox runs on the state directory {instance.state_dir}")
    assert function.invoke(0).document == before


def test_a_port_that_is_taken_is_refused(start: Start, tmp_path: Path) -> None:
    instance = start()
    line = _refusal(state_dir=tmp_path / "other", port=instance.port)
    assert line.startswith(f"fnbox: port {instance.port} is taken;")


def test_a_setting_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    line = _refusal(state_dir=tmp_path, keep_alive="long")
    assert line.startswith("fnbox: FNBOX_KEEP_ALIVE='long' cannot be used")


def _refusal(**settings: object) -> str:
    """The one line with which a control plane does not start."""
    done = subprocess.run(
        Instance.command("serve"),
        cwd=Path(str(settings["state_dir"])).parent,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line
