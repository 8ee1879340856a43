"""Provisioned environments: started, used first, kept, replaced, moved and ended."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.catalog import Catalog, provisioned
from sandbox.catalog.records import Version
from sandbox.clock import FakeClock
from sandbox.environments.channel import FrameKind
from sandbox.environments.lifecycle import State, StopReason
from sandbox.environments.provisioned import INIT_FAILURE, NO_ROOM, Provided
from sandbox.environments.provisioning import Provisioning
from sandbox.errors import EngineUnavailable
from sandbox.names import LATEST, FunctionReference
from tests.support.functions import KEY, make_invocation, make_version, until
from tests.support.pool import SOON, Rig, waiting
from tests.support.scripted_init import exited, nothing

V1, V2 = make_version("1", "r1"), make_version("2", "r2")
FAILING = {FrameKind.START: lambda start: [exited(start.meta["generation"], "exit", "status 1")]}


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.pool.close()
    assert set(rig.launcher.removed) == set(rig.launcher.booted)


def ready(rig: Rig, count: int, version: Version = V1) -> None:
    until(lambda: rig.pool.provided(version).ready == count)


# the pool


def test_provisioned_environments_start_unasked_and_are_used_first(rig: Rig) -> None:
    on_demand = rig.lease(V1)
    rig.pool.release(on_demand)
    rig.pool.provision(KEY, [(V1, 2)])
    ready(rig, 2)
    assert repr(rig.pool) == (
        "<EnvironmentPool 3 alive: 0 starting, 0 busy, 3 idle, 0 spare, 0 waiting>"
    )
    first, second, third = rig.lease(V1), rig.lease(V1), rig.lease(V1)
    assert third is on_demand
    kinds = [environment.initialization for environment in (first, second, third)]
    assert kinds == ["provisioned-concurrency", "provisioned-concurrency", "on-demand"]
    assert rig.pool.provided(V1) == Provided(2, None)
    for environment in (first, second, third):
        rig.pool.release(environment)
    assert rig.pool.cold_starts == 1


def test_a_provisioned_environment_is_replaced_before_its_keys_end(rig: Rig) -> None:
    rig.pool.provision(KEY, [(V1, 1)])
    ready(rig, 1)
    [old] = rig.launcher.booted
    old.renew_at = rig.clock.monotonic() + 60
    rig.clock.advance(61)
    rig.scheduler.due()
    until(lambda: rig.launcher.removed == [old])
    ready(rig, 1)
    busy = rig.lease(V1)
    busy.renew_at = rig.clock.monotonic()
    rig.pool.release(busy)
    until(lambda: rig.launcher.removed == [old, busy])
    ready(rig, 1)
    assert rig.pool.cold_starts == 0


def test_more_calls_than_are_provisioned_run_on_demand(rig: Rig) -> None:
    rig.pool.provision(KEY, [(V1, 1)])
    ready(rig, 1)
    warm, cold = rig.lease(V1), rig.lease(V1)
    assert [warm.initialization, cold.initialization] == ["provisioned-concurrency", "on-demand"]
    rig.pool.release(warm)
    rig.pool.release(cold)


def test_neither_time_nor_short_memory_nor_another_version_ends_a_provisioned_one() -> None:
    rig = Rig(max_environments=2)
    rig.pool.provision(KEY, [(V1, 1)])
    ready(rig, 1)
    rig.free_mib = 1
    rig.clock.advance(10_000)
    rig.scheduler.due()
    for number in range(3):
        rig.pool.release(rig.lease(make_version(revision=f"other-{number}")))
    warm = rig.launcher.booted[0]
    assert warm.state is State.IDLE
    assert rig.lease(V1) is warm
    rig.pool.release(warm)
    rig.pool.close()


def test_a_burst_that_waits_for_room_leaves_provisioned_ones_in_their_place(
    rig: Rig, executor: ThreadPoolExecutor
) -> None:
    rig.pool.provision(KEY, [(V1, 3)])
    ready(rig, 3)
    provisioned_ones = set(rig.launcher.booted)
    burst = [executor.submit(rig.lease, V2) for _ in range(9)]
    until(waiting(rig, 2))
    assert {environment.state for environment in provisioned_ones} == {State.IDLE}
    calls = {rig.lease(V1) for _ in range(3)}
    assert calls == provisioned_ones
    for environment in calls:
        rig.pool.release(environment)
    for call in burst:
        rig.pool.release(call.result(SOON))


def test_idle_ones_make_room_for_provisioned_ones_even_of_the_same_version() -> None:
    rig = Rig(max_environments=2)
    idle = [rig.lease(V1), rig.lease(V2)]
    for environment in idle:
        rig.pool.release(environment)
    rig.pool.provision(KEY, [(V1, 1)])
    ready(rig, 1)
    assert idle[0].stop_reason is StopReason.MADE_ROOM
    rig.pool.close()


def test_what_is_provisioned_waits_for_room_while_calls_have_it_all() -> None:
    rig = Rig(max_environments=2)
    busy = [rig.lease(V2), rig.lease(V2)]
    rig.pool.provision(KEY, [(V1, 1)])
    assert rig.pool.provided(V1) == Provided(0, None)
    rig.pool.release(busy[0])
    ready(rig, 1)
    assert busy[0].stop_reason is StopReason.MADE_ROOM
    rig.pool.release(busy[1])
    rig.pool.close()


def test_a_tenth_of_the_room_is_kept_for_calls_on_demand(rig: Rig) -> None:
    rig.pool.provision(KEY, [(V1, 20)])
    ready(rig, 9)
    assert rig.pool.provided(V1) == Provided(9, NO_ROOM)
    rig.pool.release(rig.lease(V2))
    rig.pool.provision(KEY, [(V1, 4)])
    until(lambda: rig.pool.provided(V1) == Provided(4, None))


def test_room_that_a_version_gives_up_goes_to_another_that_lacks_it(rig: Rig) -> None:
    rig.pool.provision(KEY, [(V1, 9)])
    ready(rig, 9)
    busy = [rig.lease(V1) for _ in range(9)]
    other = make_version("1", "r1", key=KEY._replace(name="other"))
    rig.pool.provision(other.key, [(other, 3)])
    assert rig.pool.provided(other) == Provided(0, NO_ROOM)
    rig.pool.provision(KEY, [(V1, 6)])
    for environment in busy:
        rig.pool.release(environment)
    until(lambda: rig.pool.provided(other) == Provided(3, None))
    assert rig.pool.provided(V1) == Provided(6, None)


def test_a_provisioned_environment_whose_container_ends_is_replaced(rig: Rig) -> None:
    rig.pool.provision(KEY, [(V1, 1)])
    ready(rig, 1)
    dead = rig.launcher.booted[0]
    rig.launcher.inits[dead].channel.close()
    until(lambda: len(rig.launcher.booted) == 2)
    ready(rig, 1)
    assert dead.stop_reason is StopReason.LOST
    busy = rig.lease(V1)
    assert busy is rig.launcher.booted[1]
    rig.pool.release(busy, lost=True)
    until(lambda: len(rig.launcher.booted) == 3)
    ready(rig, 1)


def test_a_provisioned_environment_that_timed_out_is_replaced_by_one_that_is_ready(
    rig: Rig,
) -> None:
    rig.launcher.script = {FrameKind.INVOKE: nothing}
    version = make_version("1", "r1", timeout=0.01)
    rig.pool.provision(KEY, [(version, 1)])
    ready(rig, 1, version)
    late = rig.lease(version)
    assert b"Task timed out" in late.invoke(make_invocation()).payload
    rig.pool.release(late)
    assert late.stop_reason is StopReason.REPLACED
    until(lambda: len(rig.launcher.booted) == 2)
    ready(rig, 1, version)
    assert rig.launcher.booted[1].runtime_lives


def test_an_environment_on_demand_that_timed_out_is_kept_beside_provisioned_ones(rig: Rig) -> None:
    rig.launcher.script = {FrameKind.INVOKE: nothing}
    version = make_version("1", "r1", timeout=0.01)
    rig.pool.provision(KEY, [(version, 1)])
    ready(rig, 1, version)
    warm, cold = rig.lease(version), rig.lease(version)
    cold.invoke(make_invocation())
    rig.pool.release(cold)
    rig.pool.release(warm)
    assert (warm.state, cold.state) == (State.IDLE, State.RESET)


def test_what_is_no_longer_provisioned_ends_at_once_or_after_its_call(rig: Rig) -> None:
    rig.pool.provision(KEY, [(V1, 3)])
    ready(rig, 3)
    busy = rig.lease(V1)
    rig.pool.provision(KEY, [])
    until(lambda: len(rig.launcher.removed) == 2)
    assert busy.state is State.BUSY
    rig.pool.release(busy)
    assert {environment.stop_reason for environment in rig.launcher.booted} == {
        StopReason.DEPROVISIONED
    }
    until(lambda: "0 alive" in repr(rig.pool))


def test_one_that_starts_as_it_is_given_up_ends_when_it_arrives(rig: Rig) -> None:
    rig.launcher.gate.clear()
    rig.pool.provision(KEY, [(V1, 1)])
    rig.pool.provision(KEY, [])
    rig.launcher.gate.set()
    until(lambda: len(rig.launcher.removed) == 1)
    assert rig.launcher.booted[0].stop_reason is StopReason.DEPROVISIONED


def test_a_failing_init_is_told_and_tried_again_after_a_rest_however_many_fail(rig: Rig) -> None:
    rig.launcher.script = FAILING
    rig.pool.provision(KEY, [(V1, 3)])
    until(lambda: len(rig.launcher.removed) == 3)
    assert rig.pool.provided(V1) == Provided(0, INIT_FAILURE)
    assert [seconds for seconds, _ in rig.scheduler.calls[1:]] == [5.0]
    rig.scheduler.due()
    until(lambda: len(rig.launcher.removed) == 6)
    assert [seconds for seconds, _ in rig.scheduler.calls[1:]] == [5.0, 10.0]
    rig.launcher.script = {}
    rig.scheduler.due()
    until(lambda: rig.pool.provided(V1) == Provided(3, None))
    rig.scheduler.calls[1][1]()  # a rest that has ended before
    assert len(rig.launcher.booted) == 9


def test_an_engine_that_fails_is_told_and_tried_again(rig: Rig) -> None:
    rig.launcher.error = EngineUnavailable("no engine")
    rig.pool.provision(KEY, [(V1, 1)])
    until(lambda: rig.pool.provided(V1).failure == "no engine")
    rig.launcher.error = None
    rig.scheduler.due()
    until(lambda: rig.pool.provided(V1) == Provided(1, None))


def test_a_call_does_not_wait_for_a_provisioned_start_that_fails(rig: Rig) -> None:
    rig.launcher.script = FAILING
    rig.pool.provision(KEY, [(V1, 1)])
    until(lambda: rig.pool.provided(V1).failure)
    rig.launcher.script = {}
    environment = rig.lease(V1)
    assert environment.initialization == "on-demand"
    rig.pool.release(environment)


def test_a_call_that_waits_may_get_the_provisioned_environment_that_is_ready_first(
    rig: Rig, executor: ThreadPoolExecutor
) -> None:
    rig.launcher.gate.clear()
    rig.pool.provision(KEY, [(V1, 1)])
    call = executor.submit(rig.lease, V1)
    until(waiting(rig, 1))
    rig.launcher.gate.set()
    rig.pool.release(call.result(SOON))
    until(lambda: "0 starting, 0 busy, 2 idle" in repr(rig.pool))


def test_closing_ends_provisioned_environments_and_starts_none() -> None:
    rig = Rig()
    rig.pool.provision(KEY, [(V1, 2)])
    ready(rig, 2)
    busy = rig.lease(V1)
    rig.pool.close()
    rig.pool.release(busy, lost=True)
    rig.pool.provision(KEY, [(V1, 5)])
    assert set(rig.launcher.removed) == set(rig.launcher.booted)
    assert len(rig.launcher.booted) == 2


# catalog and pool


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    request = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    catalog.create_function(KEY, request)
    for number in (1, 2, 3):
        catalog.activate(KEY, LATEST)
        catalog.publish_version(KEY, {})
        catalog.activate(KEY, str(number))
        catalog.update_configuration(KEY, {"Timeout": number + 3})
    yield catalog
    catalog.close()


@pytest.fixture
def provisioning(catalog: Catalog, rig: Rig) -> Provisioning:
    return Provisioning(catalog, rig.pool)


def put(catalog: Catalog, qualifier: str, count: int) -> None:
    catalog.provision(
        KEY,
        lambda function, others: provisioned.put(
            function, qualifier, count, now=0, account=1000, others=others
        ),
    )


def by_version(rig: Rig, catalog: Catalog) -> list[int]:
    versions = catalog.function(KEY).versions
    return [rig.pool.provided(versions[name]).ready for name in ("1", "2", "3") if name in versions]


def test_an_alias_that_moves_takes_what_is_provisioned_with_it(
    catalog: Catalog, rig: Rig, provisioning: Provisioning
) -> None:
    catalog.create_alias(KEY, {"Name": "live", "FunctionVersion": "1"})
    put(catalog, "live", 2)
    until(lambda: by_version(rig, catalog) == [2, 0, 0])
    assert provisioning.provided(catalog.function(KEY), "live") == Provided(2, None)
    catalog.update_alias(KEY, "live", {"FunctionVersion": "2"})
    until(lambda: by_version(rig, catalog) == [0, 2, 0])
    catalog.update_alias(KEY, "live", {"RoutingConfig": {"AdditionalVersionWeights": {"3": 0.1}}})
    until(lambda: by_version(rig, catalog) == [0, 1, 1])
    assert provisioning.provided(catalog.function(KEY), "live") == Provided(2, None)
    catalog.delete_alias(KEY, "live")
    assert by_version(rig, catalog) == [0, 0, 0]


@pytest.mark.usefixtures("provisioning")
def test_a_deleted_version_and_a_deleted_function_keep_nothing(catalog: Catalog, rig: Rig) -> None:
    put(catalog, "1", 1)
    put(catalog, "2", 1)
    until(lambda: by_version(rig, catalog) == [1, 1, 0])
    catalog.delete_function(KEY, "1")
    assert by_version(rig, catalog) == [1, 0]
    catalog.delete_function(KEY)
    until(lambda: "0 alive" in repr(rig.pool))


@pytest.mark.usefixtures("provisioning")
def test_other_changes_of_a_function_leave_its_provisioned_environments(
    catalog: Catalog, rig: Rig
) -> None:
    put(catalog, "1", 1)
    until(lambda: by_version(rig, catalog) == [1, 0, 0])
    catalog.activate(KEY, LATEST)
    catalog.update_configuration(KEY, {"Timeout": 9})
    catalog.create_alias(KEY, {"Name": "live", "FunctionVersion": "2"})
    assert len(rig.launcher.booted) == 1
    assert rig.launcher.booted[0].state is State.IDLE


@pytest.mark.usefixtures("provisioning")
def test_putting_again_tries_a_failed_one_again_and_an_unrelated_change_does_not(
    catalog: Catalog, rig: Rig
) -> None:
    rig.launcher.script = FAILING
    put(catalog, "1", 1)
    version = catalog.function(KEY).versions["1"]
    until(lambda: rig.pool.provided(version) == Provided(0, INIT_FAILURE))
    rig.launcher.script = {}
    catalog.create_alias(KEY, {"Name": "live", "FunctionVersion": "2"})
    assert rig.pool.provided(version) == Provided(0, INIT_FAILURE)
    catalog.provision(
        KEY,
        lambda function, _: provisioned.put(function, "1", 1, now=1, account=1000, others=0),
    )
    until(lambda: rig.pool.provided(version) == Provided(1, None))


def test_a_version_that_is_pending_is_provisioned_once_it_is_active(
    catalog: Catalog, rig: Rig, provisioning: Provisioning
) -> None:
    catalog.activate(KEY, LATEST)
    catalog.publish_version(KEY, {})
    put(catalog, "4", 1)
    assert rig.launcher.booted == []
    assert provisioning.provided(catalog.function(KEY), "4") == Provided(0, None)
    catalog.activate(KEY, "4")
    until(lambda: provisioning.provided(catalog.function(KEY), "4") == Provided(1, None))


def test_another_network_is_one_for_what_is_provisioned_too(
    catalog: Catalog, rig: Rig, provisioning: Provisioning
) -> None:
    put(catalog, "1", 2)
    until(lambda: by_version(rig, catalog) == [2, 0, 0])
    before = set(rig.launcher.booted)
    catalog.tag(FunctionReference(KEY, None), {"fnbox:network": "internet"})
    until(lambda: by_version(rig, catalog) == [2, 0, 0])
    assert provisioning.provided(catalog.function(KEY), "1") == Provided(2, None)
    until(lambda: before <= set(rig.launcher.removed))


def test_what_was_provisioned_is_restored_after_a_restart(tmp_path: Path, rig: Rig) -> None:
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    request = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}, "Publish": True}
    catalog.create_function(KEY, request)
    catalog.activate(KEY, "1")
    put(catalog, "1", 3)
    catalog.close()
    again = Catalog.open(tmp_path, clock=FakeClock())
    Provisioning(again, rig.pool).restore()
    until(lambda: rig.pool.provided(again.function(KEY).versions["1"]).ready == 3)
    again.close()
