"""Chains of calls, as their trace headers tell them."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.api.context import read_trace
from sandbox.lineage import forwarded, runs_before
from sandbox.names import FunctionKey

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
F, G = (FunctionKey("000000000000", "us-east-1", name) for name in "fg")
NAMES = st.sampled_from("abcdef")


def key(name: str) -> FunctionKey:
    return F._replace(name=name)


def quoted(trace: str) -> str:
    """As botocore, inside a function, writes the header."""
    return quote(trace, safe="-=;:+&[]{}\"',")


def test_the_first_function_of_a_chain_is_alone_in_it() -> None:
    assert forwarded(TRACE, F) == f"{TRACE};Lineage=1:03574033:0"


def test_the_function_that_is_called_comes_last_with_its_runs_before() -> None:
    trace = TRACE
    for function in (F, G, F, F):
        trace = forwarded(trace, function)
    assert trace == f"{TRACE};Lineage=1:a4389112:0|1:03574033:2"
    assert runs_before(trace) == 2
    assert runs_before(forwarded(trace, G)) == 1


def test_functions_of_one_name_in_other_regions_are_others() -> None:
    assert runs_before(forwarded(forwarded(TRACE, F), F._replace(region="eu-west-1"))) == 0


@given(st.lists(NAMES, min_size=1))
def test_a_chain_counts_the_runs_of_each_function(names: list[str]) -> None:
    trace = TRACE
    for number, name in enumerate(names):
        trace = forwarded(read_trace(quoted(trace)), key(name))
        assert runs_before(trace) == names[:number].count(name)


def test_a_long_chain_forgets_what_was_called_longest_ago() -> None:
    trace = TRACE
    for number in range(200):
        trace = forwarded(trace, key(str(number)))
    assert trace.count("|") == 63
    assert runs_before(forwarded(trace, key("199"))) == 1
    assert runs_before(forwarded(trace, key("0"))) == 0


@pytest.mark.parametrize(
    "lineage", ["", "x", "1:03574033", "1:XYZ:3", "|||", "1:03574033:1000000", "::", "\u0661:x:1"]
)
def test_what_is_no_lineage_is_left_out(lineage: str) -> None:
    assert forwarded(f"{TRACE};Lineage={lineage}", F) == f"{TRACE};Lineage=1:03574033:0"


def test_of_two_entries_of_a_function_the_higher_counts() -> None:
    trace = forwarded(f"{TRACE};Lineage=1:03574033:7|1:03574033:2", F)
    assert trace == f"{TRACE};Lineage=1:03574033:8"


@pytest.mark.parametrize("trace", [None, "", "Root=1-2-3", f"{TRACE};Lineage=hello", f"{TRACE};L:"])
def test_a_trace_without_a_lineage_is_of_no_loop(trace: str | None) -> None:
    assert runs_before(trace) == 0


@given(st.text())
def test_no_header_breaks_a_lineage(text: str) -> None:
    trace = forwarded(read_trace(f"{TRACE};Lineage={text}"), F)
    assert runs_before(trace) >= 0
    assert runs_before(forwarded(trace, F)) == min(runs_before(trace) + 1, 99_999)
