from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.environments.placement import Census, Limits, Plan, plan, provisionable, surplus

COUNTS = st.integers(0, 50)


@pytest.mark.parametrize(
    ("census", "expected"),
    [
        (Census(waiting=1, starting=0, alive=0, retirable=0), Plan(1, 0)),
        (Census(waiting=3, starting=1, alive=1, retirable=0), Plan(2, 0)),
        (Census(waiting=1, starting=1, alive=1, retirable=0), Plan(0, 0)),
        (Census(waiting=1, starting=2, alive=2, retirable=0), Plan(0, 0)),
        (Census(waiting=2, starting=0, alive=9, retirable=4), Plan(2, 1)),
        (Census(waiting=5, starting=0, alive=10, retirable=2), Plan(2, 2)),
        (Census(waiting=5, starting=0, alive=10, retirable=0), Plan(0, 0)),
        (Census(waiting=1, starting=0, alive=12, retirable=3), Plan(1, 1)),
    ],
)
def test_as_many_start_as_wait_and_room_allows(census: Census, expected: Plan) -> None:
    assert plan(census, Limits(10)) == expected


def test_calls_come_before_what_is_provisioned() -> None:
    census = Census(waiting=3, starting=1, alive=7, retirable=1, missing=5)
    assert plan(census, Limits(10)) == Plan(start=2, retire=1, provision=2)


@pytest.mark.parametrize(("limit", "expected"), [(1, 0), (2, 1), (19, 18), (240, 216)])
def test_a_tenth_of_the_room_is_never_provisioned(limit: int, expected: int) -> None:
    assert provisionable(Limits(limit)) == expected


@given(
    waiting=COUNTS,
    starting=COUNTS,
    alive=COUNTS,
    retirable=COUNTS,
    missing=COUNTS,
    limit=st.integers(1, 40),
)
def test_a_plan_never_exceeds_the_limit_or_what_there_is(
    waiting: int, starting: int, alive: int, retirable: int, missing: int, limit: int
) -> None:
    census = Census(waiting, starting, alive, retirable, missing)
    start, retire, provision = plan(census, Limits(limit))
    assert 0 <= start <= max(0, waiting - starting)
    assert 0 <= provision <= missing
    assert 0 <= retire <= retirable
    more = start + provision
    assert more == 0 or alive > limit or alive + more - retire <= limit


@pytest.mark.parametrize(
    ("available", "idle", "expected"),
    [(600, 40, 0), (512, 40, 0), (511, 40, 10), (0, 1, 1), (0, 0, 0)],
)
def test_idle_environments_are_given_up_while_memory_is_short(
    available: int, idle: int, expected: int
) -> None:
    assert surplus(available, 512, idle) == expected
