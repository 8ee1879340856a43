"""Hypothesis strategies for members of the service model's shapes."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.model import Shape
from hypothesis import strategies as st

from sandbox.api.validation import compile_pattern

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
PRINTABLE = st.characters(min_codepoint=33, max_codepoint=126)
# made once: to make strategies anew for each example takes longer than to draw from them
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(TEXT, TEXT, max_size=2),
)


@cache
def members_of(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that satisfy every constraint of the shape."""
    kind, limits = shape.type_name, shape.metadata
    low, high = limits.get("min"), limits.get("max")
    if kind == "structure":
        required = {
            n: members_of(m) for n, m in shape.members.items() if n in shape.required_members
        }
        optional = {n: members_of(m) for n, m in shape.members.items() if n not in required}
        return st.fixed_dictionaries(required, optional=optional)
    if kind == "list":
        return st.lists(members_of(shape.member), min_size=low or 0, max_size=min(high or 3, 3))
    if kind == "map":
        return st.dictionaries(
            members_of(shape.key), members_of(shape.value), min_size=low or 0, max_size=2
        )
    if kind == "boolean":
        return st.booleans()
    if kind == "blob":
        return st.binary(max_size=64)
    if kind in ("integer", "long"):
        return st.integers(low or 0, high or 2**31 - 1)
    if kind in ("double", "float"):
        return st.floats(low or 0, high or 1000, width=32)
    if kind == "timestamp":
        return st.integers(0, 2**31 - 1)
    if "enum" in limits:
        return st.sampled_from(limits["enum"])
    low, high = low or 1, min(high or 200, 200)
    if "pattern" not in limits:
        return st.text(PRINTABLE, min_size=low, max_size=max(low, min(high, 40)))
    text = st.from_regex(compile_pattern(limits["pattern"]), fullmatch=True)
    return text.filter(lambda value: low <= len(value.strip()) and len(value) <= high)


def broken(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The values, with any part replaced by something else now and then."""

    def breaking(value: Any) -> st.SearchStrategy[Any]:
        if isinstance(value, dict) and value:
            return st.sampled_from(sorted(value)).flatmap(
                lambda key: breaking(value[key]).map(lambda other: {**value, key: other})
            )
        if isinstance(value, list) and value:
            return breaking(value[0]).map(lambda other: [other, *value[1:]])
        return JUNK

    return values.flatmap(lambda value: st.one_of(st.just(value), breaking(value), JUNK))
