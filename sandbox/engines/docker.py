"""The Docker Engine. The only importer of the docker SDK, with `images`.

Every container gets the isolation that design and SECURITY promise, whatever the
function asks for; nothing a user supplies is copied into its HostConfig.
"""

from __future__ import annotations

import functools
import io
import json
import socket
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

import docker.errors
import requests.exceptions
from docker import APIClient

from sandbox.engines.base import USERS, ContainerSpec, Image, ResourceLimits
from sandbox.errors import EngineError, EngineUnavailable, ImageMissing

INSTANCE_LABEL = "dev.fnbox.instance"
INIT_IMAGE = "fnbox/init:latest"

_INIT_PATH = "/fnbox/init"
_CHANNEL_PATH = "/fnbox/channel"
_CAPABILITIES = ["SETUID", "SETGID", "KILL", "SETPCAP"]
_PIDS = 1024
_OPEN_FILES = 1024
_INODES_PER_MIB = 64
_INLINE_CODE_MIB = 16
# An engine that has answered this recently is not asked again whether it lives.
_TRUSTED_SECONDS = 5.0
_PING_SECONDS = 1.5
_CALL_SECONDS = 60


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Foreign exceptions of the SDK become ours, at this one border."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ImageMissing(f"{what}: {error.explanation}") from error
    except docker.errors.APIError as error:
        raise EngineError(f"{what}: the Docker Engine says: {error.explanation}") from error
    except (requests.exceptions.RequestException, docker.errors.DockerException) as error:
        raise EngineUnavailable(
            f"{what}: the Docker Engine does not answer; start it, or set FNBOX_DOCKER_HOST"
        ) from error


class DockerEngine:
    """Containers of one fnbox instance on one Docker Engine."""

    def __init__(
        self,
        *,
        address: str,
        instance: str,
        state_dir: Path,
        network: str = "none",
        oci_runtime: str = "",
    ) -> None:
        self._address = address
        self._instance = instance
        self._state_dir = state_dir
        self._network = network
        self._oci_runtime = oci_runtime
        self._connecting = threading.Lock()
        self._client: APIClient | None = None
        self._answered = 0.0
        self._init: Path | None = None
        self._init_looked_up = 0.0
        self._seccomp = json.dumps(
            json.loads(resources.files(__package__).joinpath("seccomp.json").read_text())
        )

    def image(self, reference: str) -> Image:
        with translated(f"image {reference}"):
            client = self._ready()
            url = client._url("/images/{0}/json", reference)
            # Every cold start begins here: an engine that has fallen silent is found out early.
            found = client._result(client.get(url, timeout=_PING_SECONDS), json=True)
        config = found.get("Config") or {}
        return Image(
            id=found["Id"],
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            working_directory=config.get("WorkingDir") or "/",
            environment=tuple(config.get("Env") or ()),
            digests=tuple(found.get("RepoDigests") or ()),
        )

    def start(self, name: str, spec: ContainerSpec, limits: ResourceLimits, channel: Path) -> str:
        with translated(f"container {name}"):
            client = self._ready()
            body = {
                "Image": spec.image,
                "Entrypoint": [_INIT_PATH, f"unix:{_CHANNEL_PATH}/control.sock"],
                "Cmd": [],
                "User": "0:0",
                "WorkingDir": "/",
                "Labels": {INSTANCE_LABEL: self._instance},
                "Healthcheck": {"Test": ["NONE"]},
                "HostConfig": self._host_config(spec, limits, channel),
            }
            container: str = client.create_container_from_config(body, name)["Id"]
            try:
                client.start(container)
            except (docker.errors.DockerException, requests.exceptions.RequestException):
                self.remove(container)
                raise
        return container

    def _host_config(
        self, spec: ContainerSpec, limits: ResourceLimits, channel: Path
    ) -> dict[str, Any]:
        inodes = spec.tmp_mib * _INODES_PER_MIB
        tmpfs = {"/tmp": f"exec,nosuid,nodev,mode=1777,size={spec.tmp_mib}m,nr_inodes={inodes}"}
        mounts = [(self._init_binary(), _INIT_PATH, True), (channel, _CHANNEL_PATH, False)]
        if spec.code is not None:
            mounts.append((spec.code, "/var/task", True))
        elif not spec.whole:
            tmpfs["/var/task"] = f"exec,nosuid,nodev,mode=755,size={_INLINE_CODE_MIB}m"
        if not spec.whole:
            mounts.append((channel / USERS, "/etc/passwd", True))
        if spec.layers is not None:
            mounts.append((spec.layers, "/opt", True))
        return {
            **_update_body(limits),
            "NetworkMode": self._network,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "CapAdd": _CAPABILITIES,
            "SecurityOpt": ["no-new-privileges", f"seccomp={self._seccomp}"],
            "PidsLimit": _PIDS,
            "Ulimits": [
                {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "Tmpfs": tmpfs,
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": str(self._host_path(source)),
                    "Target": target,
                    "ReadOnly": read_only,
                }
                for source, target, read_only in mounts
            ],
            # As on AWS there is no /dev/shm, and nothing shared with other containers.
            "IpcMode": "none",
            "CgroupnsMode": "private",
            "LogConfig": {"Type": "none"},
            "AutoRemove": True,
            **({"Runtime": self._oci_runtime} if self._oci_runtime else {}),
        }

    def limit(self, container: str, limits: ResourceLimits) -> None:
        with translated(f"container {container[:12]}"):
            client = self._ready()
            url = client._url("/containers/{0}/update", container)
            client._result(client._post_json(url, data=_update_body(limits)))

    def remove(self, container: str) -> None:
        with translated(f"container {container[:12]}"):
            client = self._ready()
            try:
                client.remove_container(container, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
                # The engine is at it already, since the init has ended.
                with suppress(docker.errors.NotFound):
                    client.wait(container, timeout=_CALL_SECONDS, condition="removed")

    def containers(self) -> Sequence[str]:
        with translated("containers"):
            label = f"{INSTANCE_LABEL}={self._instance}"
            found = self._ready().containers(all=True, filters={"label": label})
        return [container["Id"] for container in found]

    def _ready(self) -> APIClient:
        """The client of an engine that answers, or EngineUnavailable within two seconds."""
        now = time.monotonic()
        if self._client is None or now - self._answered > _TRUSTED_SECONDS:
            with self._connecting:
                if self._client is None:
                    self._client = connect(self._address)
                ping(self._client)
            self._answered = now
        return self._client

    @functools.cached_property
    def _mounted(self) -> list[tuple[Path, Path]]:
        """(inside, outside) of what is mounted where this process runs, when in a container."""
        if not Path("/.dockerenv").exists():
            return []
        try:
            own = self._ready().inspect_container(socket.gethostname())
        except docker.errors.NotFound:
            return []
        return [(Path(mount["Destination"]), Path(mount["Source"])) for mount in own["Mounts"]]

    def _host_path(self, path: Path) -> Path:
        """Where the engine finds a path of ours: it resolves mounts outside our container."""
        for inside, outside in self._mounted:
            if path.is_relative_to(inside):
                return outside / path.relative_to(inside)
        return path

    def _init_binary(self) -> Path:
        """The init, taken out of its image once and kept in the state directory."""
        # Containers that start together ask once whether the image is still the same.
        now = time.monotonic()
        if self._init is not None and now - self._init_looked_up < _TRUSTED_SECONDS:
            return self._init
        client = self._ready()
        try:
            image_id = client.inspect_image(INIT_IMAGE)["Id"].removeprefix("sha256:")
        except docker.errors.ImageNotFound as error:
            raise ImageMissing(
                f"the image {INIT_IMAGE} is missing: run `fnbox images build`"
            ) from error
        path: Path = self._state_dir / "init" / image_id[:16] / "init"
        if not path.exists():
            # Labelled: if we or the engine die within these lines, the next start removes it.
            labels = {INSTANCE_LABEL: self._instance}
            container = client.create_container(INIT_IMAGE, ["/init"], labels=labels)["Id"]
            try:
                chunks, _ = client.get_archive(container, "/init")
                with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                    member = archive.extractfile("init")
                    assert member is not None, "the image's /init is a regular file"
                    _write_executable(path, member.read())
            finally:
                client.remove_container(container)
        self._init, self._init_looked_up = path, now
        return path


def connect(address: str) -> APIClient:
    """A client that speaks the newest API version that both sides know."""
    client = APIClient(base_url=address, version="auto", timeout=_PING_SECONDS)
    client.timeout = _CALL_SECONDS
    return client


def ping(client: APIClient) -> None:
    """Return when the engine answers; raises what the SDK raises."""
    client._result(client.get(client._url("/_ping"), timeout=_PING_SECONDS))


def _update_body(limits: ResourceLimits) -> dict[str, int]:
    return {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": limits.nano_cpus,
        "CpuShares": limits.cpu_shares,
    }


def _write_executable(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.chmod(0o755)
    draft.replace(path)
