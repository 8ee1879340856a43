"""The seccomp profile and the page that gives its reasons say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ENGINES = Path(__file__).parents[2] / "sandbox" / "engines"
PROFILE: dict[str, Any] = json.loads((ENGINES / "seccomp.json").read_text())
PAGE = (ENGINES / "SECCOMP.md").read_text()


def named_in(table: str) -> set[str]:
    """The calls in the first column of the table that begins so."""
    rows = PAGE[PAGE.index(table) :].split("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


LEFT_OUT, IN_PART = named_in("| left out |"), named_in("| call |")


def test_what_is_not_named_is_refused() -> None:
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    assert PROFILE["defaultErrnoRet"] == 1


def test_every_group_says_what_it_is_for_and_allows_or_answers_enosys() -> None:
    for group in PROFILE["syscalls"]:
        assert group["comment"]
        assert group["action"] == "SCMP_ACT_ALLOW" or group["errnoRet"] == 38


def test_nothing_that_the_page_leaves_out_is_in_the_profile() -> None:
    assert len(LEFT_OUT) > 50
    named = {name for group in PROFILE["syscalls"] for name in group["names"]}
    assert named & LEFT_OUT == set()


def test_what_is_allowed_in_part_is_on_the_page() -> None:
    part = {
        name
        for group in PROFILE["syscalls"]
        for name in group["names"]
        if group.get("args") or group["action"] != "SCMP_ACT_ALLOW"
    }
    assert part == IN_PART


@pytest.mark.parametrize("flag", range(32))
def test_clone_lets_pass_no_flag_of_a_new_namespace(flag: int) -> None:
    (group,) = [group for group in PROFILE["syscalls"] if group["names"] == ["clone"]]
    (rule,) = group["args"]
    namespaces = {7, 17, 25, 26, 27, 28, 29, 30}  # TIME, NS, CGROUP, UTS, IPC, USER, PID, NET
    # CLONE_NEWTIME shares its bit with the exit signal, and only clone3 takes it.
    assert bool(rule["value"] >> flag & 1) == (flag in namespaces - {7})
    assert (rule["index"], rule["valueTwo"], rule["op"]) == (0, 0, "SCMP_CMP_MASKED_EQ")
