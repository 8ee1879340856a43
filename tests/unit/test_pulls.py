"""Pulls: each image once, however many want it, and no waiting for a registry that is silent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from sandbox.clock import FakeClock
from sandbox.engines.base import Image
from sandbox.engines.pulls import Pulls, registry_of, repository_of
from sandbox.environments.runtimes import RuntimeImages
from sandbox.environments.supply import ImageSupply
from sandbox.errors import (
    EngineError,
    EngineUnavailable,
    ImageMissing,
    PullFailed,
    RegistryUnavailable,
)
from tests.support.functions import make_version, until

DIGEST = "sha256:" + "ab" * 32


class Registry:
    """What an engine has of images, and what it can get."""

    def __init__(self) -> None:
        self.has: set[str] = set()
        self.fails: EngineError | None = None
        self.asked: list[str] = []
        self.pulled: list[str] = []
        self.named: list[tuple[str, str]] = []
        self.events: list[Mapping[str, Any]] = []
        self.gate = threading.Event()
        self.gate.set()

    def digest(self, reference: str) -> str:
        self.asked.append(reference)
        if self.fails:
            raise self.fails
        return DIGEST

    def download(self, reference: str, *, watch: Callable[[Mapping[str, Any]], None]) -> None:
        for event in self.events:
            watch(event)
        assert self.gate.wait(10)
        if self.fails:
            raise self.fails
        self.pulled.append(reference)
        self.has.add(reference)

    def name(self, reference: str, name: str) -> None:
        self.named.append((reference, name))

    def look_up(self, reference: str) -> Image:
        if reference not in self.has:
            raise ImageMissing(f"no image {reference}")
        return Image("sha256:0", (), (), "", (), (f"r.io/app@{DIGEST}",))


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pulls(registry: Registry, clock: FakeClock) -> Pulls:
    return Pulls(lambda: registry, clock)


def supply(
    registry: Registry, pulls: Pulls, runtime_registry: str = "r.io/lambda", **named: str
) -> ImageSupply:
    runtimes = RuntimeImages(
        registry.look_up,
        named=named,
        buildable=("python3.13",),
        substitutes=True,
        registry=runtime_registry,
    )
    return ImageSupply(registry.look_up, runtimes, pulls)


def test_a_name_is_resolved_to_what_the_registry_has_now(pulls: Pulls) -> None:
    assert pulls.resolve("r.io:5000/team/app:1") == f"r.io:5000/team/app@{DIGEST}"


def test_a_registry_that_does_not_answer_is_left_alone_for_a_minute(
    registry: Registry, pulls: Pulls, clock: FakeClock
) -> None:
    registry.fails = RegistryUnavailable("no route")
    for _ in range(3):
        with pytest.raises(RegistryUnavailable, match=r"r\.io does not answer: no route"):
            pulls.resolve("r.io/app")
    assert len(registry.asked) == 1
    with pytest.raises(RegistryUnavailable):
        pulls.resolve("other.io/app")
    assert len(registry.asked) == 2
    registry.fails = None
    clock.advance(60)
    assert pulls.resolve("r.io/app") == f"r.io/app@{DIGEST}"


def test_an_image_that_is_not_there_says_nothing_about_its_registry(
    registry: Registry, pulls: Pulls
) -> None:
    registry.fails = ImageMissing("unknown")
    for _ in range(2):
        with pytest.raises(ImageMissing):
            pulls.resolve("r.io/app")
    assert len(registry.asked) == 2


def test_many_who_want_an_image_wait_for_one_pull(registry: Registry, pulls: Pulls) -> None:
    registry.gate.clear()
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(pulls.pull, f"r.io/app@{DIGEST}", "r.io/app:1") for _ in "1234"]
        until(lambda: len(pulls.running()) == 1)
        assert [pull.image for pull in pulls.running()] == ["r.io/app:1"]
        registry.gate.set()
        for each in waiting:
            each.result(10)
    assert pulls.running() == []
    assert set(registry.named) == {(f"r.io/app@{DIGEST}", "r.io/app:1")}


def test_all_of_them_are_told_when_it_fails_and_the_next_is_tried_anew(
    registry: Registry, pulls: Pulls
) -> None:
    registry.fails = EngineUnavailable("the engine has ended")
    with pytest.raises(PullFailed, match="the engine has ended"):
        pulls.pull("r.io/app:1")
    assert pulls.running() == []
    registry.fails = None
    pulls.pull("r.io/app:1")
    assert registry.pulled == ["r.io/app:1"]


def test_progress_is_the_sum_of_the_layers(registry: Registry, pulls: Pulls) -> None:
    def downloading(layer: str, current: int, total: int) -> dict[str, Any]:
        detail = {"current": current, "total": total}
        return {"id": layer, "status": "Downloading", "progressDetail": detail}

    registry.gate.clear()
    registry.events = [
        {"status": "Pulling from app", "id": "1"},
        downloading("a", 1_000_000, 4_000_000),
        downloading("b", 1_000_000, 6_000_000),
        downloading("b", 2_000_000, 6_000_000),
        {"id": "a", "status": "Download complete", "progressDetail": {}},
        {"id": "a", "status": "Extracting", "progressDetail": {"current": 1, "total": 4_000_000}},
    ]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pulls.pull, "r.io/app:1")
        until(lambda: [str(pull) for pull in pulls.running()] == ["6 of 10 MB"])
        registry.gate.set()
        waiting.result(10)


@pytest.mark.parametrize(
    ("reference", "registry", "repository"),
    [
        ("app", "docker.io", "app"),
        ("team/app:1", "docker.io", "team/app"),
        ("localhost/app:1", "localhost", "localhost/app"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000", "127.0.0.1:5000/app"),
        ("public.ecr.aws/lambda/python:3.12", "public.ecr.aws", "public.ecr.aws/lambda/python"),
        (f"r.io/app:1@{DIGEST}", "r.io", "r.io/app"),
    ],
)
def test_the_parts_of_a_name(reference: str, registry: str, repository: str) -> None:
    assert (registry_of(reference), repository_of(reference)) == (registry, repository)


def test_an_image_that_is_here_is_known_by_its_registrys_digest_or_its_own_id(
    registry: Registry, pulls: Pulls
) -> None:
    images = supply(registry, pulls)
    registry.has |= {"r.io/app:1", "mine:1"}
    assert images.identity("r.io/app:1") == f"r.io/app@{DIGEST}"
    assert images.identity("mine:1") == "sha256:0"
    assert registry.asked == []
    assert images.identity("r.io/other:1") == f"r.io/other@{DIGEST}"


def test_an_image_is_provided_by_its_digest_only_when_it_is_not_here(
    registry: Registry, pulls: Pulls
) -> None:
    images = supply(registry, pulls)
    known = f"r.io/app@{DIGEST}"
    of_image = make_version(Runtime=None, PackageType="Image")
    version = replace(of_image, image_uri="r.io/app:1", image_id=known)
    for _ in range(2):
        images.provide(version)
    assert registry.pulled == [known]
    gone = replace(of_image, image_uri="mine:1", image_id="sha256:1")
    with pytest.raises(ImageMissing):
        images.provide(gone)
    assert registry.pulled == [known]


def test_a_runtime_is_pulled_when_we_make_no_image_of_it_and_it_is_not_here(
    registry: Registry, pulls: Pulls
) -> None:
    images = supply(registry, pulls, **{"ruby3.4": "mine/ruby:1"})
    for runtime in ("python3.12", "python3.12", "python3.13", "ruby3.4"):
        images.provide(make_version(Runtime=runtime))
    assert registry.pulled == ["r.io/lambda/python:3.12", "mine/ruby:1"]
    images.check_runtime("dotnet8")  # it can be had


def test_a_runtime_is_not_pulled_where_no_registry_is_to_be_asked(
    registry: Registry, pulls: Pulls
) -> None:
    images = supply(registry, pulls, "none")
    images.provide(make_version(Runtime="python3.12"))
    with pytest.raises(ImageMissing, match=r"docker pull public\.ecr\.aws/lambda/dotnet:8"):
        images.check_runtime("dotnet8")
    assert registry.asked == registry.pulled == []


def test_a_runtime_that_cannot_be_pulled_runs_on_the_nearest_or_has_failed(
    registry: Registry, pulls: Pulls
) -> None:
    images = supply(registry, pulls)
    registry.fails = RegistryUnavailable("no route")
    registry.has.add("fnbox/python3.13:latest")
    images.provide(make_version(Runtime="python3.12"))
    images.check_runtime("python3.12")
    with pytest.raises(ImageMissing, match="fnbox makes no image of it"):
        images.check_runtime("dotnet8")
    with pytest.raises(PullFailed, match="no route"):
        images.provide(make_version(Runtime="dotnet8"))
