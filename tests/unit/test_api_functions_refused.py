"""What is refused of functions, and what is said of one that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import (
    ARN,
    FUNCTIONS,
    Api,
    body_of_create,
    error_of,
    open_api,
    refusal,
    zip_bytes,
)

LONG = "n" * 65
ENVIRONMENT = (
    "Lambda was unable to configure your environment variables because the environment "
    "variables you have provided "
)
NEITHER = (
    "Runtime and Handler are mandatory parameters for functions created with deployment packages."
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """For requests that are refused and change nothing."""
    opened = open_api(tmp_path_factory.mktemp("state"))
    yield opened
    assert opened.catalog.functions("000000000000", "us-east-1") == []
    opened.close()


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {"FunctionName": LONG},
            f"1 validation error detected: Value '{LONG}' at 'functionName' failed to satisfy "
            "constraint: Member must have length less than or equal to 64",
        ),
        ({"Runtime": "cobol"}, "Value cobol at 'runtime' failed to satisfy constraint: Member"),
        ({"Runtime": "Python3.13"}, "Value Python3.13 at 'runtime' failed to satisfy constraint"),
        (
            {"Runtime": "java8"},
            "The runtime parameter of java8 is no longer supported for creating or updating AWS "
            "Lambda functions. We recommend you use a supported runtime while creating or "
            "updating functions.",
        ),
        ({"Runtime": None}, NEITHER),
        ({"Handler": None}, NEITHER),
        ({"Runtime": None, "Handler": None}, NEITHER),
        ({"Code": {}}, "Please provide a source for function code."),
        (
            {"Code": {"ZipFile": "AAAA", "S3Bucket": "bucket", "S3Key": "k"}},
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ),
        ({"Code": {"S3Bucket": "bucket"}}, "Please provide S3Key with S3Bucket."),
        (
            {"Code": {"ImageUri": "i"}},
            "Please don't provide ImageUri when creating a function with packageType Zip.",
        ),
        (
            {"PackageType": "Image"},
            "Please provide ImageUri when creating a function with packageType Image.",
        ),
        (
            {"PackageType": "Image", "Code": {"ImageUri": "i"}},
            "Please don't provide Handler or Runtime or Layer when the intended function "
            "PackageType is Image.",
        ),
        ({"ImageConfig": {"Command": ["a"]}}, "Please don't provide ImageConfig"),
        (
            {"Code": {"ZipFile": "AAAA"}},
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
        ({"Code": {"ZipFile": ""}}, "Uploaded file must be a non-empty zip"),
        (
            {"Timeout": 901},
            "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: "
            "Member must have value less than or equal to 900",
        ),
        (
            {"MemorySize": 10241},
            "1 validation error detected: Value '10241' at 'memorySize' failed to satisfy "
            "constraint: Member must have value less than or equal to 10240",
        ),
        (
            {"EphemeralStorage": {"Size": 10241}},
            "1 validation error detected: Value '10241' at 'ephemeralStorage.size' failed",
        ),
        (
            {"Environment": {"Variables": {"AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "y"}}},
            f"{ENVIRONMENT}contains reserved keys that are currently not supported for "
            "modification. Reserved keys used in this request: AWS_ACCESS_KEY_ID, AWS_REGION",
        ),
        (
            {"Environment": {"Variables": {"KEY": "v" * 4087}}},
            f'{ENVIRONMENT}exceeded the 4KB limit. String measured: {{"KEY":"vvv',
        ),
        ({"Environment": {"Variables": {"KEY": "a\0b"}}}, f"{ENVIRONMENT}contains a NUL"),
        (
            {"LoggingConfig": {"LogFormat": "Text", "ApplicationLogLevel": "DEBUG"}},
            'LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your '
            'request or change the LogFormat to "Json" and try again.',
        ),
        (
            {"LoggingConfig": {"SystemLogLevel": "WARN"}},
            'LogLevel is not supported when LogFormat is set to "Text".',
        ),
        ({"Layers": [f"{ARN.replace('function', 'layer')}:{n}" for n in range(6)]}, "Cannot refer"),
        (
            {"Layers": [f"{ARN.replace('function', 'layer')}:1"]},
            f"Layer version {ARN.replace('function', 'layer')}:1 does not exist.",
        ),
        (
            {"Tags": {str(number): "" for number in range(51)}},
            "Number of tags exceeds resource tag limit.",
        ),
        ({"FunctionName": "f:1"}, "This operation is permitted on Lambda functions only."),
    ],
)
def test_what_lambda_refuses_to_create(empty: Api, members: dict[str, Any], text: str) -> None:
    status, name, body = error_of(empty.request("POST", FUNCTIONS, body_of_create(**members)))
    assert (status, name, body["Type"]) == (400, "InvalidParameterValueException", "User")
    assert body["message"].startswith(text)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"{", "InvalidRequestContentException"),
        (b"[" * 100_000, "InvalidRequestContentException"),
        (b"[]", "SerializationException"),
        (b'{"Timeout":"3"}', "SerializationException"),
        (b"", "ValidationException"),
        (b"null", "ValidationException"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400(empty: Api, body: bytes, name: str) -> None:
    assert error_of(empty.request("POST", FUNCTIONS, body))[:2] == (400, name)


@pytest.mark.parametrize(
    ("call", "arn"),
    [
        (lambda client: client.get_function(FunctionName="f"), ARN),
        (lambda client: client.get_function(FunctionName="f", Qualifier="3"), f"{ARN}:3"),
        (lambda client: client.get_function_configuration(FunctionName="f:prod"), f"{ARN}:prod"),
        (lambda client: client.delete_function(FunctionName="f"), ARN),
        (lambda client: client.list_versions_by_function(FunctionName="f"), ARN),
        (lambda client: client.update_function_code(FunctionName="f", ZipFile=zip_bytes()), ARN),
        (lambda client: client.update_function_configuration(FunctionName="f"), ARN),
        (lambda client: client.publish_version(FunctionName="f"), ARN),
        (lambda client: client.list_tags(Resource=ARN), ARN),
        (lambda client: client.get_function_code_signing_config(FunctionName="f"), ARN),
        (
            lambda client: client.put_function_concurrency(
                FunctionName="f", ReservedConcurrentExecutions=1
            ),
            f"{ARN}:$LATEST",
        ),
    ],
)
def test_a_function_that_is_not_there(empty: Api, call: Any, arn: str) -> None:
    assert refusal(lambda: call(empty.boto())) == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {arn}",
    )
