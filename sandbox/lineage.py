"""The functions that a chain of calls has been through: how Lambda finds a function that calls
itself, also by way of others.

The trace header has them: `Lineage=1:0f5c3a9e:2|1:68fd508a:0` has an entry for each function, with
a hash of its ARN and how often it had run in this chain before; the one that is called comes last.
SDKs inside a function send its trace header with every request that they make, so nothing has to be
kept here. A single entry looks as captures of AWS's headers do; how AWS writes several is not
documented beyond X-Ray's example, where `|` joins them.
Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from sandbox.names import FunctionKey

RUNS = 16
"""How often a function may run in one chain."""

_MARK = ";Lineage="
_ENTRY = re.compile(r"[0-9]{1,3}:([0-9a-f]{8}):([0-9]{1,5})")
_JOINT = re.compile(r"\||%7[Cc]")
"""botocore quotes the header's value, and with it the `|`."""
_LONGEST = 64
"""Entries at most; the functions that were called longest ago are forgotten."""
_MOST = 99_999


def forwarded(trace: str, function: FunctionKey) -> str:
    """The trace with which `function` is called, from the one that its caller sent or that was
    made for it; whatever is no entry in its lineage is left out."""
    head, mark, lineage = trace.partition(_MARK)
    own = _hash(function)
    if not mark:
        return f"{trace};Lineage=1:{own}:0"
    before, others = -1, []
    for text in _JOINT.split(lineage):
        entry = _ENTRY.fullmatch(text)
        if entry is None:
            continue
        if entry[1] == own:
            before = max(before, int(entry[2]))
        else:
            others.append(text)
    last = f"1:{own}:{min(before + 1, _MOST)}"
    return f"{head}{_MARK}{'|'.join([*others[1 - _LONGEST :], last])}"


def runs_before(trace: str | None) -> int:
    """How often the function that a trace was forwarded to had run in its chain before."""
    if trace is None or trace.endswith(":0"):  # nearly always
        return 0
    _, _, lineage = trace.partition(_MARK)
    count = lineage.rpartition(":")[2]
    return int(count) if len(count) <= 5 and count.isdecimal() else 0


@lru_cache(maxsize=16_384)
def _hash(function: FunctionKey) -> str:
    return hashlib.sha256(function.arn.encode()).hexdigest()[:8]
