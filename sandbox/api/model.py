"""The wire as botocore's service model `lambda/2015-03-31` describes it.

`load()` reads the model once and compiles for every operation what a request
needs: a route, a reader that turns path labels, query, headers and body into a
plain dict of typed members, a check of every constraint, and a writer for the
answer. Nothing is looked up in the model afterwards.

The JSON document is read directly: importing `botocore.loaders` for it costs a
hundred milliseconds of start-up and gives the same dict.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from sandbox.api.validation import Check, Constraints
from sandbox.api.wire import Members, Readers, header_variable, read_document

SERVICE = Path("data", "lambda", "2015-03-31")


def read_model(service: Path = SERVICE) -> dict[str, Any]:
    """A model document, out of the installed botocore."""
    package = importlib.util.find_spec("botocore")
    if package is None or package.submodule_search_locations is None:
        raise ModuleNotFoundError("botocore is not installed", name="botocore")
    folder = Path(package.submodule_search_locations[0]) / service
    packed = folder / "service-2.json.gz"
    if packed.is_file():
        document: dict[str, Any] = json.loads(gzip.decompress(packed.read_bytes()))
    else:  # distributions that unpack the wheel's data
        document = json.loads((folder / "service-2.json").read_bytes())
    return document


@dataclass(frozen=True, slots=True)
class Source:
    """Where one member of a request comes from, outside the body."""

    member: str
    place: str
    """The label, the query key, or the header as a WSGI variable."""
    read: Callable[[str], Any]
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, compiled. `status` is the answer's unless a member overrides it."""

    name: str
    method: str
    path: str
    status: int
    labels: tuple[Source, ...]
    query: tuple[Source, ...]
    headers: tuple[Source, ...]
    payload: str | None
    """The member that is the raw body, when there is one."""
    read_body: Callable[[Any], Members] | None
    """Reads the JSON body's members; None when no member is in the body."""
    check: Check
    status_member: str | None
    header_members: tuple[tuple[str, str], ...]
    payload_member: str | None
    has_body: bool
    """Whether the answer has a JSON body."""

    def parse(
        self, labels: Sequence[str], query: str, environ: Mapping[str, Any], body: bytes
    ) -> Members:
        """The request's members, typed but not validated.

        `labels` are decoded, `query` is not. Raises CallerError for what cannot be read.
        """
        members: Members = {}
        for source, text in zip(self.labels, labels, strict=True):
            members[source.member] = source.read(text)
        if query and self.query:
            given = parse_qsl(query, keep_blank_values=True)
            for source in self.query:
                texts = [text for key, text in given if key == source.place]
                if texts:
                    members[source.member] = (
                        [source.read(text) for text in texts]
                        if source.is_list
                        else source.read(texts[0])
                    )
        for source in self.headers:
            value = environ.get(source.place)
            if value is not None:
                members[source.member] = source.read(value)
        if self.payload is not None:
            members[self.payload] = body
        elif self.read_body is not None:
            members.update(self.read_body(read_document(body)))
        return members

    def validate(self, members: Members) -> None:
        """Raise ValidationError that lists every constraint that `members` break."""
        self.check(members)

    def write(self, result: Mapping[str, Any]) -> tuple[int, list[tuple[str, str]], Any]:
        """Status, modelled headers and body; a member that is the payload is the body as it is."""
        status = result.get(self.status_member or "", self.status)
        headers = [
            (header, str(result[member]))
            for member, header in self.header_members
            if member in result
        ]
        if self.payload_member is not None:
            return status, headers, result.get(self.payload_member, b"")
        if not self.has_body or status == 204:
            return status, headers, b""
        if self.status_member or self.header_members:
            outside = {self.status_member, *(member for member, _ in self.header_members)}
            result = {name: value for name, value in result.items() if name not in outside}
        return status, headers, write_document(result)


def write_document(document: Mapping[str, Any]) -> bytes:
    """Compact JSON. Times are seconds since the epoch, as this protocol has them."""
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node]
    label: _Node | None
    operations: dict[str, list[tuple[tuple[tuple[str, str], ...], Operation]]]


class Routes:
    """Finds the operation that a method, an undecoded path and a query address."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._root = _Node({}, None, {})
        for operation in operations:
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        path, _, query = operation.path.partition("?")
        node = self._root
        for segment in path.strip("/").split("/"):
            if segment.startswith("{"):
                node.label = node.label or _Node({}, None, {})
                node = node.label
            else:
                node = node.children.setdefault(segment, _Node({}, None, {}))
        choices = node.operations.setdefault(operation.method, [])
        choices.append((tuple(parse_qsl(query)), operation))
        choices.sort(key=lambda choice: -len(choice[0]))

    def match(self, method: str, path: str, query: str) -> tuple[Operation, list[str]] | None:
        """The operation and its labels, percent-decoded once; None when there is none.

        A slash at the end is ignored: old SDKs send one to InvokeAsync.
        """
        node = self._root
        labels: list[str] = []
        for segment in path.strip("/").split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.label
                if child is None or not segment:
                    return None
                labels.append(unquote(segment) if "%" in segment else segment)
            node = child
        choices = node.operations.get(method)
        if choices is None:
            return None
        for literals, operation in choices:
            if not literals or set(literals) <= set(parse_qsl(query)):
                return operation, labels
        return None


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """How an error of the model travels."""

    status: int
    message_member: str
    """`message` or `Message`."""
    has_type: bool
    header_members: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Model:
    operations: Mapping[str, Operation]
    routes: Routes
    errors: Mapping[str, ErrorShape]


@cache
def load() -> Model:
    """Read and compile the model, once."""
    document = read_model()
    shapes: dict[str, Any] = document["shapes"]
    readers = Readers(shapes)
    constraints = Constraints(shapes)
    operations = {
        name: _operation(operation, shapes, readers, constraints)
        for name, operation in document["operations"].items()
    }
    errors = {
        name: _error(shape) for name, shape in shapes.items() if shape.get("exception", False)
    }
    return Model(operations, Routes(list(operations.values())), errors)


def _operation(
    document: Mapping[str, Any],
    shapes: Mapping[str, Any],
    readers: Readers,
    constraints: Constraints,
) -> Operation:
    http = document["http"]
    request = document.get("input", {}).get("shape")
    answer = shapes[document["output"]["shape"]] if "output" in document else {"members": {}}
    members: dict[str, Any] = shapes[request]["members"] if request else {}
    payload: str | None = shapes[request].get("payload") if request else None
    is_blob = payload is not None and shapes[members[payload]["shape"]]["type"] == "blob"
    in_body = {
        name: member
        for name, member in members.items()
        if "location" not in member and (payload is None or (name == payload and not is_blob))
    }
    outer = {
        location: tuple(
            _source(name, member, shapes, readers)
            for name, member in members.items()
            if member.get("location") == location
        )
        for location in ("uri", "querystring", "header")
    }
    by_label = {source.place: source for source in outer["uri"]}
    path = http["requestUri"]
    labels = [part[1:-1] for part in path.partition("?")[0].split("/") if part.startswith("{")]
    read_body: Callable[[Any], Members] | None = None
    if payload is not None and in_body:
        read_payload = readers.of(members[payload]["shape"])

        def read_body(value: Any, member: str = payload) -> Members:
            return {} if value is None else {member: read_payload(value, member)}

    elif in_body:
        read_body = readers.structure(in_body)

    outputs: dict[str, Any] = answer["members"]
    return Operation(
        name=document["name"],
        method=http["method"],
        path=path,
        status=http.get("responseCode", 200),
        labels=tuple(by_label[label] for label in labels),
        query=outer["querystring"],
        headers=outer["header"],
        payload=payload if is_blob else None,
        read_body=read_body,
        check=constraints.of_request(request),
        status_member=next(
            (name for name, member in outputs.items() if member.get("location") == "statusCode"),
            None,
        ),
        header_members=_headers(outputs),
        payload_member=answer.get("payload"),
        has_body=any("location" not in member for member in outputs.values()),
    )


def _source(
    name: str, member: Mapping[str, Any], shapes: Mapping[str, Any], readers: Readers
) -> Source:
    place = member.get("locationName", name)
    if member["location"] == "header":
        place = header_variable(place)
    shape = shapes[member["shape"]]
    is_list = shape["type"] == "list"
    element = shape["member"]["shape"] if is_list else member["shape"]
    return Source(name, place, readers.text(element, name), is_list)


def _headers(members: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, member.get("locationName", name))
        for name, member in members.items()
        if member.get("location") == "header"
    )


def _error(shape: Mapping[str, Any]) -> ErrorShape:
    members = shape["members"]
    return ErrorShape(
        status=shape["error"]["httpStatusCode"],
        message_member="message" if "message" in members else "Message",
        has_type="Type" in members,
        header_members=_headers(members),
    )
