"""npm packages for an image, fetched outside its build, as the archives that npm publishes.

npm itself is not needed; where it is installed, the registry is the one that it is set to.
Proxies and certificates are the system's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.errors import StartupError
from sandbox.setup.commands import Run, run

_REGISTRY = "https://registry.npmjs.org"
_SECONDS = 60
_AT_ONCE = 8


def fetch(pins: Path, into: Path, image: str, architecture: str, *, run: Run = run) -> None:
    """Download what `pins` lists for an image and a machine into the folder `into`.

    A pin has `name`, `version`, `integrity` (SHA-512 in base64, as npm's own locks), and may
    have the one `image` or the one `architecture`, as Go names it, that it is for. An archive
    is named by its package, `scope+name` or `name`. StartupError when one cannot be had.
    """
    registry = _registry(run)
    here = {"image": image, "architecture": architecture}
    wanted = [
        pin for pin in json.loads(pins.read_text()) if {**here, **pin}.items() >= here.items()
    ]

    def get(pin: dict[str, Any]) -> None:
        name = pin["name"].removeprefix("@").replace("/", "+")
        (into / f"{name}.tgz").write_bytes(_archive(registry, pin))

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for done in [threads.submit(get, pin) for pin in wanted]:
            done.result()


def _registry(run: Run) -> str:
    if shutil.which("npm") is None:
        return _REGISTRY
    # npm warns on the same stream; what it was asked for comes last.
    return run(["npm", "config", "get", "registry"]).strip().rpartition("\n")[2].rstrip("/")


def _archive(registry: str, pin: dict[str, Any]) -> bytes:
    name, version = pin["name"], pin["version"]
    url = f"{registry}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            content: bytes = answer.read()
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise StartupError(
            f"{name} {version} cannot be had from npm's registry: {reason}"
        ) from error
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if f"sha512-{digest}" != pin["integrity"]:
        raise StartupError(f"{name} {version} from npm's registry is not what fnbox was made with")
    return content
