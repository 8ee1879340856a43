from __future__ import annotations

import ast
from pathlib import Path

import pytest

SANDBOX = Path(__file__).resolve().parents[2] / "sandbox"

LAYERS = [
    {"errors", "names", "clock", "threads", "metrics", "http", "identifiers", "sockets", "memory"},
    {"settings", "state"},
    {
        "catalog",
        "access",
        "invocation",
        "lineage",
        "logs.lines",
        "logs.json_lines",
        "logs.formats",
        "traces",
    },
    {"environments", "engines", "aws"},
    {"service", "queue", "logs"},
    {"api"},
    {"control_plane", "serve", "setup", "cli", "__main__"},
]
"""Low to high. What writes the text of `logs` is below the log store."""

SDK_USERS = {"engines/docker.py", "engines/images.py"}


def layer(module: str) -> int:
    """Of `sandbox.a.b`, by its longest name that the table has."""
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for number, names in enumerate(LAYERS):
            if name in names:
                return number
    raise AssertionError(f"{module} has no layer")


def module_of(path: Path) -> str:
    parts = path.relative_to(SANDBOX.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(path for path in SANDBOX.rglob("*.py") if path != SANDBOX / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path))
def test_imports_point_down(path: Path) -> None:
    own = layer(module_of(path))
    ours = {name for name in imported(path) if name.startswith("sandbox.")}
    ours -= {name for name in ours if name == "sandbox.__version__"}
    assert {name for name in ours if layer(name) > own} == set()


def test_the_docker_sdk_is_imported_in_its_two_modules_only() -> None:
    users = {
        str(path.relative_to(SANDBOX))
        for path in FILES
        if any(name == "docker" or name.startswith("docker.") for name in imported(path))
    }
    assert users == SDK_USERS


def test_the_control_plane_and_the_init_share_no_code() -> None:
    assert not [path for path in FILES if any(n.startswith("runtime") for n in imported(path))]


def test_no_file_has_outgrown_a_reader() -> None:
    long = {str(path.relative_to(SANDBOX)) for path in FILES if path.read_text().count("\n") > 500}
    assert long == set()
