"""Functions from their creation to their end, through boto3 and on the wire."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.api import (
    ARN,
    FUNCTIONS,
    IMAGE_ID,
    ROLE,
    Api,
    body_of_create,
    error_of,
    refusal,
    without,
    zip_bytes,
)

ZIP = zip_bytes()
MISSING = "The Revision Id provided does not match the latest Revision Id."


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
    created = api.create()
    found = client.get_function_configuration(FunctionName="f")
    assert (found["State"], found["LastUpdateStatus"]) == ("Active", "Successful")
    assert found["RevisionId"] != created["RevisionId"]


def test_the_waiters_of_boto3_see_it(api: Api, client: Any) -> None:
    api.create()
    client.get_waiter("function_active_v2").wait(FunctionName="f")
    client.get_waiter("function_updated_v2").wait(FunctionName="f")


def test_a_function_may_be_named_by_its_arn(api: Api, client: Any) -> None:
    assert api.create(ARN)["FunctionName"] == "f"
    assert client.get_function(FunctionName="000000000000:function:f")


def test_get_function_has_a_link_that_gives_the_package(api: Api, client: Any) -> None:
    api.create(Tags={"a": "b"})
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
    assert refusal(
        lambda: client.create_function(
            FunctionName="f", Role=ROLE, PackageType="Image", Code={"ImageUri": "none:1"}
        )
    ) == (
        400,
        "InvalidParameterValueException",
        "Source image none:1 does not exist. Provide a valid source image.",
    )


def test_4096_bytes_of_environment_are_allowed(api: Api) -> None:
    assert api.create(Environment={"Variables": {"KEY": "v" * 4086}})


def test_a_function_that_exists_is_a_conflict(api: Api, client: Any) -> None:
    api.create()
    assert refusal(lambda: api.create()) == (
        409,
        "ResourceConflictException",
        "Function already exist: f",
    )


def test_an_update_is_in_progress_until_it_is_done(api: Api, client: Any) -> None:
    api.create()
    before = client.get_function_configuration(FunctionName="f")["RevisionId"]
    updated = client.update_function_configuration(
        FunctionName="f", Timeout=9, Environment={"Variables": {"KEY": "value"}}
    )
    assert (updated["Timeout"], updated["LastUpdateStatus"]) == (9, "InProgress")
    assert updated["MemorySize"] == 128
    assert refusal(lambda: client.update_function_configuration(FunctionName="f", Timeout=10)) == (
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
    api.create()
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
    api.create()
    assert refusal(lambda: client.update_function_code(FunctionName="f", ImageUri="i:1"))[2] == (
        "Please don't provide ImageUri when updating a function with packageType Zip."
    )
    api.images["i:1"] = IMAGE_ID
    client.create_function(
        FunctionName="g", Role=ROLE, PackageType="Image", Code={"ImageUri": "i:1"}
    )
    api.settle()
    assert refusal(lambda: client.update_function_code(FunctionName="g", ZipFile=ZIP))[2] == (
        "Please provide ImageUri when updating a function with packageType Image."
    )
    assert refusal(lambda: client.update_function_configuration(FunctionName="g", Handler="a.b"))[
        2
    ].startswith("Please don't provide Handler or Runtime or Layer")
    assert refusal(lambda: client.update_function_configuration(FunctionName="f", ImageConfig={}))[
        2
    ].startswith("Please don't provide ImageConfig")


def test_a_revision_that_is_old_is_a_412(api: Api, client: Any) -> None:
    created = api.create()
    for call in (client.update_function_configuration, client.publish_version):
        status, name, text = refusal(
            lambda call=call: call(FunctionName="f", RevisionId=created["RevisionId"])
        )
        assert (status, name) == (412, "PreconditionFailedException")
        assert text.startswith(MISSING)


def test_a_deleted_function_is_gone(api: Api, client: Any) -> None:
    api.create()
    answer = api.request("DELETE", f"{FUNCTIONS}/f")
    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert client.list_functions()["Functions"] == []
    assert refusal(lambda: client.delete_function(FunctionName="f"))[0] == 404


def test_latest_cannot_be_deleted_alone(api: Api, client: Any) -> None:
    api.create()
    assert refusal(lambda: client.delete_function(FunctionName="f", Qualifier="$LATEST")) == (
        400,
        "InvalidParameterValueException",
        "$LATEST version cannot be deleted without deleting the function.",
    )


def test_a_page_of_functions_holds_fifty(api: Api, client: Any) -> None:
    names = [f"f{number:03}" for number in range(54)]
    for name in names:
        api.create(name)
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
    api.create()
    for marker in ["x", "bnVsbA==", "WzFd", "e30=", "W1tdXQ==", "\u00e9"]:
        answer = api.request("GET", f"{FUNCTIONS}?Marker={quote(marker)}")
        assert error_of(answer)[:2] == (400, "InvalidParameterValueException")


def test_all_versions_are_listed_when_asked_for(api: Api, client: Any) -> None:
    api.create("a", Publish=True)
    api.create("b")
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
    api.create()
    assert api.boto(access_key="123456789012").list_functions()["Functions"] == []
    assert api.boto(region="eu-west-1").list_functions()["Functions"] == []


# the account, concurrency, recursion, tenancy


def test_the_account_knows_its_limits_and_use(api: Api, client: Any) -> None:
    api.create(Publish=True)
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
    api.create()
    assert without(client.get_function_concurrency(FunctionName="f")) == {}
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
    assert without(client.get_function_concurrency(FunctionName="f")) == {
        "ReservedConcurrentExecutions": 0
    }
    assert client.get_function(FunctionName="f")["Concurrency"] == {
        "ReservedConcurrentExecutions": 0
    }
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=900)
    assert refusal(
        lambda: client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=901)
    ) == (
        400,
        "InvalidParameterValueException",
        "Specified ReservedConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [100].",
    )
    assert refusal(
        lambda: client.put_function_concurrency(FunctionName="f:1", ReservedConcurrentExecutions=1)
    )[2].startswith("This operation is permitted on Lambda functions only.")
    client.delete_function_concurrency(FunctionName="f")
    assert without(client.get_function_concurrency(FunctionName="f")) == {}


def test_a_recursion_config_is_read_and_put(api: Api, client: Any) -> None:
    api.create()
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
    assert refusal(lambda: client.get_function_recursion_config(FunctionName="g"))[0] == 404


def test_tenant_isolation_is_said_at_creation_and_stays(api: Api, client: Any) -> None:
    tenancy = {"TenantIsolationMode": "PER_TENANT"}
    assert api.create(TenancyConfig=tenancy)["TenancyConfig"] == tenancy
    client.update_function_configuration(FunctionName="f", Timeout=9)
    api.settle()
    found = client.publish_version(FunctionName="f")
    assert (found["Timeout"], found["TenancyConfig"]) == (9, tenancy)
    snap_start = {"ApplyOn": "PublishedVersions"}
    status, name, _ = refusal(lambda: api.create("g", TenancyConfig=tenancy, SnapStart=snap_start))
    assert (status, name) == (400, "InvalidParameterValueException")
    body = body_of_create(FunctionName="h", TenancyConfig={"TenantIsolationMode": "NONE"})
    assert error_of(api.request("POST", FUNCTIONS, body))[:2] == (400, "ValidationException")


def test_what_terraform_asks_of_a_function(api: Api, client: Any) -> None:
    api.create(Publish=True)
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
