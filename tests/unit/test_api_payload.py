"""What counts as a JSON payload, and what is said of one that is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.api.payload import LARGE, check_json
from sandbox.errors import InvalidRequestContent

VALUES = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=40, deadline=None)
@given(JSON, st.booleans(), st.sampled_from(["", " ", "\n\t "]))
def test_every_json_value_is_a_payload(value: object, ascii_only: bool, space: str) -> None:
    text = space + json.dumps(value, ensure_ascii=ascii_only) + space
    check_json(text.encode())
    check_json((text + " " * LARGE).encode())


@pytest.mark.parametrize("text", [b'"x"', b"1", b"null", b"true", b"-0.5e3", b"1" * 10_000, b"[]"])
def test_scalars_are_payloads(text: bytes) -> None:
    check_json(text)


@pytest.mark.parametrize("padding", [b"", b" " * LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"value", f"Unrecognized token 'value': was expecting {VALUES}"),
        (b"\x87", "Invalid UTF-8 start byte 0x87"),
        (b'"\xc3("', "Invalid UTF-8 middle byte 0xc3"),
        (
            "\u0099".encode(),
            f"Unexpected character ((CTRL-CHAR, code 153)): expected a valid value {VALUES}",
        ),
        (b'{"a":}', f"Unexpected character ('}}' (code 125)): expected a valid value {VALUES}"),
        (b"{a:1}", "Unexpected character ('a' (code 97)): was expecting double-quote to start"),
        (b'{"a" 1}', "Unexpected character ('1' (code 49)): was expecting a colon to separate"),
        (b"[1 2]", "Unexpected character ('2' (code 50)): was expecting comma to separate"),
        (b'"a\nb"', "Illegal unquoted character ((CTRL-CHAR, code 10)): has to be escaped"),
        (b'"\\x"', "Unrecognized character escape"),
        (b"{} x", "Unrecognized token 'x': was expecting"),
        (b"NaN", "Non-standard token 'NaN'"),
        (b"[-Infinity]", "Non-standard token '-Infinity'"),
        (b"[" * 100_000, "Document nesting depth (1001) exceeds the maximum allowed"),
        (b'{"a":' * 100_000, "Document nesting depth (1001) exceeds the maximum allowed"),
    ],
)
def test_what_is_no_json_is_refused_in_jacksons_words(
    payload: bytes, text: str, padding: bytes
) -> None:
    with pytest.raises(InvalidRequestContent) as caught:
        check_json(padding + payload)
    assert caught.value.message.startswith(
        f"Could not parse request body into json: Could not parse payload into json: {text}"
    )
    assert " at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); " in (
        caught.value.message
    )


@pytest.mark.parametrize(
    "payload", [b"{", b'"abc', b"[1,", b'{"a"', b"tru", b" ", b"-", b"01", b"'a'"]
)
def test_a_payload_that_ends_too_early_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidRequestContent):
        check_json(payload)


def test_line_and_column_say_where() -> None:
    with pytest.raises(InvalidRequestContent, match=r"line: 2, column: 6\]"):
        check_json(b'{\n "a" 1}')


@given(st.binary())
def test_any_bytes_are_a_payload_or_are_refused(payload: bytes) -> None:
    try:
        check_json(payload)
    except InvalidRequestContent:
        return
    json.loads(payload)
