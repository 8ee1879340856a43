"""Options that several commands take."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sandbox.settings import Settings

_OPTIONS = (
    click.option("--host", help="Address that the control plane listens on."),
    click.option("--port", type=click.IntRange(1, 65535), help="Its port. [default: 4566]"),
    click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path, resolve_path=True),
        help="Where it keeps everything.",
    ),
)
NAMES = ("host", "port", "state_dir")

with_aws = click.option(
    "--aws", is_flag=True, help="Offer SQS, SNS, S3, STS, IAM, EventBridge and others as well."
)
"""For commands that start an instance; goes above `with_settings`, which reads it."""
with_insecure = click.option(
    "--insecure",
    is_flag=True,
    help="Listen where others can reach it although FNBOX_IAM is not `enforce`.",
)
"""As `with_aws`."""
_SWITCHES = ("aws", "insecure")


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which instance is meant; `command` gets `settings` first."""

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> Any:
        chosen = {name: arguments.pop(name) for name in NAMES}
        chosen |= {name: arguments.pop(name, False) or None for name in _SWITCHES}
        return command(Settings.load(**chosen), **arguments)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def as_options(settings: Settings) -> list[str]:
    """The command line that says which instance these settings are about."""
    pairs = ((f"--{name.replace('_', '-')}", str(getattr(settings, name))) for name in NAMES)
    switches = [f"--{name}" for name in _SWITCHES if getattr(settings, name)]
    return [*(word for pair in pairs for word in pair), *switches]
