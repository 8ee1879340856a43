"""Images that are listed and removed, here on an engine that only pretends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests

from sandbox.catalog.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.engines import images as module
from sandbox.engines.images import FAMILY_LABEL, INPUTS_LABEL, BuiltImage, DockerImages
from sandbox.errors import EngineError, RegistryUnavailable
from sandbox.names import FunctionKey
from sandbox.setup import used_images

DANGLING = {"stage": (), "of-a-function": (), "pulled": ("r.io/app@sha256:1",), "in-use": ()}


class Client:
    """The SDK's, as far as it is asked."""

    def __init__(self) -> None:
        self.images_left = dict(DANGLING)
        self.refuses = {"in-use": 409}

    def images(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        if filters == {"label": INPUTS_LABEL}:
            labels = {INPUTS_LABEL: "abc"}
            tags = ["fnbox/python3.13:latest"]
            return [{"Id": "python", "RepoTags": tags, "Labels": labels, "Size": 140}]
        assert filters == {"dangling": True, "label": FAMILY_LABEL}
        return [{"Id": name, "RepoDigests": known} for name, known in self.images_left.items()]

    def containers(self, all: bool) -> list[dict[str, str]]:
        assert all
        return [{"ImageID": "python"}, {"ImageID": "python"}, {"ImageID": "other"}]

    def df(self) -> dict[str, int]:
        return {"LayersSize": 1000 * len(self.images_left)}

    def _url(self, template: str, name: str) -> str:
        return template.format(name)

    def get(self, url: str, *, headers: dict[str, str], timeout: float) -> None:
        assert (url, headers, timeout) == ("/distribution/r.io/app:1/json", {}, 5.0)
        raise requests.exceptions.ReadTimeout

    def remove_image(self, image: str) -> None:
        if image not in self.images_left:
            raise docker.errors.NotFound("no such image")
        if image in self.refuses:
            response = requests.Response()
            response.status_code = self.refuses[image]
            raise docker.errors.APIError("refused", response=response, explanation="conflict")
        del self.images_left[image]


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def images(client: Client, monkeypatch: pytest.MonkeyPatch) -> DockerImages:
    monkeypatch.setattr(module, "connect", lambda address: client)
    return DockerImages("unix:///none")


def test_images_are_listed_with_the_containers_that_run_them(images: DockerImages) -> None:
    assert images.list() == [BuiltImage("fnbox/python3.13:latest", "python", "abc", 140, 2)]


def test_what_functions_run_is_not_left_behind_by_id_or_by_digest(images: DockerImages) -> None:
    kept = {"of-a-function", "r.io/app@sha256:1"}
    assert images.left_behind(kept) == ["stage", "in-use"]


def test_what_is_in_use_or_gone_already_is_passed_over(
    images: DockerImages, client: Client
) -> None:
    assert images.prune(["stage", "in-use", "gone"]) == 1000
    assert set(client.images_left) == {"of-a-function", "pulled", "in-use"}


def test_what_else_goes_wrong_is_told(images: DockerImages, client: Client) -> None:
    client.refuses["stage"] = 500
    with pytest.raises(EngineError, match="conflict"):
        images.prune(["stage"])


def test_a_registry_that_leaves_the_engine_waiting_does_not_answer(
    images: DockerImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DockerImages, "_credentials", lambda self, reference: {})
    with pytest.raises(RegistryUnavailable, match="nothing within 5 s"):
        images.digest("r.io/app:1")


def test_images_of_functions_are_read_from_the_catalog_beside_a_control_plane(
    tmp_path: Path,
) -> None:
    assert used_images.ids(tmp_path) == set()
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    for name, image in ("local", "sha256:1"), ("pulled", "r.io/app@sha256:2"):
        catalog.create_function(
            FunctionKey("0" * 12, "us-east-1", name),
            {
                "FunctionName": name,
                "Role": "arn:aws:iam::000000000000:role/r",
                "PackageType": "Image",
                "Code": {"ImageUri": f"{name}:1"},
            },
            image_id=image,
        )
    assert used_images.ids(tmp_path) == {"sha256:1", "r.io/app@sha256:2"}
    catalog.close()
