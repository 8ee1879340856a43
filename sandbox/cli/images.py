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
    """List fnbox's images and whether each is current, as JSON."""
    from sandbox.engines.images import DockerImages
    from sandbox.setup import recipes

    root = recipes.sources()
    found = {image.reference: image for image in DockerImages(Settings.load().docker_host).list()}
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
            }
        )
    click.echo(json.dumps(rows, indent=2))


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
def prune() -> None:
    """Remove what earlier builds left behind."""
    from sandbox.engines.images import DockerImages

    freed = DockerImages(Settings.load().docker_host).prune()
    click.echo(f"freed {freed / 2**20:.0f} MiB", err=True)
