"""Measures a large catalog beside a small one: lists, changes, start-up, calls, memory.

python -m tests.bench.catalog_scale [--functions 10000] [--versions 5]

Each of the two fnbox has its own directory. What is in it is made with the catalog's own code,
and written in a few large transactions before fnbox starts; a tenth of the functions have code
of their own.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
import uuid
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from sandbox.catalog import Catalog, Function, storage
from sandbox.clock import SystemClock
from sandbox.names import LATEST, FunctionKey
from sandbox.setup.deploy import Code, deploy, lambda_client
from tests.bench.client import Connection, invoke_request, latencies
from tests.bench.event_probe import Probed

ROLE = "arn:aws:iam::000000000000:role/lambda-role"
SMALL = 10
_BATCH = 500
_PER_PACKAGE = 10
_INVOKED = "zz-invoked"
_CALLS = 200
_ROUNDS = 5
_MEMORY_MIB = 1769
_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder:
        instances = []
        for name, count in (("small", SMALL), ("large", asked.functions)):
            state = Path(folder, name)
            began = time.perf_counter()
            fill(state, count, asked.versions)
            click.echo(f"{name}: {count:,} functions made in {since(began):.1f} s")
            instances.append(Probed(state, network="none", spares=0))
        try:
            for instance in instances:
                began = time.perf_counter()
                instance.start()
                name = instance.settings.state_dir.name
                seconds, memory = since(began), instance.memory_mib()
                click.echo(f"{name}: up in {seconds:.2f} s, {memory:.0f} MiB")
            small, large = instances
            for what, figures in (("small", api(small)), ("large", api(large))):
                for operation, times in figures.items():
                    click.echo(f"{what}: {operation} {shown(times)}")
            click.echo(f"invoke: {invokes(small, large)}")
            for instance in instances:
                name = instance.settings.state_dir.name
                click.echo(f"{name}: {instance.memory_mib():.0f} MiB in the end")
        finally:
            for instance in instances:
                instance.stop()
    return 0


def fill(state: Path, functions: int, versions: int) -> None:
    """A catalog with so many functions, each with so many published versions and an alias."""
    catalog = Catalog.open(state, clock=SystemClock())
    with closing(catalog):
        made = (
            function
            for number in range(functions // _PER_PACKAGE)
            for function in alike(catalog, number, versions)
        )
        while batch := [function for function, _ in zip(made, range(_BATCH), strict=False)]:
            catalog.database.transaction(partial(write, batch))


def alike(catalog: Catalog, number: int, versions: int) -> Iterator[Function]:
    """Functions with the same code and the same history, made from the first of them."""
    key = FunctionKey("000000000000", "us-east-1", f"function-{number:05}-0")
    request = {
        "Role": ROLE,
        "Runtime": "python3.13",
        "Handler": "app.handler",
        "Environment": {"Variables": {f"SETTING_{n}": "value" * 4 for n in range(5)}},
        "Tags": {"team": "a", "stage": "b"},
        "Code": {"ZipFile": package(f"answer = {number}")},
    }
    catalog.create_function(key, request)
    for version in range(1, versions + 1):
        catalog.activate(key, LATEST)
        catalog.publish_version(key, {})
        catalog.update_configuration(key, {"Timeout": version + 3})
    catalog.activate(key, LATEST)
    catalog.create_alias(key, {"Name": "live", "FunctionVersion": "1"})
    first = catalog.function(key)
    for copy in range(1, _PER_PACKAGE):
        yield renamed(first, key._replace(name=f"function-{number:05}-{copy}"))


def renamed(function: Function, key: FunctionKey) -> Function:
    versions = {}
    for name, version in function.versions.items():
        text = json.dumps(dict(version.configuration)).replace(function.key.name, key.name)
        document = {**json.loads(text), "RevisionId": str(uuid.uuid4())}
        fresh = uuid.uuid4().hex
        versions[name] = replace(version, key=key, configuration=document, revision=fresh)
    aliases = {name: replace(alias, key=key) for name, alias in function.aliases.items()}
    return replace(function, key=key, versions=versions, aliases=aliases)


def write(functions: list[Function], connection: Any) -> None:
    for function in functions:
        storage.save(connection, function.key, None, function)


def api(instance: Probed) -> dict[str, list[float]]:
    """Seconds of each operation, over one connection, each several times."""
    with closing(instance.connection()) as connection:
        connection.connect()

        def ask(method: str, path: str, document: Any = None) -> tuple[float, Any]:
            body = None if document is None else json.dumps(document).encode()
            headers = {"Authorization": _AUTHORIZATION}
            began = time.perf_counter()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            seconds = since(began)
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {data!r}")
            return seconds, json.loads(data) if data else None

        return {
            "ListFunctions, pages from the first": list(pages(ask, "/2015-03-31/functions?")),
            "ListFunctions of all versions": list(
                pages(ask, "/2015-03-31/functions?FunctionVersion=ALL&")
            ),
            "ListVersionsByFunction": repeated(
                lambda _: ask("GET", "/2015-03-31/functions/function-00000-0/versions")[0]
            ),
            "GetFunction": repeated(
                lambda _: ask("GET", "/2015-03-31/functions/function-00000-0")[0]
            ),
            "GetAccountSettings": repeated(lambda _: ask("GET", "/2016-08-19/account-settings")[0]),
            "CreateFunction": repeated(lambda n: ask("POST", *creation(n))[0]),
            "UpdateFunctionConfiguration": repeated(
                lambda n: ask(
                    "PUT",
                    f"/2015-03-31/functions/created-{n}/configuration",
                    {"Timeout": 7},
                )[0]
            ),
            "PublishVersion": repeated(
                lambda n: ask("POST", f"/2015-03-31/functions/created-{n}/versions", {})[0]
            ),
            "PutFunctionConcurrency": repeated(
                lambda n: ask(
                    "PUT",
                    f"/2017-10-31/functions/created-{n}/concurrency",
                    {"ReservedConcurrentExecutions": 1},
                )[0]
            ),
            "DeleteFunction": repeated(
                lambda n: ask("DELETE", f"/2015-03-31/functions/created-{n}")[0]
            ),
        }


def creation(number: int) -> tuple[str, dict[str, Any]]:
    code = b64encode(package(f"created = {number}")).decode()
    request = {
        "FunctionName": f"created-{number}",
        "Role": ROLE,
        "Runtime": "python3.13",
        "Handler": "app.handler",
        "Code": {"ZipFile": code},
    }
    return "/2015-03-31/functions", request


def pages(ask: Callable[..., tuple[float, Any]], path: str) -> Iterator[float]:
    marker = ""
    for _ in range(_CALLS):
        seconds, answer = ask("GET", f"{path}Marker={marker}" if marker else path.rstrip("?&"))
        yield seconds
        marker = answer.get("NextMarker", "")


def repeated(measure: Callable[[int], float]) -> list[float]:
    return [measure(number) for number in range(_CALLS)]


def invokes(small: Probed, large: Probed) -> str:
    """Warm calls of both, in turns."""
    code = Code(package("def handler(event, context):\n    return event"), None)
    configuration = {"Runtime": "python3.13", "Handler": "app.handler", "MemorySize": _MEMORY_MIB}
    lines = []
    for instance in (small, large):
        client = lambda_client(instance.settings)
        deploy(client, _INVOKED, code, configuration)
        client.close()
        address = ("127.0.0.1", instance.settings.port)
        lines.append((Connection(address), invoke_request(address, _INVOKED, b"{}")))
    found: list[list[float]] = [[], []]
    for number in range(_ROUNDS + 1):
        for times, (connection, request) in zip(found, lines, strict=True):
            seen = latencies(connection, request, _CALLS)
            times += seen if number else []  # the first are cold
    for connection, _ in lines:
        connection.close()
    first, second = (statistics.median(times) for times in found)
    return f"{shown(found[0])} and {shown(found[1])}, p50 ratio {second / first:.2f}"


def shown(times: list[float]) -> str:
    quantiles = statistics.quantiles(times, n=100)
    return f"p50 {quantiles[49] * 1000:.1f} ms, p99 {quantiles[98] * 1000:.1f} ms"


def package(source: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("app.py", source)
    return data.getvalue()


def since(began: float) -> float:
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
