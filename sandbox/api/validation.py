"""Every constraint of the service model, with AWS's sentences.

`N validation errors detected: Value '…' at 'functionName' failed to satisfy
constraint: …; …`: one clause for each constraint that a member breaks. Member
paths are lowerCamelCase. Values of sensitive shapes are not repeated. `qualifier`
comes first, then the model's order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sandbox.errors import ValidationError

Check = Callable[[Mapping[str, Any]], None]
Clauses = list[str]
_Finder = Callable[[Any, str, Clauses], None]

_NOT_NULL = "Member must not be null"

LEFT_TO_THE_OPERATION = frozenset({"Runtime"})
"""Members of requests that Lambda checks itself, with another exception and text."""

_JAVA_CLASSES = {
    # exact together with `_`, which the patterns that use them admit too
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
}


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Python's form of a Java pattern; use `fullmatch`.

    Java's `\\d`, `\\s` and `\\w` are ASCII, its `\\p{…}` are Unicode categories.
    """
    translated = pattern
    for java, python in _JAVA_CLASSES.items():
        translated = translated.replace(java, python)
    return re.compile(translated, re.ASCII if translated == pattern else re.UNICODE)


def sentence(value: str, path: str, constraint: str) -> str:
    """One constraint that is broken, as Lambda words it when it is the only one."""
    return "1 validation error detected: " + _clause(value, path, constraint)


def _clause(value: str | None, path: str, constraint: str) -> str:
    shown = "" if value is None else f" '{value}'"
    return f"Value{shown} at '{path}' failed to satisfy constraint: {constraint}"


def show(value: Any) -> str:
    """A value as Java's toString has it."""
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(show(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={show(item)}" for key, item in value.items()) + "}"
    return "null" if value is None else str(value)


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


class _Rules:
    """The constraints of one scalar shape."""

    __slots__ = ("enum", "high", "is_text", "low", "pattern", "shape")

    def __init__(self, shape: Mapping[str, Any]) -> None:
        self.shape = shape
        self.is_text = shape["type"] in ("string", "blob")
        self.low = shape.get("min")
        self.high = shape.get("max")
        self.enum = frozenset(shape.get("enum", ()))
        self.pattern: re.Pattern[str] | None = None

    def __bool__(self) -> bool:
        return not {"min", "max", "pattern", "enum"}.isdisjoint(self.shape)

    def broken(self, value: Any) -> Iterator[str]:
        """The text of each constraint that `value` breaks."""
        measured = len(value) if self.is_text else value
        if self.high is not None and measured > self.high:
            yield self._at_most()
        if self.low is not None and measured < self.low:
            yield self._at_least()
        if "pattern" in self.shape and not self._matches(value):
            yield self._matching()
        if self.enum and value not in self.enum:
            yield self._one_of()

    def all(self) -> Iterator[str]:
        if self.high is not None:
            yield self._at_most()
        if self.low is not None:
            yield self._at_least()
        if "pattern" in self.shape:
            yield self._matching()
        if self.enum:
            yield self._one_of()

    def _matches(self, value: str) -> bool:
        if self.pattern is None:  # compiled when first needed: all at once cost 60 ms of start-up
            self.pattern = compile_pattern(self.shape["pattern"])
        return self.pattern.fullmatch(value) is not None

    def _at_most(self) -> str:
        return f"Member must have {self._measure()} less than or equal to {self.high}"

    def _at_least(self) -> str:
        return f"Member must have {self._measure()} greater than or equal to {self.low}"

    def _measure(self) -> str:
        return "length" if self.is_text else "value"

    def _matching(self) -> str:
        return f"Member must satisfy regular expression pattern: {self.shape['pattern']}"

    def _one_of(self) -> str:
        return f"Member must satisfy enum value set: [{', '.join(self.shape['enum'])}]"


class Constraints:
    """Compiles the check of each shape, once."""

    def __init__(self, shapes: Mapping[str, Any]) -> None:
        self._shapes = shapes
        self._made: dict[str, _Finder | None] = {}

    def of_request(self, shape: str | None) -> Check:
        """The check of a whole request; raises ValidationError."""
        find = self._structure(self._shapes[shape], order=_qualifier_first) if shape else None

        def check(members: Mapping[str, Any]) -> None:
            if find is None:
                return
            clauses: Clauses = []
            find(members, "", clauses)
            if clauses:
                plural = "s" if len(clauses) > 1 else ""
                raise ValidationError(
                    f"{len(clauses)} validation error{plural} detected: {'; '.join(clauses)}"
                )

        return check

    def _of(self, name: str) -> _Finder | None:
        """What finds broken constraints in a value of the shape; None when it has none."""
        if name not in self._made:
            # a shape that holds itself finds this entry while it is being compiled
            self._made[name] = lambda value, path, clauses: self._again(name, value, path, clauses)
            self._made[name] = self._compile(self._shapes[name])
        return self._made[name]

    def _again(self, name: str, value: Any, path: str, clauses: Clauses) -> None:
        find = self._made[name]
        if find is not None:
            find(value, path, clauses)

    def _compile(self, shape: Mapping[str, Any]) -> _Finder | None:
        kind = shape["type"]
        if kind == "structure":
            return self._structure(shape)
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        rules = _Rules(shape)
        return _scalar(rules, bool(shape.get("sensitive"))) if rules else None

    def _structure(
        self, shape: Mapping[str, Any], order: Callable[[str], bool] | None = None
    ) -> _Finder | None:
        required = set(shape.get("required", ()))
        names = sorted(shape["members"], key=order) if order else shape["members"]
        fields = tuple(
            (name, _lower(name), name in required, self._of(shape["members"][name]["shape"]))
            for name in names
            if order is None or name not in LEFT_TO_THE_OPERATION
        )
        fields = tuple(field for field in fields if field[2] or field[3])
        if not fields:
            return None

        def find(value: Any, path: str, clauses: Clauses) -> None:
            for name, lower, needed, inner in fields:
                item = value.get(name)
                if item is None:
                    if needed:
                        clauses.append(
                            f"Value null at '{path}{lower}' failed to satisfy constraint: "
                            f"{_NOT_NULL}"
                        )
                elif inner is not None:
                    inner(item, path + lower, clauses)

        def find_nested(value: Any, path: str, clauses: Clauses) -> None:
            find(value, f"{path}.", clauses)

        return find if order else find_nested

    def _list(self, shape: Mapping[str, Any]) -> _Finder:
        element = self._shapes[shape["member"]["shape"]]
        sensitive = bool(shape.get("sensitive") or element.get("sensitive"))
        size = _Rules({**shape, "type": "string"})
        if element["type"] in ("structure", "list", "map"):
            inner = self._of(shape["member"]["shape"])
            rules = None
        else:
            inner, rules = None, _Rules(element)

        def find(value: Any, path: str, clauses: Clauses) -> None:
            shown = None if sensitive else show(value)
            clauses.extend(_clause(shown, path, text) for text in size.broken(value))
            if rules is not None:
                if any(item is None or any(rules.broken(item)) for item in value):
                    texts = ", ".join([*rules.all(), _NOT_NULL])
                    clauses.append(
                        _clause(shown, path, f"Member must satisfy constraint: [{texts}]")
                    )
                return
            for number, item in enumerate(value, 1):
                if item is None:
                    clauses.append(
                        f"Value null at '{path}.{number}.member' failed to satisfy constraint: "
                        f"{_NOT_NULL}"
                    )
                elif inner is not None:
                    inner(item, f"{path}.{number}.member", clauses)

        return find

    def _map(self, shape: Mapping[str, Any]) -> _Finder:
        key_shape = self._shapes[shape["key"]["shape"]]
        value_shape = self._shapes[shape["value"]["shape"]]
        sensitive = any(part.get("sensitive") for part in (shape, key_shape, value_shape))
        size, keys = _Rules({**shape, "type": "string"}), _Rules(key_shape)
        nested = value_shape["type"] in ("structure", "list", "map")
        inner = self._of(shape["value"]["shape"]) if nested else None
        values = None if nested else _Rules(value_shape)

        def find(value: Any, path: str, clauses: Clauses) -> None:
            shown = None if sensitive else show(value)
            clauses.extend(_clause(shown, path, text) for text in size.broken(value))
            if any(any(keys.broken(key)) for key in value):
                texts = ", ".join([*keys.all(), _NOT_NULL])
                clauses.append(_clause(shown, path, f"Map keys must satisfy constraint: [{texts}]"))
            if any(
                item is None or (values is not None and any(values.broken(item)))
                for item in value.values()
            ):
                texts = ", ".join([*(values.all() if values is not None else ()), _NOT_NULL])
                clauses.append(
                    _clause(shown, path, f"Map value must satisfy constraint: [{texts}]")
                )
            if inner is not None:
                for key, item in value.items():
                    if item is not None:
                        inner(item, f"{path}.{key}.member", clauses)

        return find


def _scalar(rules: _Rules, sensitive: bool) -> _Finder:
    def find(value: Any, path: str, clauses: Clauses) -> None:
        for text in rules.broken(value):
            clauses.append(_clause(None if sensitive else show(value), path, text))

    return find


def _qualifier_first(name: str) -> bool:
    return name != "Qualifier"
