"""Function URLs as they are configured, through boto3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from tests.support.api import ROLE, Api, open_api, refused, zip_bytes

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
GONE = "ResourceNotFoundException"
CORS = {"AllowOrigins": ["https://example.org"], "AllowMethods": ["GET", "*"], "MaxAge": 60}
PATTERN = "((?!^\\d+$)^[0-9a-zA-Z-_]+$)"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    opened.create(Publish=True)
    opened.boto().create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    yield opened
    opened.close()


def create(client: Any, name: str = "f", **members: Any) -> dict[str, Any]:
    made = client.create_function_url_config(FunctionName=name, AuthType="NONE", **members)
    return without(made)


def without(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def test_a_url_is_created_read_updated_and_deleted(api: Api, client: Any) -> None:
    created = create(client)
    url = created.pop("FunctionUrl")
    assert created == {
        "FunctionArn": ARN,
        "AuthType": "NONE",
        "CreationTime": "1970-01-12T13:46:40.000000Z",
    }
    read = {
        **created,
        "FunctionUrl": url,
        "LastModifiedTime": "1970-01-12T13:46:40.000000Z",
        "InvokeMode": "BUFFERED",
    }
    assert without(client.get_function_url_config(FunctionName="f")) == read
    api.clock.advance(1.5)
    updated = client.update_function_url_config(
        FunctionName="f", AuthType="AWS_IAM", Cors=CORS, InvokeMode="RESPONSE_STREAM"
    )
    expected = {
        **read,
        "AuthType": "AWS_IAM",
        "Cors": CORS,
        "InvokeMode": "RESPONSE_STREAM",
        "LastModifiedTime": "1970-01-12T13:46:41.500000Z",
    }
    assert without(updated) == expected
    assert without(client.update_function_url_config(FunctionName="f")) == expected
    assert "Cors" not in client.update_function_url_config(FunctionName="f", Cors={})
    gone = client.delete_function_url_config(FunctionName="f")
    assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    missing = (GONE, "The resource you requested does not exist.")
    assert refused(client.get_function_url_config, FunctionName="f") == missing
    assert refused(client.delete_function_url_config, FunctionName="f") == missing
    assert refused(client.update_function_url_config, FunctionName="f") == missing


def test_the_answer_to_a_creation_has_the_mode_that_was_asked_for(client: Any) -> None:
    assert create(client, InvokeMode="BUFFERED", Cors=CORS)["InvokeMode"] == "BUFFERED"
    assert client.get_function_url_config(FunctionName="f")["Cors"] == CORS


def test_the_url_is_where_the_api_was_reached(client: Any) -> None:
    base, _, url_id = create(client)["FunctionUrl"].rstrip("/").rpartition("/")
    assert base == "http://lambda.test/_fnbox/urls"
    assert len(url_id) == 32
    assert url_id.isalnum()
    assert url_id == url_id.lower()


@pytest.mark.parametrize(
    ("domain", "host", "place"),
    [
        ("localhost", "127.0.0.1:4566", "localhost:4566"),
        ("fnbox.example", "fnbox.example", "fnbox.example"),
        ("fnbox.example:8080", "127.0.0.1:4566", "fnbox.example:8080"),
        ("localhost", "127.0.0.1", "localhost"),
    ],
)
def test_the_url_is_under_the_domain_that_is_set(
    tmp_path: Path, domain: str, host: str, place: str
) -> None:
    opened = open_api(tmp_path, url_domain=domain)
    opened.boto().create_function(
        FunctionName="f",
        Role=ROLE,
        Runtime="python3.13",
        Handler="app.handler",
        Code={"ZipFile": zip_bytes()},
    )
    path, body = "/2021-10-31/functions/f/url", {"AuthType": "NONE"}
    answer = opened.request("POST", path, body, {"Host": host})
    assert answer.status_code == 201, answer.get_data()
    (url,) = opened.catalog.functions("000000000000", "us-east-1")[0].urls.values()
    expected = f"http://{url.url_id}.lambda-url.us-east-1.{place}/"
    assert answer.get_json()["FunctionUrl"] == expected
    assert 40 <= len(expected) <= 100
    opened.close()


def test_a_second_url_is_a_conflict(client: Any) -> None:
    create(client)
    create(client, Qualifier="live")
    for arn, members in ((ARN, {}), (f"{ARN}:live", {"Qualifier": "live"})):
        assert refused(create, client, **members) == (
            "ResourceConflictException",
            f"Failed to create function url config for [functionArn = {arn}]. Error message:  "
            "FunctionUrlConfig exists for this Lambda function",
        )


@pytest.mark.parametrize("operation", ["create", "update", "list"])
def test_operations_on_a_missing_function(client: Any, operation: str) -> None:
    call = {
        "create": create,
        "update": lambda client, name: client.update_function_url_config(FunctionName=name),
        "list": lambda client, name: client.list_function_url_configs(FunctionName=name),
    }[operation]
    assert refused(call, client, "g") == (GONE, "Function does not exist")


def test_questions_about_a_missing_function_or_alias(client: Any) -> None:
    missing = (GONE, "The resource you requested does not exist.")
    for members in ({"FunctionName": "g"}, {"FunctionName": "f", "Qualifier": "other"}):
        assert refused(client.get_function_url_config, **members) == missing
        assert refused(client.delete_function_url_config, **members) == missing
    assert refused(create, client, Qualifier="other") == (GONE, "Function does not exist")


@pytest.mark.parametrize("qualifier", ["1", "$LATEST"])
def test_versions_have_no_url(client: Any, qualifier: str) -> None:
    assert refused(create, client, Qualifier=qualifier) == (
        "ValidationException",
        f"1 validation error detected: Value '{qualifier}' at 'qualifier' failed to satisfy "
        f"constraint: Member must satisfy regular expression pattern: {PATTERN}",
    )


def test_options_cannot_be_a_method_of_cors(api: Api) -> None:
    body = {"AuthType": "NONE", "Cors": {"AllowMethods": ["OPTIONS"]}}
    answer = api.request("POST", "/2021-10-31/functions/f/url", body)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, "ValidationException")


def test_urls_are_listed_by_page(client: Any) -> None:
    client.create_alias(FunctionName="f", Name="beta", FunctionVersion="1")
    for qualifier in ("live", "beta"):
        create(client, Qualifier=qualifier)
    create(client)
    first = client.list_function_url_configs(FunctionName="f", MaxItems=2)
    rest = client.list_function_url_configs(FunctionName="f", Marker=first["NextMarker"])
    configs = [*first["FunctionUrlConfigs"], *rest["FunctionUrlConfigs"]]
    assert [config["FunctionArn"] for config in configs] == [ARN, f"{ARN}:beta", f"{ARN}:live"]
    assert "NextMarker" not in rest
    assert all("LastModifiedTime" in config for config in configs)


def test_a_url_goes_with_its_alias_and_its_function(api: Api, client: Any) -> None:
    ids = []
    for members in ({}, {"Qualifier": "live"}):
        ids.append(create(client, **members)["FunctionUrl"].split("/")[-2])
    own, alias = ids
    client.delete_alias(FunctionName="f", Name="live")
    assert api.catalog.function_url(alias) is None
    assert api.catalog.function_url(own) is not None
    client.delete_function(FunctionName="f")
    assert api.catalog.function_url(own) is None


def test_a_function_with_tenants_has_no_url(client: Any) -> None:
    client.create_function(
        FunctionName="tenants",
        Role=ROLE,
        Runtime="python3.13",
        Handler="app.handler",
        Code={"ZipFile": zip_bytes()},
        TenancyConfig={"TenantIsolationMode": "PER_TENANT"},
    )
    code, _ = refused(create, client, "tenants")
    assert code == "InvalidParameterValueException"


def test_urls_are_there_after_a_restart(api: Api, client: Any, tmp_path: Path) -> None:
    create(client, Cors=CORS)
    create(client, Qualifier="live", InvokeMode="RESPONSE_STREAM")
    (before,) = api.catalog.functions("000000000000", "us-east-1")
    api.close()
    reopened = Catalog.open(tmp_path, clock=FakeClock())
    (after,) = reopened.functions("000000000000", "us-east-1")
    assert after.urls == before.urls
    for url in before.urls.values():
        assert reopened.function_url(url.url_id) == url
    reopened.close()
