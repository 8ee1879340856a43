"""Images and binaries that tests have built, in the way users do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.instance import ROOT, docker, environment

_BUILD_SECONDS = 900
_GO = """FROM fnbox/init-test
WORKDIR /function
COPY main.go .
RUN printf 'module function\\n\\ngo 1.19\\n' >go.mod && go build -o /package/bootstrap .
"""
_C = """FROM fnbox/toolchain
COPY main.c /function/
RUN mkdir /package && gcc -D_GNU_SOURCE -O2 -Wall -Werror -o /package/bootstrap /function/main.c
"""
_RUST = """FROM fnbox/toolchain
COPY main.rs /function/
RUN mkdir /package && rustc -O -o /package/bootstrap /function/main.rs
"""
_LIBRARY = """FROM fnbox/toolchain
COPY library.c /function/
RUN mkdir /package && gcc -shared -fPIC -o /package/libown.so /function/library.c
"""
# For the oldest Java that we have a runtime of.
_JAVA = """FROM fnbox/java-test
COPY *.java /function/
RUN javac -encoding UTF-8 --release 17 -cp /build/core -d /package /function/*.java
"""

_BUILDS = {
    "main.go": (_GO, "init-test"),
    "main.c": (_C, "toolchain"),
    "library.c": (_LIBRARY, "toolchain"),
    "main.rs": (_RUST, "toolchain"),
}
"""By source: a build stage, and the image of ours that it is built on. Else it is Java."""


def ensure(*names: str) -> None:
    """Build images of ours that are missing or outdated."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "images", "build", *names],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stderr


def compiled(sources: Mapping[str, str], folder: Path) -> dict[str, str | bytes]:
    """The package of a program in Go, C or Rust, `bootstrap`, of a C library, or of Java classes.

    Each call has a folder of its own. Compilers are in images: hosts need none.
    """
    found = (build for name, build in _BUILDS.items() if name in sources)
    dockerfile, toolchain = next(found, (_JAVA, "java-test"))
    for name, content in {**sources, "Dockerfile": dockerfile}.items():
        (folder / name).write_text(content)
    ensure(toolchain)
    image = docker("build", "--quiet", "--force-rm", str(folder), seconds=_BUILD_SECONDS)
    try:
        container = docker("create", image, "true")
        try:
            docker("cp", f"{container}:/package", str(folder))
        finally:
            docker("rm", container)
    finally:
        docker("rmi", image)
    files = (path for path in (folder / "package").rglob("*") if path.is_file())
    return {path.relative_to(folder / "package").as_posix(): path.read_bytes() for path in files}


def by_runtime(each: Iterable[Any], quick: Collection[str]) -> list[object]:
    """As a fixture's parameters: those are `thorough` whose runtime is not one of the quick."""
    return [
        pytest.param(
            one, id=one.runtime, marks=() if one.runtime in quick else pytest.mark.thorough
        )
        for one in each
    ]
