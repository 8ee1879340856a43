from __future__ import annotations

import pytest

from sandbox.logs import compile_pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("ERROR", ["[ERROR] 1", "ERRORS"], ["error", "ERR"]),
        ("ERROR 500", ["500 is an ERROR"], ["ERROR", "500"]),
        ('"not found"', ["page not found"], ["not here, found there"]),
        ('"say \\"hi\\""', ['say "hi"'], ["say hi"]),
        ("?ERROR ?WARN", ["WARN", "ERROR"], ["INFO"]),
        ('?"bad day" ?WARN', ["a bad day", "WARN"], ["bad", "day"]),
        ("ERROR -timeout", ["ERROR"], ["ERROR: timeout", "timeout"]),
        ('ERROR -"timed out"', ["ERROR timed, out"], ["ERROR timed out"]),
        ("-debug", ["info"], ["debug"]),
        ("?WARN ERROR", ["ERROR"], ["WARN"]),
        ("RequestId: 1-2", ["START RequestId: 1-2"], ["RequestId: 1"]),
    ],
)
def test_terms_select_messages(pattern, matching, others):
    match = compile_pattern(pattern)
    assert [text for text in [*matching, *others] if match(text)] == matching


@pytest.mark.parametrize("pattern", ["", "  "])
def test_an_empty_pattern_selects_everything(pattern):
    assert compile_pattern(pattern) is None


@pytest.mark.parametrize("pattern", ['{ $.level = "ERROR" }', "[a, b]", "%err.*%", '"open', 'a"b'])
def test_other_patterns_are_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        compile_pattern(pattern)
