"""The table of images, and what makes one current."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import tomllib
from pathlib import Path

import pytest

from sandbox.errors import StartupError
from sandbox.setup import recipes
from sandbox.setup.recipes import RECIPES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "images" / "base"
    base.mkdir(parents=True)
    (base / "Dockerfile").write_text("FROM x\n")
    script = base / "lambda-entrypoint.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    python = tmp_path / "images" / "python"
    python.mkdir()
    (python / "Dockerfile").write_text("FROM y\n")
    (python / "requirements.txt").write_text("a==1\n")
    return tmp_path


def test_a_base_comes_before_what_is_built_on_it() -> None:
    names = list(RECIPES)
    for name, recipe in RECIPES.items():
        assert recipe.base in recipes.DEBIAN_SUITES or names.index(recipe.base) < names.index(name)


def test_every_recipe_finds_its_dockerfile_and_its_requirements_in_the_checkout() -> None:
    root = recipes.sources()
    for recipe in RECIPES.values():
        with tarfile.open(fileobj=io.BytesIO(recipes.context(recipe, root, None))) as archive:
            names = archive.getnames()
        assert "Dockerfile" in names
        assert recipe.requirements is None or recipe.requirements in names


def test_naming_an_image_brings_what_it_is_built_on() -> None:
    assert [recipe.name for recipe in recipes.select(["python3.11"])] == [
        "base-bookworm",
        "python3.11",
    ]


def test_naming_none_brings_what_functions_need() -> None:
    assert {recipe.name for recipe in recipes.select([])} == {
        "base-trixie",
        "base-bookworm",
        "init",
        "python3.13",
        "python3.11",
    }


def test_an_image_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(StartupError, match=r"no image 'python2.7': choose from .*python3.13"):
        recipes.select(["python2.7"])


def test_equal_sources_make_equal_inputs_whatever_their_times(root: Path) -> None:
    before = recipes.inputs(RECIPES["python3.13"], root)
    (root / "images" / "python" / "Dockerfile").touch()
    assert recipes.inputs(RECIPES["python3.13"], root) == before


@pytest.mark.parametrize("changed", ["images/python/requirements.txt", "images/base/Dockerfile"])
def test_inputs_change_with_any_file_of_the_image_or_its_base(root: Path, changed: str) -> None:
    before = recipes.inputs(RECIPES["python3.13"], root)
    (root / changed).write_text("something else\n")
    assert recipes.inputs(RECIPES["python3.13"], root) != before


def test_inputs_change_with_a_file_that_becomes_executable(root: Path) -> None:
    before = recipes.inputs(RECIPES["base-trixie"], root)
    (root / "images" / "base" / "Dockerfile").chmod(0o755)
    assert recipes.inputs(RECIPES["base-trixie"], root) != before


def test_two_pythons_of_one_folder_have_different_inputs(root: Path) -> None:
    assert recipes.inputs(RECIPES["python3.13"], root) != recipes.inputs(
        RECIPES["python3.11"], root
    )


def test_a_context_holds_the_wheels_and_keeps_what_is_executable(
    root: Path, tmp_path: Path
) -> None:
    wheels = tmp_path / "fetched"
    wheels.mkdir()
    (wheels / "a-1-py3-none-any.whl").write_bytes(b"wheel")
    (root / "images" / "base" / "__pycache__").mkdir()
    (root / "images" / "base" / "__pycache__" / "x.pyc").write_bytes(b"")
    recipe = dataclasses.replace(RECIPES["base-trixie"], requirements="requirements.txt")
    content = recipes.context(recipe, root, wheels)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes == {
        "Dockerfile": 0o644,
        "lambda-entrypoint.sh": 0o755,
        "wheels/a-1-py3-none-any.whl": 0o644,
    }


def test_a_runtime_loop_of_ours_goes_beside_what_the_image_has(root: Path) -> None:
    (root / "runtime" / "loop").mkdir(parents=True)
    (root / "runtime" / "loop" / "loop.rb").write_text("loop {}")
    recipe = dataclasses.replace(RECIPES["base-trixie"], client="runtime/loop")
    with tarfile.open(fileobj=io.BytesIO(recipes.context(recipe, root, None))) as archive:
        assert "client/loop.rb" in archive.getnames()
    before = recipes.inputs(recipe, root)
    (root / "runtime" / "loop" / "loop.rb").write_text("loop { puts }")
    assert recipes.inputs(recipe, root) != before


def test_every_runtime_that_can_be_built_is_known_by_its_name() -> None:
    assert "nodejs24.x" in recipes.RUNTIMES
    assert "provided.al2023" in recipes.RUNTIMES
    assert not {"init", "nodejs-client", "base-trixie"} & set(recipes.RUNTIMES)


def test_everything_that_images_are_made_of_is_installed_with_the_package() -> None:
    """A wheel has no checkout beside it."""
    root = Path(__file__).parents[2]
    packaged: dict[str, list[str]] = tomllib.loads((root / "pyproject.toml").read_text())["tool"][
        "setuptools"
    ]["data-files"]
    installed = {
        path.relative_to(root)
        for folder, globs in packaged.items()
        for glob in globs
        for path in root.glob(glob)
        if path.parent == root / folder.removeprefix("share/fnbox/")
    }
    needed = {
        path.relative_to(root)
        for recipe in RECIPES.values()
        if recipe.folder.startswith("images/")
        for folder in (recipe.folder, recipe.client)
        if folder is not None
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    assert needed - installed == set()
