"""Images that are not on the engine: asked for at their registry, and pulled.

However many want an image, it is pulled once. A registry that does not answer is not asked
again for a while: nobody waits for it twice. What a pull is doing is in the log of fnbox.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from sandbox.clock import Clock
from sandbox.errors import EngineError, PullFailed, RegistryUnavailable

_LOGGER = logging.getLogger(__name__)
_SILENT_SECONDS = 60.0
"""For so long a registry that has not answered is left alone."""
_NEWS_SECONDS = 5.0
_MB = 1e6
_DOWNLOADED = ("Download complete", "Already exists", "Pull complete")


class Source(Protocol):
    """What asks registries and pulls: the engine's images."""

    def digest(self, reference: str) -> str:
        """Raises ImageMissing, RegistryUnavailable or another EngineError."""

    def download(self, reference: str, *, watch: Callable[[Mapping[str, Any]], None]) -> None:
        """`watch` gets the engine's events. Raises EngineError."""

    def name(self, reference: str, name: str) -> None:
        """Give an image a second name, unless another has it."""


class Pull:
    """One that is running."""

    def __init__(self, image: str, begun: float) -> None:
        self.image = image
        """As it was asked for."""
        self.begun = begun
        self.end: Future[None] = Future()
        self._layers: dict[str, tuple[int, int]] = {}
        """Bytes that are here and bytes in all, by id."""

    def watch(self, event: Mapping[str, Any]) -> None:
        layer, status = event.get("id", ""), event.get("status")
        detail = event.get("progressDetail") or {}
        if status == "Downloading" and "total" in detail:
            self._layers[layer] = (int(detail["current"]), int(detail["total"]))
        elif status in _DOWNLOADED and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)

    @property
    def bytes(self) -> int:
        """That are here."""
        return sum(here for here, _ in list(self._layers.values()))

    @property
    def total(self) -> int:
        """Bytes of the layers that the engine has begun with."""
        return sum(total for _, total in list(self._layers.values()))

    def __str__(self) -> str:
        return f"{self.bytes / _MB:.0f} of {self.total / _MB:.0f} MB"


class Pulls:
    """The pulls of one engine. Safe to be used by many threads."""

    def __init__(self, source: Callable[[], Source], clock: Clock) -> None:
        """`source` may raise EngineError, and is called anew for each question."""
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[str, Pull] = {}
        self._silent: dict[str, tuple[float, str]] = {}
        """By registry: until when it is not asked, and what it was that it did not answer."""

    def resolve(self, reference: str) -> str:
        """`name@digest` of what a registry has under a name now; takes seconds at most.

        Raises ImageMissing when there is no such image, or none for us; RegistryUnavailable.
        """
        registry = registry_of(reference)
        until, why = self._silent.get(registry, (0.0, ""))
        if self._clock.monotonic() < until:
            raise RegistryUnavailable(why)
        try:
            digest = self._source().digest(reference)
        except RegistryUnavailable as error:
            why = f"the registry {registry} does not answer: {error}"
            self._silent[registry] = (self._clock.monotonic() + _SILENT_SECONDS, why)
            raise RegistryUnavailable(why) from error
        self._silent.pop(registry, None)
        return f"{repository_of(reference)}@{digest}"

    def pull(self, reference: str, name: str | None = None) -> None:
        """Return when an image is here, by `name` too; joins a pull of it that is running.

        Raises PullFailed, whose text says why.
        """
        with self._lock:
            pull = self._running.get(reference)
            if joined := pull is not None:
                running = pull
            else:
                running = self._running[reference] = Pull(
                    name or reference, self._clock.monotonic()
                )
        if not joined:
            self._run(running, reference, name)
        running.end.result()

    def running(self) -> list[Pull]:
        """The oldest first."""
        with self._lock:
            return list(self._running.values())

    def _run(self, pull: Pull, reference: str, name: str | None) -> None:
        news = pull.begun + _NEWS_SECONDS

        def watch(event: Mapping[str, Any]) -> None:
            nonlocal news
            pull.watch(event)
            if self._clock.monotonic() >= news:
                news = self._clock.monotonic() + _NEWS_SECONDS
                _LOGGER.info("pulling %s: %s", pull.image, pull)

        _LOGGER.info("pulling %s", pull.image)
        failure: BaseException | None = None
        try:
            source = self._source()
            source.download(reference, watch=watch)
            if name is not None:
                source.name(reference, name)
        except EngineError as error:
            failure = PullFailed(str(error))
            _LOGGER.warning("%s", error)
        except BaseException as error:
            failure = error
            raise
        else:
            seconds = self._clock.monotonic() - pull.begun
            _LOGGER.info("pulled %s: %.0f MB in %.1f s", pull.image, pull.bytes / _MB, seconds)
        finally:
            with self._lock:
                del self._running[reference]
            # nobody waits for ever, whatever happened
            if failure is not None:
                pull.end.set_exception(failure)
            else:
                pull.end.set_result(None)


def registry_of(reference: str) -> str:
    """The host of an image's name; Docker Hub's when it names none."""
    first, slash, _ = reference.partition("/")
    named = slash and (first == "localhost" or "." in first or ":" in first)
    return first if named else "docker.io"


def repository_of(reference: str) -> str:
    """An image's name without tag and digest."""
    name = reference.partition("@")[0]
    repository, _, tag = name.rpartition(":")
    return repository if repository and "/" not in tag else name
