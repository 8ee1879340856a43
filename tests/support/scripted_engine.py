"""A Docker Engine in memory: containers are names, and starting one starts nothing.

It answers what `sandbox.engines.docker` asks, as Docker Engine 20.10 does.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import socketserver
import tarfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

IMAGE = "sha256:" + "0" * 64


class ScriptedEngine:
    """See the module. `containers` is what there is; `asked` every request that came."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix://{path}"
        self.containers: dict[str, dict[str, Any]] = {}
        """By name."""
        self.asked: list[str] = []
        self.refusal = ""
        """What starting a container fails with, each time; it is removed, as with AutoRemove."""
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        answer = self.answer

        class Session(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = answer(self.command, self.path, body)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _any

            def address_string(self) -> str:
                return "a client"

            def log_message(self, *_: object) -> None:
                pass

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """A client that has gone away is what tests are about."""

        self._server = Server(str(path), Session)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _find(self, name: str) -> str | None:
        for found, container in self.containers.items():
            if name in (found, container["Id"]):
                return found
        return None

    ROUTES: ClassVar[list[tuple[str, str]]] = [
        (r"GET /_ping", "_ping"),
        (r"GET /version", "_version"),
        (r"GET /images/(.+)/json", "_image"),
        (r"GET /containers/json", "_list"),
        (r"POST /containers/create", "_create"),
        (r"GET /containers/([^/]+)/json", "_inspect"),
        (r"POST /containers/([^/]+)/start", "_start"),
        (r"POST /containers/([^/]+)/update", "_update"),
        (r"DELETE /containers/([^/]+)", "_remove"),
        (r"GET /containers/([^/]+)/archive", "_archive"),
    ]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(path)
        request = f"{method} {re.sub('^/v[0-9.]+', '', parts.path)}"
        with self._lock:
            self.asked.append(request)
            for pattern, name in self.ROUTES:
                if match := re.fullmatch(pattern, request):
                    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                    document = json.loads(body) if body else {}
                    found: tuple[int, Any] = getattr(self, name)(*match.groups(), query, document)
                    return found
        return 404, {"message": "page not found"}

    def _ping(self, *_: Any) -> tuple[int, Any]:
        return 200, b"OK"

    def _version(self, *_: Any) -> tuple[int, Any]:
        return 200, {"ApiVersion": "1.41", "Version": "20.10.24"}

    def _image(self, reference: str, *_: Any) -> tuple[int, Any]:
        if reference == "missing":
            return 404, {"message": f"No such image: {reference}"}
        return 200, {"Id": IMAGE, "Config": {}}

    def _list(self, *_: Any) -> tuple[int, Any]:
        found = self.containers.values()
        return 200, [{name: each[name] for name in ("Id", "Labels")} for each in found]

    def _create(self, query: dict[str, str], document: dict[str, Any]) -> tuple[int, Any]:
        name = query["name"]
        if name in self.containers:
            return 409, {"message": f'Conflict. The container name "/{name}" is already in use'}
        container = {"Id": f"{next(self._numbers):064x}", "Running": False, **document}
        self.containers[name] = container
        return 201, {"Id": container["Id"], "Warnings": []}

    def _inspect(self, name: str, *_: Any) -> tuple[int, Any]:
        found = self._find(name)
        return (200, self.containers[found]) if found else _absent(name)

    def _start(self, name: str, *_: Any) -> tuple[int, Any]:
        found = self._find(name)
        if found is None:
            return _absent(name)
        if self.refusal:
            del self.containers[found]
            return 500, {"message": self.refusal}
        already, self.containers[found]["Running"] = self.containers[found]["Running"], True
        return 304 if already else 204, b""

    def _update(self, name: str, *_: Any) -> tuple[int, Any]:
        return (200, {"Warnings": None}) if self._find(name) else _absent(name)

    def _remove(self, name: str, *_: Any) -> tuple[int, Any]:
        found = self._find(name)
        if found is None:
            return _absent(name)
        del self.containers[found]
        return 204, b""

    def _archive(self, *_: Any) -> tuple[int, Any]:
        buffer = io.BytesIO()
        with contextlib.closing(tarfile.open(fileobj=buffer, mode="w")) as archive:
            entry = tarfile.TarInfo("init")
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"init"))
        return 200, buffer.getvalue()


def _absent(name: str) -> tuple[int, Any]:
    return 404, {"message": f"No such container: {name}"}
