"""Images on the Docker Engine: looked up, built, pulled, imported, removed.

Beside `docker` the only module that uses the docker SDK. Builds go through the
engine's classic builder, which every Docker Engine has.
"""

from __future__ import annotations

import io
import json
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.auth
import docker.errors
import docker.utils
import requests.exceptions

from sandbox.engines.docker import connect, translated
from sandbox.errors import EngineError, ImageMissing, RegistryUnavailable

INPUTS_LABEL = "dev.fnbox.inputs"
"""Digest of everything that went into an image: equal digests need no build."""
FAMILY_LABEL = "dev.fnbox.image"
"""On every image and build stage that descends from one of ours."""

_REGISTRY_SECONDS = 5.0
_SILENT_SECONDS = 120.0
"""A pull of which the engine tells nothing for so long has failed."""
_IN_USE = 409
_NOT_FOR_US = (400, 401, 403, 404)
"""Statuses of a registry that has answered: it has no such image, or shows us none."""


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image of ours that is on the engine."""

    reference: str
    id: str
    inputs: str
    """As labelled."""
    size: int
    """Bytes, with every layer."""
    containers: int
    """How many run it."""


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
            running = Counter(each["ImageID"] for each in self._client.containers(all=True))
        return sorted(
            (
                BuiltImage(
                    tag,
                    image["Id"],
                    image["Labels"][INPUTS_LABEL],
                    image["Size"],
                    running[image["Id"]],
                )
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
        try:
            self.digest(reference)
        except (ImageMissing, RegistryUnavailable):
            return False
        self.download(reference, watch=lambda event: _tell(event, output))
        return True

    def digest(self, reference: str) -> str:
        """Digest of the image that a registry has under a name, within seconds.

        Raises ImageMissing when it has none or shows us none, RegistryUnavailable.
        """
        with translated(f"image {reference}"):
            try:
                answer = self._client.get(
                    self._client._url("/distribution/{0}/json", reference),
                    headers=self._credentials(reference),
                    timeout=_REGISTRY_SECONDS,
                )
                found = self._client._result(answer, json=True)
            except docker.errors.InvalidRepository as error:
                raise ImageMissing(f"image {reference}: {error}") from error
            except docker.errors.APIError as error:
                refused = error.status_code in _NOT_FOR_US
                kind = ImageMissing if refused else RegistryUnavailable
                raise kind(str(error.explanation)) from error
            except requests.exceptions.Timeout as error:
                raise RegistryUnavailable(f"nothing within {_REGISTRY_SECONDS:g} s") from error
        return str(found["Descriptor"]["digest"])

    def download(self, reference: str, *, watch: Callable[[Mapping[str, Any]], None]) -> None:
        """Pull an image by its tag or digest; `watch` gets the engine's events."""
        repository, tag = docker.utils.parse_repository_tag(reference)
        client = self._client
        with translated(f"pulling {reference}"):
            response = client._post(
                client._url("/images/create"),
                params={"fromImage": repository, "tag": tag or "latest"},
                headers=self._credentials(reference),
                stream=True,
                timeout=_SILENT_SECONDS,
            )
            client._raise_for_status(response)
            events = client._stream_helper(response, decode=True)
            try:
                for event in _checked(f"pulling {reference}", events):
                    watch(event)
            except requests.exceptions.ConnectionError as error:
                raise EngineError(
                    f"pulling {reference} failed: nothing more came for {_SILENT_SECONDS:g} s, "
                    "or the Docker Engine has ended"
                ) from error

    def name(self, reference: str, name: str) -> None:
        """Tag an image, unless the name is one by digest or another image has it."""
        if "@" not in name and self.inputs(name) is None:
            repository, tag = docker.utils.parse_repository_tag(name)
            with translated(f"image {reference}"):
                self._client.tag(reference, repository, tag)

    def _credentials(self, reference: str) -> dict[str, str]:
        """What `docker login` has left for the image's registry, as a header."""
        registry, _ = docker.auth.resolve_repository_name(reference)
        header = docker.auth.get_config_header(self._client, registry)
        return {"X-Registry-Auth": header} if header else {}

    def import_root(self, archive: Path, reference: str) -> None:
        """Make an image of a tar of a root file system."""
        repository, _, tag = reference.rpartition(":")
        with translated(f"importing {reference}"):
            answer = self._client.import_image(str(archive), repository=repository, tag=tag)
        _follow(f"importing {reference}", map(json.loads, answer.splitlines()), lambda line: None)

    def remove(self, reference: str) -> None:
        with translated(f"image {reference}"):
            self._client.remove_image(reference)

    def left_behind(self, keep: Collection[str] = ()) -> Sequence[str]:
        """Ids of what builds left behind and no tag names any more, but for those to `keep`.

        Images of users that stand on ours are among them: what functions run is to be kept.
        """
        with translated("images"):
            found = self._client.images(filters={"dangling": True, "label": FAMILY_LABEL})
        kept = set(keep)
        return [
            image["Id"]
            for image in found
            if kept.isdisjoint((image["Id"], *(image["RepoDigests"] or ())))
        ]

    def prune(self, images: Iterable[str]) -> int:
        """Remove images, by id, unless a container or another image needs them; bytes that came
        free."""
        with translated("pruning images"):
            before = int(self._client.df()["LayersSize"])
            for image in images:
                with suppress(docker.errors.NotFound):  # with one that stood on it
                    try:
                        self._client.remove_image(image)
                    except docker.errors.APIError as error:
                        if error.status_code != _IN_USE:
                            raise
            return before - int(self._client.df()["LayersSize"])


def _follow(what: str, events: Iterable[dict[str, Any]], output: Callable[[str], None]) -> None:
    """Read an operation's events to their end; EngineError when one says that it failed."""
    for event in _checked(what, events):
        _tell(event, output)


def _tell(event: Mapping[str, Any], output: Callable[[str], None]) -> None:
    for line in (event.get("stream") or event.get("status") or "").splitlines():
        if line.strip():
            output(line)


def _checked(what: str, events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for event in events:
        yield event
        if "error" in event:
            raise EngineError(f"{what} failed: {' '.join(event['error'].split())}")
