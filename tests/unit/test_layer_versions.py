"""Layers through boto3: publish, read, list, delete, permissions, and functions that use them."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog, Code, layers
from sandbox.catalog.code_store import GRACE
from sandbox.catalog.layers import check_size
from sandbox.clock import FakeClock
from sandbox.errors import CallerError
from tests.support.api import Api, error_of, open_api, refusal, zip_bytes

ARN = "arn:aws:lambda:us-east-1:000000000000:layer:l"
OTHER = "arn:aws:lambda:us-east-1:000000000000:layer:m"
LAYERS = "/2018-10-31/layers"
MISSING = "The resource you requested does not exist."


def publish(client: Any, name: str = "l", text: str = "x", **members: Any) -> dict[str, Any]:
    document: dict[str, Any] = client.publish_layer_version(
        LayerName=name, Content={"ZipFile": zip_bytes({"file": text})}, **members
    )
    document.pop("ResponseMetadata")
    return document


# versions


def test_publish_answers_what_was_published(api: Api) -> None:
    data = zip_bytes()
    body = {
        "Content": {"ZipFile": base64.b64encode(data).decode()},
        "Description": "one",
        "CompatibleRuntimes": ["python3.13", "python2.7"],
        "CompatibleArchitectures": ["arm64"],
        "LicenseInfo": "MIT",
    }
    answer = api.request("POST", f"{LAYERS}/l/versions", body)
    assert answer.status_code == 201
    document = answer.get_json()
    assert document.pop("CreatedDate") == "1970-01-12T13:46:40.000+0000"
    sha256 = hashlib.sha256(data)
    assert document == {
        "Content": {
            "CodeSha256": base64.b64encode(sha256.digest()).decode(),
            "CodeSize": len(data),
            "Location": f"http://localhost/_fnbox/code/{sha256.hexdigest()}.zip",
        },
        "LayerArn": ARN,
        "LayerVersionArn": f"{ARN}:1",
        "Version": 1,
        **{member: value for member, value in body.items() if member != "Content"},
    }
    location = document["Content"]["Location"].removeprefix("http://localhost")
    with api.request("GET", location) as downloaded:
        assert downloaded.get_data() == data


def test_what_was_not_given_is_left_out(client: Any) -> None:
    document = publish(client)
    assert document["Description"] == ""
    assert {"CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo"}.isdisjoint(document)


def test_a_version_is_found_by_name_by_the_layers_arn_and_by_its_own(client: Any) -> None:
    published = publish(client)
    by_name = client.get_layer_version(LayerName="l", VersionNumber=1)
    by_arn = client.get_layer_version(LayerName=ARN, VersionNumber=1)
    by_its_own = client.get_layer_version_by_arn(Arn=f"{ARN}:1")
    for found in by_name, by_arn, by_its_own:
        del found["ResponseMetadata"]
        assert found == published


def test_layers_belong_to_an_account_and_a_region(api: Api) -> None:
    publish(api.boto())
    other = api.boto(access_key="123456789012")
    assert other.list_layers()["Layers"] == []
    assert publish(other)["LayerArn"] == "arn:aws:lambda:us-east-1:123456789012:layer:l"
    assert other.get_layer_version(LayerName=ARN, VersionNumber=1)["LayerArn"] == ARN
    elsewhere = api.boto(region="eu-west-1")
    assert refusal(lambda: elsewhere.get_layer_version(LayerName=ARN, VersionNumber=1)) == (
        *(404, "ResourceNotFoundException"),
        MISSING,
    )


def test_numbers_are_not_used_twice_not_even_after_a_restart(tmp_path: Path) -> None:
    for expected in range(1, 4):
        api = open_api(tmp_path)
        assert publish(api.boto())["Version"] == expected
        api.boto().delete_layer_version(LayerName="l", VersionNumber=expected)
        api.close()


def test_layers_survive_a_restart(tmp_path: Path) -> None:
    api = open_api(tmp_path)
    published = publish(api.boto(), Description="kept", CompatibleRuntimes=["python3.13"])
    permit(api.boto())
    policy = api.boto().get_layer_version_policy(LayerName="l", VersionNumber=1)
    api.create(Layers=[f"{ARN}:1"])
    api.close()
    again = open_api(tmp_path)
    client = again.boto()
    found = client.get_layer_version(LayerName="l", VersionNumber=1)
    assert {**found, "ResponseMetadata": None} == {**published, "ResponseMetadata": None}
    kept = client.get_layer_version_policy(LayerName="l", VersionNumber=1)
    assert (kept["Policy"], kept["RevisionId"]) == (policy["Policy"], policy["RevisionId"])
    latest = again.catalog.functions("000000000000", "us-east-1")[0].latest
    assert latest.layers == Code(latest.layers.sha256, published["Content"]["CodeSize"], 1)
    again.close()


def test_deleting_says_nothing_of_what_is_not_there(api: Api, client: Any) -> None:
    publish(client)
    for _ in range(2):
        answer = api.request("DELETE", f"{LAYERS}/l/versions/1")
        assert (answer.status_code, answer.get_data()) == (204, b"")
    assert client.list_layers()["Layers"] == []
    assert client.list_layer_versions(LayerName="l")["LayerVersions"] == []


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda c: c.get_layer_version(LayerName="l", VersionNumber=9),
            (404, "ResourceNotFoundException", MISSING),
        ),
        (
            lambda c: c.get_layer_version(LayerName="none", VersionNumber=1),
            (404, "ResourceNotFoundException", MISSING),
        ),
        (
            lambda c: c.get_layer_version_by_arn(Arn=f"{ARN}:9"),
            (404, "ResourceNotFoundException", MISSING),
        ),
        (
            lambda c: c.get_layer_version(LayerName="l", VersionNumber=0),
            (400, "InvalidParameterValueException", "Layer Version Cannot be less than 1"),
        ),
        (
            lambda c: c.delete_layer_version(LayerName="l", VersionNumber=-1),
            (400, "InvalidParameterValueException", "Layer Version Cannot be less than 1"),
        ),
        (
            lambda c: c.publish_layer_version(LayerName="l", Content={"ZipFile": b"PK"}),
            (
                400,
                "InvalidParameterValueException",
                "Could not unzip uploaded file. Please check your file, then try to upload again.",
            ),
        ),
    ],
)
def test_what_is_refused(client: Any, call: Any, expected: tuple[int, str, str]) -> None:
    publish(client)
    assert refusal(lambda: call(client)) == expected


# lists


def test_lists_show_the_newest_version_that_suits(client: Any) -> None:
    publish(client, "a", CompatibleRuntimes=["python3.13"], CompatibleArchitectures=["arm64"])
    publish(client, "a", CompatibleRuntimes=["python3.13"])
    publish(client, "a", CompatibleRuntimes=["nodejs24.x"])
    publish(client, "b")

    def listed(**wanted: str) -> list[tuple[str, int]]:
        found = client.list_layers(**wanted)["Layers"]
        return [(each["LayerName"], each["LatestMatchingVersion"]["Version"]) for each in found]

    assert listed() == [("a", 3), ("b", 1)]
    assert listed(CompatibleRuntime="python3.13") == [("a", 2)]
    assert listed(CompatibleArchitecture="arm64") == [("a", 1)]
    assert listed(CompatibleRuntime="nodejs24.x", CompatibleArchitecture="arm64") == []
    versions = client.list_layer_versions(LayerName="a", CompatibleRuntime="python3.13")
    assert [each["Version"] for each in versions["LayerVersions"]] == [2, 1]


def test_versions_are_listed_newest_first_a_page_at_a_time(client: Any) -> None:
    for _ in range(5):
        publish(client)
    pages = client.get_paginator("list_layer_versions").paginate(
        LayerName="l", PaginationConfig={"PageSize": 2}
    )
    assert [[each["Version"] for each in page["LayerVersions"]] for page in pages] == [
        [5, 4],
        [3, 2],
        [1],
    ]


def test_layers_are_listed_by_name_a_page_at_a_time(client: Any) -> None:
    for name in "cab":
        publish(client, name)
    pages = client.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 2})
    assert [[each["LayerName"] for each in page["Layers"]] for page in pages] == [["a", "b"], ["c"]]


# permissions


def permit(client: Any, sid: str = "s", **members: Any) -> Any:
    return client.add_layer_version_permission(
        **{
            "LayerName": "l",
            "VersionNumber": 1,
            "StatementId": sid,
            "Action": "lambda:GetLayerVersion",
            "Principal": "*",
            **members,
        }
    )


def test_permissions_make_a_policy(client: Any) -> None:
    publish(client)
    first = permit(client)
    assert json.loads(first["Statement"]) == {
        "Sid": "s",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "lambda:GetLayerVersion",
        "Resource": f"{ARN}:1",
    }
    organization = permit(client, "o", OrganizationId="o-0123456789")
    account = permit(client, "a", Principal="123456789012", RevisionId=organization["RevisionId"])
    assert json.loads(organization["Statement"])["Condition"] == {
        "StringEquals": {"aws:PrincipalOrgID": "o-0123456789"}
    }
    assert json.loads(account["Statement"])["Principal"] == {
        "AWS": "arn:aws:iam::123456789012:root"
    }
    answer = client.get_layer_version_policy(LayerName="l", VersionNumber=1)
    assert answer["RevisionId"] == account["RevisionId"] != first["RevisionId"]
    policy = json.loads(answer["Policy"])
    assert (policy["Version"], policy["Id"]) == ("2012-10-17", "default")
    assert policy["Statement"] == [
        json.loads(each["Statement"]) for each in (first, organization, account)
    ]
    for sid in "soa":
        client.remove_layer_version_permission(LayerName="l", VersionNumber=1, StatementId=sid)
    assert refusal(lambda: client.get_layer_version_policy(LayerName="l", VersionNumber=1)) == (
        *(404, "ResourceNotFoundException"),
        "No policy is associated with the given resource.",
    )


STALE = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API "
    "to retrieve the latest Revision Id"
)


def test_permissions_that_are_refused(client: Any) -> None:
    publish(client)

    def remove(sid: str = "s", **members: Any) -> Any:
        return client.remove_layer_version_permission(
            LayerName="l", **{"VersionNumber": 1, "StatementId": sid, **members}
        )

    none = (404, "ResourceNotFoundException", "No policy is associated with the given resource.")
    assert refusal(remove) == none
    permit(client)
    assert refusal(lambda: permit(client)) == (
        *(409, "ResourceConflictException"),
        "The statement id (s) provided already exists. Please provide a new statement id, or "
        "remove the existing statement.",
    )
    assert refusal(lambda: remove("other")) == (
        *(404, "ResourceNotFoundException"),
        "Statement other is not found in resource policy.",
    )
    for call in (lambda: permit(client, "t", RevisionId="x"), lambda: remove(RevisionId="x")):
        assert refusal(call) == (412, "PreconditionFailedException", STALE)
    missing = (404, "ResourceNotFoundException", f"Layer version {ARN}:2 does not exist.")
    for call in (
        lambda: permit(client, VersionNumber=2),
        lambda: remove(VersionNumber=2),
        lambda: client.get_layer_version_policy(LayerName="l", VersionNumber=2),
    ):
        assert refusal(call) == missing
    assert refusal(lambda: permit(client, "t", Action="lambda:*"))[1] == "ValidationException"
    too_long = refusal(lambda: [permit(client, f"{'s' * 95}{number}") for number in range(100)])
    assert too_long[:2] == (400, "PolicyLengthExceededException")
    assert too_long[2].endswith("is bigger than the limit (20480).")


# functions


def test_a_function_lists_its_layers_and_keeps_them(api: Api, client: Any) -> None:
    sizes = [publish(client, name, name)["Content"]["CodeSize"] for name in ("l", "m")]
    arns = [f"{ARN}:1", f"{OTHER}:1"]
    document = api.create(Layers=arns)
    listed = [{"Arn": arn, "CodeSize": size} for arn, size in zip(arns, sizes, strict=True)]
    assert document["Layers"] == listed
    client.update_function_configuration(FunctionName="f", Timeout=9)
    api.settle()
    changed = client.get_function_configuration(FunctionName="f")
    assert changed["Layers"] == listed
    assert (
        client.update_function_code(FunctionName="f", ZipFile=zip_bytes({"a": "b"}))["Layers"]
        == listed
    )
    api.settle()
    assert client.publish_version(FunctionName="f")["Layers"] == listed
    cleared = client.update_function_configuration(FunctionName="f", Layers=[])
    assert "Layers" not in cleared
    assert client.get_function_configuration(FunctionName="f:1")["Layers"] == listed


def test_layers_make_another_version(api: Api, client: Any) -> None:
    publish(client)
    api.create(Publish=True)
    client.update_function_configuration(FunctionName="f", Layers=[f"{ARN}:1"])
    api.settle()
    assert client.publish_version(FunctionName="f")["Version"] == "2"


@pytest.mark.parametrize(
    ("arns", "text"),
    [
        ([f"{ARN}:{number}" for number in range(1, 7)], "Cannot reference more than 5 layers."),
        ([f"{ARN}:3"], f"Layer version {ARN}:3 does not exist."),
        ([f"{ARN}:00000000000001"], f"Layer version {ARN}:00000000000001 does not exist."),
        (["arn:aws:lambda:::awslayer:l"], "Layer version arn:aws:lambda:::awslayer:l does not"),
        (
            [f"{ARN}:1".replace("us-east-1", "eu-west-1")],
            "Layers are not in the same region as the function. Layers are expected to be in "
            "region us-east-1.",
        ),
        (
            [f"{ARN}:1", f"{ARN}:2"],
            "Two different versions of the same layer are not allowed to be referenced in the same "
            f"function. {ARN}:1 and {ARN}:2 are versions of the same layer.",
        ),
        (
            [f"{ARN}:1", f"{ARN}:1"],
            "Two different versions of the same layer are not allowed to be referenced in the same "
            f"function. {ARN}:1 and {ARN}:1 are versions of the same layer.",
        ),
    ],
)
def test_layers_that_a_function_cannot_have(api: Api, arns: list[str], text: str) -> None:
    client = api.boto()
    publish(client)
    publish(client)
    status, name, message = refusal(lambda: api.create(Layers=arns))
    assert (status, name) == (400, "InvalidParameterValueException")
    assert message.startswith(text)
    api.create()
    again = refusal(lambda: client.update_function_configuration(FunctionName="f", Layers=arns))
    assert again == (status, name, message)
    assert "Layers" not in client.get_function_configuration(FunctionName="f")


def test_an_arn_without_a_version_breaks_the_models_pattern(client: Any, api: Api) -> None:
    api.create()
    path = "/2015-03-31/functions/f/configuration"
    status, name, body = error_of(api.request("PUT", path, {"Layers": [ARN]}))
    assert (status, name) == (400, "ValidationException")
    assert body["message"].startswith(f"1 validation error detected: Value '[{ARN}]' at 'layers'")


def test_code_and_layers_unpack_to_262144000_bytes_at_most() -> None:
    check_size(Code("", 0, 262_143_999), Code("", 0, 1))
    check_size(Code("", 0, 262_144_000), None)
    text = (
        "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. "
        "The actual size is 262144001 bytes."
    )
    with pytest.raises(CallerError, match=text):
        check_size(Code("", 0, 262_144_000), Code("", 0, 1))


def test_code_and_layers_are_measured_at_every_change(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "UNZIPPED_LIMIT", 100)
    client = api.boto()
    for name in "lm":
        publish(client, name, "x" * 40)
    code = {"ZipFile": zip_bytes({"file": "x" * 40})}
    too_large = (
        400,
        "InvalidParameterValueException",
        "Function code combined with layers exceeds the maximum allowed size of 100 bytes. "
        "The actual size is 120 bytes.",
    )
    both = [f"{ARN}:1", f"{OTHER}:1"]
    assert refusal(lambda: api.create(Code=code, Layers=both)) == too_large
    api.create(Code=code, Layers=both[:1])
    update = client.update_function_configuration
    assert refusal(lambda: update(FunctionName="f", Layers=both)) == too_large
    larger = zip_bytes({"file": "x" * 80})
    update = client.update_function_code
    assert refusal(lambda: update(FunctionName="f", ZipFile=larger)) == too_large


def test_a_deleted_version_stays_in_the_functions_that_use_it_alone(api: Api) -> None:
    client = api.boto()
    publish(client)
    api.create(Layers=[f"{ARN}:1"])
    client.delete_layer_version(LayerName="l", VersionNumber=1)
    assert client.get_function_configuration(FunctionName="f")["Layers"][0]["Arn"] == f"{ARN}:1"
    assert refusal(lambda: api.create("g", Layers=[f"{ARN}:1"]))[2] == (
        f"Layer version {ARN}:1 does not exist."
    )


def test_packages_are_kept_as_long_as_a_layer_or_a_function_has_them(tmp_path: Path) -> None:
    api = open_api(tmp_path)
    client = api.boto()
    publish(client, "l", "one")
    publish(client, "m", "two")
    api.create(Layers=[f"{ARN}:1", f"{OTHER}:1"])

    def kept() -> int:
        return len(list((tmp_path / "code").glob("??/*")))

    assert kept() == 4  # the function's, two layers', and both in one
    for name in ("l", "m"):
        api.clock.advance(GRACE + 1)
        client.delete_layer_version(LayerName=name, VersionNumber=1)
    assert kept() == 2
    latest = api.catalog.functions("000000000000", "us-east-1")[0].latest
    assert latest.layers is not None
    assert (api.catalog.code.tree(latest.layers) / "file").read_text() == "two"
    api.close()
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    assert kept() == 2
    catalog.delete_function(latest.key)
    catalog.close()
    Catalog.open(tmp_path, clock=FakeClock()).close()
    assert kept() == 0
