"""Conditions and variables of policies in IAM's language.

Pure functions. What is not known never makes an Allow hold, and never keeps a Deny from holding: an
operator, a date or an address that cannot be read, a key of many values that no set operator
stands before. Source: the IAM user guide, "IAM JSON policy elements: Condition operators",
"Multivalued context keys" and "Variables and tags".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

Value = str | Sequence[str]
Context = Mapping[str, Value]
"""Condition keys of a request, as `AWS:SourceArn`: their case does not matter. A list is a key of
several values, as `lambda:Layer`."""

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_SPECIAL = {"*": "\ue000", "?": "\ue001", "$": "$"}
_LITERAL = str.maketrans({"*": _SPECIAL["*"], "?": _SPECIAL["?"]})


def conditions_hold(
    conditions: Any, context: Context, *, unknown: bool, variables: bool = True
) -> bool:
    """Whether a Condition holds; `context` has its keys in lower case.

    `unknown` is what one amounts to that is not known, `variables` says whether texts may hold
    `${…}`, as they do in documents of Version 2012-10-17.
    """
    if not isinstance(conditions, Mapping):
        return unknown
    for name, block in conditions.items():
        if not isinstance(block, Mapping):
            return unknown
        for key, expected in block.items():
            values = [as_text(value) for value in listed(expected)]
            resolved = [substituted(value, context) if variables else value for value in values]
            known = [value for value in resolved if value is not None]
            held = _holds(name, context.get(key.lower()), known)
            if held and None in resolved and _OPERATORS[_operator(name)][1]:
                held = None  # it differs from what nobody knows
            if not (unknown if held is None else held):
                return False
    return True


def keys_of(conditions: Any) -> set[str]:
    """The keys, in lower case, that a Condition reads, those of its variables too."""
    found: set[str] = set()
    for block in conditions.values() if isinstance(conditions, Mapping) else ():
        for key, expected in block.items() if isinstance(block, Mapping) else ():
            found.add(key.lower())
            for value in listed(expected):
                found |= variables_of(as_text(value))
    return found


def variables_of(text: str) -> set[str]:
    """The keys, in lower case, of the variables in a text."""
    return {_key_of(found) for found in _VARIABLE.findall(text)} - _SPECIAL.keys()


def substituted(text: str, context: Context) -> str | None:
    """A pattern with its variables replaced, whose own wildcards mean themselves; None when one
    has neither a value nor a default."""
    if "${" not in text:
        return text
    missing = False

    def replacement(match: re.Match[str]) -> str:
        nonlocal missing
        name = match[1].strip()
        if name in _SPECIAL:
            return _SPECIAL[name]
        value = context.get(_key_of(name))
        if isinstance(value, str):
            return value.translate(_LITERAL)
        default = name.partition(",")[2].strip()
        if len(default) > 1 and default[0] == default[-1] == "'":
            return default[1:-1].translate(_LITERAL)
        missing = True
        return ""

    replaced = _VARIABLE.sub(replacement, text)
    return None if missing else replaced


def _key_of(name: str) -> str:
    return name.partition(",")[0].strip().lower()


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is like `pattern`, where `*` stands for any text and `?` for a character.

    Never slower than the product of both lengths: patterns come from callers.
    """
    if _SPECIAL["*"] in pattern or _SPECIAL["?"] in pattern:
        text = text.translate(_LITERAL)
    if "*" not in pattern and "?" not in pattern:
        return pattern == text
    at = place = 0
    star, resume = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at += 1
            place += 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


def listed(value: Any) -> Sequence[Any]:
    """IAM lets one stand for a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


def as_text(value: Any) -> str:
    """Documents may hold true or 12 where IAM means "true" or "12"."""
    return str(value).lower() if isinstance(value, bool) else str(value)


Compare = Callable[[str, str], bool]
"""A policy's value and a request's; ValueError when either cannot be read."""


def _holds(name: str, given: Value | None, values: Sequence[str]) -> bool | None:
    """Whether one key is as an operator wants it; None when that is not known."""
    quantifier, operator = name.rpartition(":")[0], _operator(name)
    if operator not in _OPERATORS or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        return None
    compare, negated = _OPERATORS[operator]
    if operator == "Null":
        given = "true" if given is None else "false"
    elif given is None and name.endswith("IfExists"):
        return True
    many = [] if given is None else [given] if isinstance(given, str) else list(given)
    try:
        found = [any(compare(value, one) for value in values) != negated for one in many]
    except ValueError:
        return None
    if quantifier == "ForAllValues":
        return all(found)
    if quantifier == "ForAnyValue":
        return any(found)
    if given is None:
        return negated
    return found[0] if len(found) == 1 else None


def _operator(name: str) -> str:
    return name.rpartition(":")[2].removesuffix("IfExists")


def _equal(expected: str, given: str) -> bool:
    # a value that came out of a variable has its wildcards marked
    return expected in (given, given.translate(_LITERAL))


def _equal_in_any_case(expected: str, given: str) -> bool:
    return _equal(expected.lower(), given.lower())


def _arn_matches(pattern: str, arn: str) -> bool:
    """Part by part: a wildcard does not reach over the first five colons."""
    expected, given = pattern.split(":", 5), arn.split(":", 5)
    return len(expected) == len(given) == 6 and all(map(matches, expected, given))


def _number(compare: Callable[[float, float], bool]) -> Compare:
    return lambda expected, given: compare(float(given), float(expected))


def _date(compare: Callable[[float, float], bool]) -> Compare:
    return lambda expected, given: compare(_seconds(given), _seconds(expected))


def _seconds(text: str) -> float:
    """Of a date in ISO 8601, or of seconds since the Unix epoch."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _in_network(expected: str, given: str) -> bool:
    return ip_address(given) in ip_network(expected, strict=False)


_OPERATORS: Mapping[str, tuple[Compare, bool]] = {
    "StringEquals": (_equal, False),
    "StringNotEquals": (_equal, True),
    "StringEqualsIgnoreCase": (_equal_in_any_case, False),
    "StringNotEqualsIgnoreCase": (_equal_in_any_case, True),
    "StringLike": (matches, False),
    "StringNotLike": (matches, True),
    "ArnEquals": (_arn_matches, False),
    "ArnNotEquals": (_arn_matches, True),
    "ArnLike": (_arn_matches, False),
    "ArnNotLike": (_arn_matches, True),
    "Bool": (_equal_in_any_case, False),
    "Null": (_equal_in_any_case, False),
    "BinaryEquals": (_equal, False),
    "NumericEquals": (_number(float.__eq__), False),
    "NumericNotEquals": (_number(float.__eq__), True),
    "NumericLessThan": (_number(float.__lt__), False),
    "NumericLessThanEquals": (_number(float.__le__), False),
    "NumericGreaterThan": (_number(float.__gt__), False),
    "NumericGreaterThanEquals": (_number(float.__ge__), False),
    "DateEquals": (_date(float.__eq__), False),
    "DateNotEquals": (_date(float.__eq__), True),
    "DateLessThan": (_date(float.__lt__), False),
    "DateLessThanEquals": (_date(float.__le__), False),
    "DateGreaterThan": (_date(float.__gt__), False),
    "DateGreaterThanEquals": (_date(float.__ge__), False),
    "IpAddress": (_in_network, False),
    "NotIpAddress": (_in_network, True),
}
"""How each compares, and whether it holds when nothing compares."""
