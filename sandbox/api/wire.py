"""From what a request carries to typed members, and no further.

A reader knows a shape's type alone: a text for a number, a list for a structure
or base64 that is none ends as SerializationError. Members that the model does not
have are dropped and `null` is the same as absent, as AWS has it. Whether values
are allowed is `validation`'s business.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sandbox.errors import CallerError, InvalidRequestContent
from sandbox.threads import run_native

Members = dict[str, Any]
Reader = Callable[[Any, str], Any]

LARGE_BODY = 256 * 1024
"""Bytes from which parsing leaves the event loop."""
VALUES_LIMIT = 500_000
"""Of a large document: commas, brackets and braces, also those in texts. What is large in any
request is one text; parsed, 70 MB of `[{},{},…` would be 1.8 GB."""


class SerializationError(CallerError):
    """A member has another JSON type than the model's. Not in the model: 400."""

    code = "SerializationException"


def header_variable(name: str) -> str:
    """The WSGI environment's name of a header."""
    return "HTTP_" + name.upper().replace("-", "_")


def read_document(body: bytes) -> Any:
    """The JSON value of a request's body; None for an empty body.

    Raises InvalidRequestContent for what is not JSON, however deep or broken.
    """
    if not body:
        return None
    try:
        if len(body) >= LARGE_BODY:
            return run_native(_decode_large, body)
        return _decode(body)
    except RecursionError as error:
        raise InvalidRequestContent(
            "Could not parse request body into json: the document is nested too deeply."
        ) from error
    except ValueError as error:
        raise InvalidRequestContent(f"Could not parse request body into json: {error}") from error


def _decode(body: bytes) -> Any:
    return json.loads(body.decode(), parse_constant=_no_constant)


def _decode_large(body: bytes) -> Any:
    if sum(map(body.count, (b",", b"[", b"{"))) > VALUES_LIMIT:
        raise ValueError("the document has too many values.")
    return _decode(body)


def _no_constant(name: str) -> Any:
    raise ValueError(f"Non-standard token '{name}'")


def _wrong(value: Any, wanted: str) -> SerializationError:
    found = {
        str: "STRING_VALUE",
        bool: f"{str(value).upper()}_VALUE",
        int: "NUMBER_VALUE",
        float: "NUMBER_VALUE",
    }.get(type(value))
    if found is None:
        return SerializationError("Start of structure, list or map found where not expected.")
    return SerializationError(f"{found} can not be converted to {wanted}")


def _string(value: Any, _path: str) -> str:
    if type(value) is not str:
        raise _wrong(value, "a String")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            # half of a surrogate pair: no database and no process environment takes it
            raise SerializationError("The text holds an unpaired surrogate.") from error
    return value


def _integer(value: Any, _path: str) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise _wrong(value, "an Integer")


def _double(value: Any, _path: str) -> float:
    if type(value) in (int, float):
        try:
            return float(value)
        except OverflowError as error:
            raise SerializationError("The number is out of range.") from error
    raise _wrong(value, "a Double")


def _boolean(value: Any, _path: str) -> bool:
    if type(value) is not bool:
        raise _wrong(value, "a Boolean")
    return value


def _blob(value: Any, path: str) -> bytes:
    text = _string(value, path)
    try:
        if len(text) >= LARGE_BODY:
            return run_native(_decode_base64, text)
        return _decode_base64(text)
    except ValueError as error:
        raise SerializationError(f"The value of {path} is not base64.") from error


def _decode_base64(text: str) -> bytes:
    return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)


def _timestamp(value: Any, _path: str) -> float:
    if type(value) in (int, float):
        return _double(value, _path)
    if type(value) is str:
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError) as error:
            raise _wrong(value, "a Timestamp") from error
    raise _wrong(value, "a Timestamp")


_SCALARS: Mapping[str, Reader] = {
    "string": _string,
    "integer": _integer,
    "long": _integer,
    "double": _double,
    "float": _double,
    "boolean": _boolean,
    "blob": _blob,
    "timestamp": _timestamp,
}


def _text_integer(text: str) -> int:
    # longer than any number of the API; int() itself refuses 4,301 digits
    if len(text) <= 20 and text.removeprefix("-").isascii() and text.removeprefix("-").isdigit():
        return int(text)
    raise _wrong(text, "an Integer")


def _text_boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise _wrong(text, "a Boolean")
    return text == "true"


def _text_timestamp(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float(_timestamp(text, ""))


_TEXTS: Mapping[str, Callable[[str], Any]] = {
    "integer": _text_integer,
    "long": _text_integer,
    "boolean": _text_boolean,
    "timestamp": _text_timestamp,
}


class Readers:
    """Compiles a reader for each shape, once."""

    def __init__(self, shapes: Mapping[str, Any]) -> None:
        self._shapes = shapes
        self._made: dict[str, Reader] = {}

    def text(self, shape: str, member: str) -> Callable[[str], Any]:
        """Reads a scalar out of a label, a query value or a header."""
        return _TEXTS.get(self._shapes[shape]["type"], lambda text: _string(text, member))

    def of(self, shape: str) -> Reader:
        if shape not in self._made:
            # a shape that holds itself finds this entry while it is being compiled
            self._made[shape] = lambda value, path: self._made[shape](value, path)
            self._made[shape] = self._compile(self._shapes[shape])
        return self._made[shape]

    def structure(self, members: Mapping[str, Any]) -> Callable[[Any], Members]:
        """Reads the given members out of a JSON object; None stands for an empty one."""
        fields = tuple(
            (name, member.get("locationName", name), self.of(member["shape"]))
            for name, member in members.items()
        )

        def read(value: Any) -> Members:
            if value is None:
                return {}
            if type(value) is not dict:
                raise _wrong(value, "a structure")
            found: Members = {}
            for name, key, reader in fields:
                item = value.get(key)
                if item is not None:
                    found[name] = reader(item, name)
            return found

        return read

    def _compile(self, shape: Mapping[str, Any]) -> Reader:
        kind = shape["type"]
        if kind == "structure":
            structure = self.structure(shape["members"])
            return lambda value, path: structure(value)
        if kind == "list":
            return _list_reader(self.of(shape["member"]["shape"]))
        if kind == "map":
            return _map_reader(self.of(shape["value"]["shape"]))
        return _SCALARS[kind]


def _list_reader(element: Reader) -> Reader:
    def read(value: Any, path: str) -> list[Any]:
        if type(value) is not list:
            raise _wrong(value, "a list")
        return [None if item is None else element(item, path) for item in value]

    return read


def _map_reader(element: Reader) -> Reader:
    def read(value: Any, path: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise _wrong(value, "a map")
        return {
            _string(key, path): None if item is None else element(item, path)
            for key, item in value.items()
        }

    return read
