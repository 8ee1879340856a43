"""Who may run: the concurrency of an account and of a function; and what is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.access.limits import AccountLimits
from sandbox.catalog import Catalog, Version
from sandbox.clock import FakeClock
from sandbox.errors import (
    CallerError,
    Conflict,
    EngineUnavailable,
    FnboxError,
    ImageMissing,
    RecursiveInvocation,
    TooManyRequests,
)
from sandbox.invocation import Invocation, Outcome
from sandbox.lineage import RUNS, forwarded
from sandbox.metrics import Metrics
from sandbox.names import LATEST, FunctionKey, FunctionReference
from sandbox.service import InvokeService
from sandbox.traces.store import Traces
from tests.support.functions import until
from tests.support.times import turns

ACCOUNT = "000000000000"


class Environment:
    """Runs one call, until a test lets it go."""

    settling = None

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.function_error: str | None = None
        self.refusal: FnboxError | None = None
        self.tenants: list[str | None] = []
        """Whose calls have come."""
        self.missing: FnboxError | None = None

    # as the pool

    def lease(self, version: Version, timeout: float, tenant_id: str | None) -> Environment:
        if self.refusal:
            raise self.refusal
        self.tenants.append(tenant_id)
        return self

    def release(self, *_: Any, lost: bool) -> None:
        pass

    def retire(self, *_: Any) -> None:
        pass

    def provide(self, *_: Any) -> None:
        if self.missing:
            raise self.missing

    def prepare(self, *_: Any) -> None:
        self.provide()

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
        limits=AccountLimits(concurrency=3),
        turns=turns(FakeClock())[0],
    )


def call(name: str = "f", **members: Any) -> Invocation:
    reference = FunctionReference(FunctionKey(ACCOUNT, "us-east-1", name), None)
    return Invocation(reference, b"{}", **members)


def reason(service: InvokeService, name: str) -> str:
    with pytest.raises(TooManyRequests) as caught:
        service.invoke(call(name))
    return caught.value.members["Reason"]


class Running:
    """Calls that run until the block ends."""

    def __init__(self, service: InvokeService, environment: Environment) -> None:
        self.service = service
        self.environment = environment
        self.threads: list[threading.Thread] = []

    def begin(self, *names: str) -> None:
        for name in names:
            key = FunctionKey(ACCOUNT, "us-east-1", name)
            expected = self.service._running[key] + 1
            thread = threading.Thread(target=self.service.invoke, args=(call(name),))
            thread.start()
            self.threads.append(thread)
            until(lambda key=key, expected=expected: self.service._running[key] == expected)

    def __enter__(self) -> Running:
        self.environment.gate.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.environment.gate.set()
        for thread in self.threads:
            thread.join()


def test_calls_are_refused_beyond_what_is_reserved_and_beyond_what_is_not(
    service: InvokeService, catalog: Catalog, environment: Environment
) -> None:
    catalog.put_concurrency(FunctionKey(ACCOUNT, "us-east-1", "f"), 1)
    with Running(service, environment) as running:
        running.begin("f", "g", "g")
        assert reason(service, "f") == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert reason(service, "g") == "ConcurrentInvocationLimitExceeded"
    assert service.invoke(call("f")).payload == b"{}"
    assert not service._running
    assert not any(service._sharing.values())


def test_what_one_function_reserves_others_cannot_use_even_when_it_is_free(
    service: InvokeService, catalog: Catalog, environment: Environment
) -> None:
    key = FunctionKey(ACCOUNT, "us-east-1", "f")
    catalog.put_concurrency(key, 2)
    with Running(service, environment) as running:
        running.begin("g")
        assert reason(service, "g") == "ConcurrentInvocationLimitExceeded"
        running.begin("f", "f")
        catalog.put_concurrency(key, 1)
        running.begin("g")
        assert reason(service, "g") == "ConcurrentInvocationLimitExceeded"
        assert reason(service, "f") == "ReservedFunctionConcurrentInvocationLimitExceeded"
    catalog.delete_function(key)
    with Running(service, environment) as running:
        running.begin("g", "g", "g")


def test_a_call_that_ends_after_its_function_has_reserved_frees_what_it_held(
    service: InvokeService, catalog: Catalog, environment: Environment
) -> None:
    with Running(service, environment) as running:
        running.begin("f")
        catalog.put_concurrency(FunctionKey(ACCOUNT, "us-east-1", "f"), 1)
        assert reason(service, "f") == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert not service._running
    assert not any(service._sharing.values())
    service.invoke(call("f"))


def test_accounts_and_regions_do_not_share_their_concurrency(
    service: InvokeService, catalog: Catalog, environment: Environment
) -> None:
    elsewhere = FunctionKey(ACCOUNT, "eu-west-1", "f")
    catalog.create_function(
        elsewhere, {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    )
    catalog.activate(elsewhere, LATEST)
    with Running(service, environment) as running:
        running.begin("g", "g", "g")
        assert reason(service, "g") == "ConcurrentInvocationLimitExceeded"
        called = threading.Thread(
            target=service.invoke, args=(Invocation(FunctionReference(elsewhere, None), b"{}"),)
        )
        called.start()
        until(lambda: service._running[elsewhere] == 1)
        running.threads.append(called)


def test_a_function_that_reserves_nothing_runs_nothing(
    service: InvokeService, catalog: Catalog
) -> None:
    catalog.put_concurrency(FunctionKey(ACCOUNT, "us-east-1", "f"), 0)
    assert reason(service, "f") == "ReservedFunctionConcurrentInvocationLimitExceeded"
    catalog.put_concurrency(FunctionKey(ACCOUNT, "us-east-1", "f"), None)
    service.invoke(call("f"))


@pytest.fixture
def isolated(catalog: Catalog) -> str:
    """A function whose tenants do not share environments."""
    key = FunctionKey(ACCOUNT, "us-east-1", "isolated")
    image = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    catalog.create_function(key, image | {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}})
    catalog.activate(key, LATEST)
    return "isolated"


def test_a_tenant_is_named_exactly_when_the_function_isolates_them(
    service: InvokeService, environment: Environment, isolated: str
) -> None:
    service.invoke(call())
    service.invoke(call(isolated, tenant_id="blue"))
    assert environment.tenants == [None, "blue"]
    missing = (
        "The invoked function is enabled with tenancy configuration. "
        "Add a valid tenant ID in your request and try again."
    )
    for wrong, message in (
        (call(isolated), missing),
        (call(tenant_id="blue"), "The invoked function is not enabled with tenancy configuration."),
    ):
        for way in (
            service.invoke,
            service.stream,
            service.enqueue,
            lambda asked: service.check(asked.reference, asked.tenant_id),
        ):
            with pytest.raises(CallerError) as caught:
                way(wrong)
            assert caught.value.code == "InvalidParameterValueException"
            assert caught.value.message.startswith(message)
    assert environment.tenants == [None, "blue"]


def in_chain(name: str, before: int) -> Invocation:
    """A call in a chain in which the function has run so often."""
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"
    key = FunctionKey(ACCOUNT, "us-east-1", name)
    for _ in range(before + 1):
        trace = forwarded(trace, key)
    return call(name, trace_id=trace)


def test_a_function_is_stopped_in_a_loop_unless_that_is_allowed(
    service: InvokeService, catalog: Catalog
) -> None:
    service.invoke(in_chain("f", RUNS - 1))
    with pytest.raises(RecursiveInvocation):
        service.invoke(in_chain("f", RUNS))
    with pytest.raises(RecursiveInvocation):
        service.stream(in_chain("f", RUNS + 1))
    service.enqueue(in_chain("f", RUNS))  # it is accepted; its run is refused
    catalog.put_recursive_loop(FunctionKey(ACCOUNT, "us-east-1", "f"), "Allow")
    service.invoke(in_chain("f", 10 * RUNS))
    assert not service._running
    assert not any(service._sharing.values())


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


def test_a_function_whose_image_is_gone_has_failed_until_it_gets_another(
    service: InvokeService, catalog: Catalog, environment: Environment
) -> None:
    key = FunctionKey(ACCOUNT, "us-east-1", "h")
    image = {"ImageUri": "gone:1"}
    catalog.create_function(key, {"Role": "r", "PackageType": "Image", "Code": image})
    environment.missing = ImageMissing("no image gone:1")
    service._activate(key, LATEST)
    document = catalog.function(key).latest.configuration
    assert [document.get(f"State{suffix}") for suffix in ("", "Reason", "ReasonCode")] == [
        *("Failed", "Source image gone:1 does not exist.", "ImageDeleted")
    ]
    with pytest.raises(Conflict, match="currently in the following state: Failed"):
        service.invoke(call("h"))
    environment.missing = None
    catalog.update_code(key, {"ImageUri": "there:1"})
    service._activate(key, LATEST)
    assert service.invoke(call("h")).payload == b"{}"
    environment.missing = ImageMissing("no image gone:2")
    catalog.update_code(key, {"ImageUri": "gone:2"})
    service._activate(key, LATEST)
    document = catalog.function(key).latest.configuration
    assert (document["State"], document["LastUpdateStatus"]) == ("Active", "Failed")
    assert document["LastUpdateStatusReasonCode"] == "ImageDeleted"
    assert document["LastUpdateStatusReason"] == "Source image gone:2 does not exist."


def test_an_engine_that_does_not_answer_fails_no_function(
    service: InvokeService, catalog: Catalog, environment: Environment
) -> None:
    key = FunctionKey(ACCOUNT, "us-east-1", "f")
    catalog.update_code(key, {"ImageUri": "my:2"})
    environment.missing = EngineUnavailable("no engine")
    service._activate(key, LATEST)
    assert catalog.function(key).latest.configuration["LastUpdateStatus"] == "Successful"


def test_an_account_runs_only_so_much_memory_at_once(
    service: InvokeService, environment: Environment
) -> None:
    service._limits = AccountLimits(memory_mib=2 * 128)
    with Running(service, environment) as running:
        running.begin("f", "g")
        assert reason(service, "g") == "ConcurrentInvocationLimitExceeded"
    service.invoke(call("g"))
    assert service._memory[ACCOUNT] == 0
