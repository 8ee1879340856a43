"""Brings the engine's images up to date: builds what is missing or made of other inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.engines.images import DockerImages
from sandbox.errors import EngineError
from sandbox.setup import debian, npm, recipes, wheels
from sandbox.setup.progress import Progress
from sandbox.setup.recipes import RECIPES, Recipe

# Builds wait for the network as much as for a core.
_AT_ONCE = 3


def build(names: Sequence[str], images: DockerImages, progress: Progress) -> None:
    """Build the named images, or every one that functions need, each after its base.

    What is current is skipped. Raises StartupError or EngineError for the first that fails.
    """
    root = recipes.sources()
    inputs = {recipe.name: recipes.inputs(recipe, root) for recipe in recipes.select(names)}
    stale = []
    for name, digest in inputs.items():
        if images.inputs(RECIPES[name].reference) == digest:
            with progress.step(f"image {name}") as step:
                step.skip("unchanged")
        else:
            stale.append(RECIPES[name])

    def fetch(recipe: Recipe, into: Path) -> Path:
        into.mkdir()
        with progress.step(f"packages for {recipe.name}") as step:
            folder = root / recipe.folder
            if recipe.requirements:
                step.working("downloading from PyPI")
                wheels.fetch(
                    folder / recipe.requirements,
                    into,
                    python=recipe.python,
                    architecture=images.architecture(),
                    output=progress.output,
                )
            if recipe.npm:
                step.working("downloading from npm")
                npm.fetch(folder / recipe.npm, into, recipe.name, images.architecture())
        return into

    def provide(suite: str) -> str:
        with progress.step(f"Debian {suite}") as step:
            return debian.provide(suite, images, step, output=progress.output)

    def make(recipe: Recipe, base: Future[str] | None, packages: Future[Path] | None) -> str:
        base_image = base.result() if base else RECIPES[recipe.base].reference
        fetched = packages.result() if packages else None
        with progress.step(f"image {recipe.name}") as step:

            def output(line: str) -> None:
                step.working(line)
                progress.output(line)

            step.working("building")
            try:
                images.build(
                    recipes.context(recipe, root, fetched),
                    reference=recipe.reference,
                    inputs=inputs[recipe.name],
                    target=recipe.target,
                    arguments={"BASE": base_image, **recipe.arguments},
                    output=output,
                )
            except EngineError as error:
                raise EngineError(
                    f"{error}; `fnbox images build --verbose {recipe.name}` shows all of it"
                ) from error
        return recipe.reference

    # Whoever waits for a base or for packages waits for something submitted before it,
    # which has begun by then: no number of threads is too small.
    running: dict[str, Future[Any]] = {}
    packages: dict[str, Future[Path]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="fnbox-") as folder,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        for recipe in stale:
            if recipe.base not in RECIPES:
                running[recipe.base] = pool.submit(provide, recipe.base)
        for recipe in stale:
            if recipe.requirements or recipe.npm:
                packages[recipe.name] = pool.submit(fetch, recipe, Path(folder, recipe.name))
        for recipe in stale:
            running[recipe.name] = pool.submit(
                make, recipe, running.get(recipe.base), packages.get(recipe.name)
            )
    for future in running.values():
        future.result()
