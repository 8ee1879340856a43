"""What it costs an Invoke that its caller is verified, and what it costs where none is.

CPU time of the step that `Dispatch` takes, on a request as boto3 signs it and as the server reads
it: with an access key that is kept, with a session's, and with `FNBOX_IAM=off`. No container, no
network.

    python -m tests.bench.verification [--calls 20000] [--rounds 7]
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.access.authentication import Authentication
from sandbox.access.principals import believed
from sandbox.api.context import read_context, verified
from sandbox.catalog.database import Database
from sandbox.clock import SystemClock
from sandbox.settings import Settings
from tests.bench.processes import microseconds
from tests.support.access import environ_of, make_authentication, sign

INVOKE = "http://127.0.0.1:4566/2015-03-31/functions/my-function/invocations"
ACCOUNT = "000000000000"
BODY = b'{"name": "Ada"}'


def signed(keys: Credentials) -> dict[str, Any]:
    request = AWSRequest("POST", INVOKE, data=BODY)
    request.headers["User-Agent"] = "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux lang/python"
    request.headers["X-Amz-Log-Type"] = "Tail"
    return environ_of(sign(request, keys))


def step(authentication: Authentication, environ: dict[str, Any]) -> Callable[[], object]:
    """What is done of a request in `Dispatch._answer`, beside reading its context."""
    context = read_context(environ, "id", Settings())

    def call() -> None:
        verified(authentication, context, BODY, "lambda")
        believed(ACCOUNT)

    return call


@click.command()
@click.option("--calls", default=20_000)
@click.option("--rounds", default=7)
def main(calls: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.at(Path(folder) / "db")
        off, enforced = (
            make_authentication(database, SystemClock(), Settings(iam=mode))
            for mode in ("off", "enforce")
        )
        key = enforced.store.create_key(None)
        session = enforced.sessions.issue(ACCOUNT, "my-role", "my-function")
        lasting = signed(Credentials(key.access_key, key.secret_key))
        temporary = signed(Credentials(*session[:3]))
        steps = {
            "access key": step(enforced, lasting),
            "session key": step(enforced, temporary),
            "off": step(off, lasting),
        }
        figures = {}
        for name, call in steps.items():
            found = [microseconds(call, calls) for _ in range(rounds)]
            figures[name] = {
                "microseconds": round(statistics.median(found), 2),
                "lowest": round(min(found), 2),
                "highest": round(max(found), 2),
            }
        database.close()
    click.echo(json.dumps({"at": time.strftime("%F %T"), **figures}, indent=2))


if __name__ == "__main__":
    main()
