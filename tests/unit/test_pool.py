from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from sandbox.environments.channel import FrameKind
from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.lifecycle import State, StopReason
from sandbox.errors import EngineUnavailable, EnvironmentFailed, TooManyRequests
from sandbox.names import FunctionKey
from tests.support.functions import KEY, make_version, until
from tests.support.pool import SOON, Rig, waiting
from tests.support.scripted_init import SPEC, exited

OLD, NEW = make_version(revision="r1"), make_version(revision="r2")
ANOTHERS = make_version(revision="r1", key=KEY._replace(name="another"))


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.pool.close()


def test_an_idle_environment_is_used_again_most_recent_first(rig: Rig) -> None:
    first, second = rig.lease(), rig.lease()
    assert repr(rig.pool) == (
        "<EnvironmentPool 2 alive: 0 starting, 2 busy, 0 idle, 0 spare, 0 waiting>"
    )
    rig.pool.release(first)
    rig.pool.release(second)
    assert repr(rig.pool) == (
        "<EnvironmentPool 2 alive: 0 starting, 0 busy, 2 idle, 0 spare, 0 waiting>"
    )
    assert rig.lease() is second
    assert rig.lease() is first


def test_tenants_share_neither_an_environment_nor_one_that_another_waits_for(
    executor: ThreadPoolExecutor,
) -> None:
    rig = Rig(max_environments=2)
    version = make_version()
    blue = rig.pool.lease(version, SOON, "blue")
    green = rig.pool.lease(version, SOON, "green")
    assert [one.tenant_id for one in (blue, green)] == ["blue", "green"]
    waits = executor.submit(rig.pool.lease, version, SOON, "green")
    until(waiting(rig, 1))
    rig.pool.release(green)
    assert waits.result() is green
    rig.pool.release(blue)
    rig.pool.release(green)
    assert rig.pool.lease(version, SOON, "blue") is blue
    red = rig.pool.lease(version, SOON, "red")
    assert green.stop_reason is StopReason.MADE_ROOM
    rig.pool.retire(KEY, ())
    rig.pool.release(blue)
    rig.pool.release(red)
    assert blue.stop_reason is red.stop_reason is StopReason.VERSION_RETIRED
    rig.pool.close()


def test_environments_of_tenants_go_on_when_another_function_changes(rig: Rig) -> None:
    blue = rig.pool.lease(make_version(), SOON, "blue")
    rig.pool.release(blue)
    rig.pool.retire(KEY, [make_version()])
    rig.pool.retire(KEY._replace(name="other"), ())
    assert rig.pool.lease(make_version(), SOON, "blue") is blue
    rig.pool.release(blue)


def test_calls_at_once_start_as_many_environments_and_no_more(
    rig: Rig, executor: ThreadPoolExecutor
) -> None:
    rig.launcher.gate.clear()
    leases = [executor.submit(rig.lease) for _ in range(5)]
    until(waiting(rig, 5))
    rig.launcher.gate.set()
    environments = {lease.result() for lease in leases}
    assert len(environments) == len(rig.launcher.booted) == 5
    for environment in environments:
        rig.pool.release(environment)


def test_a_freed_environment_goes_to_the_call_that_waited_longest(
    executor: ThreadPoolExecutor,
) -> None:
    rig = Rig(max_environments=1)
    busy = rig.lease()
    order: list[Future[ExecutionEnvironment]] = []
    for count in (1, 2):
        order.append(executor.submit(rig.lease))
        until(waiting(rig, count))
    rig.pool.release(busy)
    assert order[0].result() is busy
    assert not order[1].done()
    rig.pool.release(busy)
    assert order[1].result() is busy
    rig.pool.release(busy)
    rig.pool.close()


def test_a_call_that_waited_too_long_is_throttled_and_gets_nothing_later(
    executor: ThreadPoolExecutor,
) -> None:
    rig = Rig(max_environments=1)
    busy = rig.lease()
    with pytest.raises(TooManyRequests) as caught:
        rig.lease(timeout=0.01)
    assert caught.value.members["Reason"] == "ConcurrentInvocationLimitExceeded"
    rig.pool.release(busy)
    assert "1 idle, 0 spare, 0 waiting" in repr(rig.pool)
    rig.pool.close()


def test_another_version_gets_room_from_the_longest_idle(executor: ThreadPoolExecutor) -> None:
    rig = Rig(max_environments=2)
    oldest, newest = rig.lease(make_version("1", "r1")), rig.lease(make_version("2", "r2"))
    rig.pool.release(oldest)
    rig.pool.release(newest)
    third = rig.lease(make_version("3", "r3"))
    assert oldest.stop_reason is StopReason.MADE_ROOM
    until(lambda: rig.launcher.removed == [oldest])
    assert newest.state is State.IDLE
    rig.pool.release(third)
    rig.pool.close()


def test_a_call_that_found_no_room_is_served_when_another_version_frees_some(
    executor: ThreadPoolExecutor,
) -> None:
    rig = Rig(max_environments=1)
    busy = rig.lease(make_version("1", "r1"))
    other = executor.submit(rig.lease, make_version("2", "r2"))
    until(waiting(rig, 1))
    rig.pool.release(busy)
    assert other.result() is not busy
    assert busy.stop_reason is StopReason.MADE_ROOM
    rig.pool.release(other.result())
    rig.pool.close()


def test_a_start_that_fails_fails_one_call_and_leaves_no_trace(
    rig: Rig, executor: ThreadPoolExecutor
) -> None:
    rig.launcher.error = EngineUnavailable("no engine")
    with pytest.raises(EngineUnavailable):
        rig.lease()
    assert repr(rig.pool) == (
        "<EnvironmentPool 0 alive: 0 starting, 0 busy, 0 idle, 0 spare, 0 waiting>"
    )
    rig.launcher.error = None
    rig.pool.release(rig.lease())


def test_a_failed_init_is_given_to_a_call_that_waits_but_never_kept_for_nobody(rig: Rig) -> None:
    rig.launcher.script = {
        FrameKind.START: lambda start: [exited(start.meta["generation"], "exit", "exit status 1")]
    }
    environment = rig.lease()
    assert environment.state is State.BUSY
    assert not environment.runtime_lives
    rig.pool.release(environment)
    assert environment.state is State.RESET
    assert rig.lease() is environment
    rig.pool.release(environment)


def test_a_lost_environment_is_removed_and_its_call_can_be_made_again(rig: Rig) -> None:
    environment = rig.lease()
    rig.pool.release(environment, lost=True)
    until(lambda: rig.launcher.removed == [environment])
    assert environment.stop_reason is StopReason.LOST
    assert rig.lease() is not environment
    rig.pool.release(rig.launcher.booted[-1])


def test_an_idle_environment_whose_container_ends_is_forgotten(rig: Rig) -> None:
    environment = rig.lease()
    rig.pool.release(environment)
    rig.launcher.inits[environment].channel.close()
    until(lambda: rig.launcher.removed == [environment])
    assert environment.stop_reason is StopReason.LOST
    assert "0 alive" in repr(rig.pool)


def test_a_replaced_revision_serves_nobody_new(rig: Rig) -> None:
    old, new = make_version(revision="r1"), make_version(revision="r2")
    idle, busy = rig.lease(old), rig.lease(old)
    rig.pool.release(idle)
    rig.pool.retire(KEY, [new])
    assert idle.stop_reason is StopReason.VERSION_RETIRED
    assert busy.state is State.BUSY
    rig.pool.release(busy)
    assert busy.stop_reason is StopReason.VERSION_RETIRED
    fresh = rig.lease(new)
    rig.pool.retire(KEY, [new])
    rig.pool.release(fresh)
    assert fresh.state is State.IDLE


def test_retiring_one_function_leaves_the_others(rig: Rig) -> None:
    other = make_version(key=FunctionKey("000000000000", "us-east-1", "other"))
    environment = rig.lease(other)
    rig.pool.release(environment)
    rig.pool.retire(KEY, [])
    assert environment.state is State.IDLE


def test_an_environment_that_was_idle_for_the_keep_alive_is_retired(rig: Rig) -> None:
    first, second = rig.lease(), rig.lease()
    rig.pool.release(first)
    rig.clock.advance(300)
    rig.pool.release(second)
    rig.clock.advance(300)
    rig.scheduler.due()
    assert first.stop_reason is StopReason.KEEP_ALIVE_EXPIRED
    assert second.state is State.IDLE


def test_an_environment_is_replaced_before_its_keys_end(rig: Rig) -> None:
    idle, busy = rig.lease(), rig.lease()
    for environment in (idle, busy):
        environment.renew_at = rig.clock.monotonic() + 60
    rig.pool.release(idle)
    rig.clock.advance(61)
    rig.scheduler.due()
    until(lambda: rig.launcher.removed == [idle])
    assert idle.stop_reason is StopReason.KEEP_ALIVE_EXPIRED
    rig.pool.release(busy)
    until(lambda: rig.launcher.removed == [idle, busy])
    assert busy.stop_reason is StopReason.REPLACED


def test_idle_environments_are_given_up_when_the_machine_is_short_of_memory(rig: Rig) -> None:
    environments = [rig.lease() for _ in range(8)]
    for environment in environments:
        rig.pool.release(environment)
    rig.free_mib = 100
    rig.scheduler.due()
    reasons = [environment.stop_reason for environment in environments]
    assert reasons == [StopReason.LOW_MEMORY] * 2 + [None] * 6


def test_a_spare_takes_the_place_of_a_start_and_is_replaced() -> None:
    rig = Rig(spares=1)
    rig.pool.prepare(make_version())
    until(lambda: "1 spare" in repr(rig.pool))
    spare = rig.launcher.booted[0]
    assert rig.lease() is spare
    until(lambda: "1 spare" in repr(rig.pool))
    assert repr(rig.pool) == (
        "<EnvironmentPool 2 alive: 0 starting, 1 busy, 0 idle, 1 spare, 0 waiting>"
    )
    rig.pool.release(spare)
    rig.pool.close()
    assert set(rig.launcher.removed) == set(rig.launcher.booted)


def test_spares_are_started_after_what_calls_wait_for(executor: ThreadPoolExecutor) -> None:
    rig = Rig(spares=1)
    rig.launcher.gate.clear()
    lease = executor.submit(rig.lease)
    until(lambda: rig.launcher.waits == 1)
    rig.pool.prepare(make_version())
    assert rig.pool.census()["starting"] == 1
    rig.launcher.gate.set()
    until(lambda: "1 spare" in repr(rig.pool))
    assert lease.result() is rig.launcher.booted[0]
    rig.pool.release(lease.result())
    rig.pool.close()


def test_a_spare_makes_room_for_a_call() -> None:
    rig = Rig(spares=1, max_environments=1)
    rig.pool.prepare(make_version())
    until(lambda: "1 spare" in repr(rig.pool))
    environment = rig.lease()
    assert rig.launcher.booted[0].stop_reason is StopReason.MADE_ROOM
    rig.pool.release(environment)
    rig.pool.close()


def made_of_images(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> None:
    """Versions are images, of the name of their revisions."""
    spec = replace(SPEC, whole=True)
    monkeypatch.setattr(rig.launcher, "spec", lambda one: replace(spec, image=one.revision))


def test_spares_of_an_image_end_with_the_last_version_that_is_made_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(spares=1)
    made_of_images(monkeypatch, rig)
    for version in (OLD, ANOTHERS, NEW):
        rig.pool.prepare(version)
    until(lambda: "2 spare" in repr(rig.pool))
    rig.pool.retire(KEY, [NEW])
    assert "2 spare" in repr(rig.pool)
    rig.pool.retire(ANOTHERS.key, [])
    assert "1 spare" in repr(rig.pool)
    ended = {spare.spec.image: spare.stop_reason for spare in rig.launcher.booted}
    assert ended == {OLD.revision: StopReason.VERSION_RETIRED, NEW.revision: None}
    rig.pool.close()


def test_a_spare_that_comes_too_late_for_its_version_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(spares=1)
    made_of_images(monkeypatch, rig)
    rig.launcher.gate.clear()
    rig.pool.prepare(OLD)
    rig.pool.retire(KEY, [])
    rig.launcher.gate.set()
    until(lambda: rig.launcher.removed)
    assert rig.launcher.booted[0].stop_reason is StopReason.VERSION_RETIRED
    rig.pool.close()


def test_spares_of_a_runtime_stay_without_a_function() -> None:
    rig = Rig(spares=1)
    rig.pool.prepare(OLD)
    until(lambda: "1 spare" in repr(rig.pool))
    rig.pool.retire(KEY, [])
    assert "1 spare" in repr(rig.pool)
    rig.pool.close()


def test_closing_refuses_who_waits_and_ends_everything(executor: ThreadPoolExecutor) -> None:
    rig = Rig(max_environments=1)
    busy = rig.lease()
    waiter = executor.submit(rig.lease)
    until(waiting(rig, 1))
    rig.pool.close()
    with pytest.raises(EnvironmentFailed, match="shutting down"):
        waiter.result()
    assert rig.launcher.removed == [busy]
    assert (busy.state, busy.stop_reason) == (State.STOPPED, StopReason.SHUTDOWN)
    rig.pool.release(busy, lost=True)
    with pytest.raises(EnvironmentFailed, match="shutting down"):
        rig.lease()


def test_a_thousand_calls_at_once_never_share_an_environment(
    rig: Rig, executor: ThreadPoolExecutor
) -> None:
    held: set[ExecutionEnvironment] = set()
    lock = threading.Lock()
    versions = [make_version(str(number), f"r{number}") for number in range(1, 4)]

    def call(number: int) -> None:
        environment = rig.pool.lease(versions[number % 3], SOON)
        with lock:
            assert environment not in held
            held.add(environment)
        assert environment.version is versions[number % 3]
        with lock:
            held.remove(environment)
        rig.pool.release(environment, lost=number % 50 == 0)

    list(executor.map(call, range(1000)))
    until(lambda: "0 starting, 0 busy" in repr(rig.pool))
    until(lambda: len(rig.launcher.booted) - len(rig.launcher.removed) <= 10)  # of those that end
