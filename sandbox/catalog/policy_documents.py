"""Policies that callers write themselves: read, checked, and in one form.

What is checked is what `iam` relies on, and what a policy of a Lambda resource has to have.
Source: the IAM user guide, "Grammar of the IAM JSON policy language". The texts of errors are
ours, but for that about principals.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.catalog import iam
from sandbox.errors import CallerError

Document = dict[str, Any]

_VERSIONS = ("2012-10-17", "2008-10-17")
_ELEMENTS = {
    *("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction"),
    *("Resource", "NotResource", "Condition"),
}
_ACTION = re.compile(r"\*|lambda:[a-zA-Z*?]+", re.IGNORECASE)
_KINDS: Mapping[str, Callable[[str], bool]] = {
    "AWS": lambda text: text == iam.ANYONE or iam.is_identity(text),
    "Service": iam.is_service,
}


def read(text: str) -> Document:
    """The document, with its Statement as a list. Raises CallerError."""
    try:
        document = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _invalid("it is not JSON") from error
    if not isinstance(document, dict) or not document.keys() <= {"Version", "Id", "Statement"}:
        raise _invalid("it is an object with Version, Id and Statement")
    if document.get("Version", _VERSIONS[-1]) not in _VERSIONS:
        raise _invalid(f"its Version is one of {', '.join(_VERSIONS)}")
    if not isinstance(document.get("Id", ""), str):
        raise _invalid("its Id is a text")
    given = document.get("Statement")
    statements: list[Any] = given if isinstance(given, list) else [given]
    if not statements:
        raise _invalid("it has no Statement")
    for one in statements:
        _check(one)
    sids = [one["Sid"] for one in statements if "Sid" in one]
    if len(sids) != len(set(sids)):
        raise _invalid("each Sid is there once")
    return {**document, "Statement": statements}


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(text)
    return number


def _check(one: Any) -> None:
    if not isinstance(one, dict) or not one.keys() <= _ELEMENTS:
        raise _invalid(f"a statement is an object with some of {', '.join(sorted(_ELEMENTS))}")
    if not isinstance(one.get("Sid", ""), str):
        raise _invalid("a Sid is a text")
    if one.get("Effect") not in ("Allow", "Deny"):
        raise _invalid("an Effect is Allow or Deny")
    _check_principal(_either(one, "Principal"))
    if not all(map(_ACTION.fullmatch, _texts(_either(one, "Action"), "an Action"))):
        raise _invalid("an Action is * or begins with lambda:")
    _texts(_either(one, "Resource"), "a Resource")
    _check_condition(one.get("Condition", {}))


def _either(one: Mapping[str, Any], name: str) -> Any:
    """The value of an element or of its Not… form."""
    if (name in one) == (f"Not{name}" in one):
        raise _invalid(f"a statement has either {name} or Not{name}")
    return one[name] if name in one else one[f"Not{name}"]


def _check_principal(principal: Any) -> None:
    if principal == iam.ANYONE:
        return
    if not isinstance(principal, dict) or not principal or not principal.keys() <= _KINDS.keys():
        raise iam.invalid_principal()
    for kind, given in principal.items():
        if not all(map(_KINDS[kind], _texts(given, "a Principal"))):
            raise iam.invalid_principal()


def _check_condition(condition: Any) -> None:
    blocks = condition.values() if isinstance(condition, dict) else [None]
    for block in blocks:
        if not isinstance(block, dict):
            raise _invalid("a Condition is an object of operators, and these of keys")
        for value in block.values():
            values = value if isinstance(value, list) else [value]
            if not values or not all(isinstance(item, str | bool | int | float) for item in values):
                raise _invalid("a condition's values are texts, numbers or booleans")


def _texts(value: Any, what: str) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise _invalid(f"{what} is a text, or a list of texts")
    return texts


def _invalid(reason: str) -> CallerError:
    return CallerError(f"The policy is not valid: {reason}.")
