"""The Docker Engine. The only importer of the docker SDK, with `images`.

Every container gets the isolation that design and SECURITY promise, whatever the
function asks for; nothing a user supplies is copied into its HostConfig.

Every call is answered within the seconds of its Patience, which it is tried again for: an
engine that hangs, resets a connection or fails now and then is not noticed by who calls.
All are idempotent. A container is created under a name that no other has, so that one whose
answer was lost is found by it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import secrets
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import docker.errors
import requests.exceptions
from docker import APIClient

from sandbox.engines.base import USERS, ContainerSpec, Image, ResourceLimits
from sandbox.engines.networks import Networks, name_servers
from sandbox.engines.retries import Patience, persist
from sandbox.errors import EngineError, EngineUnavailable, ImageMissing, OutcomeUnknown

INSTANCE_LABEL = "dev.fnbox.instance"
PROCESS_LABEL = "dev.fnbox.process"
"""Differs for each life of an instance."""
INIT_IMAGE = "fnbox/init:latest"

_INIT_PATH = "/fnbox/init"
_CHANNEL_PATH = "/fnbox/channel"
_INIT_ENVIRONMENT = ["GODEBUG=asyncpreemptoff=1"]  # see runtime/loop.go; no runtime inherits it
_CAPABILITIES = ["SETUID", "SETGID", "KILL", "SETPCAP"]
_PIDS = 1024
_OPEN_FILES = 1024
# Where extensions listen for telemetry, by the names that Lambda has for it.
_OWN_NAMES = ["sandbox.localdomain:127.0.0.1", "sandbox:127.0.0.1"]
_INODES_PER_MIB = 64
_INLINE_CODE_MIB = 16
# An engine that has answered this recently is not asked again whether it lives.
_TRUSTED_SECONDS = 5.0
# Every cold start begins with a question: an engine that has fallen silent is found out early.
_QUESTION = Patience((0.3, 0.4, 0.5, 0.6, 0.7))
_LIST = Patience((2, 4))
_CHANGE = Patience((2, 3, 3, 3, 3))
_REMOVAL = Patience((4, 8, 16))
_CONNECT_SECONDS = 1.5
_LOOK_SECONDS = 10
_CALL_SECONDS = 60

_FAILURES = (requests.exceptions.RequestException, docker.errors.DockerException)

T = TypeVar("T")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Foreign exceptions of the SDK become ours, at this one border."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ImageMissing(f"{what}: {error.explanation}") from error
    except docker.errors.APIError as error:
        raise EngineError(f"{what}: the Docker Engine says: {error.explanation}") from error
    except _FAILURES as error:
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
        dns: str = "",
    ) -> None:
        self._address = address
        self._instance = instance
        self._labels = {INSTANCE_LABEL: instance, PROCESS_LABEL: secrets.token_hex(6)}
        self._state_dir = state_dir
        self._dns = dns
        self.own_networks = Networks(self, instance, local=address.startswith("unix:"))
        self._connecting = threading.Lock()
        self._taking_out = threading.Lock()
        self._client: APIClient | None = None
        self._answered = self._failed = 0.0
        self._init: Path | None = None
        self._init_looked_up = 0.0
        self._seccomp = json.dumps(
            json.loads(resources.files(__package__).joinpath("seccomp.json").read_text())
        )

    def image(self, reference: str) -> Image:
        with translated(f"image {reference}"):
            found = self._inspect("images", reference, _QUESTION)
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
        network = self.own_networks.join(spec.network)
        with translated(f"container {name}"):
            self._ready()
            body = {
                "Image": spec.image,
                "Entrypoint": [_INIT_PATH, f"unix:{_CHANNEL_PATH}/control.sock"],
                "Cmd": [],
                "User": "0:0",
                "Env": _INIT_ENVIRONMENT,
                "WorkingDir": "/",
                "Labels": self._labels,
                "Healthcheck": {"Test": ["NONE"]},
                "HostConfig": self._host_config(spec, limits, channel, network),
            }
        try:
            with translated(f"container {name}"):
                container = self._create(name, body)
                self._start(container)
        except EngineError as error:
            try:
                self.remove(name)
            except EngineError:
                raise OutcomeUnknown(str(error)) from error
            if isinstance(error, EngineUnavailable):
                # What was not answered in time may still be done later.
                raise OutcomeUnknown(str(error)) from error
            raise
        return container

    def _create(self, name: str, body: dict[str, Any]) -> str:
        """The id of the container of this name: made now, or by an attempt without an answer."""

        def create(client: APIClient, seconds: float) -> str:
            url = client._url("/containers/create")
            try:
                answer = client._post_json(url, data=body, params={"name": name}, timeout=seconds)
                created: str = client._result(answer, json=True)["Id"]
            except docker.errors.APIError as error:
                runtime = body["HostConfig"].get("Runtime")
                if runtime and "unknown runtime" in str(error.explanation).lower():
                    raise EngineError(
                        f"the Docker Engine has no OCI runtime {runtime!r}: `fnbox doctor` says "
                        "how to have gVisor's"
                    ) from error
                if error.status_code != 409:
                    raise
                # The name is in use, by an attempt that is still under way if none has it yet.
                try:
                    created = _get(client, "containers", name, seconds)["Id"]
                except docker.errors.NotFound as absent:
                    raise docker.errors.DockerException(f"{name} is being created") from absent
            return created

        return self._persist(create, _CHANGE)

    def _start(self, container: str) -> None:
        refused: list[docker.errors.APIError] = []

        def start(client: APIClient, seconds: float) -> None:
            url = client._url("/containers/{0}/start", container)
            try:
                client._result(client._post(url, timeout=seconds))
            except docker.errors.NotFound:
                raise
            except docker.errors.APIError as error:
                refused.append(error)
                raise

        try:
            self._persist(start, _CHANGE)
        except docker.errors.NotFound as error:
            if not refused:
                raise
            # One that does not start is removed by the engine: what counts is why it did not.
            raise refused[0] from error

    def _host_config(
        self, spec: ContainerSpec, limits: ResourceLimits, channel: Path, network: str
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
            "NetworkMode": network,
            **name_servers(spec.network, self._dns),
            "ExtraHosts": _OWN_NAMES,
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
            **({"Runtime": spec.oci_runtime} if spec.oci_runtime else {}),
        }

    def limit(self, container: str, limits: ResourceLimits) -> None:
        def update(client: APIClient, seconds: float) -> None:
            url = client._url("/containers/{0}/update", container)
            body = _update_body(limits)
            client._result(client._post_json(url, data=body, timeout=seconds))

        with translated(f"container {container[:12]}"):
            self._persist(update, _CHANGE)

    def remove(self, container: str) -> None:
        def remove(client: APIClient, seconds: float) -> None:
            url = client._url("/containers/{0}", container)
            how = {"v": True, "force": True}
            try:
                client._result(client._delete(url, params=how, timeout=seconds))
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
                # The engine is at it already, since the init has ended.
                with suppress(docker.errors.NotFound):
                    client.wait(container, timeout=seconds, condition="removed")

        with translated(f"container {container[:12]}"):
            self._persist(remove, _REMOVAL)

    def containers(self, *, earlier: bool = False) -> Sequence[str]:
        with translated("containers"):
            found = self._persist(self._own("containers/json"), _LIST)
        own = self._labels[PROCESS_LABEL] if earlier else None
        return [each["Id"] for each in found if own != each["Labels"].get(PROCESS_LABEL, "")]

    def _inspect(self, kind: str, name: str, patience: Patience) -> dict[str, Any]:
        return self._persist(lambda client, seconds: _get(client, kind, name, seconds), patience)

    def _persist(self, attempt: Callable[[APIClient, float], T], patience: Patience) -> T:
        client = self._ready()
        return _persist(lambda seconds: attempt(client, seconds), patience)

    def networks(self) -> Sequence[str]:
        with translated("networks"):
            return [found["Name"] for found in self._persist(self._own("networks"), _LIST)]

    def create_network(self, name: str, options: dict[str, str]) -> None:
        body = {
            "Name": name,
            "CheckDuplicate": True,
            "Driver": "bridge",
            "Options": options,
            "Labels": {INSTANCE_LABEL: self._instance},
            "EnableIPv6": False,
        }

        def create(client: APIClient, seconds: float) -> None:
            url = client._url("/networks/create")
            try:
                client._result(client._post_json(url, data=body, timeout=seconds), json=True)
            except docker.errors.APIError as error:
                if error.status_code != 409:  # an attempt without an answer has made it
                    raise

        with translated(f"network {name}"):
            self._persist(create, _CHANGE)

    def remove_network(self, name: str) -> None:
        def remove(client: APIClient, seconds: float) -> None:
            url = client._url("/networks/{0}", name)
            with suppress(docker.errors.NotFound):
                client._result(client._delete(url, timeout=seconds))

        with translated(f"network {name}"):
            self._persist(remove, _REMOVAL)

    def _own(self, path: str) -> Callable[[APIClient, float], list[dict[str, Any]]]:
        """Asks for what is labelled as this instance's."""

        def every(client: APIClient, seconds: float) -> list[dict[str, Any]]:
            filters = json.dumps({"label": [f"{INSTANCE_LABEL}={self._instance}"]})
            url = client._url(f"/{path}")
            answer = client._get(url, params={"all": 1, "filters": filters}, timeout=seconds)
            found: list[dict[str, Any]] = client._result(answer, json=True)
            return found

        return every

    def _ready(self) -> APIClient:
        """The client of an engine that answers. Raises what the SDK does, in three seconds."""
        began = time.monotonic()
        if self._client is None or began - self._answered > _TRUSTED_SECONDS:
            with self._connecting:
                if self._failed > began:  # while we waited for who asked before us
                    raise docker.errors.DockerException("it has just not answered")
                if self._answered < began:
                    self._ask()
        assert self._client is not None, "it has been asked"
        return self._client

    def _ask(self) -> None:
        """Find out whether the engine answers."""
        try:
            if self._client is None:
                self._client = _persist(lambda seconds: connect(self._address, seconds), _QUESTION)
            client = self._client
            _persist(lambda seconds: ping(client, seconds), _QUESTION)
        except _FAILURES:
            self._failed = time.monotonic()
            raise
        self._answered = time.monotonic()

    @functools.cached_property
    def _mounted(self) -> list[tuple[Path, Path]]:
        """(inside, outside) of what is mounted where this process runs, when in a container."""
        if not Path("/.dockerenv").exists():
            return []
        try:
            own = self._inspect("containers", socket.gethostname(), _QUESTION)
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
        try:
            found = self._inspect("images", INIT_IMAGE, _QUESTION)
        except docker.errors.ImageNotFound as error:
            raise ImageMissing(
                f"the image {INIT_IMAGE} is missing: run `fnbox images build`"
            ) from error
        path: Path = self._state_dir / "init" / found["Id"].removeprefix("sha256:")[:16] / "init"
        with self._taking_out:  # one does, of all that start first
            if not path.exists():
                _write_executable(path, self._take_out_init())
        self._init, self._init_looked_up = path, now
        return path

    def _take_out_init(self) -> bytes:
        def archive(client: APIClient, seconds: float) -> bytes:
            url = client._url("/containers/{0}/archive", container)
            answer = client._get(url, params={"path": "/init"}, timeout=seconds)
            content: bytes = client._result(answer, binary=True)
            return content

        body = {
            "Image": INIT_IMAGE,
            "Cmd": ["/init"],
            # If we or the engine die within these lines, the next start removes it.
            "Labels": self._labels,
            "HostConfig": {"NetworkMode": "none"},
        }
        container = f"fnbox-init-{secrets.token_hex(6)}"
        try:
            self._create(container, body)
            content = self._persist(archive, _CHANGE)
        finally:
            self.remove(container)
        with tarfile.open(fileobj=io.BytesIO(content)) as packed:
            member = packed.extractfile("init")
            assert member is not None, "the image's /init is a regular file"
            return member.read()


def connect(address: str, seconds: float = _CONNECT_SECONDS) -> APIClient:
    """A client that speaks the newest API version that both sides know."""
    client = APIClient(base_url=address, version="auto", timeout=seconds)
    client.timeout = _CALL_SECONDS
    # What would be looked for in the environment at every call, proxies, is not for engines.
    client.trust_env = False
    return client


def ping(client: APIClient, seconds: float = _CONNECT_SECONDS) -> None:
    """Return when the engine answers; raises what the SDK raises."""
    client._result(client.get(client._url("/_ping"), timeout=seconds))


def information(address: str) -> dict[str, Any]:
    """What the engine says of itself, as `docker info`. Raises EngineUnavailable."""

    def ask(seconds: float) -> dict[str, Any]:
        with contextlib.closing(connect(address, seconds)) as client:
            client.timeout = _LOOK_SECONDS
            found: dict[str, Any] = client.info()
            return found

    with translated(f"the engine at {address}"):
        return _persist(ask, _QUESTION)


def reload(address: str, ask: Callable[[], object]) -> None:
    """`ask` the engine to read its settings again; return when it has, or raise EngineError."""
    filters = {"type": "daemon", "event": "reload"}
    with translated("reloading"), contextlib.closing(connect(address)) as client:
        client.timeout = _LOOK_SECONDS
        with contextlib.closing(client.events(filters=filters, decode=True)) as events:
            ask()
            next(iter(events))


def _get(client: APIClient, kind: str, name: str, seconds: float) -> dict[str, Any]:
    """What the engine says of one of its `images` or `containers`."""
    url = client._url(f"/{kind}/{{0}}/json", name)
    found: dict[str, Any] = client._result(client._get(url, timeout=seconds), json=True)
    return found


def _persist(attempt: Callable[[float], T], patience: Patience) -> T:
    return persist(attempt, patience, transient=_transient, errors=_FAILURES, pause=time.sleep)


def _transient(error: Exception) -> bool:
    """Whether it may be gone the next time: no answer, half an answer, or a 5xx."""
    return not isinstance(error, docker.errors.APIError) or error.is_server_error()


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
