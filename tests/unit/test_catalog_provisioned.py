from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.catalog.attachments import ProvisionedConcurrency
from sandbox.catalog.provisioned import shares, targets
from sandbox.catalog.records import Alias, Function
from tests.support.functions import KEY


def function(count: int, weights: dict[str, float]) -> Function:
    alias = Alias(KEY, "live", "1", "", weights, "r")
    config = ProvisionedConcurrency(KEY, "live", count, 0)
    return Function(KEY, {}, {"live": alias}, {}, provisioned={"live": config})


@pytest.mark.parametrize(
    ("count", "weights", "expected"),
    [
        (3, {}, {"1": 3}),
        (10, {"2": 0.3}, {"1": 7, "2": 3}),
        (10, {"2": 0.01}, {"1": 9, "2": 1}),
        (10, {"2": 0.99}, {"1": 1, "2": 9}),
        (10, {"2": 0.0}, {"1": 10, "2": 0}),
        (10, {"2": 1.0}, {"1": 0, "2": 10}),
        (1, {"2": 0.2}, {"1": 1, "2": 0}),
        (1, {"2": 0.8}, {"1": 0, "2": 1}),
    ],
)
def test_a_weighted_alias_shares_in_proportion_and_leaves_no_version_without(
    count: int, weights: dict[str, float], expected: dict[str, int]
) -> None:
    assert shares(function(count, weights), "live") == expected


@given(count=st.integers(1, 1000), weight=st.floats(0, 1))
def test_shares_are_all_that_was_requested(count: int, weight: float) -> None:
    found = shares(function(count, {"2": weight}), "live")
    assert sum(found.values()) == count
    assert min(found.values()) >= 0


def test_targets_are_by_version_whatever_named_it() -> None:
    both = function(4, {"2": 0.5})
    configs = {**both.provisioned, "3": ProvisionedConcurrency(KEY, "3", 1, 0)}
    mixed = Function(KEY, {}, both.aliases, {}, provisioned=configs)
    assert targets(mixed) == {"1": 2, "2": 2, "3": 1}
