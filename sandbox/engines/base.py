"""What a container engine must do for an execution environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

USERS = "passwd"
"""File in a container's private directory: its /etc/passwd, unless the image is the function's."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is on the engine."""

    id: str
    """Content digest: a tag that moves does not change it."""
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    environment: tuple[str, ...]
    """`NAME=value` each."""
    digests: tuple[str, ...] = ()
    """`name@digest` by which registries have it."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container is made for, and cannot be changed once it runs.

    Equal specs are interchangeable until a version is assigned: that is what makes a spare.
    """

    image: str
    """Image id."""
    code: Path | None
    """Mounted read-only at /var/task; None: the image's, or it is empty and code comes by frame."""
    whole: bool
    """Whether the code is in the image."""
    tmp_mib: int
    """Size of /tmp."""
    layers: Path | None = None
    """Mounted read-only at /opt; None: /opt is the image's."""
    oci_runtime: str = ""
    """What starts it, as `runsc`; empty: what the engine takes by itself."""
    network: str = "none"
    """The network policy: `none`, `internet`, `full`, or the name of a network of the engine's."""

    @property
    def dedicated(self) -> bool:
        """Whether it holds what only some functions have: then it makes no spare."""
        return self.code is not None or self.layers is not None


class ResourceLimits(NamedTuple):
    """What can be changed while the container runs."""

    memory_bytes: int
    nano_cpus: int
    cpu_shares: int


class ContainerEngine(Protocol):
    """Raises EngineError, or its kinds EngineUnavailable and ImageMissing, from every method."""

    def image(self, reference: str) -> Image:
        """Look up an image by name or id; ImageMissing when it is not there."""

    def start(self, name: str, spec: ContainerSpec, limits: ResourceLimits, channel: Path) -> str:
        """Create and start a container whose init finds `control.sock` in `channel`; its id.

        `channel` is on this machine, and USERS is in it. Raises OutcomeUnknown, too, when there
        may be a container of this name, or come to be.
        """

    def limit(self, container: str, limits: ResourceLimits) -> None:
        """Change the limits of a running container."""

    def remove(self, container: str) -> None:
        """Kill and remove, by id or name; one that is gone already is fine."""

    def containers(self, *, earlier: bool = False) -> Sequence[str]:
        """Ids of every container of this instance, in whatever state; `earlier`: of those that
        another life of it has made."""
