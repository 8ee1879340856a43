"""Functions for tests: versions as the catalog would give them, and waiting for a fact."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from sandbox.catalog import Catalog
from sandbox.catalog.records import Version
from sandbox.invocation import Invocation
from sandbox.names import LATEST, FunctionKey, FunctionReference

KEY = FunctionKey("000000000000", "us-east-1", "my-function")


def make_version(
    version: str = LATEST,
    revision: str = "r1",
    key: FunctionKey = KEY,
    *,
    timeout: float = 3,
    **configuration: Any,
) -> Version:
    """`timeout` may be a fraction of a second, which no real version has."""
    document = {
        "FunctionName": key.name,
        "Role": f"arn:aws:iam::{key.account}:role/service-role/lambda-role",
        "Runtime": "python3.13",
        "Handler": "handler.handler",
        "PackageType": "Zip",
        "Timeout": 3,
        "MemorySize": 128,
        "EphemeralStorage": {"Size": 512},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{key.name}"},
        "RuntimeVersionConfig": {"RuntimeVersionArn": "arn:aws:lambda:us-east-1::runtime:0"},
        "State": "Active",
    }
    made = Version(key, version, document | configuration, revision)
    vars(made)["timeout"] = timeout
    return made


def created(catalog: Catalog, name: str, package: bytes, **members: Any) -> FunctionReference:
    """A function of that package, Active at once."""
    key = KEY._replace(name=name)
    role = f"arn:aws:iam::{key.account}:role/any"
    catalog.create_function(key, {"Role": role, "Code": {"ZipFile": package}, **members})
    catalog.activate(key, LATEST)
    return FunctionReference(key, None)


def make_invocation(payload: bytes = b"{}", key: FunctionKey = KEY, **members: Any) -> Invocation:
    return Invocation(FunctionReference(key, None), payload, **members)


class KeptLog:
    """A log stream that keeps what is written."""

    name = "2026/02/11/[$LATEST]0123456789abcdef0123456789abcdef"

    def __init__(self) -> None:
        self.data = b""
        self.closed = threading.Event()

    def write(self, data: bytes, at: float) -> None:
        self.data += data

    def records(self, records: Sequence[bytes], at: float) -> None:
        self.data += b"".join(records)

    events = records

    def close(self) -> None:
        self.closed.set()


def until(fact: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for what another thread or process is about to make true."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)
