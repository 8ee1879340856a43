"""Which image runs a managed runtime: the one that is named, ours, AWS's, or the nearest.

Looked up anew for every environment: an image that is built or pulled meanwhile counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from sandbox.engines.base import Image
from sandbox.errors import ImageMissing

AWS_REGISTRY = "public.ecr.aws/lambda"
NO_REGISTRY = "none"
_AWS_LANGUAGES = {"dotnet", "java", "nodejs", "python", "ruby"}


class RuntimeImage(NamedTuple):
    image: Image
    substitute: str | None
    """The runtime that stands in for the one that was asked for."""


class RuntimeImages:
    """Finds images of runtimes on the container engine."""

    def __init__(
        self,
        look_up: Callable[[str], Image],
        *,
        named: Mapping[str, str],
        buildable: Collection[str],
        substitutes: bool,
        registry: str = NO_REGISTRY,
    ) -> None:
        """`look_up` is the engine's, `named` maps runtimes to the images that users chose,
        `buildable` are the runtimes that fnbox makes an image of, and `registry` has AWS's
        images of the others; `none`: they are not pulled."""
        self._look_up = look_up
        self._named = named
        self._buildable = buildable
        self._substitutes = substitutes
        self._pulled = registry != NO_REGISTRY
        self._registry = registry if self._pulled else AWS_REGISTRY

    def find(self, runtime: str) -> RuntimeImage:
        """Raises ImageMissing, whose text says what to do, or another EngineError."""
        named = self._named.get(runtime)
        own = named or f"fnbox/{runtime}:latest"
        try:
            return RuntimeImage(self._look_up(own), None)
        except ImageMissing as error:
            missing = error
        remedy = f"run `fnbox images build {runtime}`"
        if named is None and runtime not in self._buildable:
            remedy = "fnbox makes no image of it"
            aws = aws_image(runtime, self._registry)
            if aws is not None:
                if (image := self._here(aws)) is not None:
                    return RuntimeImage(image, None)
                remedy += f"; `docker pull {aws}` gets AWS's"
            for other in nearest(runtime, self._buildable) if self._substitutes else ():
                if (image := self._here(f"fnbox/{other}:latest")) is not None:
                    return RuntimeImage(image, other)
        raise ImageMissing(
            f"the image {own} is missing: {remedy}; FNBOX_RUNTIME_IMAGES={runtime}=IMAGE names "
            "another"
        ) from missing

    def absent(self, runtime: str) -> str | None:
        """The image to pull for a runtime: one that is named, else AWS's where we make none.

        None when it is here. Raises EngineError.
        """
        wanted = self._named.get(runtime)
        if wanted is None and self._pulled and runtime not in self._buildable:
            wanted = aws_image(runtime, self._registry)
        return None if wanted is None or self._here(wanted) is not None else wanted

    def _here(self, reference: str) -> Image | None:
        try:
            return self._look_up(reference)
        except ImageMissing:
            return None


def aws_image(runtime: str, registry: str = AWS_REGISTRY) -> str | None:
    """AWS's public base image of a runtime; None for one that has none by its version."""
    language, version = _parts(runtime)
    if language not in _AWS_LANGUAGES or not version:
        return None
    system = runtime.partition(".al")[2]
    tag = ".".join(map(str, version)) + (f".al{system}" if system else "")
    return f"{registry}/{language}:{tag}"


def nearest(runtime: str, others: Collection[str]) -> list[str]:
    """Runtimes of the same language, the nearest version first, the newer of two as near."""
    language, version = _parts(runtime)
    candidates = []
    for other in others:
        its_language, its_version = _parts(other)
        if its_language == language and version and its_version and other != runtime:
            distance = [abs(a - b) for a, b in zip(its_version, version, strict=False)]
            candidates.append((distance, [-number for number in its_version], other))
    return [name for _, _, name in sorted(candidates)]


def _parts(runtime: str) -> tuple[str, tuple[int, ...]]:
    """(language, version): `python3.13` is ("python", (3, 13))."""
    name = re.sub(r"\.(?:x|al2|al2023)$", "", runtime)
    match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)?", name)
    if match is None:
        return runtime, ()
    return match[1], tuple(int(number) for number in (match[2] or "").split(".") if number)
