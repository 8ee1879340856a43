"""Identity policies: whether a document is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.errors import CallerError

POLICY_BYTES = 10_240

_STATEMENT = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_VERSIONS = ("2012-10-17", "2008-10-17")


def check_policy(document: Any) -> None:
    """Raise CallerError, which says what is wrong, unless a document is an identity policy."""
    if not isinstance(document, Mapping):
        raise _wrong("it is not a JSON object")
    if unknown := sorted(set(document) - {"Version", "Id", "Statement"}):
        raise _wrong(f"it has the element {unknown[0]}")
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise _wrong(f"its Version is none of {', '.join(_VERSIONS)}")
    statements = document.get("Statement")
    if isinstance(statements, Mapping):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise _wrong("it has no Statement")
    if len(str(document)) > POLICY_BYTES:
        raise _wrong(f"it is larger than {POLICY_BYTES} characters")
    for number, one in enumerate(statements, 1):
        _check_statement(one, f"statement {number}")


def _check_statement(one: Any, where: str) -> None:
    if not isinstance(one, Mapping):
        raise _wrong(f"{where} is not a JSON object")
    if "Principal" in one or "NotPrincipal" in one:
        raise _wrong(f"{where} has a Principal: whose policy it is, the command says")
    if unknown := sorted(set(one) - _STATEMENT):
        raise _wrong(f"{where} has the element {unknown[0]}")
    if one.get("Effect") not in ("Allow", "Deny"):
        raise _wrong(f"the Effect of {where} is neither Allow nor Deny")
    for name in ("Action", "Resource"):
        given = [element for element in (name, f"Not{name}") if element in one]
        if len(given) != 1:
            raise _wrong(f"{where} needs one of {name} and Not{name}")
        values = one[given[0]]
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not values:
            raise _wrong(f"{given[0]} of {where} is neither a text nor a list of texts")
        if not all(isinstance(value, str) and value for value in values):
            raise _wrong(f"{given[0]} of {where} has an entry that is no text")
    conditions = one.get("Condition", {})
    if not isinstance(conditions, Mapping) or not all(
        isinstance(block, Mapping) for block in conditions.values()
    ):
        raise _wrong(f"the Condition of {where} is not an object of objects")


def _wrong(what: str) -> CallerError:
    return CallerError(f"The policy cannot be used: {what}.")
