"""Commands about dead events: those that failed and that no queue or destination has taken."""

from __future__ import annotations

import json
import urllib.parse

import click

from sandbox.cli.ask import ask
from sandbox.cli.options import with_settings
from sandbox.settings import Settings

_PATH = "/_fnbox/events"
_PAGE = 1000


@click.group()
def events() -> None:
    """Events that failed and that nobody was told of, and messages that nobody took."""


_FUNCTION = click.option("--function", metavar="NAME", help="Of this function alone.")


@events.command("list")
@_FUNCTION
@with_settings
def list_(settings: Settings, function: str | None) -> None:
    """Print them, the oldest first: a JSON object a line."""
    after = 0
    while True:
        query = _query(function, after=str(after), limit=str(_PAGE))
        found = ask(settings, "GET", f"{_PATH}?{query}")["events"]
        for event in found:
            click.echo(json.dumps(event))
        if len(found) < _PAGE:
            return
        after = found[-1]["id"]


@events.command()
@click.argument("number", type=int)
@with_settings
def show(settings: Settings, number: int) -> None:
    """Print one with its payload."""
    click.echo(json.dumps(ask(settings, "GET", f"{_PATH}/{number}"), indent=2))


@events.command()
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them.")
@_FUNCTION
@with_settings
def retry(settings: Settings, numbers: tuple[int, ...], every: bool, function: str | None) -> None:
    """Let them run again as new events, or be delivered again."""
    _on_each(settings, numbers, every, function, "POST", "/retry")


@events.command()
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them.")
@_FUNCTION
@with_settings
def purge(settings: Settings, numbers: tuple[int, ...], every: bool, function: str | None) -> None:
    """Forget them."""
    _on_each(settings, numbers, every, function, "DELETE", "")


def _on_each(
    settings: Settings,
    numbers: tuple[int, ...],
    every: bool,
    function: str | None,
    method: str,
    verb: str,
) -> None:
    if bool(numbers) + every + bool(function) != 1:
        raise click.UsageError("give either numbers, --function or --all")
    if numbers:
        for number in numbers:
            ask(settings, method, f"{_PATH}/{number}{verb}")
        count = len(numbers)
    else:
        [count] = ask(settings, method, f"{_PATH}{verb}?{_query(function)}").values()
    click.echo(f"{count} {'event' if count == 1 else 'events'}", err=True)


def _query(function: str | None, **further: str) -> str:
    return urllib.parse.urlencode({**({"function": function} if function else {}), **further})
