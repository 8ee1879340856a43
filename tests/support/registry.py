"""A registry of container images on this machine, which engines reach over plain HTTP.

Its images have one layer and are made of files, without a container engine.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_HELD_SECONDS = 60
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Registry:
    """Answers from its `with` on until that ends."""

    def __init__(self) -> None:
        self._contents: dict[str, tuple[str, bytes]] = {}
        """Media type and content, by path."""
        self.asked: list[str] = []
        """Paths, in the order in which they were asked for."""
        self.layers = threading.Event()
        """Layers are sent once it is set, as it is at first."""
        self.layers.set()
        registry = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry._answer(self)

            do_HEAD = do_GET

            def log_message(self, *arguments: object) -> None:
                """Not on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.layers.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def put(self, name: str, files: Mapping[str, bytes], **config: Any) -> str:
        """Keep an image `repository:tag` of executable files; its manifest's digest."""
        repository, _, tag = name.rpartition(":")
        layer = _tar(files)
        packed = gzip.compress(layer, 1)
        machine = platform.machine()
        document = {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        described = json.dumps(document).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": self._blob(repository, _CONFIG, described),
                "layers": [self._blob(repository, _LAYER, packed)],
            }
        ).encode()
        for reference in (tag, _digest(manifest)):
            self._contents[f"/v2/{repository}/manifests/{reference}"] = (_MANIFEST, manifest)
        return _digest(manifest)

    def lose_layers(self) -> None:
        """Have manifests, and nothing that they name."""
        for path in [path for path in self._contents if "/blobs/" in path]:
            del self._contents[path]

    def _blob(self, repository: str, media_type: str, content: bytes) -> dict[str, Any]:
        self._contents[f"/v2/{repository}/blobs/{_digest(content)}"] = (media_type, content)
        return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        media_type, content = self._contents.get(request.path, ("application/json", b"{}"))
        found = request.path in self._contents or request.path == "/v2/"
        if not found:
            content = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
        if media_type == _LAYER:
            self.layers.wait(_HELD_SECONDS)
        request.send_response(200 if found else 404)
        request.send_header("Content-Type", media_type)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if media_type == _MANIFEST:
            request.send_header("Docker-Content-Digest", _digest(content))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content)


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
