"""Commands about functions: through Lambda's own API, as any client."""

from __future__ import annotations

import base64
import json
import re
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import click

from sandbox.cli.ask import asking, refusal
from sandbox.cli.options import with_settings
from sandbox.settings import Settings

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.argument("path", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="The function's name. [default: the folder's or ZIP's]")
@click.option("--image", help="Container image to run, in place of PATH.")
@click.option("--runtime", help="As `python3.13`. [default for a new function: python3.13]")
@click.option("--handler", help="As `file.function`.")
@click.option("--timeout", type=int, metavar="SECONDS")
@click.option("--memory", type=int, metavar="MIB")
@click.option(
    "--env", "variables", multiple=True, metavar="NAME=VALUE", help="Repeat for each variable."
)
@with_settings
def deploy(
    settings: Settings,
    path: Path | None,
    name: str | None,
    image: str | None,
    runtime: str | None,
    handler: str | None,
    timeout: int | None,
    memory: int | None,
    variables: tuple[str, ...],
) -> None:
    """Create or update a function from a folder, a ZIP file or an image.

    Prints its configuration once it is Active. What no option names stays as it is.
    """
    from sandbox.cli.pulls import shown
    from sandbox.setup import deploy as deployment

    if (path is None) == (image is None):
        raise click.UsageError("give either PATH or --image")
    if path is None and name is None:
        raise click.UsageError("--image needs --name")
    for variable in variables:
        if "=" not in variable:
            raise click.UsageError(f"--env {variable}: NAME=VALUE is expected")
    given = {
        "Runtime": runtime,
        "Handler": handler,
        "Timeout": timeout,
        "MemorySize": memory,
        "Environment": {"Variables": dict(pair.split("=", 1) for pair in variables)}
        if variables
        else None,
    }
    configuration = {member: value for member, value in given.items() if value is not None}
    content = None if path is None else deployment.pack(path)
    function = name or (path.resolve().stem if path is not None else "")
    with deployment.translated(settings), shown(settings, image):
        deployed = deployment.deploy(
            deployment.lambda_client(settings),
            function,
            deployment.Code(content, image),
            configuration,
        )
    deployed.configuration.pop("ResponseMetadata", None)
    click.echo(json.dumps(deployed.configuration, indent=2))


@click.command()
@click.argument("name")
@click.option(
    "--payload", default="{}", show_default=True, help="The event: text, @FILE, or - for stdin."
)
@click.option("--event", is_flag=True, help="Queue it, and do not wait for the result.")
@click.option("--qualifier", help="A version or an alias.")
@click.option("--log", is_flag=True, help="Show the end of the function's log on stderr.")
@with_settings
def invoke(
    settings: Settings, name: str, payload: str, event: bool, qualifier: str | None, log: bool
) -> None:
    """Invoke a function. Its response goes to stdout; exit status 1 when it failed."""
    from sandbox.setup.deploy import lambda_client, translated

    request: dict[str, Any] = {
        "FunctionName": name,
        "Payload": _payload(payload),
        "InvocationType": "Event" if event else "RequestResponse",
    }
    if qualifier is not None:
        request["Qualifier"] = qualifier
    if log and not event:
        request["LogType"] = "Tail"
    with translated(settings):
        answer = lambda_client(settings).invoke(**request)
        response = answer["Payload"].read()
    if "LogResult" in answer:
        click.echo(base64.b64decode(answer["LogResult"]).decode(errors="replace"), err=True)
    if response:
        click.echo(response)
    if "FunctionError" in answer:
        click.echo(f"fnbox: the function failed ({answer['FunctionError']})", err=True)
        click.get_current_context().exit(1)


def _payload(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise click.UsageError(f"--payload {text}: {error.strerror}") from error
    return text.encode()


@click.command()
@click.argument("name")
@click.option("--follow", "-f", is_flag=True, help="Go on as more is written.")
@click.option("--since", default="10m", show_default=True, help="How far back: 30s, 10m, 2h, 7d.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each event.")
@with_settings
def logs(settings: Settings, name: str, follow: bool, since: str, as_json: bool) -> None:
    """Show a function's log."""
    match = re.fullmatch(r"(\d+)([smhd])", since)
    if match is None:
        raise click.UsageError(f"--since {since}: a number and s, m, h or d are expected")
    begin = int((time.time() - int(match[1]) * _SECONDS[match[2]]) * 1000)
    query = {"since": str(begin), **({"follow": "1"} if follow else {})}
    path = f"/_fnbox/logs/{urllib.parse.quote(name, safe='')}?{urllib.parse.urlencode(query)}"
    with asking(settings, "GET", path) as response:
        if response.status != 200:
            raise refusal(settings, response)
        while line := response.readline():
            # Empty lines show that the connection lives.
            if line.strip():
                click.echo(line.strip() if as_json else _readable(json.loads(line)["message"]))


def _readable(message: str) -> str:
    """Clients write the lines of one event with carriage returns between them."""
    return message.rstrip("\r\n").replace("\r", "\n")
