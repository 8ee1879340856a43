"""Invoke and InvokeAsync on the wire."""

from __future__ import annotations

import base64
import io
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import errors
from sandbox.invocation import Outcome
from sandbox.names import FunctionKey
from tests.support.api import Api, EchoService, error_of, open_api

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
ROOT = "1-5759e988-bd862e3fe1be46a994272793"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = open_api(tmp_path_factory.mktemp("state"))
    yield api
    api.close()


@pytest.fixture
def api(opened: Api) -> Api:
    """Invoke changes nothing but what the service remembers."""
    opened.service.reset()
    return opened


def test_a_result_comes_back_byte_for_byte_with_the_headers_of_the_api(api: Api) -> None:
    answer = api.invoke(payload=b'{ "name": "Bob" }')
    assert answer.status_code == 200
    assert answer.get_data() == b'{ "name": "Bob" }'
    headers = dict(answer.headers)
    assert uuid.UUID(headers.pop("x-amzn-RequestId")) == uuid.UUID(
        api.service.invoked[0].request_id
    )
    assert re.fullmatch(
        r"root=1-[0-9a-f]{8}-[0-9a-f]{24};parent=[0-9a-f]{16};sampled=0;lineage=1:03574033:0",
        headers.pop("X-Amzn-Trace-Id"),
    )
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": "17",
        "x-amzn-Remapped-Content-Length": "0",
        "X-Amz-Executed-Version": "$LATEST",
    }


def test_a_function_error_is_a_200_with_a_header(api: Api) -> None:
    api.service.outcome = Outcome(b'{"errorMessage":"boom"}', "Unhandled", "7", b"", 1.0)
    answer = api.invoke()
    assert answer.status_code == 200
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.headers["X-Amz-Executed-Version"] == "7"
    assert answer.get_data() == b'{"errorMessage":"boom"}'


def test_a_result_may_be_a_view_of_a_larger_buffer(api: Api) -> None:
    view = memoryview(b"....{}....")[4:6]
    api.service.outcome = Outcome(view, None, "$LATEST", b"", 1.0)
    assert api.invoke().get_data() == b"{}"


def test_the_log_tail_is_there_for_tail_alone(api: Api) -> None:
    assert "X-Amz-Log-Result" not in api.invoke().headers
    assert "X-Amz-Log-Result" not in api.invoke(headers={"X-Amz-Log-Type": "None"}).headers
    answer = api.invoke(headers={"X-Amz-Log-Type": "Tail"})
    assert base64.b64decode(answer.headers["X-Amz-Log-Result"]) == b"a line\n"


def test_an_event_is_stored_and_answered_with_an_empty_202(api: Api) -> None:
    answer = api.invoke(
        payload=b"[1]", headers={"X-Amz-Invocation-Type": "Event", "X-Amz-Log-Type": "Tail"}
    )
    assert answer.status_code == 202
    assert answer.get_data() == b""
    assert answer.headers["Content-Length"] == "0"
    for absent in ("X-Amz-Executed-Version", "X-Amz-Function-Error", "X-Amz-Log-Result"):
        assert absent not in answer.headers
    assert api.service.invoked == []
    assert [event.payload for event in api.service.enqueued] == [b"[1]"]
    assert api.service.enqueued[0].request_id == answer.headers["x-amzn-RequestId"]


def test_a_dry_run_only_looks(api: Api) -> None:
    answer = api.invoke(headers={"X-Amz-Invocation-Type": "DryRun"}, query="Qualifier=prod")
    assert answer.status_code == 204
    assert answer.get_data() == b""
    assert [reference.arn for reference in api.service.checked] == [f"{ARN}:prod"]
    assert not api.service.invoked
    assert not api.service.enqueued


@pytest.mark.parametrize("kind", ["RequestResponse", "Event"])
def test_an_empty_body_is_an_empty_object_to_the_function(api: Api, kind: str) -> None:
    api.invoke(payload=b"", headers={"X-Amz-Invocation-Type": kind})
    seen = [*api.service.invoked, *api.service.enqueued]
    assert [invocation.payload for invocation in seen] == [b"{}"]


@pytest.mark.parametrize("kind", ["RequestResponse", "Event", "DryRun"])
def test_a_payload_that_is_no_json_is_refused_whatever_the_type(api: Api, kind: str) -> None:
    status, name, body = error_of(
        api.invoke(payload=b"value", headers={"X-Amz-Invocation-Type": kind})
    )
    assert (status, name, body["Type"]) == (400, "InvalidRequestContentException", "User")
    assert body["message"].startswith(
        "Could not parse request body into json: Could not parse payload into json: "
    )
    assert not api.service.invoked
    assert not api.service.enqueued


@pytest.mark.parametrize(
    ("name", "query", "reference"),
    [
        ("f", "", ("f", None)),
        ("f:prod", "", ("f", "prod")),
        ("f", "Qualifier=prod", ("f", "prod")),
        ("f:prod", "Qualifier=prod", ("f", "prod")),
        ("f%3A%24LATEST", "", ("f", "$LATEST")),
        ("f", "Qualifier=%24LATEST", ("f", "$LATEST")),
        ("f", "Qualifier=$latest", ("f", "$latest")),
        ("000000000000:function:f", "", ("f", None)),
        ("000000000000:f", "", ("f", None)),
        ("us-east-1:000000000000:function:f:3", "", ("f", "3")),
        ("arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af%3Aprod", "", ("f", "prod")),
        (ARN, "", ("f", None)),
        (f"{ARN}:3", "Qualifier=3", ("f", "3")),
        ("a" * 65, "", ("a" * 65, None)),
        ("dotted.name", "", ("dotted.name", None)),
        ("arn:aws:lambda:us-east-1:000000000000:function", "", ("function", None)),
    ],
)
def test_every_form_of_a_name(
    api: Api, name: str, query: str, reference: tuple[str, str | None]
) -> None:
    assert api.invoke(name, query=query).status_code == 200
    asked = api.service.invoked[0].reference
    assert asked.key == FunctionKey("000000000000", "us-east-1", reference[0])
    assert asked.qualifier == reference[1]


def test_two_qualifiers_that_differ_are_refused(api: Api) -> None:
    assert error_of(api.invoke("f:1", query="Qualifier=2")) == (
        400,
        "InvalidParameterValueException",
        {
            "Type": "User",
            "message": "The derived qualifier from the function name does not match the "
            "specified qualifier.",
        },
    )


def test_a_function_of_another_region_is_not_found(api: Api) -> None:
    name = "arn:aws:lambda:ap-southeast-1:000000000000:function:f"
    assert error_of(api.invoke(name)) == (
        404,
        "ResourceNotFoundException",
        {
            "Type": "User",
            "Message": "Functions from 'ap-southeast-1' are not reachable in this region "
            "('us-east-1')",
        },
    )


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"X-Amz-Invocation-Type": "event"}, "invocationType"),
        ({"X-Amz-Log-Type": "Head"}, "logType"),
        ({"X-Amz-Tenant-Id": "a{b"}, "tenantId"),
        ({"X-Amz-Durable-Execution-Name": "a b"}, "durableExecutionName"),
    ],
)
def test_headers_are_validated(api: Api, headers: dict[str, str], path: str) -> None:
    status, name, body = error_of(api.invoke(headers=headers))
    assert (status, name) == (400, "ValidationException")
    assert list(body) == ["message"]
    assert f"' at '{path}' failed to satisfy constraint: " in body["message"]


def test_a_name_with_bad_characters_is_a_validation_error(api: Api) -> None:
    status, name, body = error_of(api.invoke("in%20valid!"))
    assert (status, name) == (400, "ValidationException")
    assert body["message"].startswith(
        "1 validation error detected: Value 'in valid!' at 'functionName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: "
    )


def test_the_client_context_reaches_the_function_as_json(api: Api) -> None:
    context = base64.b64encode(b'{"custom":{"a":"\xc3\xa9"}}').decode()
    assert api.invoke(headers={"X-Amz-Client-Context": context}).status_code == 200
    assert json.loads(api.service.invoked[0].client_context or "") == {"custom": {"a": "é"}}
    api.invoke(headers={"X-Amz-Client-Context": context, "X-Amz-Invocation-Type": "Event"})
    assert api.service.enqueued[0].client_context is None


@pytest.mark.parametrize(
    "text",
    ["{}", "not base64", base64.b64encode(b"nonsense").decode(), "bnVsbA==", "/w==", "\xe9"],
)
def test_a_client_context_that_is_none_is_refused(api: Api, text: str) -> None:
    assert error_of(api.invoke(headers={"X-Amz-Client-Context": text})) == (
        400,
        "InvalidRequestContentException",
        {
            "Type": "User",
            "message": "Client context must be a valid Base64-encoded JSON object.",
        },
    )


def test_a_client_context_has_a_limit(api: Api) -> None:
    text = base64.b64encode(json.dumps({"a": "x" * 2700}).encode()).decode()
    status, name, _ = error_of(api.invoke(headers={"X-Amz-Client-Context": text}))
    assert (status, name) == (400, "InvalidParameterValueException")


def test_a_callers_request_id_and_trace_are_kept(api: Api) -> None:
    request_id = "8b1e2f6a-0000-4000-8000-00000000000f"
    trace = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:1"
    answer = api.invoke(headers={"x-amzn-RequestId": request_id, "X-Amzn-Trace-Id": trace})
    assert answer.headers["x-amzn-RequestId"] == request_id
    # after which comes the function that is called
    assert answer.headers["X-Amzn-Trace-Id"] == (
        f"root={ROOT};parent=53995c3f42cd8ad8;sampled=1;lineage=1:a87bd80c:1|1:03574033:0"
    )
    invocation = api.service.invoked[0]
    assert (invocation.request_id, invocation.trace_id) == (request_id, f"{trace}|1:03574033:0")


def test_an_answer_names_its_trace_also_when_the_call_was_refused(api: Api) -> None:
    trace = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"
    answer = api.invoke("f:1", headers={"X-Amzn-Trace-Id": trace}, query="Qualifier=2")
    assert answer.status_code == 400
    assert answer.headers["X-Amzn-Trace-Id"] == f"root={ROOT};parent=53995c3f42cd8ad8;sampled=1"


def test_the_tenant_that_is_named_is_whose_call_it_is(api: Api) -> None:
    client: Any = api.boto()
    for kind in ("RequestResponse", "Event", "DryRun"):
        client.invoke(FunctionName="f", InvocationType=kind, TenantId="Blue @ 1")
    client.invoke_with_response_stream(FunctionName="f", TenantId="green")
    client.invoke(FunctionName="f")
    asked = [*api.service.invoked, *api.service.enqueued]
    assert [call.tenant_id for call in asked] == ["Blue @ 1", "green", None, "Blue @ 1"]
    assert api.service.tenants == ["Blue @ 1"]


def test_the_cognito_identity_that_a_caller_stands_for_is_passed_on(api: Api) -> None:
    given = '{ "cognitoIdentityPoolId": "p", "cognitoIdentityId": "i", "more": 1 }'
    api.invoke(headers={"X-Fnbox-Cognito-Identity": given})
    api.invoke(headers={"X-Fnbox-Cognito-Identity": given, "X-Amz-Invocation-Type": "Event"})
    assert api.service.invoked[0].cognito_identity == (
        '{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}'
    )
    assert api.service.enqueued[0].cognito_identity is None


@pytest.mark.parametrize(
    "text", ["i", "[]", "{}", '{"cognitoIdentityId":"i"}', "7", "null", "[" * 9000]
)
def test_a_cognito_identity_that_is_none_is_refused(api: Api, text: str) -> None:
    status, name, body = error_of(api.invoke(headers={"X-Fnbox-Cognito-Identity": text}))
    assert (status, name) == (400, "InvalidRequestContentException")
    assert body["message"].startswith("X-Fnbox-Cognito-Identity must be a JSON object")


def test_a_call_in_a_loop_is_refused_with_the_message_in_capitals(api: Api) -> None:
    api.service.failure = errors.RecursiveInvocation("again")
    assert error_of(api.invoke()) == (
        400,
        "RecursiveInvocationException",
        {"Type": "User", "Message": "again"},
    )


def test_a_throttle_says_when_to_try_again(api: Api) -> None:
    api.service.failure = errors.TooManyRequests("ConcurrentInvocationLimitExceeded")
    assert api.invoke().headers["Retry-After"] == "1"


def test_a_request_id_that_is_no_uuid_is_refused(api: Api) -> None:
    status, name, body = error_of(api.invoke(headers={"x-amzn-RequestId": "mine"}))
    assert (status, name) == (400, "InvalidRequestContentException")
    assert body["message"] == (
        "Invalid Request ID: The 'x-amzn-RequestId' header must be a valid UUID format string."
    )


class Unread(io.RawIOBase):
    """A body of which not a byte may be read."""

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the body was read")


@pytest.mark.parametrize(
    ("path", "headers", "limit", "operation"),
    [
        ("/2015-03-31/functions/f/invocations", {}, 6_291_456, "InvokeFunction"),
        (
            "/2015-03-31/functions/f/invocations",
            {"X-Amz-Invocation-Type": "Event"},
            1_048_576,
            "InvokeFunction",
        ),
        ("/2014-11-13/functions/f/invoke-async/", {}, 262_144, "InvokeAsync"),
        ("/2015-03-31/functions", {}, 70_167_211, "CreateFunction"),
    ],
)
def test_a_body_over_the_limit_is_refused_before_it_is_read(
    api: Api, path: str, headers: dict[str, str], limit: int, operation: str
) -> None:
    answer = api.request(
        "POST",
        path,
        headers=headers,
        environ_overrides={"CONTENT_LENGTH": str(limit + 1), "wsgi.input": Unread()},
    )
    assert error_of(answer) == (
        413,
        "RequestEntityTooLargeException",
        {"Message": f"Request must be smaller than {limit} bytes for the {operation} operation"},
    )


@pytest.mark.parametrize(("kind", "limit"), [("RequestResponse", 6_291_456), ("Event", 1_048_576)])
def test_a_chunked_body_is_read_up_to_the_limit(api: Api, kind: str, limit: int) -> None:
    def send(size: int) -> int:
        return api.request(
            "POST",
            "/2015-03-31/functions/f/invocations",
            headers={"X-Amz-Invocation-Type": kind},
            environ_overrides={
                "CONTENT_LENGTH": "",
                "wsgi.input_terminated": True,
                "wsgi.input": io.BytesIO(b'"' + b"x" * (size - 2) + b'"'),
            },
        ).status_code

    assert send(limit) in (200, 202)
    assert send(limit + 1) == 413


@pytest.mark.parametrize("length", ["10", "-1", "ten", "1e3"])
def test_a_content_length_that_is_wrong_is_refused(api: Api, length: str) -> None:
    answer = api.request(
        "POST",
        "/2015-03-31/functions/f/invocations",
        environ_overrides={"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"{}")},
    )
    assert error_of(answer)[:2] == (400, "InvalidRequestContentException")
    assert not api.service.invoked


class Broken(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise ConnectionResetError


def test_a_client_that_leaves_within_its_body_runs_nothing(api: Api) -> None:
    answer = api.request(
        "POST",
        "/2015-03-31/functions/f/invocations",
        environ_overrides={"CONTENT_LENGTH": "10", "wsgi.input": Broken()},
    )
    assert error_of(answer)[:2] == (400, "InvalidRequestContentException")
    assert not api.service.invoked


def test_a_compressed_body_is_refused(api: Api) -> None:
    status, name, body = error_of(api.invoke(headers={"Content-Encoding": "gzip"}))
    assert (status, name) == (415, "UnsupportedMediaTypeException")
    assert "gzip" in body["message"]


@pytest.mark.parametrize(
    ("failure", "status", "name"),
    [
        (errors.NotFound(f"Function not found: {ARN}:$LATEST"), 404, "ResourceNotFoundException"),
        (errors.Conflict("Pending"), 409, "ResourceConflictException"),
        (
            errors.TooManyRequests("ConcurrentInvocationLimitExceeded"),
            429,
            "TooManyRequestsException",
        ),
        (errors.EngineUnavailable("Docker is gone"), 500, "ServiceException"),
        (errors.ImageMissing("no image"), 502, "InvalidRuntimeException"),
    ],
)
@pytest.mark.parametrize("kind", ["RequestResponse", "Event", "DryRun"])
def test_what_the_service_raises_is_the_answer(
    api: Api, failure: errors.FnboxError, status: int, name: str, kind: str
) -> None:
    api.service.failure = failure
    answer = api.invoke(headers={"X-Amz-Invocation-Type": kind})
    found = error_of(answer)
    assert found[:2] == (status, name)
    assert str(failure) in found[2].values()
    assert answer.headers["x-amzn-Remapped-Content-Length"] == "0"


def test_a_fault_of_ours_is_logged_and_told_as_a_500(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.service.failure = ZeroDivisionError("a secret")
    answer = api.invoke()
    assert error_of(answer) == (
        500,
        "ServiceException",
        {"Type": "Service", "Message": "An error occurred and the request cannot be processed."},
    )
    assert "ZeroDivisionError: a secret" in caplog.text
    assert answer.headers["x-amzn-RequestId"] in caplog.text


@pytest.mark.parametrize("slash", ["", "/"])
def test_invoke_async_is_an_event(api: Api, slash: str) -> None:
    answer = api.request("POST", f"/2014-11-13/functions/f:prod/invoke-async{slash}", b"[1]")
    assert (answer.status_code, answer.get_data()) == (202, b"")
    event = api.service.enqueued[0]
    assert (event.reference.arn, event.payload) == (f"{ARN}:prod", b"[1]")
    assert event.request_id == answer.headers["x-amzn-RequestId"]
    assert re.fullmatch(r"Root=.*;Sampled=0;Lineage=1:03574033:0", event.trace_id or "")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing/here"),
        ("POST", "//2015-03-31//functions/f/invocations"),
        ("OPTIONS", "/2015-03-31/functions"),
        ("PATCH", "/2015-03-31/functions/f"),
        ("GET", "/2015-03-31/functions/f/invocations"),
        ("POST", "/_fnbox/health"),
        ("GET", "/_fnbox/code/short.zip"),
        ("GET", "/_fnbox/code/..%2f..%2ffnbox.zip"),
        ("TRACE", "/"),
        ("GET", "/%00%ff"),
    ],
)
def test_an_unknown_path_or_method_is_a_json_404(api: Api, method: str, path: str) -> None:
    status, name, body = error_of(api.request(method, path))
    assert (status, name, list(body)) == (404, "UnknownOperationException", ["message"])


def test_head_has_no_body(api: Api) -> None:
    answer = api.request("HEAD", "/2015-03-31/functions")
    assert (answer.status_code, answer.get_data()) == (404, b"")
    assert answer.headers["Content-Type"] == "application/json"


def test_an_operation_that_is_not_there_says_its_name(api: Api) -> None:
    assert error_of(api.request("GET", "/2015-03-31/event-source-mappings")) == (
        501,
        "NotImplementedException",
        {
            "Type": "Service",
            "message": "fnbox does not implement lambda:ListEventSourceMappings.",
        },
    )


@pytest.mark.parametrize("path", ["/_fnbox/health", "/_localstack/health"])
def test_health_is_json(api: Api, path: str) -> None:
    answer = api.request("GET", path)
    assert answer.status_code == 200
    assert answer.get_json()["status"] == "running"


def test_a_path_in_absolute_form_is_understood(api: Api) -> None:
    answer = api.request(
        "POST",
        "/",
        b"{}",
        environ_overrides={
            "RAW_URI": "http://lambda.test/2015-03-31/functions/f/invocations?Qualifier=1",
            "PATH_INFO": "/2015-03-31/functions/f/invocations",
            "QUERY_STRING": "Qualifier=1",
        },
    )
    assert answer.status_code == 200
    assert api.service.invoked[0].reference.qualifier == "1"


def test_boto3_reads_every_kind_of_answer(api: Api) -> None:
    client: Any = api.boto()
    answer = client.invoke(FunctionName="f:prod", Payload=b'{"a":1}', LogType="Tail")
    assert answer["Payload"].read() == b'{"a":1}'
    assert answer["ExecutedVersion"] == "$LATEST"
    assert base64.b64decode(answer["LogResult"]) == b"a line\n"
    assert client.invoke(FunctionName="f", InvocationType="Event")["StatusCode"] == 202
    assert client.invoke(FunctionName="f", InvocationType="DryRun")["StatusCode"] == 204
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName="f", Payload=b"value")
    api.service.failure = errors.TooManyRequests("ConcurrentInvocationLimitExceeded")
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        client.invoke(FunctionName="f")
    assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"


def test_another_account_calls_its_own_function(tmp_path: Path) -> None:
    service = EchoService()
    api = open_api(tmp_path, service=service)
    api.boto(region="eu-west-1", access_key="123456789012").invoke(FunctionName="f")
    assert service.invoked[0].reference.key == FunctionKey("123456789012", "eu-west-1", "f")
    api.close()
