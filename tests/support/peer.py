"""A scripted control plane: the other end of an init's channel, in a real container.

It speaks `runtime/PROTOCOL.md` with a codec of its own, so that it can also send what no
control plane would. Containers are run through the `docker` command with the isolation
that functions get, and carry a label by which a test can prove that none is left.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import socket
import struct
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

CONFIGURE, START, INVOKE, KILL = 1, 2, 3, 4
HELLO, LOG, INITIALIZED, INIT_ERROR, RESULT, EXITED = 129, 130, 131, 132, 133, 134
SEGMENT = 136

LABEL = "dev.fnbox.test"
FUNCTION_UID = 100_007

_HEADER = struct.Struct(">B3xII")

ISOLATION = (
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--cap-add=SETUID",
    "--cap-add=SETGID",
    "--cap-add=KILL",
    "--cap-add=SETPCAP",
    "--security-opt=no-new-privileges",
    "--pids-limit=1024",
    "--ulimit=nofile=1024:1024",
    "--ulimit=core=0",
    "--log-driver=none",
    "--tmpfs=/tmp:exec,mode=1777,size=512m",
    "--tmpfs=/var/task:exec,mode=755,size=64m",
)

# What a runtime in Python begins with: `serve(handler)` is a whole one.
LOOP = """
import http.client, json, os, sys, threading, time
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
BASE = "/2018-06-01/runtime"

def call(method, path, body=None, headers={}):
    connection.request(method, BASE + path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def serve(handler):
    while True:
        _, headers, event = call("GET", "/invocation/next")
        path = "/invocation/" + headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
        call("POST", path, json.dumps(handler(json.loads(event))))
"""


class Frame(NamedTuple):
    kind: int
    meta: dict[str, Any]
    payload: bytes


class ChannelClosed(Exception):
    """The init's end of the channel is gone."""


def tar_of(files: dict[str, str], mode: int = 0o755) -> bytes:
    """A tar of small text files, as CONFIGURE carries it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), mode
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


@dataclass
class Peer:
    """The control plane's side of one channel, and the container behind it."""

    connection: socket.socket
    container: str
    generation: int = 0

    def send(self, kind: int, meta: dict[str, Any] | None = None, payload: bytes = b"") -> None:
        text = json.dumps(meta).encode() if meta else b""
        self.send_raw(_HEADER.pack(kind, len(text), len(payload)) + text + payload)

    def send_raw(self, data: bytes) -> None:
        self.connection.sendall(data)

    def receive(self) -> Frame:
        kind, meta, payload = _HEADER.unpack(self._exactly(_HEADER.size))
        text = self._exactly(meta)
        return Frame(kind, json.loads(text) if text else {}, self._exactly(payload))

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            try:
                count = self.connection.recv_into(view[got:])
            except ConnectionResetError:
                count = 0
            if count == 0:
                raise ChannelClosed
            got += count
        return bytes(data)

    def until(self, *kinds: int) -> tuple[Frame, bytes]:
        """The next frame of one of these kinds, and all output that came before it."""
        output = bytearray()
        while (frame := self.receive()).kind not in kinds:
            assert frame.kind == LOG, f"{frame} while waiting for {kinds}; output: {output!r}"
            output += frame.payload
        return frame, bytes(output)

    def configure(
        self, files: dict[str, str], command: list[str], archive: bytes | None = None, **over: Any
    ) -> None:
        meta = {
            "command": command,
            "workingDirectory": "/var/task",
            "environment": {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "LAMBDA_TASK_ROOT": "/var/task",
            },
            "uid": FUNCTION_UID,
            "gid": FUNCTION_UID,
            "memoryBytes": 0,
            "responseBytes": 6_291_556,
            "freeze": True,
        }
        self.send(CONFIGURE, meta | over, tar_of(files) if archive is None else archive)

    def start(self, phase: str = "init") -> None:
        self.generation += 1
        self.send(START, {"generation": self.generation, "phase": phase})

    def kill(self) -> None:
        self.send(KILL, {"generation": self.generation})

    def post(self, payload: bytes = b"{}", **over: Any) -> str:
        """Send an event; returns its id."""
        request_id = str(uuid.uuid4())
        meta = {
            "requestId": request_id,
            "deadlineMs": 2_000_000_000_000,
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        }
        self.send(INVOKE, meta | over, payload)
        return request_id

    def invoke(self, payload: bytes = b"{}", **over: Any) -> tuple[Frame, bytes]:
        """One invocation: its RESULT or EXITED, and the output before it."""
        request_id = self.post(payload, **over)
        frame, output = self.until(RESULT, EXITED)
        assert frame.meta.get("requestId") == request_id
        return frame, output

    def docker(self, verb: str, *arguments: str) -> str:
        """What `docker VERB CONTAINER ARGUMENTS` prints."""
        return _docker(verb, self.container, *arguments)

    def pids(self) -> list[int]:
        """The processes in the container, as the host numbers them: the init is the first."""
        init = int(self.docker("inspect", "--format", "{{.State.Pid}}"))
        found = (int(line) for line in self.docker("top", "-o", "pid").splitlines()[1:])
        return sorted(found, key=lambda pid: (pid != init, pid))

    def wait(self) -> int:
        """The container's exit code, once it has one."""
        return int(self.docker("wait"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


Boot = Callable[..., Peer]
"""`boot(code, wait=True, extra=(), **configuration)`: a container whose runtime is that code."""


def invoke(peer: Peer, event: object) -> tuple[Any, bytes]:
    """What the runtime makes of an event, and the output before that."""
    frame, output = peer.invoke(json.dumps(event).encode())
    assert frame.kind == RESULT, f"{frame}, {output.decode()}"
    return json.loads(frame.payload), output


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def extract(image: str, path: str, target: Path) -> Path:
    """Copy a file out of an image."""
    source = _docker("create", image)
    try:
        _docker("cp", f"{source}:{path}", str(target))
    finally:
        _docker("rm", source)
    return target


def containers(run: str) -> list[str]:
    """Ids of the containers of a test run that exist, running or not."""
    return _docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={run}").split()


@contextlib.contextmanager
def container(
    init: Path, image: str, run: str, extra: tuple[str, ...] = (), patience: float = 30
) -> Iterator[Peer]:
    """Run the init in a container; when the block ends nothing of it is left."""
    directory = Path(tempfile.mkdtemp(prefix="fnbox-"))
    listener = socket.socket(socket.AF_UNIX)
    name = ""
    try:
        listener.settimeout(patience)
        listener.bind(str(directory / "channel"))
        listener.listen(1)
        name = _docker(
            "create",
            f"--label={LABEL}={run}",
            *ISOLATION,
            *extra,
            f"--volume={init}:/fnbox/init:ro",
            f"--volume={directory}:/fnbox/run:ro",
            "--entrypoint=/fnbox/init",
            image,
            "unix:/fnbox/run/channel",
        )
        _docker("start", name)
        connection, _ = listener.accept()
        connection.settimeout(patience)
        with Peer(connection, name) as peer:
            hello = peer.receive()
            assert (hello.kind, hello.meta) == (HELLO, {"protocol": 1})
            yield peer
    finally:
        listener.close()
        if name:
            _docker("rm", "--force", "--volumes", name)
        shutil.rmtree(directory)
