"""The command that says what the machine offers."""

from __future__ import annotations

import json

import click

from sandbox.cli.options import with_settings
from sandbox.settings import Settings

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings
def doctor(settings: Settings, as_json: bool) -> None:
    """Say what this machine offers fnbox, and what follows. Exit status 1 on a problem."""
    from sandbox.setup.doctor import State, findings, look

    found = findings(look(settings))
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        width = max(len(finding.name) for finding in found)
        for finding in found:
            state = click.style(f"{finding.state:<8}", fg=_COLOURS[finding.state])
            click.echo(f"{state} {finding.name:<{width}}  {finding.found}: {finding.follows}")
    problems = any(finding.state is State.PROBLEM for finding in found)
    click.get_current_context().exit(1 if problems else 0)
