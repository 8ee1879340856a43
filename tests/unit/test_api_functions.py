"""Functions, versions, aliases, tags and the account, through boto3 and on the wire."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from tests.support.api import IMAGE_ID, ROLE, Api, error_of, open_api, zip_bytes

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
FUNCTIONS = "/2015-03-31/functions"
ZIP = zip_bytes()
MISSING = "The Revision Id provided does not match the latest Revision Id."


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """For requests that are refused and change nothing."""
    opened = open_api(tmp_path_factory.mktemp("state"))
    yield opened
    assert opened.catalog.functions("000000000000", "us-east-1") == []
    opened.close()


@pytest.fixture
def client(api: Api) -> Any:
    return api.boto()


def create(api: Api, name: str = "f", **members: Any) -> dict[str, Any]:
    """A function, Active."""
    document: dict[str, Any] = api.boto().create_function(
        **{
            "FunctionName": name,
            "Runtime": "python3.13",
            "Role": ROLE,
            "Handler": "app.handler",
            "Code": {"ZipFile": ZIP},
            **members,
        }
    )
    api.settle()
    return document


def body_of_create(**members: Any) -> dict[str, Any]:
    """The JSON of CreateFunction; a member that is None is left out."""
    body = {
        "FunctionName": "f",
        "Runtime": "python3.13",
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": base64.b64encode(ZIP).decode()},
        **members,
    }
    return {name: value for name, value in body.items() if value is not None}


def refused(call: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return (
        response["ResponseMetadata"]["HTTPStatusCode"],
        response["Error"]["Code"],
        response["Error"]["Message"],
    )


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in document.items() if k not in (*names, "ResponseMetadata")}


# functions


def test_create_answers_a_pending_configuration_with_every_default(api: Api) -> None:
    answer = api.request("POST", FUNCTIONS, body_of_create())
    assert answer.status_code == 201
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.get_json()
    for changing in ("LastModified", "RevisionId", "RuntimeVersionConfig"):
        assert document.pop(changing)
    assert document == {
        "FunctionName": "f",
        "FunctionArn": ARN,
        "Runtime": "python3.13",
        "Role": ROLE,
        "Handler": "app.handler",
        "CodeSize": len(ZIP),
        "CodeSha256": base64.b64encode(hashlib.sha256(ZIP).digest()).decode(),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
    }


def test_a_function_becomes_active_with_a_new_revision(api: Api, client: Any) -> None:
    created = create(api)
    found = client.get_function_configuration(FunctionName="f")
    assert (found["State"], found["LastUpdateStatus"]) == ("Active", "Successful")
    assert found["RevisionId"] != created["RevisionId"]


def test_the_waiters_of_boto3_see_it(api: Api, client: Any) -> None:
    create(api)
    client.get_waiter("function_active_v2").wait(FunctionName="f")
    client.get_waiter("function_updated_v2").wait(FunctionName="f")


def test_a_function_may_be_named_by_its_arn(api: Api, client: Any) -> None:
    assert create(api, ARN)["FunctionName"] == "f"
    assert client.get_function(FunctionName="000000000000:function:f")


def test_get_function_has_a_link_that_gives_the_package(api: Api, client: Any) -> None:
    create(api, Tags={"a": "b"})
    found = client.get_function(FunctionName="f")
    assert found["Configuration"]["FunctionArn"] == ARN
    assert found["Tags"] == {"a": "b"}
    assert "Concurrency" not in found
    code = found["Code"]
    assert code["RepositoryType"] == "S3"
    assert code["Location"].startswith("http://lambda.test/_fnbox/code/")
    download = api.request("GET", code["Location"].removeprefix("http://lambda.test"))
    assert (download.status_code, download.get_data()) == (200, ZIP)
    assert download.headers["Content-Type"] == "application/zip"
    download.close()


def test_a_fault_on_a_page_of_our_own_is_json_too(
    api: Api, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(api.catalog.code), "zip_path", lambda *_: 1 // 0)
    answer = api.request("GET", f"/_fnbox/code/{'0' * 64}.zip")
    assert error_of(answer)[:2] == (500, "ServiceException")


def test_a_link_to_no_package_is_a_json_404(api: Api) -> None:
    assert error_of(api.request("GET", f"/_fnbox/code/{'0' * 64}.zip"))[0] == 404


def test_an_image_function_names_its_image(api: Api, client: Any) -> None:
    api.images["my-image:1"] = IMAGE_ID
    created = client.create_function(
        FunctionName="f", Role=ROLE, PackageType="Image", Code={"ImageUri": "my-image:1"}
    )
    api.settle()
    assert created["PackageType"] == "Image"
    assert client.get_function(FunctionName="f")["Code"] == {
        "RepositoryType": "ECR",
        "ImageUri": "my-image:1",
        "ResolvedImageUri": f"my-image@{IMAGE_ID}",
    }


def test_an_image_that_is_not_there_is_refused(client: Any) -> None:
    assert refused(
        lambda: client.create_function(
            FunctionName="f", Role=ROLE, PackageType="Image", Code={"ImageUri": "none:1"}
        )
    ) == (
        400,
        "InvalidParameterValueException",
        "Source image none:1 does not exist. Provide a valid source image.",
    )


LONG = "n" * 65
ENVIRONMENT = (
    "Lambda was unable to configure your environment variables because the environment "
    "variables you have provided "
)
NEITHER = (
    "Runtime and Handler are mandatory parameters for functions created with deployment packages."
)


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


def test_4096_bytes_of_environment_are_allowed(api: Api) -> None:
    assert create(api, Environment={"Variables": {"KEY": "v" * 4086}})


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


def test_a_function_that_exists_is_a_conflict(api: Api, client: Any) -> None:
    create(api)
    assert refused(lambda: create(api)) == (
        409,
        "ResourceConflictException",
        "Function already exist: f",
    )


@pytest.mark.parametrize(
    ("call", "arn"),
    [
        (lambda client: client.get_function(FunctionName="f"), ARN),
        (lambda client: client.get_function(FunctionName="f", Qualifier="3"), f"{ARN}:3"),
        (lambda client: client.get_function_configuration(FunctionName="f:prod"), f"{ARN}:prod"),
        (lambda client: client.delete_function(FunctionName="f"), ARN),
        (lambda client: client.list_versions_by_function(FunctionName="f"), ARN),
        (lambda client: client.update_function_code(FunctionName="f", ZipFile=ZIP), ARN),
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
    assert refused(lambda: call(empty.boto())) == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {arn}",
    )


def test_an_update_is_in_progress_until_it_is_done(api: Api, client: Any) -> None:
    create(api)
    before = client.get_function_configuration(FunctionName="f")["RevisionId"]
    updated = client.update_function_configuration(
        FunctionName="f", Timeout=9, Environment={"Variables": {"KEY": "value"}}
    )
    assert (updated["Timeout"], updated["LastUpdateStatus"]) == (9, "InProgress")
    assert updated["MemorySize"] == 128
    assert refused(lambda: client.update_function_configuration(FunctionName="f", Timeout=10)) == (
        409,
        "ResourceConflictException",
        "The operation cannot be performed at this time. An update is in progress for resource: "
        f"{ARN}",
    )
    api.settle()
    after = client.get_function_configuration(FunctionName="f")
    assert after["LastUpdateStatus"] == "Successful"
    assert len({before, updated["RevisionId"], after["RevisionId"]}) == 3
    assert after["Environment"] == {"Variables": {"KEY": "value"}}


def test_code_is_replaced(api: Api, client: Any) -> None:
    create(api)
    other = zip_bytes({"app.py": "x = 1\n"})
    dry = client.update_function_code(FunctionName="f", ZipFile=other, DryRun=True)
    assert dry["CodeSize"] == len(other)
    assert client.get_function_configuration(FunctionName="f")["CodeSize"] == len(ZIP)
    updated = client.update_function_code(FunctionName="f", ZipFile=other)
    assert updated["CodeSha256"] == base64.b64encode(hashlib.sha256(other).digest()).decode()
    api.settle()
    published = client.update_function_code(FunctionName="f", ZipFile=ZIP, Publish=True)
    assert published["Version"] == "1"


def test_a_function_keeps_its_package_type(api: Api, client: Any) -> None:
    create(api)
    assert refused(lambda: client.update_function_code(FunctionName="f", ImageUri="i:1"))[2] == (
        "Please don't provide ImageUri when updating a function with packageType Zip."
    )
    api.images["i:1"] = IMAGE_ID
    client.create_function(
        FunctionName="g", Role=ROLE, PackageType="Image", Code={"ImageUri": "i:1"}
    )
    api.settle()
    assert refused(lambda: client.update_function_code(FunctionName="g", ZipFile=ZIP))[2] == (
        "Please provide ImageUri when updating a function with packageType Image."
    )
    assert refused(lambda: client.update_function_configuration(FunctionName="g", Handler="a.b"))[
        2
    ].startswith("Please don't provide Handler or Runtime or Layer")
    assert refused(lambda: client.update_function_configuration(FunctionName="f", ImageConfig={}))[
        2
    ].startswith("Please don't provide ImageConfig")


def test_a_revision_that_is_old_is_a_412(api: Api, client: Any) -> None:
    created = create(api)
    for call in (client.update_function_configuration, client.publish_version):
        status, name, text = refused(
            lambda call=call: call(FunctionName="f", RevisionId=created["RevisionId"])
        )
        assert (status, name) == (412, "PreconditionFailedException")
        assert text.startswith(MISSING)


def test_a_deleted_function_is_gone(api: Api, client: Any) -> None:
    create(api)
    answer = api.request("DELETE", f"{FUNCTIONS}/f")
    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert client.list_functions()["Functions"] == []
    assert refused(lambda: client.delete_function(FunctionName="f"))[0] == 404


def test_latest_cannot_be_deleted_alone(api: Api, client: Any) -> None:
    create(api)
    assert refused(lambda: client.delete_function(FunctionName="f", Qualifier="$LATEST")) == (
        400,
        "InvalidParameterValueException",
        "$LATEST version cannot be deleted without deleting the function.",
    )


def test_a_page_of_functions_holds_fifty(api: Api, client: Any) -> None:
    names = [f"f{number:03}" for number in range(54)]
    for name in names:
        create(api, name)
    first = api.request("GET", f"{FUNCTIONS}?MaxItems=10000").get_json()
    assert [item["FunctionName"] for item in first["Functions"]] == names[:50]
    client.delete_function(FunctionName=names[49])
    path = f"{FUNCTIONS}?Marker={quote(first['NextMarker'])}&MaxItems=2"
    second = api.request("GET", path).get_json()
    assert [item["FunctionName"] for item in second["Functions"]] == names[50:52]
    pages = client.get_paginator("list_functions").paginate()
    found = [item["FunctionName"] for page in pages for item in page["Functions"]]
    assert found == [*names[:49], *names[50:]]


def test_a_marker_that_nobody_gave_is_refused(api: Api) -> None:
    create(api)
    for marker in ["x", "bnVsbA==", "WzFd", "e30=", "W1tdXQ==", "\u00e9"]:
        answer = api.request("GET", f"{FUNCTIONS}?Marker={quote(marker)}")
        assert error_of(answer)[:2] == (400, "InvalidParameterValueException")


def test_all_versions_are_listed_when_asked_for(api: Api, client: Any) -> None:
    create(api, "a", Publish=True)
    create(api, "b")
    assert [item["FunctionArn"][-2:] for item in client.list_functions()["Functions"]] == [
        ":a",
        ":b",
    ]
    found = client.list_functions(FunctionVersion="ALL")["Functions"]
    assert [(item["FunctionName"], item["Version"]) for item in found] == [
        ("a", "$LATEST"),
        ("a", "1"),
        ("b", "$LATEST"),
    ]
    assert found[0]["FunctionArn"].endswith(":a:$LATEST")


def test_functions_belong_to_their_account_and_region(api: Api) -> None:
    create(api)
    assert api.boto(access_key="123456789012").list_functions()["Functions"] == []
    assert api.boto(region="eu-west-1").list_functions()["Functions"] == []


# versions and aliases


def test_a_version_is_a_snapshot_of_latest(api: Api, client: Any) -> None:
    create(api)
    published = client.publish_version(FunctionName="f", Description="first")
    assert published["FunctionArn"] == f"{ARN}:1"
    assert (published["Version"], published["Description"]) == ("1", "first")
    assert client.publish_version(FunctionName="f")["Version"] == "1"
    client.update_function_configuration(FunctionName="f", Timeout=9)
    api.settle()
    assert client.publish_version(FunctionName="f")["Version"] == "2"
    assert client.get_function_configuration(FunctionName="f:1")["Timeout"] == 3
    versions = client.list_versions_by_function(FunctionName="f")["Versions"]
    assert [item["FunctionArn"] for item in versions] == [f"{ARN}:$LATEST", f"{ARN}:1", f"{ARN}:2"]
    pages = client.get_paginator("list_versions_by_function").paginate(
        FunctionName="f", PaginationConfig={"PageSize": 1}
    )
    assert [item["Version"] for page in pages for item in page["Versions"]] == ["$LATEST", "1", "2"]


def test_an_alias_is_created_read_moved_and_deleted(api: Api, client: Any) -> None:
    create(api)
    client.publish_version(FunctionName="f")
    client.update_function_configuration(FunctionName="f", Timeout=9)
    api.settle()
    client.publish_version(FunctionName="f")
    made = without(client.create_alias(FunctionName="f", Name="prod", FunctionVersion="1"))
    assert without(made, "RevisionId") == {
        "AliasArn": f"{ARN}:prod",
        "Name": "prod",
        "FunctionVersion": "1",
        "Description": "",
    }
    assert without(client.get_alias(FunctionName="f", Name="prod")) == made
    moved = client.update_alias(
        FunctionName="f",
        Name="prod",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.25}},
    )
    assert moved["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 0.25}}
    found = client.get_function(FunctionName="f", Qualifier="prod")["Configuration"]
    assert (found["FunctionArn"], found["Version"]) == (f"{ARN}:prod", "2")
    client.create_alias(FunctionName="f", Name="beta", FunctionVersion="2")
    assert [item["Name"] for item in client.list_aliases(FunctionName="f")["Aliases"]] == [
        "beta",
        "prod",
    ]
    by_version = client.list_aliases(FunctionName="f", FunctionVersion="1")["Aliases"]
    assert [item["Name"] for item in by_version] == ["prod"]
    first = client.list_aliases(FunctionName="f", MaxItems=1)
    rest = client.list_aliases(FunctionName="f", Marker=first["NextMarker"])
    assert [item["Name"] for item in rest["Aliases"]] == ["prod"]
    assert "NextMarker" not in rest
    answer = api.request("DELETE", f"{FUNCTIONS}/f/aliases/prod")
    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert refused(lambda: client.get_alias(FunctionName="f", Name="prod")) == (
        404,
        "ResourceNotFoundException",
        f"Cannot find alias arn: {ARN}:prod",
    )
    client.delete_alias(FunctionName="f", Name="prod")


def test_what_lambda_refuses_of_aliases(api: Api, client: Any) -> None:
    create(api)
    client.publish_version(FunctionName="f")
    client.create_alias(FunctionName="f", Name="prod", FunctionVersion="1")

    def made(version: str, **weights: float) -> tuple[int, str, str]:
        routing = {"AdditionalVersionWeights": {k[1:]: v for k, v in weights.items()}}
        return refused(
            lambda: client.create_alias(
                FunctionName="f", Name="a", FunctionVersion=version, RoutingConfig=routing
            )
        )

    assert refused(
        lambda: client.create_alias(FunctionName="f", Name="prod", FunctionVersion="1")
    ) == (409, "ResourceConflictException", f"Alias already exists: {ARN}:prod")
    assert refused(
        lambda: client.update_alias(FunctionName="f", Name="none", FunctionVersion="1")
    ) == (404, "ResourceNotFoundException", f"Alias not found: {ARN}:none")
    assert made("10") == (404, "ResourceNotFoundException", f"Function not found: {ARN}:10")
    assert made("1", v1=0.5)[2] == (
        "Invalid function version 1. Function version 1 is already included in routing "
        "configuration."
    )
    assert made("1", v2=0.5, v3=0.5)[2] == (
        "Number of items in AdditionalVersionWeights cannot be greater than 1"
    )
    assert made("$LATEST", v1=0.5)[2] == (
        "$LATEST is not supported for an alias pointing to more than 1 version"
    )
    assert made("1", v2=1.5)[1] == "ValidationException"


# tags, account, concurrency


def test_tags_are_set_read_and_removed(api: Api, client: Any) -> None:
    create(api, Tags={"a": "1"})
    client.tag_resource(Resource=ARN, Tags={"b": "2", "c": "3"})
    client.untag_resource(Resource=ARN, TagKeys=["a", "c"])
    assert client.list_tags(Resource=ARN)["Tags"] == {"b": "2"}


def test_a_tag_chooses_a_network_of_those_that_may_be_chosen(api: Api, client: Any) -> None:
    said = (
        "The tag fnbox:network may be none, internet here, not 'full': "
        "FNBOX_NETWORK_CHOICES lists what functions may choose."
    )
    expected = (400, "InvalidParameterValueException", said)
    assert refused(lambda: create(api, Tags={"fnbox:network": "full"})) == expected
    create(api, Tags={"fnbox:network": "internet"})
    assert refused(lambda: client.tag_resource(Resource=ARN, Tags={"fnbox:network": "full"})) == (
        expected
    )
    assert client.list_tags(Resource=ARN)["Tags"] == {"fnbox:network": "internet"}


def test_what_lambda_refuses_of_tags(api: Api, client: Any) -> None:
    create(api)
    assert refused(lambda: client.tag_resource(Resource=f"{ARN}:1", Tags={"a": "b"})) == (
        400,
        "InvalidParameterValueException",
        "Tags on function aliases and versions are not supported. Please specify a function ARN.",
    )
    assert refused(lambda: client.tag_resource(Resource=ARN, Tags={})) == (
        400,
        "InvalidParameterValueException",
        "An error occurred and the request cannot be processed.",
    )
    many = {str(number): "" for number in range(51)}
    assert refused(lambda: client.tag_resource(Resource=ARN, Tags=many))[2] == (
        "Number of tags exceeds resource tag limit."
    )
    mapping = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-" + "0" * 17
    assert refused(lambda: client.list_tags(Resource=mapping))[0] == 404
    answer = api.request("DELETE", f"/2017-03-31/tags/{quote(ARN, safe='')}")
    assert error_of(answer)[2]["message"] == (
        "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_the_account_knows_its_limits_and_use(api: Api, client: Any) -> None:
    create(api, Publish=True)
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=10)
    found = client.get_account_settings()
    assert found["AccountLimit"] == {
        "TotalCodeSize": 322_122_547_200,
        "CodeSizeUnzipped": 262_144_000,
        "CodeSizeZipped": 52_428_800,
        "ConcurrentExecutions": 1000,
        "UnreservedConcurrentExecutions": 990,
    }
    assert found["AccountUsage"] == {"TotalCodeSize": 2 * len(ZIP), "FunctionCount": 1}


def test_concurrency_is_reserved_read_and_released(api: Api, client: Any) -> None:
    create(api)
    assert without(client.get_function_concurrency(FunctionName="f")) == {}
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
    assert without(client.get_function_concurrency(FunctionName="f")) == {
        "ReservedConcurrentExecutions": 0
    }
    assert client.get_function(FunctionName="f")["Concurrency"] == {
        "ReservedConcurrentExecutions": 0
    }
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=900)
    assert refused(
        lambda: client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=901)
    ) == (
        400,
        "InvalidParameterValueException",
        "Specified ReservedConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [100].",
    )
    assert refused(
        lambda: client.put_function_concurrency(FunctionName="f:1", ReservedConcurrentExecutions=1)
    )[2].startswith("This operation is permitted on Lambda functions only.")
    client.delete_function_concurrency(FunctionName="f")
    assert without(client.get_function_concurrency(FunctionName="f")) == {}


def test_a_recursion_config_is_read_and_put(api: Api, client: Any) -> None:
    create(api)
    assert client.get_function_recursion_config(FunctionName="f")["RecursiveLoop"] == "Terminate"
    for wanted in ("Allow", "Terminate"):
        put = client.put_function_recursion_config(FunctionName=ARN, RecursiveLoop=wanted)
        assert put["RecursiveLoop"] == wanted
        assert client.get_function_recursion_config(FunctionName="f")["RecursiveLoop"] == wanted
    path = f"/2024-08-31/functions/f{'{}'}/recursion-config"
    for name, body, expected in (
        ("", {"RecursiveLoop": "Never"}, (400, "ValidationException")),
        ("", {}, (400, "ValidationException")),
        (":1", {"RecursiveLoop": "Allow"}, (400, "ValidationException")),
        ("2", {"RecursiveLoop": "Allow"}, (404, "ResourceNotFoundException")),
    ):
        assert error_of(api.request("PUT", path.format(name), body))[:2] == expected
    assert refused(lambda: client.get_function_recursion_config(FunctionName="g"))[0] == 404


def test_tenant_isolation_is_said_at_creation_and_stays(api: Api, client: Any) -> None:
    tenancy = {"TenantIsolationMode": "PER_TENANT"}
    assert create(api, TenancyConfig=tenancy)["TenancyConfig"] == tenancy
    client.update_function_configuration(FunctionName="f", Timeout=9)
    api.settle()
    found = client.publish_version(FunctionName="f")
    assert (found["Timeout"], found["TenancyConfig"]) == (9, tenancy)
    snap_start = {"ApplyOn": "PublishedVersions"}
    status, name, _ = refused(lambda: create(api, "g", TenancyConfig=tenancy, SnapStart=snap_start))
    assert (status, name) == (400, "InvalidParameterValueException")
    body = body_of_create(FunctionName="h", TenancyConfig={"TenantIsolationMode": "NONE"})
    assert error_of(api.request("POST", FUNCTIONS, body))[:2] == (400, "ValidationException")


def test_what_terraform_asks_of_a_function(api: Api, client: Any) -> None:
    create(api, Publish=True)
    assert client.get_function(FunctionName="f")["Configuration"]["State"] == "Active"
    versions = client.list_versions_by_function(FunctionName="f", MaxItems=10000)["Versions"]
    assert [item["Version"] for item in versions] == ["$LATEST", "1"]
    assert client.get_function_code_signing_config(FunctionName="f")["FunctionName"] == "f"
    client.update_function_configuration(FunctionName="f", Timeout=10)
    api.settle()
    client.update_function_code(FunctionName="f", ZipFile=zip_bytes({"app.py": ""}))
    api.settle()
    client.delete_function(FunctionName="f")
    status, name, body = error_of(api.request("GET", f"{FUNCTIONS}/f"))
    assert (status, name) == (404, "ResourceNotFoundException")
    assert json.dumps(body) == json.dumps({"Type": "User", "Message": f"Function not found: {ARN}"})
