"""Which image a version runs in, and how it comes to be on the engine.

Images are looked for on the engine first and pulled only when they are not there: while a
function is Pending or being updated, never for a call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sandbox.catalog.records import Version
from sandbox.engines.base import Image
from sandbox.engines.pulls import Pulls, repository_of
from sandbox.environments.runtimes import RuntimeImage, RuntimeImages
from sandbox.errors import EngineError, ImageMissing, PullFailed

_LOGGER = logging.getLogger(__name__)


class ImageSupply:
    """The images of every version."""

    def __init__(
        self, look_up: Callable[[str], Image], runtimes: RuntimeImages, pulls: Pulls
    ) -> None:
        """`look_up` is the engine's."""
        self._look_up = look_up
        self._runtimes = runtimes
        self._pulls = pulls

    def find(self, version: Version) -> RuntimeImage:
        """What runs it, of what is here. Raises ImageMissing, or another EngineError."""
        if version.package_type == "Image":
            return RuntimeImage(self._look_up(version.image_id or version.image_uri or ""), None)
        return self._runtimes.find(version.runtime or "")

    def identity(self, uri: str) -> str:
        """What stands for an image's content from now on: `name@digest`, or the engine's id of
        one that no registry has.

        Raises ImageMissing, RegistryUnavailable when it is not here, or another EngineError.
        """
        try:
            image = self._look_up(uri)
        except ImageMissing:
            return self._pulls.resolve(uri)
        repository = repository_of(uri)
        own = (known for known in image.digests if repository_of(known) == repository)
        return next(own, image.id)

    def check_runtime(self, runtime: str) -> None:
        """Raise ImageMissing when nothing here runs a managed runtime, and nothing that can be
        pulled; or another EngineError."""
        if (absent := self._runtimes.absent(runtime)) is not None:
            try:
                self._pulls.resolve(absent)
            except EngineError as error:
                _LOGGER.info("%s is not pulled: %s", absent, error)
            else:
                return
        self._runtimes.find(runtime)

    def provide(self, version: Version) -> None:
        """Have a version's image here, pulled if need be: minutes. Where AWS's image of a
        runtime cannot be had and another version stands in, that is all right.

        Raises ImageMissing when no registry is known to have it, PullFailed, EngineError.
        """
        if version.package_type == "Image":
            identity = version.image_id or version.image_uri or ""
            try:
                self._look_up(identity)
            except ImageMissing:
                if "@" not in identity:
                    raise
                self._pulls.pull(identity, name=version.image_uri)
        elif (absent := self._runtimes.absent(version.runtime or "")) is not None:
            try:
                self._pulls.resolve(absent)
                self._pulls.pull(absent)
            except EngineError as failure:
                try:
                    self._runtimes.find(version.runtime or "")
                except ImageMissing:
                    raise PullFailed(str(failure)) from failure
