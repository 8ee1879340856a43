"""Requests made from the model's shapes, valid and broken: no 5xx, no traceback, no half row."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import botocore.loaders
import botocore.model
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.api.dispatch import OPERATIONS
from sandbox.api.invoke import OPERATIONS as INVOKE
from sandbox.api.model import load
from tests.support.api import ROLE, Api, as_sent, open_api, zip_bytes
from tests.support.shapes import broken, members_of

BOTOCORE = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("lambda", "service-2", "2015-03-31"), "lambda"
)
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:l"
NAMES = st.sampled_from(
    ["f", "f:1", "f:prod", "f:$LATEST", "g", ARN, f"{ARN}:prod", "000000000000:f"]
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "FunctionName": NAMES,
    "Resource": st.sampled_from([ARN, f"{ARN}:1"]),
    "Name": st.sampled_from(["prod", "beta"]),
    "Qualifier": st.sampled_from(["1", "2", "prod", "$LATEST"]),
    "FunctionVersion": st.sampled_from(["1", "2", "$LATEST"]),
    "Role": st.just(ROLE),
    "Layers": st.sampled_from([[], [f"{LAYER}:1"], [f"{LAYER}:1", f"{LAYER}:2"]]),
    "LayerName": st.sampled_from(["l", "m", LAYER]),
    "VersionNumber": st.integers(0, 4),
    "Arn": st.sampled_from([f"{LAYER}:1", f"{LAYER}:2"]),
    "Content": st.fixed_dictionaries({"ZipFile": st.just(zip_bytes())}),
    "StatementId": st.sampled_from("ab"),
    "ResourceArn": st.sampled_from([ARN, f"{ARN}:prod"]),
    "Policy": st.just(
        '{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}'
    ),
    "Principal": st.sampled_from(["*", "s3.amazonaws.com", "000000000001"]),
    "Action": st.sampled_from(["lambda:InvokeFunction", "lambda:InvokeFunctionUrl", "*"]),
    "Runtime": st.just("python3.13"),
    "ZipFile": st.sampled_from([zip_bytes(), zip_bytes({"a.py": ""}), b"", b"PK"]),
    "Code": st.fixed_dictionaries({"ZipFile": st.just(zip_bytes())}),
    "ImageUri": st.sampled_from(["image:1", "none"]),
    "ProvisionedConcurrentExecutions": st.integers(1, 1000),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    opened = open_api(tmp_path_factory.mktemp("state"))
    opened.images["image:1"] = "sha256:" + "0" * 64
    yield opened
    opened.close()


@st.composite
def requests(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Members of an operation, most of them such that they get past validation."""
    shape = BOTOCORE.operation_model(name).input_shape
    if shape is None:
        return {}
    members: dict[str, Any] = draw(members_of(shape))
    for member in shape.members:
        if member in LIKELY and (member in shape.required_members or draw(st.booleans())):
            members[member] = draw(LIKELY[member])
    for member in draw(st.sets(st.sampled_from(sorted(members)), max_size=1)) if members else ():
        members[member] = draw(broken(st.just(members[member])))
    return members


def sent(name: str, members: dict[str, Any]) -> dict[str, Any]:
    """A request as a client that checks nothing would send it."""
    operation = load().operations[name]
    path = operation.path.partition("?")[0]
    for source in operation.labels:
        path = path.replace(
            f"{{{source.place}}}", quote(plain(members.get(source.member)), safe="")
        )
    query = [
        (source.place, plain(item))
        for source in operation.query
        if source.member in members
        for item in (
            members[source.member]
            if source.is_list and isinstance(members[source.member], list)
            else [members[source.member]]
        )
    ]
    headers = {
        source.place.removeprefix("HTTP_").replace("_", "-"): plain(members[source.member])
        for source in operation.headers
        if source.member in members
    }
    outside = {s.member for s in (*operation.labels, *operation.query, *operation.headers)}
    body: Any = {key: value for key, value in members.items() if key not in outside}
    if operation.payload is not None:
        payload = body.get(operation.payload, b"")
        data = payload if isinstance(payload, bytes) else plain(payload).encode()
    else:
        data = json.dumps(body, default=lambda blob: base64.b64encode(blob).decode()).encode()
    return {
        "method": operation.method,
        "path": f"{path}?{urlencode(query)}" if query else path,
        "body": data,
        "headers": {key: value.encode("utf-8").decode("latin-1") for key, value in headers.items()},
    }


def plain(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return "".join(character for character in text if character.isprintable())


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_request_ends_in_a_fault(
    api: Api, caplog: pytest.LogCaptureFixture, name: str, data: st.DataObject
) -> None:
    caplog.clear()
    answer = api.request(**sent(name, data.draw(requests(name))))
    assert answer.status_code < 500, answer.get_data()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    if answer.status_code >= 400:
        assert answer.headers["x-amzn-ErrorType"]
        assert answer.headers["Content-Type"] == "application/json"
    if answer.get_data() and name not in INVOKE:
        assert isinstance(answer.get_json(), dict)
    if data.draw(st.booleans()):
        api.settle()


@pytest.mark.parametrize("name", sorted(load().operations.keys() - OPERATIONS.keys()))
def test_an_operation_that_is_not_there_answers_with_its_name(api: Api, name: str) -> None:
    operation = load().operations[name]
    path = re.sub(r"\{[^}]*\}", "x", operation.path)
    for answer in (
        api.request(operation.method, path),
        api.request(operation.method, path, b"{}", {"Content-Type": "application/json"}),
    ):
        assert answer.status_code == 501
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["x-amzn-ErrorType"] == "NotImplementedException"
        assert answer.get_json() == {
            "Type": "Service",
            "message": f"fnbox does not implement lambda:{name}.",
        }


def test_every_operation_of_the_model_has_a_route_of_its_own() -> None:
    routes = {(each.method, each.path) for each in load().operations.values()}
    assert len(routes) == len(load().operations) == len(BOTOCORE.operation_names) == 91


@settings(max_examples=40, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    path=st.one_of(
        st.text(max_size=30),
        st.sampled_from(sorted(load().operations.values(), key=lambda o: o.name)).map(
            lambda operation: operation.path
        ),
    ),
    body=st.sampled_from([b"", b"{}", b"null", b"[[", b"\xff", b"x" * 100]),
)
def test_no_path_or_body_ends_in_a_fault(api: Api, method: str, path: str, body: bytes) -> None:
    target = "/" + quote(path, safe="/?=&{}%")
    answer = api.request(method, "/", body, environ_overrides=as_sent(target))
    assert answer.status_code < 500 or answer.status_code == 501
    assert "html" not in answer.headers.get("Content-Type", "")
