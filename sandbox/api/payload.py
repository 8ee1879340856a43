"""Whether a payload is JSON, without keeping what it says.

Lambda refuses what its parser (Jackson) cannot read, in Jackson's words. msgspec
says yes at once, in a tenth of the time that any parser takes which builds what it
reads. What it does not pass is left to the standard library's parser, which finds
the place and the words; numbers are not converted, so their length costs nothing,
and a large payload is parsed in a native thread, with hooks in Python at which that
thread lets the event loop run.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from sandbox.errors import InvalidRequestContent
from sandbox.threads import run_native

LARGE = 64 * 1024
"""Bytes from which a payload is checked in a native thread: about 0.5 ms of parsing."""

_PREFIX = "Could not parse request body into json: Could not parse payload into json: "
_VALUES = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
_WORD = re.compile(r"[\w$.]+")


def check_json(body: bytes) -> None:
    """Raise InvalidRequestContent when `body` is not one JSON value of any type in UTF-8."""
    if not _is_json(body):
        _find_fault(body)


def _is_json(body: bytes) -> bool:
    """Whether it certainly is; a few exotic values are not recognized."""
    try:
        _SKIM.decode(body)
        body.decode()  # which msgspec leaves unread within strings
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _find_fault(body: bytes) -> None:
    try:
        if len(body) < LARGE:
            _SMALL.decode(body.decode())
        else:
            run_native(_decode_large, body)
    except json.JSONDecodeError as error:
        raise _refused(_explain(error), error.lineno, error.colno) from error
    except UnicodeDecodeError as error:
        kind = "start" if "start" in error.reason else "middle"
        line = body.count(b"\n", 0, error.start) + 1
        column = error.start - body.rfind(b"\n", 0, error.start)
        text = f"Invalid UTF-8 {kind} byte 0x{body[error.start]:x}"
        raise _refused(text, line, column) from error
    except RecursionError as error:
        # Jackson's limit; the standard library's parser stops a little earlier
        text = (
            "Document nesting depth (1001) exceeds the maximum allowed "
            "(1000, from `StreamReadConstraints.getMaxNestingDepth()`)"
        )
        raise _refused(text, 1, 1) from error
    except _NotANumber as error:
        text = (
            f"Non-standard token '{error}': enable "
            "`JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS` to allow"
        )
        raise _refused(text, 1, 1) from error


class _NotANumber(Exception):
    """NaN and Infinity, which Python reads and JSON does not have."""


def _no_constant(name: str) -> Any:
    raise _NotANumber(name)


def _forget(_value: Any) -> None:
    return None


_SKIM = msgspec.json.Decoder(msgspec.Raw)
_SMALL = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_no_constant)
# A hook in Python is a point at which the interpreter may switch threads; the
# parser itself holds the interpreter's lock from the first byte to the last.
_LARGE = json.JSONDecoder(
    object_hook=_forget, parse_int=_forget, parse_float=_forget, parse_constant=_no_constant
)


def _decode_large(body: bytes) -> None:
    _LARGE.decode(body.decode())


def _refused(text: str, line: int, column: int) -> InvalidRequestContent:
    return InvalidRequestContent(
        f"{_PREFIX}{text}\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` "
        f"disabled); line: {line}, column: {column}]"
    )


_EXPECTED = {
    "Expecting property name enclosed in double quotes": (
        "was expecting double-quote to start field name"
    ),
    "Expecting ':' delimiter": "was expecting a colon to separate field name and value",
    "Expecting ',' delimiter": "was expecting comma to separate entries",
}


def _explain(error: json.JSONDecodeError) -> str:
    """Jackson's words for what the standard library says."""
    rest = error.doc[error.pos :]
    if not error.doc.strip():
        return "No content to map due to end-of-input"
    if not rest or error.msg.startswith("Unterminated string"):
        return "Unexpected end-of-input: expected close marker for the value that was begun"
    found = rest[0]
    shown = f"'{found}' (code {ord(found)})"
    if ord(found) < 32 or 127 <= ord(found) < 160:
        shown = f"(CTRL-CHAR, code {ord(found)})"
    if error.msg.startswith("Invalid control character"):
        return (
            f"Illegal unquoted character ({shown}): has to be escaped using backslash "
            "to be included in string value"
        )
    if error.msg.startswith("Invalid \\"):
        return f"Unrecognized character escape {shown}"
    if error.msg in _EXPECTED:
        return f"Unexpected character ({shown}): {_EXPECTED[error.msg]}"
    word = _WORD.match(rest)
    if word is not None and not found.isdigit():
        return f"Unrecognized token '{word[0][:256]}': was expecting {_VALUES}"
    return f"Unexpected character ({shown}): expected a valid value {_VALUES}"
