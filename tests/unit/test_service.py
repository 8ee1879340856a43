"""Who may run: the concurrency of an account and of a function; and what is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.errors import EngineUnavailable, FnboxError, TooManyRequests
from sandbox.invocation import Invocation, Outcome
from sandbox.metrics import Metrics
from sandbox.names import LATEST, FunctionKey, FunctionReference
from sandbox.service import InvokeService
from sandbox.traces.store import Traces
from tests.support.functions import until

ACCOUNT = "000000000000"


class Environment:
    """Runs one call, until a test lets it go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.function_error: str | None = None
        self.refusal: FnboxError | None = None

    # as the pool

    def lease(self, *_: Any) -> Environment:
        if self.refusal:
            raise self.refusal
        return self

    def release(self, *_: Any, lost: bool) -> None:
        pass

    def retire(self, *_: Any) -> None:
        pass

    # as an environment

    def invoke(self, invocation: Invocation) -> Outcome:
        assert self.gate.wait(10)
        return Outcome(invocation.payload, self.function_error, LATEST, b"", 2.0)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    for name in ("f", "g"):
        key = FunctionKey(ACCOUNT, "us-east-1", name)
        catalog.create_function(
            key, {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
        )
        catalog.activate(key, LATEST)
    yield catalog
    catalog.close()


@pytest.fixture
def environment() -> Environment:
    return Environment()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def service(catalog: Catalog, environment: Environment, metrics: Metrics) -> InvokeService:
    return InvokeService(
        catalog=catalog,
        pool=environment,  # type: ignore[arg-type]
        put_event=lambda _: None,
        metrics=metrics,
        traces=Traces(FakeClock(), count=10, max_bytes=2**20),
        wait_timeout=1,
        account_concurrency=3,
    )


def call(name: str = "f") -> Invocation:
    return Invocation(FunctionReference(FunctionKey(ACCOUNT, "us-east-1", name), None), b"{}")


def reason(service: InvokeService, name: str) -> str:
    with pytest.raises(TooManyRequests) as caught:
        service.invoke(call(name))
    return caught.value.members["Reason"]


def test_calls_are_refused_beyond_what_is_reserved_and_beyond_the_account(
    service: InvokeService, catalog: Catalog, environment: Environment
) -> None:
    catalog.put_concurrency(FunctionKey(ACCOUNT, "us-east-1", "f"), 1)
    environment.gate.clear()
    threads = [
        threading.Thread(target=service.invoke, args=(call(name),)) for name in ("f", "g", "g")
    ]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda number=number: service._running[ACCOUNT] == number)
    assert reason(service, "f") == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert reason(service, "g") == "ConcurrentInvocationLimitExceeded"
    environment.gate.set()
    for thread in threads:
        thread.join()
    assert service.invoke(call("f")).payload == b"{}"


def test_a_function_that_reserves_nothing_runs_nothing(
    service: InvokeService, catalog: Catalog
) -> None:
    catalog.put_concurrency(FunctionKey(ACCOUNT, "us-east-1", "f"), 0)
    assert reason(service, "f") == "ReservedFunctionConcurrentInvocationLimitExceeded"
    catalog.put_concurrency(FunctionKey(ACCOUNT, "us-east-1", "f"), None)
    service.invoke(call("f"))


def test_calls_are_counted_by_how_they_ended(
    service: InvokeService, environment: Environment, metrics: Metrics
) -> None:
    service.invoke(call())
    environment.function_error = "Unhandled"
    service.invoke(call())
    for refusal in (TooManyRequests("x"), EngineUnavailable("gone")):
        environment.refusal = refusal
        with pytest.raises(type(refusal)):
            service.invoke(call())
    service.enqueue(call())
    lines = metrics.exposition().decode().splitlines()
    for line in (
        "fnbox_invocations_total 2.0",
        "fnbox_function_errors_total 1.0",
        "fnbox_throttles_total 1.0",
        "fnbox_platform_errors_total 1.0",
        "fnbox_events_accepted_total 1.0",
        'fnbox_invocation_seconds_bucket{le="0.0025"} 2.0',
        "fnbox_invocation_seconds_sum 0.004",
    ):
        assert line in lines
