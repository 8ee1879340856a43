"""Images on the Docker Engine: looked up, built, pulled, imported, removed.

Beside `docker` the only module that uses the docker SDK. Builds go through the
engine's classic builder, which every Docker Engine has.
"""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors
import requests.exceptions

from sandbox.engines.docker import connect, translated
from sandbox.errors import EngineError

INPUTS_LABEL = "dev.fnbox.inputs"
"""Digest of everything that went into an image: equal digests need no build."""
FAMILY_LABEL = "dev.fnbox.image"
"""On every image and build stage that descends from one of ours."""

_REGISTRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image of ours that is on the engine."""

    reference: str
    id: str
    inputs: str
    """As labelled."""
    size: int
    """Bytes, with every layer."""


class DockerImages:
    """The images of one Docker Engine. Methods raise EngineError and its kinds."""

    def __init__(self, address: str) -> None:
        with translated("images"):
            self._client = connect(address)

    def architecture(self) -> str:
        """Of the engine's machine, as Go names it: `amd64`, `arm64`."""
        with translated("version of the Docker Engine"):
            return str(self._client.version()["Arch"])

    def inputs(self, reference: str) -> str | None:
        """The image's inputs label, empty when it has none; None when there is no such image."""
        with translated(f"image {reference}"):
            try:
                found = self._client.inspect_image(reference)
            except docker.errors.ImageNotFound:
                return None
        return str(((found.get("Config") or {}).get("Labels") or {}).get(INPUTS_LABEL, ""))

    def list(self) -> list[BuiltImage]:
        """Every tagged image that we built, by reference."""
        with translated("images"):
            found = self._client.images(filters={"label": INPUTS_LABEL})
        return sorted(
            (
                BuiltImage(tag, image["Id"], image["Labels"][INPUTS_LABEL], image["Size"])
                for image in found
                for tag in image["RepoTags"] or ()
                if tag != "<none>:<none>"
            ),
            key=lambda image: image.reference,
        )

    def build(
        self,
        context: bytes,
        *,
        reference: str,
        inputs: str,
        target: str | None,
        arguments: Mapping[str, str],
        output: Callable[[str], None],
    ) -> None:
        """Build a tar of a context and tag it. The user's proxies are passed to the build."""
        proxies = {
            f"{scheme}_proxy": url
            for scheme, url in urllib.request.getproxies_environment().items()
        }
        with translated(f"building {reference}"):
            events = self._client.build(
                fileobj=io.BytesIO(context),
                custom_context=True,
                tag=reference,
                labels={INPUTS_LABEL: inputs},
                target=target or "",
                buildargs={**proxies, **arguments},
                rm=True,
                forcerm=True,
                decode=True,
                timeout=None,
            )
            _follow(f"building {reference}", events, output)

    def pull(self, reference: str, *, output: Callable[[str], None]) -> bool:
        """Pull when a registry answers within seconds; whether the image is here now."""
        with translated(f"pulling {reference}"):
            try:
                url = self._client._url("/distribution/{0}/json", reference)
                self._client._result(self._client.get(url, timeout=_REGISTRY_SECONDS))
            except (docker.errors.APIError, requests.exceptions.Timeout):
                return False
            repository, _, tag = reference.rpartition(":")
            _follow(
                f"pulling {reference}",
                self._client.pull(repository, tag=tag, stream=True, decode=True),
                output,
            )
        return True

    def import_root(self, archive: Path, reference: str) -> None:
        """Make an image of a tar of a root file system."""
        repository, _, tag = reference.rpartition(":")
        with translated(f"importing {reference}"):
            answer = self._client.import_image(str(archive), repository=repository, tag=tag)
        _follow(f"importing {reference}", map(json.loads, answer.splitlines()), lambda line: None)

    def remove(self, reference: str) -> None:
        with translated(f"image {reference}"):
            self._client.remove_image(reference)

    def prune(self) -> int:
        """Remove what builds left behind and no tag names any more; bytes that came free."""
        with translated("pruning images"):
            answer = self._client.prune_images(filters={"dangling": True, "label": [FAMILY_LABEL]})
        return int(answer["SpaceReclaimed"])


def _follow(what: str, events: Iterable[dict[str, Any]], output: Callable[[str], None]) -> None:
    """Read an operation's events to their end; EngineError when one says that it failed."""
    for event in events:
        for line in (event.get("stream") or event.get("status") or "").splitlines():
            if line.strip():
                output(line)
        if "error" in event:
            raise EngineError(f"{what} failed: {' '.join(event['error'].split())}")
