"""Commands about the control plane itself."""

from __future__ import annotations

import json
import shlex
from urllib.parse import quote

import click

from sandbox.cli.ask import ask
from sandbox.cli.options import as_options, with_aws, with_insecure, with_settings
from sandbox.settings import Settings


@click.command()
@click.option("--example", is_flag=True, help="Deploy an example and invoke it with the AWS CLI.")
@click.option("--verbose", "-v", is_flag=True, help="Show what the tools print.")
@with_aws
@with_insecure
@with_settings
def up(settings: Settings, example: bool, verbose: bool) -> None:
    """Start fnbox, with all that it needs: Docker Engine, images, control plane."""
    from sandbox.aws import extra
    from sandbox.engines.images import DockerImages
    from sandbox.setup import engine, exposure, images, instance
    from sandbox.setup import example as example_function
    from sandbox.setup.progress import Progress

    warning = exposure.check(settings)
    if settings.aws:
        extra.check()
    progress = Progress(verbose=verbose)
    engine.ensure(settings.docker_host, settings.state_dir, progress)
    images.build([], DockerImages(settings.docker_host), progress)
    instance.up(settings, as_options(settings), progress)
    click.echo(f"fnbox answers at {settings.url}; its log: {instance.log_path(settings)}", err=True)
    if warning:
        click.echo(f"Warning: {warning}.", err=True)
    if example:
        example_function.show(settings, progress, click.echo)


@click.command()
@with_settings
def down(settings: Settings) -> None:
    """Stop fnbox. Calls in flight finish first; functions and logs are kept."""
    from sandbox.setup import instance
    from sandbox.setup.progress import Progress

    instance.down(settings, Progress())


@click.command()
@with_settings
def status(settings: Settings) -> None:
    """Tell whether fnbox runs. Exit status 1 when it does not."""
    from sandbox.setup import instance

    answers = instance.healthy(settings)
    found = {
        "running": answers,
        "url": settings.url,
        "state_dir": str(settings.state_dir),
        "log": str(instance.log_path(settings)),
    }
    click.echo(json.dumps(found, indent=2))
    click.get_current_context().exit(0 if answers else 1)


@click.command()
@click.option("--key", metavar="ACCESS_KEY_ID", help="One that `fnbox keys create` made.")
@with_settings
def env(settings: Settings, key: str | None) -> None:
    """Print shell commands that point AWS clients here: eval "$(fnbox env)"."""
    from sandbox.setup.deploy import environment

    variables = environment(settings)
    if key is not None:
        found = ask(settings, "GET", f"/_fnbox/access/keys/{quote(key, safe='')}")
        variables["AWS_ACCESS_KEY_ID"] = found["accessKeyId"]
        variables["AWS_SECRET_ACCESS_KEY"] = found["secretAccessKey"]
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@click.command()
@click.option(
    "--ready-fd", type=int, help="File descriptor that gets a byte once calls are answered."
)
@with_aws
@with_insecure
@with_settings
def serve(settings: Settings, ready_fd: int | None) -> None:
    """Run the control plane in the foreground."""
    from sandbox.serve import serve as serve_until_terminated

    serve_until_terminated(settings, ready_fd)
