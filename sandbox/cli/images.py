"""Commands about the images that functions run in."""

from __future__ import annotations

import json

import click

from sandbox.settings import Settings


@click.group()
def images() -> None:
    """The images that functions run in."""


@images.command("list")
def list_images() -> None:
    """List fnbox's images as JSON: state, bytes, and how many containers run each."""
    from sandbox.engines.images import DockerImages
    from sandbox.setup import recipes, used_images

    root, settings = recipes.sources(), Settings.load()
    engine = DockerImages(settings.docker_host)
    found = {image.reference: image for image in engine.list()}
    rows: list[dict[str, str | int]] = []
    for recipe in recipes.RECIPES.values():
        image = found.get(recipe.reference)
        if image is None:
            rows.append({"name": recipe.name, "image": recipe.reference, "state": "missing"})
            continue
        current = image.inputs == recipes.inputs(recipe, root)
        rows.append(
            {
                "name": recipe.name,
                "image": recipe.reference,
                "state": "current" if current else "outdated",
                "bytes": image.size,
                "containers": image.containers,
            }
        )
    click.echo(json.dumps(rows, indent=2))
    if left := engine.left_behind(used_images.ids(settings.state_dir)):
        click.echo(
            f"{len(left)} images of earlier builds are left: `fnbox images prune` removes them",
            err=True,
        )


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--verbose", "-v", is_flag=True, help="Show what the builds print.")
def build(names: tuple[str, ...], verbose: bool) -> None:
    """Build images that are missing or outdated: those named, or all that functions need.

    Sees to a Docker Engine first.
    """
    from sandbox.engines.images import DockerImages
    from sandbox.setup import engine
    from sandbox.setup import images as setup_images
    from sandbox.setup.progress import Progress

    settings, progress = Settings.load(), Progress(verbose=verbose)
    engine.ensure(settings.docker_host, settings.state_dir, progress)
    setup_images.build(names, DockerImages(settings.docker_host), progress)


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def prune(names: tuple[str, ...]) -> None:
    """Remove what earlier builds left behind, and the images that are named.

    What functions or containers need stays: images that are named say so.
    """
    from sandbox.engines.images import DockerImages
    from sandbox.setup import recipes, used_images

    settings = Settings.load()
    engine = DockerImages(settings.docker_host)
    for name in names:
        if name not in recipes.RECIPES:
            raise click.UsageError(f"there is no image {name!r}: `fnbox images list` has them")
        engine.remove(recipes.RECIPES[name].reference)
    left = engine.left_behind(used_images.ids(settings.state_dir))
    freed = engine.prune(left)
    click.echo(f"freed {freed / 1e6:.0f} MB", err=True)
