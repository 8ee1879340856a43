"""What Invoke makes of its request's headers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.support.api import Api, error_of

ROOT = "1-5759e988-bd862e3fe1be46a994272793"


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"X-Amz-Invocation-Type": "event"}, "invocationType"),
        ({"X-Amz-Log-Type": "Head"}, "logType"),
        ({"X-Amz-Tenant-Id": "a{b"}, "tenantId"),
        ({"X-Amz-Durable-Execution-Name": "a b"}, "durableExecutionName"),
    ],
)
def test_headers_are_validated(echo: Api, headers: dict[str, str], path: str) -> None:
    status, name, body = error_of(echo.invoke(headers=headers))
    assert (status, name) == (400, "ValidationException")
    assert list(body) == ["message"]
    assert f"' at '{path}' failed to satisfy constraint: " in body["message"]


def test_the_client_context_reaches_the_function_as_json(echo: Api) -> None:
    context = base64.b64encode(b'{"custom":{"a":"\xc3\xa9"}}').decode()
    assert echo.invoke(headers={"X-Amz-Client-Context": context}).status_code == 200
    assert json.loads(echo.service.invoked[0].client_context or "") == {"custom": {"a": "é"}}
    echo.invoke(headers={"X-Amz-Client-Context": context, "X-Amz-Invocation-Type": "Event"})
    assert echo.service.enqueued[0].client_context is None


@pytest.mark.parametrize(
    "text",
    ["{}", "not base64", base64.b64encode(b"nonsense").decode(), "bnVsbA==", "/w==", "\xe9"],
)
def test_a_client_context_that_is_none_is_refused(echo: Api, text: str) -> None:
    assert error_of(echo.invoke(headers={"X-Amz-Client-Context": text})) == (
        400,
        "InvalidRequestContentException",
        {
            "Type": "User",
            "message": "Client context must be a valid Base64-encoded JSON object.",
        },
    )


def test_a_client_context_has_a_limit(echo: Api) -> None:
    text = base64.b64encode(json.dumps({"a": "x" * 2700}).encode()).decode()
    status, name, _ = error_of(echo.invoke(headers={"X-Amz-Client-Context": text}))
    assert (status, name) == (400, "InvalidParameterValueException")


def test_a_callers_request_id_and_trace_are_kept(echo: Api) -> None:
    request_id = "8b1e2f6a-0000-4000-8000-00000000000f"
    trace = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:1"
    answer = echo.invoke(headers={"x-amzn-RequestId": request_id, "X-Amzn-Trace-Id": trace})
    assert answer.headers["x-amzn-RequestId"] == request_id
    # after which comes the function that is called
    assert answer.headers["X-Amzn-Trace-Id"] == (
        f"root={ROOT};parent=53995c3f42cd8ad8;sampled=1;lineage=1:a87bd80c:1|1:03574033:0"
    )
    invocation = echo.service.invoked[0]
    assert (invocation.request_id, invocation.trace_id) == (request_id, f"{trace}|1:03574033:0")


def test_an_answer_names_its_trace_also_when_the_call_was_refused(echo: Api) -> None:
    trace = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"
    answer = echo.invoke("f:1", headers={"X-Amzn-Trace-Id": trace}, query="Qualifier=2")
    assert answer.status_code == 400
    assert answer.headers["X-Amzn-Trace-Id"] == f"root={ROOT};parent=53995c3f42cd8ad8;sampled=1"


def test_a_request_id_that_is_no_uuid_is_refused(echo: Api) -> None:
    status, name, body = error_of(echo.invoke(headers={"x-amzn-RequestId": "mine"}))
    assert (status, name) == (400, "InvalidRequestContentException")
    assert body["message"] == (
        "Invalid Request ID: The 'x-amzn-RequestId' header must be a valid UUID format string."
    )


def test_the_tenant_that_is_named_is_whose_call_it_is(echo: Api) -> None:
    client: Any = echo.boto()
    for kind in ("RequestResponse", "Event", "DryRun"):
        client.invoke(FunctionName="f", InvocationType=kind, TenantId="Blue @ 1")
    client.invoke_with_response_stream(FunctionName="f", TenantId="green")
    client.invoke(FunctionName="f")
    asked = [*echo.service.invoked, *echo.service.enqueued]
    assert [call.tenant_id for call in asked] == ["Blue @ 1", "green", None, "Blue @ 1"]
    assert echo.service.tenants == ["Blue @ 1"]


def test_the_cognito_identity_that_a_caller_stands_for_is_passed_on(echo: Api) -> None:
    given = '{ "cognitoIdentityPoolId": "p", "cognitoIdentityId": "i", "more": 1 }'
    echo.invoke(headers={"X-Fnbox-Cognito-Identity": given})
    echo.invoke(headers={"X-Fnbox-Cognito-Identity": given, "X-Amz-Invocation-Type": "Event"})
    assert echo.service.invoked[0].cognito_identity == (
        '{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}'
    )
    assert echo.service.enqueued[0].cognito_identity is None


@pytest.mark.parametrize(
    "text", ["i", "[]", "{}", '{"cognitoIdentityId":"i"}', "7", "null", "[" * 9000]
)
def test_a_cognito_identity_that_is_none_is_refused(echo: Api, text: str) -> None:
    status, name, body = error_of(echo.invoke(headers={"X-Fnbox-Cognito-Identity": text}))
    assert (status, name) == (400, "InvalidRequestContentException")
    assert body["message"].startswith("X-Fnbox-Cognito-Identity must be a JSON object")
