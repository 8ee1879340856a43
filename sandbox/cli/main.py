"""The command `fnbox`: its verbs, and how it ends.

Exit status 0: done; 1: a function failed, or something else did, told in one line on
stderr; 2: the command was not understood. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys

import click

import sandbox
from sandbox.cli import access, doctor, events, functions, images, instance, trace
from sandbox.errors import FnboxError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(sandbox.__version__, prog_name="fnbox")
def cli() -> None:
    """AWS Lambda functions in real Docker containers on this machine."""


for _command in (
    instance.up,
    instance.down,
    instance.status,
    instance.env,
    doctor.doctor,
    instance.serve,
    functions.deploy,
    functions.invoke,
    functions.logs,
    trace.trace,
    events.events,
    access.accounts,
    access.keys,
    access.roles,
    images.images,
):
    cli.add_command(_command)


def main() -> None:
    """The console script."""
    try:
        sys.exit(cli.main(prog_name="fnbox", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FnboxError as error:
        click.echo(f"fnbox: {error}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said to them.
        sys.stderr.close()
        sys.exit(1)
