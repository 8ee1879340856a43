"""The engine's adapter against an engine that hangs, fails and loses its answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.engines import docker, retries
from sandbox.engines.base import ContainerSpec, ResourceLimits
from sandbox.engines.docker import DockerEngine
from sandbox.engines.retries import Patience
from sandbox.errors import EngineError, EngineUnavailable, ImageMissing, OutcomeUnknown
from tests.support.functions import until
from tests.support.proxy import Fault, FaultyEngine
from tests.support.scripted_engine import IMAGE, ScriptedEngine

SPEC = ContainerSpec(IMAGE, code=None, whole=False, tmp_mib=512)
LIMITS = ResourceLimits(2**29, 10**9, 1024)
CREATE, START, REMOVE = "POST .*/create", "POST .*/start", "DELETE "


Wait = Callable[..., None]
LONG = 10.0


@pytest.fixture(autouse=True)
def wait(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Says for how many seconds the attempts of a call wait. Long they do, unless a test has one
    hang: on a busy machine any answer may be late."""

    def wait(*seconds: float) -> None:
        for name in ("_QUESTION", "_LIST", "_CHANGE", "_REMOVAL"):
            monkeypatch.setattr(docker, name, Patience(seconds))

    wait(LONG, LONG)
    return wait


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the real ones, in milliseconds."""
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(retries, "_LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(FaultyEngine, "slow_seconds", 0.01)


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[ScriptedEngine]:
    with ScriptedEngine(tmp_path / "engine.sock") as engine:
        yield engine


@pytest.fixture
def faulty(tmp_path: Path, scripted: ScriptedEngine) -> Iterator[FaultyEngine]:
    with FaultyEngine(tmp_path / "faulty.sock", scripted.address) as proxy:
        yield proxy


@pytest.fixture
def engine(tmp_path: Path, faulty: FaultyEngine, scripted: ScriptedEngine) -> DockerEngine:
    found = DockerEngine(address=faulty.address, instance="i", state_dir=tmp_path)
    start(found, "warm-up")  # the init has been taken out
    scripted.containers.clear()
    return found


def start(engine: DockerEngine, name: str) -> str:
    return engine.start(name, SPEC, LIMITS, Path("/channel"))


@pytest.mark.parametrize("fault", Fault)
def test_one_fault_is_not_noticed(
    scripted: ScriptedEngine, faulty: FaultyEngine, engine: DockerEngine, fault: Fault, wait: Wait
) -> None:
    if fault in (Fault.HANG, Fault.LOST):
        wait(0.1, LONG, LONG)
    for request in ("/images/", CREATE, START, "/update", REMOVE, "/containers/json"):
        faulty.next(fault, request)
    assert engine.image("fnbox/python").id == IMAGE
    container = start(engine, "one")
    assert [scripted.containers["one"]["Id"]] == [container] == list(engine.containers())
    assert scripted.containers["one"]["Running"]
    engine.limit(container, LIMITS)
    engine.remove(container)
    assert scripted.containers == {}
    assert faulty.done == {fault: 6}


def test_of_all_containers_that_start_first_one_takes_the_init_out(
    tmp_path: Path, scripted: ScriptedEngine
) -> None:
    engine = DockerEngine(address=scripted.address, instance="i", state_dir=tmp_path / "state")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: start(engine, f"c{number}"), range(8)))
    assert sum(request.endswith("/archive") for request in scripted.asked) == 1
    assert set(scripted.containers) == {f"c{number}" for number in range(8)}


def test_a_container_whose_answer_was_lost_is_found_and_not_made_twice(
    scripted: ScriptedEngine, faulty: FaultyEngine, engine: DockerEngine, wait: Wait
) -> None:
    wait(0.1, LONG, LONG)
    faulty.next(Fault.LOST, CREATE)
    scripted.asked.clear()
    container = start(engine, "one")
    assert [found["Id"] for found in scripted.containers.values()] == [container]
    assert scripted.asked.count("POST /containers/create") > 1


def test_one_that_is_not_started_is_not_left(
    scripted: ScriptedEngine, faulty: FaultyEngine, engine: DockerEngine
) -> None:
    faulty.next(Fault.ERROR, START, times=20)
    with pytest.raises(EngineError, match="a fault that a test ordered"):
        start(engine, "one")
    assert scripted.containers == {}


def test_one_of_which_nothing_is_heard_is_in_doubt(
    scripted: ScriptedEngine, faulty: FaultyEngine, engine: DockerEngine, wait: Wait
) -> None:
    wait(0.1, 0.2, 0.4)
    faulty.next(Fault.LOST, CREATE, times=20)
    faulty.next(Fault.HANG, "DELETE|/json", times=40)
    with pytest.raises(OutcomeUnknown, match="does not answer"):
        start(engine, "one")
    until(lambda: list(scripted.containers) == ["one"])


def test_what_an_earlier_life_has_left_is_told_from_ones_own(
    scripted: ScriptedEngine, engine: DockerEngine, tmp_path: Path
) -> None:
    later = DockerEngine(address=scripted.address, instance="i", state_dir=tmp_path)
    left, own = start(engine, "left"), start(later, "own")
    assert list(later.containers(earlier=True)) == [left]
    assert sorted(later.containers()) == sorted([left, own])


def test_what_the_engine_refuses_is_told_at_once_and_in_its_words(
    scripted: ScriptedEngine, engine: DockerEngine
) -> None:
    with pytest.raises(ImageMissing, match="No such image: missing"):
        engine.image("missing")
    assert scripted.asked.count("GET /images/missing/json") == 1
    scripted.refusal = "OCI runtime create failed"
    with pytest.raises(EngineError, match="OCI runtime create failed"):
        start(engine, "one")


@pytest.mark.usefixtures("unconnected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["stop", "fall_silent"])
def test_many_who_ask_an_engine_that_is_gone_are_answered_together(
    faulty: FaultyEngine, tmp_path: Path, how: str, wait: Wait
) -> None:
    wait(0.1, 0.2, 0.4)
    getattr(faulty, how)()
    engine = DockerEngine(address=faulty.address, instance="i", state_dir=tmp_path)
    began = time.monotonic()
    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(engine.image, "fnbox/python") for _ in range(16)]
        for each in asked:
            with pytest.raises(EngineUnavailable):
                each.result()
    # One after the other they would have needed 16 times as long as one: 0.7 s.
    assert time.monotonic() - began < 16 * 0.7
    faulty.start()
    wait(LONG, LONG)
    assert engine.image("fnbox/python").id == IMAGE


def test_of_many_calls_nearly_all_succeed_though_one_in_three_goes_wrong(
    scripted: ScriptedEngine, faulty: FaultyEngine, engine: DockerEngine
) -> None:
    seed = random.randrange(2**32)
    kinds = (Fault.ERROR, Fault.CUT, Fault.SLOW)  # a hang costs time, which tests/docker has

    def cycle(number: int) -> bool:
        try:
            engine.image("fnbox/python")
            engine.remove(start(engine, f"container-{number}"))
        except EngineError:
            return False
        return True

    with faulty.faults(0.3, seed, kinds), ThreadPoolExecutor(4) as threads:
        done = list(threads.map(cycle, range(100)))
    assert sum(done) >= 99, f"seed {seed}"
    assert scripted.containers == {}
    assert sum(faulty.done.values()) > 100
