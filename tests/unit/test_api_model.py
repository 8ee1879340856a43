"""The compiled service model, against botocore's own reading of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

import botocore.loaders
import botocore.model
import botocore.serialize
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.api.dispatch import OPERATIONS
from sandbox.api.model import load, read_model
from sandbox.api.rules import BLOCKED_RUNTIMES, SUPPORTED_RUNTIMES
from sandbox.api.validation import compile_pattern
from sandbox.api.wire import header_variable
from tests.support.shapes import members_of

MODEL = load()
BOTOCORE = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("lambda", "service-2", "2015-03-31"), "lambda"
)
SHAPES = read_model()["shapes"]


def test_the_document_is_the_one_that_botocore_loads() -> None:
    assert sorted(MODEL.operations) == sorted(BOTOCORE.operation_names)
    assert len(MODEL.operations) >= 91


def test_every_implementation_is_an_operation_of_the_model() -> None:
    assert set(OPERATIONS) <= set(MODEL.operations)


@pytest.mark.parametrize("name", sorted(BOTOCORE.operation_names))
def test_an_operation_is_found_at_its_method_path_and_query(name: str) -> None:
    http = BOTOCORE.operation_model(name).http
    path, _, query = http["requestUri"].partition("?")
    labels = [segment for segment in path.split("/") if segment.startswith("{")]
    for number, label in enumerate(labels):
        path = path.replace(label, f"value%3A{number}%2F%2524")
    found = MODEL.routes.match(http["method"], path, query)
    assert found is not None
    assert found[0].name == name
    assert found[1] == [f"value:{number}/%24" for number in range(len(labels))]


def test_a_slash_at_the_end_of_a_path_is_ignored() -> None:
    found = MODEL.routes.match("POST", "/2014-11-13/functions/f/invoke-async/", "")
    assert found is not None
    assert found[0].name == "InvokeAsync"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ""),
        ("HEAD", "/2015-03-31/functions"),
        ("PATCH", "/2015-03-31/functions"),
        ("POST", "/2015-03-31/functions//invocations"),
        ("POST", "/2015-03-31/functions/f/invocations/more"),
        ("POST", "/2015-03-31/Functions/f/invocations"),
    ],
)
def test_anything_else_is_no_operation(method: str, path: str) -> None:
    assert MODEL.routes.match(method, path, "") is None


@pytest.mark.parametrize("name", sorted(n for n, shape in SHAPES.items() if "pattern" in shape))
def test_every_pattern_of_the_model_compiles(name: str) -> None:
    compile_pattern(SHAPES[name]["pattern"]).fullmatch("x")


def test_letters_numbers_and_spaces_of_every_language_may_stand_in_a_tag() -> None:
    pattern = compile_pattern(SHAPES["TagKey"]["pattern"])
    assert pattern.fullmatch("Gr\u00f6\u00dfe \u5317\u4eac\u2003\u0663_.:/=+-@")
    assert not pattern.fullmatch("a{b")
    assert not pattern.fullmatch("a\tb")


def test_digits_of_other_scripts_are_none_in_the_other_patterns() -> None:
    assert not compile_pattern(SHAPES["FunctionArn"]["pattern"]).fullmatch(
        "arn:aws:lambda:us-east-1:\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660:function:f"
    )


def test_every_runtime_of_the_model_is_supported_or_blocked() -> None:
    assert set(SUPPORTED_RUNTIMES).isdisjoint(BLOCKED_RUNTIMES)
    assert set(SHAPES["Runtime"]["enum"]) <= set(SUPPORTED_RUNTIMES) | BLOCKED_RUNTIMES


@pytest.mark.parametrize("name", sorted(MODEL.operations))
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_what_botocore_writes_is_read_back_and_valid(name: str, data: st.DataObject) -> None:
    shape = BOTOCORE.operation_model(name).input_shape
    members = data.draw(members_of(shape)) if shape else {}
    sent = botocore.serialize.create_serializer("rest-json", False).serialize_to_request(
        members, BOTOCORE.operation_model(name)
    )
    target = urlsplit(sent["url_path"])
    query = "&".join(
        part for part in (target.query, urlencode(sent["query_string"], doseq=True)) if part
    )
    found = MODEL.routes.match(sent["method"], target.path, query)
    assert found is not None
    operation, labels = found
    assert operation.name == name
    environ: dict[str, Any] = {
        header_variable(key): value for key, value in sent["headers"].items()
    }
    body = sent["body"]
    body = body if isinstance(body, bytes) else body.encode()
    read = operation.parse(labels, query, environ, body)
    if operation.payload is not None:
        members.setdefault(operation.payload, b"")
    by_query = {source.member for source in operation.query}
    # botocore sends an empty list of query values as nothing, no payload as an empty one
    assert {k: v for k, v in read.items() if v != {}} == {
        k: v for k, v in members.items() if v != {} and (v != [] or k not in by_query)
    }
    operation.validate(members)
