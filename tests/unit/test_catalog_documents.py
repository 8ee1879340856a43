"""FunctionConfiguration documents: Lambda's defaults, and what an update changes."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.catalog import Code, documents
from sandbox.names import FunctionKey

KEY = FunctionKey("000000000000", "us-east-1", "my-function")
NOW = 1_764_037_655.1239
REQUEST = {
    "FunctionName": "my-function",
    "Runtime": "python3.13",
    "Handler": "app.handler",
    "Role": "arn:aws:iam::000000000000:role/lambda",
    "Code": {"ZipFile": b""},
}


def created(**members: Any) -> documents.Document:
    return documents.created(KEY, {**REQUEST, **members}, NOW)


def settled(**members: Any) -> documents.Document:
    return documents.activated(created(**members))


def updated(document: documents.Document, **members: Any) -> documents.Document:
    return documents.reconfigured(KEY, document, members, NOW + 1)


def test_a_new_function_has_every_default_of_lambda() -> None:
    document = documents.coded(created(), Code("00" * 32, 123, 456), None, None)
    assert len(document.pop("RevisionId")) == 36
    runtime_version = document.pop("RuntimeVersionConfig")["RuntimeVersionArn"]
    assert runtime_version.startswith("arn:aws:lambda:us-east-1::runtime:")
    assert document == {
        "FunctionName": "my-function",
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:my-function",
        "Runtime": "python3.13",
        "Role": "arn:aws:iam::000000000000:role/lambda",
        "Handler": "app.handler",
        "CodeSize": 123,
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "LastModified": "2025-11-25T02:27:35.123+0000",
        "CodeSha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/my-function"},
    }


def test_an_image_has_a_digest_and_no_runtime() -> None:
    request = {"Role": REQUEST["Role"], "PackageType": "Image", "ImageConfig": {"Command": ["a.b"]}}
    document = documents.created(KEY, request, NOW)
    assert not {"Runtime", "Handler", "RuntimeVersionConfig"} & document.keys()
    assert document["PackageType"] == "Image"
    assert document["ImageConfigResponse"] == {"ImageConfig": {"Command": ["a.b"]}}
    known = documents.coded(document, None, "my:image", "sha256:" + "ab" * 32)
    assert (known["CodeSize"], known["CodeSha256"]) == (0, "ab" * 32)
    unknown = documents.coded(document, None, "my:image", None)
    assert len(unknown["CodeSha256"]) == 64


GIVEN_AND_ANSWERED = {
    "Description": ("Says hello", {"Description": "Says hello"}),
    "Timeout": (900, {"Timeout": 900}),
    "MemorySize": (1024, {"MemorySize": 1024}),
    "Handler": ("a.b", {"Handler": "a.b"}),
    "Role": ("arn:aws:iam::1:role/x", {"Role": "arn:aws:iam::1:role/x"}),
    "Environment": (
        {"Variables": {"A": "1"}},
        {"Environment": {"Variables": {"A": "1"}}},
    ),
    "TracingConfig": ({"Mode": "Active"}, {"TracingConfig": {"Mode": "Active"}}),
    "EphemeralStorage": ({"Size": 1024}, {"EphemeralStorage": {"Size": 1024}}),
    "SnapStart": (
        {"ApplyOn": "PublishedVersions"},
        {"SnapStart": {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}},
    ),
    "LoggingConfig": (
        {"LogFormat": "JSON", "SystemLogLevel": "DEBUG"},
        {
            "LoggingConfig": {
                "LogFormat": "JSON",
                "ApplicationLogLevel": "INFO",
                "SystemLogLevel": "DEBUG",
                "LogGroup": "/aws/lambda/my-function",
            }
        },
    ),
    "DeadLetterConfig": (
        {"TargetArn": "arn:aws:sqs:us-east-1:1:q"},
        {"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:1:q"}},
    ),
    "KMSKeyArn": ("arn:aws:kms:a:b:c", {"KMSKeyArn": "arn:aws:kms:a:b:c"}),
    "Layers": (
        [{"Arn": "arn:aws:lambda:us-east-1:1:layer:l:1", "CodeSize": 9}],
        {"Layers": [{"Arn": "arn:aws:lambda:us-east-1:1:layer:l:1", "CodeSize": 9}]},
    ),
    "FileSystemConfigs": (
        [{"Arn": "arn:efs", "LocalMountPath": "/mnt/x"}],
        {"FileSystemConfigs": [{"Arn": "arn:efs", "LocalMountPath": "/mnt/x"}]},
    ),
    "ImageConfig": (
        {"Command": ["x"]},
        {"ImageConfigResponse": {"ImageConfig": {"Command": ["x"]}}},
    ),
    "DurableConfig": ({"ExecutionTimeout": 9}, {"DurableConfig": {"ExecutionTimeout": 9}}),
}


@pytest.mark.parametrize("member", GIVEN_AND_ANSWERED)
def test_a_member_is_answered_as_given_at_creation_and_by_an_update(member: str) -> None:
    given, answered = GIVEN_AND_ANSWERED[member]
    for document in (created(**{member: given}), updated(settled(), **{member: given})):
        assert {name: document[name] for name in answered} == answered


def test_a_vpc_is_answered_with_its_lists() -> None:
    vpc = created(VpcConfig={"SubnetIds": ["s"], "SecurityGroupIds": ["g"]})["VpcConfig"]
    assert vpc.pop("VpcId").startswith("vpc-")
    assert vpc == {
        "SubnetIds": ["s"],
        "SecurityGroupIds": ["g"],
        "Ipv6AllowedForDualStack": False,
    }
    assert created(VpcConfig={})["VpcConfig"]["VpcId"] == ""


def test_only_creation_sets_the_architecture_and_tenancy() -> None:
    tenancy = {"TenantIsolationMode": "PER_TENANT"}
    document = created(Architectures=["arm64"], TenancyConfig=tenancy)
    assert document["Architectures"] == ["arm64"]
    assert document["TenancyConfig"] == tenancy
    assert updated(settled(), TenancyConfig=tenancy).get("TenancyConfig") is None


def test_an_update_leaves_alone_what_it_does_not_name() -> None:
    before = settled(Environment={"Variables": {"A": "1"}}, Timeout=9, Description="d")
    after = updated(before, MemorySize=256)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {
        "MemorySize",
        "LastModified",
        "RevisionId",
        "LastUpdateStatus",
        "LastUpdateStatusReason",
        "LastUpdateStatusReasonCode",
    }


@pytest.mark.parametrize(
    ("member", "empty", "left"),
    [
        ("Environment", {"Variables": {}}, {"Variables": {}}),
        ("Environment", {}, {"Variables": {}}),
        ("Layers", [], None),
        ("DeadLetterConfig", {"TargetArn": ""}, None),
        ("DeadLetterConfig", {}, None),
        ("Description", "", ""),
        ("KMSKeyArn", "", None),
        ("FileSystemConfigs", [], None),
    ],
)
def test_an_update_can_empty_a_member(member: str, empty: Any, left: Any) -> None:
    given, _ = GIVEN_AND_ANSWERED[member]
    assert updated(settled(**{member: given}), **{member: empty}).get(member) == left


def test_an_empty_image_configuration_goes_away() -> None:
    document = settled(ImageConfig={"Command": ["x"]})
    assert "ImageConfigResponse" not in updated(document, ImageConfig={})


def test_the_status_of_an_update_comes_and_goes() -> None:
    before = settled()
    assert before["LastUpdateStatus"] == "Successful"
    during = documents.recoded(before, {"Architectures": ["arm64"]}, NOW)
    assert during["State"] == "Active"
    assert during["Architectures"] == ["arm64"]
    assert [during[f"LastUpdateStatus{suffix}"] for suffix in ("", "Reason", "ReasonCode")] == [
        "InProgress",
        "The function is being created.",
        "Creating",
    ]
    after = documents.activated(during)
    assert after["LastUpdateStatus"] == "Successful"
    assert not {"LastUpdateStatusReason", "LastUpdateStatusReasonCode"} & after.keys()
    assert not {"StateReason", "StateReasonCode"} & after.keys()
    assert len({document["RevisionId"] for document in (before, during, after)}) == 3


def published(document: documents.Document, description: str | None = None) -> documents.Document:
    return documents.published(document, "7", description, NOW)


def test_a_published_zip_is_active_at_once() -> None:
    latest = documents.coded(settled(Description="mine"), Code("00" * 32, 1, 1), None, None)
    version = published(latest)
    assert version["Version"] == "7"
    assert version["FunctionArn"] == f"{KEY.arn}:7"
    assert (version["State"], version["LastUpdateStatus"]) == ("Active", "Successful")
    assert version["Description"] == "mine"
    assert version["RevisionId"] != latest["RevisionId"]
    assert len(version["ConfigSha256"]) == 44
    assert published(latest, "its own")["Description"] == "its own"


@pytest.mark.parametrize(
    "members",
    [
        {"SnapStart": {"ApplyOn": "PublishedVersions"}},
        {"VpcConfig": {"SubnetIds": ["s"], "SecurityGroupIds": ["g"]}},
        {"PackageType": "Image"},
    ],
)
def test_a_version_that_needs_preparation_is_pending(members: dict[str, Any]) -> None:
    version = published(settled(**members))
    assert version["State"] == "Pending"
    assert version["StateReasonCode"] == "Creating"
    assert "LastUpdateStatus" not in version


def test_snap_start_is_on_for_a_version_only() -> None:
    latest = settled(SnapStart={"ApplyOn": "PublishedVersions"})
    assert latest["SnapStart"]["OptimizationStatus"] == "Off"
    assert published(latest)["SnapStart"]["OptimizationStatus"] == "On"


def test_a_description_does_not_make_another_version_but_all_else_does() -> None:
    code = Code("00" * 32, 1, 1)
    latest = documents.coded(settled(), code, None, None)
    version = published(latest, "first")
    again = documents.activated(updated(latest, Description="other"))
    assert documents.same_content(version, again)
    assert not documents.same_content(version, updated(latest, Timeout=4))
    recoded = documents.coded(latest, Code("11" * 32, 1, 1), None, None)
    assert not documents.same_content(version, recoded)
