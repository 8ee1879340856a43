"""Every member of CreateFunction and its updates: accepted, answered, kept, left alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.model
import pytest

from sandbox.api import functions
from tests.support.api import IMAGE_ID, ROLE, Api, error_of, open_api, refusal, zip_bytes

MODEL = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("lambda", "service-2", "2015-03-31"), "lambda"
)
LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:l:1"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
KEY = "arn:aws:kms:us-east-1:000000000000:key/1"
PROVIDER = {
    "LambdaManagedInstancesCapacityProviderConfig": {
        "CapacityProviderArn": "arn:aws:lambda:us-east-1:000000000000:capacity-provider:p",
        "PerExecutionEnvironmentMaxConcurrency": 4,
    }
}
RUNTIME = {"RuntimeArn": "arn:aws:lambda:us-east-1:000000000000:runtime/mine", "RuntimeAlias": "a"}
MOUNT = {
    "Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-00000000000000000",
    "LocalMountPath": "/mnt/x",
}

# member of a request: its value, and the members of the answer that say so
TABLE: dict[str, tuple[Any, dict[str, Any]]] = {
    "Runtime": ("python3.11", {"Runtime": "python3.11"}),
    "Role": (f"{ROLE}-2", {"Role": f"{ROLE}-2"}),
    "Handler": ("b.c", {"Handler": "b.c"}),
    "Description": ("d", {"Description": "d"}),
    "Timeout": (900, {"Timeout": 900}),
    "MemorySize": (10240, {"MemorySize": 10240}),
    "DeadLetterConfig": ({"TargetArn": QUEUE}, {"DeadLetterConfig": {"TargetArn": QUEUE}}),
    "Environment": ({"Variables": {"KEY": "v"}}, {"Environment": {"Variables": {"KEY": "v"}}}),
    "KMSKeyArn": (KEY, {"KMSKeyArn": KEY}),
    "TracingConfig": ({"Mode": "Active"}, {"TracingConfig": {"Mode": "Active"}}),
    "FileSystemConfigs": ([MOUNT], {"FileSystemConfigs": [MOUNT]}),
    "EphemeralStorage": ({"Size": 1024}, {"EphemeralStorage": {"Size": 1024}}),
    "SnapStart": (
        {"ApplyOn": "PublishedVersions"},
        {"SnapStart": {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}},
    ),
    "LoggingConfig": (
        {"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": "g"},
        {
            "LoggingConfig": {
                "LogFormat": "JSON",
                "ApplicationLogLevel": "INFO",
                "SystemLogLevel": "WARN",
                "LogGroup": "g",
            }
        },
    ),
    "CapacityProviderConfig": (PROVIDER, {"CapacityProviderConfig": PROVIDER}),
    "RuntimeConfig": (RUNTIME, {"RuntimeConfig": RUNTIME}),
    "AcceleratorConfig": (
        {"AcceleratorMemorySize": 8},
        {"AcceleratorConfig": {"AcceleratorMemorySize": 8}},
    ),
    "Layers": ([LAYER], {"Layers": [{"Arn": LAYER, "CodeSize": len(zip_bytes())}]}),
    "VpcConfig": (
        {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        {
            "VpcConfig": {
                "SubnetIds": ["subnet-1"],
                "SecurityGroupIds": ["sg-1"],
                "VpcId": "vpc-0d9a5a2b5d4f2b1a0",
                "Ipv6AllowedForDualStack": False,
            }
        },
    ),
}
ONLY_AT_CREATION: dict[str, tuple[Any, dict[str, Any]]] = {
    "Architectures": (["arm64"], {"Architectures": ["arm64"]}),
    "TenancyConfig": (
        {"TenantIsolationMode": "PER_TENANT"},
        {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}},
    ),
    "DurableConfig": (
        {"RetentionPeriodInDays": 9, "ExecutionTimeout": 60},
        {"DurableConfig": {"RetentionPeriodInDays": 9, "ExecutionTimeout": 60}},
    ),
    "Publish": (True, {"Version": "1"}),
    "PublishTo": ("LATEST_PUBLISHED", {"Version": "$LATEST.PUBLISHED"}),
}
SHOWN_BELOW = {
    *("FunctionName", "RevisionId"),
    *("Code", "PackageType", "ImageConfig", "Tags", "CodeSigningConfigArn"),
}
CHANGING = {"RevisionId", "LastModified", "FunctionArn", "ResponseMetadata"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    opened.images["image:1"] = IMAGE_ID
    yield opened
    opened.close()


@pytest.fixture
def client(api: Api) -> Any:
    client = api.boto()
    client.publish_layer_version(LayerName="l", Content={"ZipFile": zip_bytes()})
    return client


def configuration(client: Any, name: str = "f") -> dict[str, Any]:
    found = client.get_function_configuration(FunctionName=name)
    return {member: value for member, value in found.items() if member not in CHANGING}


def test_these_tests_know_every_member() -> None:
    known = TABLE.keys() | ONLY_AT_CREATION.keys() | SHOWN_BELOW
    assert MODEL.operation_model("CreateFunction").input_shape.members.keys() == (
        known - {"RevisionId"}
    )
    updated = MODEL.operation_model("UpdateFunctionConfiguration").input_shape.members.keys()
    assert updated == (
        TABLE.keys() | {"FunctionName", "RevisionId", "ImageConfig", "DurableConfig"}
    )


@pytest.mark.parametrize("member", {**TABLE, **ONLY_AT_CREATION})
def test_a_member_of_a_creation_is_answered_and_kept(
    api: Api, client: Any, tmp_path: Path, member: str
) -> None:
    given, answer = {**TABLE, **ONLY_AT_CREATION}[member]
    plain = api.create("g")
    created = api.create(**{member: given})
    answer = {**answer, **({"VpcConfig": created["VpcConfig"]} if member == "VpcConfig" else {})}
    assert {name: created[name] for name in answer} == answer
    others = {"CodeSha256", "ConfigSha256", "LoggingConfig", "FunctionName", "RuntimeVersionConfig"}
    for name in plain.keys() - CHANGING - others - answer.keys():
        assert created[name] == plain[name], name
    name = f"f:{created['Version']}"
    before = configuration(client, name)
    assert {name: before[name] for name in answer} == answer
    api.close()
    again = open_api(tmp_path)
    assert configuration(again.boto(), name) == before
    again.close()


@pytest.mark.parametrize("member", TABLE)
def test_an_update_changes_what_it_names_and_nothing_else(
    api: Api, client: Any, member: str
) -> None:
    api.create()
    before = configuration(client)
    given, answer = TABLE[member]
    updated = client.update_function_configuration(FunctionName="f", **{member: given})
    api.settle()
    after = configuration(client)
    if member == "VpcConfig":
        answer = {"VpcConfig": updated["VpcConfig"]}
        assert updated["VpcConfig"].items() >= given.items()
    assert {name: after[name] for name in answer} == answer
    same = before.keys() - answer.keys() - {"RuntimeVersionConfig"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after.keys() - before.keys() <= answer.keys()


def test_the_order_of_members_does_not_matter(api: Api, client: Any) -> None:
    body = {name: given for name, (given, _) in TABLE.items()}
    body |= {"Code": {"ImageUri": "image:1"}, "PackageType": "Image", "Tags": {"a": "b"}}
    body |= {"ImageConfig": {"Command": ["x"]}}
    for name in ("Runtime", "Handler", "Layers", "SnapStart"):
        del body[name]
    found = []
    for name, items in ("f", list(body.items())), ("g", list(body.items())[::-1]):
        ordered = json.dumps({**dict(items), "FunctionName": name}).encode()
        assert api.request("POST", "/2015-03-31/functions", ordered).status_code == 201
        api.settle()
        found.append({**configuration(client, name), "FunctionName": ""})
    assert found[0] == found[1]


# logging


def test_an_update_of_a_part_of_the_logging_leaves_the_rest(api: Api, client: Any) -> None:
    api.create(LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "WARN"})

    def after(**change: str) -> dict[str, str]:
        client.update_function_configuration(FunctionName="f", LoggingConfig=change)
        api.settle()
        logging: dict[str, str] = configuration(client)["LoggingConfig"]
        return logging

    kept = {"LogFormat": "JSON", "SystemLogLevel": "WARN"}
    assert after(LogGroup="g") == {**kept, "ApplicationLogLevel": "INFO", "LogGroup": "g"}
    levelled = {**kept, "ApplicationLogLevel": "DEBUG", "LogGroup": "g"}
    assert after(ApplicationLogLevel="DEBUG") == levelled
    assert after() == levelled
    assert after(LogFormat="Text") == {"LogFormat": "Text", "LogGroup": "g"}
    levels = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}
    assert after(LogFormat="JSON") == {"LogFormat": "JSON", "LogGroup": "g", **levels}


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({}, {"ApplicationLogLevel": "INFO"}),
        ({"LogFormat": "JSON"}, {"LogFormat": "Text", "SystemLogLevel": "INFO"}),
    ],
)
def test_a_level_goes_with_the_format_that_there_is_then(
    api: Api, client: Any, before: dict[str, str], change: dict[str, str]
) -> None:
    api.create(LoggingConfig=before)
    update = client.update_function_configuration
    assert refusal(lambda: update(FunctionName="f", LoggingConfig=change))[2].startswith(
        'LogLevel is not supported when LogFormat is set to "Text".'
    )


# what cannot be changed, or is not there


def test_durable_execution_is_decided_at_creation(api: Api, client: Any) -> None:
    api.create()
    api.create("g", DurableConfig={"ExecutionTimeout": 60})
    change = {"RetentionPeriodInDays": 5}
    update = client.update_function_configuration
    assert refusal(lambda: update(FunctionName="f", DurableConfig=change))[:2] == (
        *(400, "InvalidParameterValueException"),
    )
    changed = update(FunctionName="g", DurableConfig=change)
    assert changed["DurableConfig"] == {"ExecutionTimeout": 60, **change}


def test_a_code_signing_config_that_is_not_there_is_a_404(api: Api, client: Any) -> None:
    arn = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-00000000000000000"
    assert refusal(lambda: api.create(CodeSigningConfigArn=arn)) == (
        *(404, "CodeSigningConfigNotFoundException"),
        "The code signing configuration cannot be found. Check that the provided configuration "
        f"is not deleted: {arn}.",
    )
    api.create()
    signing = client.get_function_code_signing_config(FunctionName="f")
    assert (signing["FunctionName"], signing["CodeSigningConfigArn"]) == ("f", "")


# packages


def test_where_a_package_is_from_is_told_with_it(api: Api, client: Any, tmp_path: Path) -> None:
    code = {"ZipFile": zip_bytes(), "SourceKMSKeyArn": KEY}
    api.create(Code=code)
    for _ in range(2):
        told = api.boto().get_function(FunctionName="f")["Code"]
        assert told["SourceKMSKeyArn"] == KEY
        assert told["Location"].startswith("http://lambda.test/_fnbox/code/")
        api.close()
        api = open_api(tmp_path)
    api.boto().update_function_code(FunctionName="f", ZipFile=zip_bytes({"a": "b"}))
    assert "SourceKMSKeyArn" not in api.boto().get_function(FunctionName="f")["Code"]
    api.close()


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        ("image", "image"),
        ("image:1", "image"),
        ("host:5000/path/image", "host:5000/path/image"),
        ("host:5000/path/image:1", "host:5000/path/image"),
        (f"host/image:1@{IMAGE_ID}", "host/image"),
    ],
)
def test_an_image_is_resolved_to_its_digest(api: Api, client: Any, uri: str, resolved: str) -> None:
    api.images[uri] = IMAGE_ID
    client.create_function(FunctionName="f", Role=ROLE, PackageType="Image", Code={"ImageUri": uri})
    assert client.get_function(FunctionName="f")["Code"] == {
        "RepositoryType": "ECR",
        "ImageUri": uri,
        "ResolvedImageUri": f"{resolved}@{IMAGE_ID}",
    }


def test_an_image_configuration_is_kept_and_emptied(api: Api, client: Any) -> None:
    config = {"EntryPoint": ["/e"], "Command": ["c"], "WorkingDirectory": "/w"}
    image = {"PackageType": "Image", "Code": {"ImageUri": "image:1"}, "ImageConfig": config}
    created = client.create_function(FunctionName="f", Role=ROLE, **image)
    api.settle()
    assert created["ImageConfigResponse"] == {"ImageConfig": config}
    assert {"Runtime", "Handler", "Layers", "RuntimeVersionConfig"}.isdisjoint(created)
    update = client.update_function_configuration
    kept = update(FunctionName="f", Timeout=5)
    assert kept["ImageConfigResponse"] == {"ImageConfig": config}
    api.settle()
    assert "ImageConfigResponse" not in update(FunctionName="f", ImageConfig={})


def test_a_function_for_another_architecture_is_accepted_and_noted(
    api: Api, client: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "_ARCHITECTURE", "x86_64")
    with caplog.at_level(logging.WARNING, "sandbox.api.functions"):
        api.create("g")
        assert caplog.messages == []
        api.create(Architectures=["arm64"])
        client.update_function_code(
            FunctionName="g", ZipFile=zip_bytes({"a": "b"}), Architectures=["arm64"]
        )
    assert [message.partition(",")[0].rpartition(":")[2] for message in caplog.messages] == [
        "f is for arm64",
        "g is for arm64",
    ]


# publishing without a number


def test_latest_published_is_replaced_and_takes_no_number(api: Api, client: Any) -> None:
    api.create()
    publish = client.publish_version
    first = publish(FunctionName="f", PublishTo="LATEST_PUBLISHED", Description="one")
    assert first["Version"] == "$LATEST.PUBLISHED"
    assert first["FunctionArn"].endswith(":function:f:$LATEST.PUBLISHED")
    assert first["Description"] == "one"
    again = publish(FunctionName="f", PublishTo="LATEST_PUBLISHED")
    assert again["RevisionId"] == first["RevisionId"]
    answer = client.update_function_code(
        FunctionName="f", ZipFile=zip_bytes({"a": "b"}), PublishTo="LATEST_PUBLISHED"
    )
    api.settle()
    assert answer["Version"] == "$LATEST.PUBLISHED"
    assert answer["CodeSha256"] != first["CodeSha256"]
    assert publish(FunctionName="f")["Version"] == "1"
    versions = client.list_versions_by_function(FunctionName="f")["Versions"]
    assert [each["Version"] for each in versions] == ["$LATEST", "$LATEST.PUBLISHED", "1"]
    pages = [
        client.list_versions_by_function(FunctionName="f", MaxItems=1, **more)
        for more in ({}, {"Marker": "WzBd"})  # after place 0
    ]
    assert [page["Versions"][0]["Version"] for page in pages] == ["$LATEST", "1"]
    found = client.get_function(FunctionName="f", Qualifier="$LATEST.PUBLISHED")
    assert found["Configuration"]["CodeSha256"] == answer["CodeSha256"]
    client.delete_function(FunctionName="f", Qualifier="$LATEST.PUBLISHED")
    assert refusal(lambda: client.get_function(FunctionName="f", Qualifier="$LATEST.PUBLISHED"))[
        :2
    ] == (404, "ResourceNotFoundException")


# lists


def test_a_list_leaves_out_what_is_told_of_one_function_alone(api: Api, client: Any) -> None:
    api.create()
    whole = client.get_function_configuration(FunctionName="f")
    left_out = {"State", "LastUpdateStatus", "RuntimeVersionConfig", "ResponseMetadata"}
    assert left_out <= whole.keys()
    functions = client.list_functions()["Functions"]
    versions = client.list_versions_by_function(FunctionName="f")["Versions"]
    for [shown] in functions, versions:
        assert shown.keys() == whole.keys() - left_out


def test_the_account_says_how_much_code_its_functions_and_layers_have(
    api: Api, client: Any
) -> None:
    api.create()
    usage = client.get_account_settings()["AccountUsage"]
    assert usage == {"TotalCodeSize": 2 * len(zip_bytes()), "FunctionCount": 1}


# the wire


def test_a_null_member_is_one_that_is_not_given(api: Api) -> None:
    answer = api.request(
        "POST",
        "/2015-03-31/functions",
        {"FunctionName": "f", "Role": ROLE, "Code": {}, "Runtime": None, "Layers": None},
    )
    status, name, body = error_of(answer)
    assert (status, name) == (400, "InvalidParameterValueException")
    assert body["message"] == "Please provide a source for function code."
