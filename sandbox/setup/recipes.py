"""What fnbox's images are made of: one table, and the digest that says whether one is current."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import sandbox
from sandbox.errors import StartupError

DEBIAN_SUITES = ("bookworm", "trixie")

_NEVER = {"__pycache__", "packages", "wheels"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one image is built."""

    name: str
    base: str
    """The recipe that it is built on, or a Debian suite."""
    folder: str
    """Root of the build's context, among the sources."""
    files: tuple[str, ...] = ("**/*",)
    """What of the folder goes in, by glob."""
    client: str | None = None
    """A folder among the sources with a runtime loop of ours, which goes into `client/`."""
    target: str | None = None
    """Stage of the Dockerfile; None: the last."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Build arguments beside BASE."""
    requirements: str | None = None
    """A file of the folder that pins Python packages; their wheels go into `wheels/`."""
    python: str = ""
    """The Python version that the wheels are for."""
    npm: str | None = None
    """A file of the folder that pins npm packages; their archives go into `packages/`."""
    wanted: bool = True
    """Whether it is built when no image is named."""

    @property
    def reference(self) -> str:
        return f"fnbox/{self.name}:latest"

    @property
    def fetched(self) -> str:
        """Folder of the build's context for what is fetched outside."""
        return "wheels" if self.requirements else "packages"


_GO = ("Dockerfile", "go.mod", "**/*.go", "golden/*")


def _python(version: str, suite: str) -> Recipe:
    return Recipe(
        name=f"python{version}",
        base=f"base-{suite}",
        folder="images/python",
        arguments={"RUNTIME": f"python{version}"},
        requirements="requirements.txt",
        python=version,
    )


def _nodejs(major: int) -> Recipe:
    return Recipe(
        name=f"nodejs{major}.x",
        base="nodejs-client",
        folder="images/nodejs",
        arguments={"MAJOR": str(major)},
        npm="packages.json",
        wanted=False,
    )


def _ruby(version: str) -> Recipe:
    return Recipe(
        name=f"ruby{version}",
        base="base-trixie",
        folder="images/ruby",
        client="runtime/ruby",
        arguments={"RUNTIME": f"ruby{version}"},
        wanted=False,
    )


def _java(version: str, suite: str) -> Recipe:
    return Recipe(
        name=f"java{version}",
        base=f"base-{suite}",
        folder="images/java",
        client="runtime/java",
        arguments={"VERSION": version, "RUNTIME": f"java{version}"},
        wanted=False,
    )


def _provided(system: str) -> Recipe:
    return Recipe(
        name=f"provided.{system}", base="base-trixie", folder="images/provided", wanted=False
    )


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(
            Recipe(name=f"base-{suite}", base=suite, folder="images/base")
            for suite in reversed(DEBIAN_SUITES)
        ),
        Recipe(name="init", base="base-trixie", folder="runtime", files=_GO, target="init"),
        _python("3.13", "trixie"),
        _python("3.11", "bookworm"),
        Recipe(
            name="nodejs-client",
            base="base-trixie",
            folder="images/nodejs-client",
            npm="packages.json",
            wanted=False,
        ),
        *map(_nodejs, (24, 22, 20)),
        _ruby("3.3"),
        _java("21", "trixie"),
        _java("17", "bookworm"),
        replace(_java("21", "trixie"), name="java-test", target="loop"),
        *map(_provided, ("al2023", "al2")),
        Recipe(name="toolchain", base="base-trixie", folder="images/toolchain", wanted=False),
        Recipe(
            name="init-lint",
            base="base-trixie",
            folder="runtime",
            files=_GO,
            target="lint",
            wanted=False,
        ),
        Recipe(
            name="init-test",
            base="base-trixie",
            folder="runtime",
            files=_GO,
            target="test",
            wanted=False,
        ),
        Recipe(
            name="control-plane",
            base="base-trixie",
            folder=".",
            files=(
                "Dockerfile",
                "requirements.lock",
                "sandbox/**/*",
                "images/**/*",
                "runtime/**/*",
            ),
            requirements="requirements.lock",
            python="3.13",
            wanted=False,
        ),
    )
}
"""Every image, each after the one that it is built on."""

RUNTIMES = tuple(
    name for name in RECIPES if re.match(r"(?:java|nodejs|python|ruby)\d|provided\.", name)
)
"""The runtimes that fnbox makes an image of."""


def sources() -> Path:
    """Where `images/` and `runtime/` are: beside the package in a checkout, else installed."""
    checkout = Path(sandbox.__file__).parents[1]
    for root in (checkout, Path(sys.prefix, "share", "fnbox")):
        if (root / "images" / "base" / "Dockerfile").is_file():
            return root
    raise StartupError("the folder images/ is missing: install fnbox again, or use a checkout")


def select(names: Sequence[str]) -> list[Recipe]:
    """The named recipes, or all that are wanted, with those that they are built on, in order."""
    needed: set[str] = set()
    for name in names or [recipe.name for recipe in RECIPES.values() if recipe.wanted]:
        if name not in RECIPES:
            raise StartupError(f"there is no image {name!r}: choose from {', '.join(RECIPES)}")
        while name in RECIPES:
            needed.add(name)
            name = RECIPES[name].base
    return [recipe for recipe in RECIPES.values() if recipe.name in needed]


def inputs(recipe: Recipe, root: Path) -> str:
    """Digest of everything that the image is made of, its base's digest included."""
    digest = hashlib.sha256()
    base = RECIPES.get(recipe.base)
    arguments = sorted(recipe.arguments.items())
    digest.update(repr((recipe.target, arguments, recipe.python)).encode())
    digest.update((inputs(base, root) if base else recipe.base).encode())
    for name, path in _files(recipe, root):
        content = path.read_bytes()
        digest.update(repr((name, _mode(path), len(content))).encode() + content)
    return digest.hexdigest()


def context(recipe: Recipe, root: Path, fetched: Path | None) -> bytes:
    """The tar that a build of the recipe is given."""
    files = list(_files(recipe, root))
    if fetched is not None:
        files += [(f"{recipe.fetched}/{path.name}", path) for path in sorted(fetched.iterdir())]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, path in files:
            member = tarfile.TarInfo(name)
            member.mode = _mode(path)
            member.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(member, content)
    return buffer.getvalue()


def _files(recipe: Recipe, root: Path) -> Iterator[tuple[str, Path]]:
    """(name in the context, file), by name."""
    folder = root / recipe.folder
    found = {path for glob in recipe.files for path in folder.glob(glob) if path.is_file()}
    for path in sorted(found):
        name = path.relative_to(folder)
        if not _NEVER.intersection(name.parts):
            yield name.as_posix(), path
    if recipe.client:
        client = root / recipe.client
        for path in sorted(path for path in client.rglob("*") if path.is_file()):
            yield f"client/{path.relative_to(client).as_posix()}", path


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644
