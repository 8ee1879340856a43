"""Constraints of the model in Lambda's words."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.api.model import load
from sandbox.api.validation import Constraints, show
from sandbox.api.wire import Readers, SerializationError, read_document
from sandbox.errors import CallerError, InvalidRequestContent, ValidationError

MODEL = load()
ROLE = "arn:aws:iam::000000000000:role/r"
CREATE = {"FunctionName": "f", "Role": ROLE, "Code": {}}

FUNCTION_NAME = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?"
    r"(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)


def complaint(operation: str, members: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        MODEL.operations[operation].validate(members)
    assert caught.value.code == "ValidationException"
    return caught.value.message


@pytest.mark.parametrize(
    ("operation", "members", "text"),
    [
        (
            "Invoke",
            {"FunctionName": "in valid!"},
            "Value 'in valid!' at 'functionName' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {FUNCTION_NAME}",
        ),
        (
            "CreateFunction",
            {**CREATE, "FunctionName": "a" * 141},
            f"Value '{'a' * 141}' at 'functionName' failed to satisfy constraint: "
            "Member must have length less than or equal to 140",
        ),
        (
            "CreateFunction",
            {**CREATE, "Code": {"S3Bucket": "b"}},
            "Value 'b' at 'code.s3Bucket' failed to satisfy constraint: "
            "Member must have length greater than or equal to 3",
        ),
        (
            "CreateFunction",
            {**CREATE, "Timeout": 5401},
            "Value '5401' at 'timeout' failed to satisfy constraint: "
            "Member must have value less than or equal to 5400",
        ),
        (
            "CreateFunction",
            {**CREATE, "MemorySize": 127},
            "Value '127' at 'memorySize' failed to satisfy constraint: "
            "Member must have value greater than or equal to 128",
        ),
        (
            "CreateFunction",
            {**CREATE, "TracingConfig": {"Mode": "Passive"}},
            "Value 'Passive' at 'tracingConfig.mode' failed to satisfy constraint: "
            "Member must satisfy enum value set: [Active, PassThrough]",
        ),
        (
            "CreateFunction",
            {**CREATE, "Architectures": ["x86_64", "arm64"]},
            "Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: "
            "Member must have length less than or equal to 1",
        ),
        (
            "CreateFunction",
            {**CREATE, "Architectures": ["x86"]},
            "Value '[x86]' at 'architectures' failed to satisfy constraint: "
            "Member must satisfy constraint: [Member must satisfy enum value set: "
            "[x86_64, arm64], Member must not be null]",
        ),
        (
            "CreateFunction",
            {"FunctionName": "f", "Role": ROLE},
            "Value null at 'code' failed to satisfy constraint: Member must not be null",
        ),
        (
            "CreateFunction",
            {**CREATE, "FileSystemConfigs": [{"LocalMountPath": "/mnt/a"}]},
            "Value null at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: "
            "Member must not be null",
        ),
        (
            "CreateFunction",
            {**CREATE, "Environment": {"Variables": {"_X": "secret"}}},
            "Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy "
            "constraint: [Member must satisfy regular expression pattern: "
            "[a-zA-Z]([a-zA-Z0-9_])+, Member must not be null]",
        ),
        (
            "CreateAlias",
            {
                "FunctionName": "f",
                "Name": "a",
                "FunctionVersion": "1",
                "RoutingConfig": {"AdditionalVersionWeights": {"2": 2.0}},
            },
            "Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy "
            "constraint: Map value must satisfy constraint: [Member must have value less than or "
            "equal to 1.0, Member must have value greater than or equal to 0.0, "
            "Member must not be null]",
        ),
        (
            "CreateAlias",
            {"FunctionName": "f", "Name": "1", "FunctionVersion": "1"},
            "Value '1' at 'name' failed to satisfy constraint: Member must satisfy regular "
            "expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
        ),
        (
            "UntagResource",
            {"Resource": "arn:aws:lambda:us-east-1:000000000000:function:f"},
            "Value null at 'tagKeys' failed to satisfy constraint: Member must not be null",
        ),
        (
            "PutProvisionedConcurrencyConfig",
            {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 0},
            "Value '0' at 'provisionedConcurrentExecutions' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1",
        ),
    ],
)
def test_one_broken_constraint(operation: str, members: dict[str, Any], text: str) -> None:
    assert complaint(operation, members) == f"1 validation error detected: {text}"


def test_the_qualifier_comes_before_the_function_name() -> None:
    text = complaint("GetFunction", {"FunctionName": "!", "Qualifier": "?"})
    assert text.startswith("2 validation errors detected: Value '?' at 'qualifier' failed")
    assert "; Value '!' at 'functionName' failed" in text


def test_every_constraint_that_a_value_breaks_counts() -> None:
    text = complaint("GetFunction", {"FunctionName": ""})
    assert text.startswith("2 validation errors detected: Value '' at 'functionName' failed")
    assert text.count("Value '' at 'functionName'") == 2


def test_the_runtime_is_left_to_the_operation() -> None:
    MODEL.operations["CreateFunction"].validate({**CREATE, "Runtime": "cobol"})


def test_values_are_shown_as_java_has_them() -> None:
    assert show({"a": [True, None, 1.0]}) == "{a=[true, null, 1.0]}"


def test_a_shape_may_hold_itself() -> None:
    shapes = {
        "Tree": {
            "type": "structure",
            "required": ["Name"],
            "members": {"Name": {"shape": "Text"}, "Children": {"shape": "Trees"}},
        },
        "Trees": {"type": "list", "member": {"shape": "Tree"}},
        "Text": {"type": "string", "min": 1},
    }
    tree = {"Name": "a", "Children": [{"Name": "b", "Children": [{}]}]}
    assert Readers(shapes).of("Tree")(tree, "") == tree
    with pytest.raises(
        ValidationError, match=r"null at 'children.1.member.children.1.member.name'"
    ):
        Constraints(shapes).of_request("Tree")(tree)


@pytest.mark.parametrize(
    "body",
    [
        {"FunctionName": 1},
        {"FunctionName": True},
        {"FunctionName": ["f"]},
        {"FunctionName": {"f": 1}},
        {"Timeout": "3"},
        {"Timeout": 3.5},
        {"Timeout": 1e999},
        {"Timeout": False},
        {"Publish": "true"},
        {"Publish": 1},
        {"Code": "zip"},
        {"Code": {"ZipFile": "not base64!"}},
        {"Code": {"ZipFile": "é"}},
        {"Code": {"ZipFile": 12}},
        {"Layers": "arn"},
        {"Layers": [1]},
        {"Environment": {"Variables": ["A"]}},
        {"Environment": {"Variables": {"A": 1}}},
        {"Description": "\ud800"},
        {"Tags": {"\udfff": "x"}},
        [],
        "text",
        1,
        False,
    ],
)
def test_another_json_type_than_the_models_is_a_serialization_error(body: Any) -> None:
    read = MODEL.operations["CreateFunction"].read_body
    assert read is not None
    with pytest.raises(SerializationError):
        read(body)


def test_null_and_unknown_members_are_dropped() -> None:
    read = MODEL.operations["CreateFunction"].read_body
    assert read is not None
    body = {"FunctionName": "f", "Role": None, "Nonsense": {"a": 1}, "Code": {"Other": 1}}
    assert read(body) == {"FunctionName": "f", "Code": {}}
    assert read(None) == {}


def test_a_whole_number_may_be_written_with_a_point() -> None:
    read = MODEL.operations["CreateFunction"].read_body
    assert read is not None
    assert read({"Timeout": 3.0}) == {"Timeout": 3}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"\xff",
        b'{"a": NaN}',
        b"{} {}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"Timeout": ' + b"9" * 5000 + b"}",
        b"[" * 400_000,
    ],
    ids=lambda body: f"{body[:12]!r} of {len(body)}",
)
def test_a_body_that_is_no_json_is_refused_however_broken(body: bytes) -> None:
    with pytest.raises(InvalidRequestContent, match="Could not parse request body into json: "):
        read_document(body)


@pytest.mark.parametrize("text", ["", "x", "1x", "\u0663", "9" * 5000, "1.5", "--1", "+1", " 1"])
def test_a_number_in_a_query_must_be_one(text: str) -> None:
    source = MODEL.operations["ListFunctions"].query
    read = next(item.read for item in source if item.member == "MaxItems")
    assert read("12") == 12
    assert read("-1") == -1
    with pytest.raises(CallerError):
        read(text)
