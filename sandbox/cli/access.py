"""Commands about who may call: accounts, access keys and roles.

They ask the control plane, which has to run, as its administrator: whoever can read its state
directory. Results go to stdout, a line each, or as JSON with `--json`.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import click

from sandbox.cli.ask import ask
from sandbox.cli.options import with_settings
from sandbox.errors import CallerError
from sandbox.settings import Settings

_PATH = "/_fnbox/access"

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ACCOUNT = click.option(
    "--account", metavar="ACCOUNT", help="By number or name. [default: the instance's own]"
)
_POLICY_HELP = "File with an identity policy in JSON, or - for stdin."


@click.group()
def accounts() -> None:
    """Accounts: each has functions, layers, logs, keys and limits of its own."""


@accounts.command("create")
@click.argument("name")
@click.option("--number", metavar="DIGITS", help="12 digits. [default: some that nobody has]")
@_JSON
@with_settings
def create_account(settings: Settings, name: str, number: str | None, as_json: bool) -> None:
    """Create an account; `fnbox keys create` makes keys for it."""
    made = ask(settings, "POST", f"{_PATH}/accounts", {"name": name, "account": number})
    _show([made], as_json, ("account", "name"), one=True)


@accounts.command("list")
@_JSON
@with_settings
def list_accounts(settings: Settings, as_json: bool) -> None:
    """List the accounts and their limits."""
    found = ask(settings, "GET", f"{_PATH}/accounts")["accounts"]
    for account in [] if as_json else found:
        limits = {name: value for name, value in account["limits"].items() if value is not None}
        account["set"] = " ".join(f"{name}={value}" for name, value in limits.items())
    _show(found, as_json, ("account", "name", "set"))


@accounts.command("delete")
@click.argument("account")
@_JSON
@with_settings
def delete_account(settings: Settings, account: str, as_json: bool) -> None:
    """Delete an account with its keys and roles. Its functions are kept, for one of its number."""
    gone = ask(settings, "DELETE", f"{_PATH}/accounts/{_quoted(account)}")
    _show([gone], as_json, ("account", "name"), one=True)


@accounts.command("limits")
@click.argument("account")
@click.argument("changes", nargs=-1, metavar="[LIMIT=NUMBER]...")
@_JSON
@with_settings
def limits(settings: Settings, account: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Show an account's limits, or change them: as concurrency=50, or concurrency=none.

    There are concurrency, functions, code_storage_bytes, queued_events and memory_mib; none is what
    the instance's settings say.
    """
    path = f"{_PATH}/accounts/{_quoted(account)}/limits"
    found = ask(settings, "PUT", path, dict(_limit(change) for change in changes))["limits"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        click.echo(f"{name} {'none' if value is None else value}")


def _limit(change: str) -> tuple[str, int | None]:
    name, equals, value = change.partition("=")
    if not equals or not (value == "none" or value.isdecimal()):
        raise click.UsageError(f"{change}: a limit is set as NAME=NUMBER or NAME=none")
    return name, None if value == "none" else int(value)


@click.group()
def keys() -> None:
    """Access keys: of an account's root user, who may do all in it, or of a user with a policy."""


@keys.command("create")
@_ACCOUNT
@click.option("--user", metavar="NAME", help="Of this user, not the root user.")
@click.option("--policy", type=click.File(), metavar="FILE", help=_POLICY_HELP)
@_JSON
@with_settings
def create_key(
    settings: Settings,
    account: str | None,
    user: str | None,
    policy: IO[str] | None,
    as_json: bool,
) -> None:
    """Create a key. A policy says what the user may do, from now on and with each of its keys."""
    given = {"account": account, "user": user, "policy": _read(policy) if policy else None}
    made = ask(settings, "POST", f"{_PATH}/keys", given)
    if as_json:
        click.echo(json.dumps(made, indent=2))
        return
    click.echo(f"AWS_ACCESS_KEY_ID={made['accessKeyId']}")
    click.echo(f"AWS_SECRET_ACCESS_KEY={made['secretAccessKey']}")


@keys.command("list")
@_ACCOUNT
@_JSON
@with_settings
def list_keys(settings: Settings, account: str | None, as_json: bool) -> None:
    """List the keys, of one account or of all, without their secrets."""
    found = ask(settings, "GET", f"{_PATH}/keys{_query(account)}")["keys"]
    for key in [] if as_json else found:
        key["user"] = key["user"] or "root"
    _show(found, as_json, ("accessKeyId", "account", "user", "status", "createdAt"))


def _on_key(verb: str, method: str, suffix: str, text: str) -> click.Command:
    @click.argument("access_key")
    @_JSON
    @with_settings
    def command(settings: Settings, access_key: str, as_json: bool) -> None:
        found = ask(settings, method, f"{_PATH}/keys/{_quoted(access_key)}{suffix}")
        _show([found], as_json, ("accessKeyId", "status"), one=True)

    return click.command(verb, help=text)(command)


for _command in (
    _on_key("delete", "DELETE", "", "Delete a key; it ends at once, and a user with its last one."),
    _on_key("disable", "POST", "/disable", "Let a key be refused, from now on."),
    _on_key("enable", "POST", "/enable", "Let a key that was disabled be used again."),
):
    keys.add_command(_command)


@click.group()
def roles() -> None:
    """Roles: what functions may do that have one as their execution role."""


@roles.command("put")
@click.argument("name")
@_ACCOUNT
@click.option("--policy", required=True, type=click.File(), metavar="FILE", help=_POLICY_HELP)
@_JSON
@with_settings
def put_role(
    settings: Settings, name: str, account: str | None, policy: IO[str], as_json: bool
) -> None:
    """Create a role, or change what it may do; functions that have it notice at once."""
    path = f"{_PATH}/roles/{_quoted(name)}{_query(account)}"
    made = ask(settings, "PUT", path, {"policy": _read(policy)})
    _show([made], as_json, ("arn",), one=True)


@roles.command("list")
@_ACCOUNT
@_JSON
@with_settings
def list_roles(settings: Settings, account: str | None, as_json: bool) -> None:
    """List the roles, of one account or of all."""
    found = ask(settings, "GET", f"{_PATH}/roles{_query(account)}")["roles"]
    _show(found, as_json, ("arn", "createdAt"))


@roles.command("delete")
@click.argument("name")
@_ACCOUNT
@with_settings
def delete_role(settings: Settings, name: str, account: str | None) -> None:
    """Delete a role: functions that have it may do nothing any more."""
    ask(settings, "DELETE", f"{_PATH}/roles/{_quoted(name)}{_query(account)}")


def _read(file: IO[str]) -> Any:
    """Raises CallerError for what is no JSON."""
    name = "stdin" if file.name in ("-", "<stdin>") else Path(file.name).name
    try:
        return json.loads(file.read())
    except ValueError as error:
        raise CallerError(f"the policy in {name} is not JSON: {error}") from error


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _query(account: str | None) -> str:
    return f"?{urllib.parse.urlencode({'account': account})}" if account else ""


def _show(
    found: list[dict[str, Any]], as_json: bool, columns: Sequence[str], *, one: bool = False
) -> None:
    if as_json:
        click.echo(json.dumps(found[0] if one else found, indent=2))
        return
    for item in found:
        click.echo("  ".join(str(item[column]) for column in columns).rstrip())
