"""Packages from npm's registry, here a server of the test's own."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sandbox.errors import StartupError
from sandbox.setup import npm

PUBLISHED = {
    "/client/-/client-1.2.3.tgz": b"the client",
    "/@scope/store/-/store-0.1.0.tgz": b"the store",
    "/node-x64/-/node-x64-24.0.0.tgz": b"an interpreter",
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = PUBLISHED.get(self.path)
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    monkeypatch.setattr(shutil, "which", lambda name: name)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def pin(name: str, version: str, content: bytes, **more: str) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return {"name": name, "version": version, "integrity": f"sha512-{digest}", **more}


def fetch(folder: Path, registry: str, pins: Sequence[dict[str, str]]) -> dict[str, bytes]:
    def run(command: Sequence[str], **options: object) -> str:
        assert command == ["npm", "config", "get", "registry"]
        return f"npm warn something\n{registry}\n"

    (folder / "pins.json").write_text(json.dumps(pins))
    into = folder / "packages"
    into.mkdir()
    npm.fetch(folder / "pins.json", into, "nodejs24.x", "amd64", run=run)
    return {path.name: path.read_bytes() for path in into.iterdir()}


def test_packages_come_from_the_registry_that_npm_is_set_to(tmp_path: Path, registry: str) -> None:
    pins = [pin("client", "1.2.3", b"the client"), pin("@scope/store", "0.1.0", b"the store")]
    assert fetch(tmp_path, registry, pins) == {
        "client.tgz": b"the client",
        "scope+store.tgz": b"the store",
    }


def test_only_what_is_for_this_image_and_machine_is_fetched(tmp_path: Path, registry: str) -> None:
    pins = [
        pin("node-x64", "24.0.0", b"an interpreter", image="nodejs24.x", architecture="amd64"),
        pin("node-x64", "22.0.0", b"", image="nodejs22.x", architecture="amd64"),
        pin("node-arm64", "24.0.0", b"", image="nodejs24.x", architecture="arm64"),
    ]
    assert fetch(tmp_path, registry, pins) == {"node-x64.tgz": b"an interpreter"}


def test_other_bytes_than_those_pinned_are_refused(tmp_path: Path, registry: str) -> None:
    with pytest.raises(StartupError, match=r"client 1.2.3 .* is not what fnbox was made with"):
        fetch(tmp_path, registry, [pin("client", "1.2.3", b"another client")])
    assert not (tmp_path / "packages" / "client.tgz").exists()


def test_a_package_that_cannot_be_had_is_named(tmp_path: Path, registry: str) -> None:
    with pytest.raises(
        StartupError, match=r"client 9.9.9 cannot be had from npm's registry: Not Found"
    ):
        fetch(tmp_path, registry, [pin("client", "9.9.9", b"")])


def test_without_npm_the_public_registry_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert npm._registry(lambda command, **options: "") == "https://registry.npmjs.org"
