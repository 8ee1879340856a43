"""Invoke and InvokeAsync on the wire: whom they call, and what they answer."""

from __future__ import annotations

import base64
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from sandbox import errors
from sandbox.invocation import Outcome
from sandbox.names import FunctionKey
from tests.support.api import ARN, Api, EchoService, error_of, open_api


def test_a_result_comes_back_byte_for_byte_with_the_headers_of_the_api(echo: Api) -> None:
    answer = echo.invoke(payload=b'{ "name": "Bob" }')
    assert answer.status_code == 200
    assert answer.get_data() == b'{ "name": "Bob" }'
    headers = dict(answer.headers)
    assert uuid.UUID(headers.pop("x-amzn-RequestId")) == uuid.UUID(
        echo.service.invoked[0].request_id
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


def test_a_function_error_is_a_200_with_a_header(echo: Api) -> None:
    echo.service.outcome = Outcome(b'{"errorMessage":"boom"}', "Unhandled", "7", b"", 1.0)
    answer = echo.invoke()
    assert answer.status_code == 200
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.headers["X-Amz-Executed-Version"] == "7"
    assert answer.get_data() == b'{"errorMessage":"boom"}'


def test_a_result_may_be_a_view_of_a_larger_buffer(echo: Api) -> None:
    view = memoryview(b"....{}....")[4:6]
    echo.service.outcome = Outcome(view, None, "$LATEST", b"", 1.0)
    assert echo.invoke().get_data() == b"{}"


def test_the_log_tail_is_there_for_tail_alone(echo: Api) -> None:
    assert "X-Amz-Log-Result" not in echo.invoke().headers
    assert "X-Amz-Log-Result" not in echo.invoke(headers={"X-Amz-Log-Type": "None"}).headers
    answer = echo.invoke(headers={"X-Amz-Log-Type": "Tail"})
    assert base64.b64decode(answer.headers["X-Amz-Log-Result"]) == b"a line\n"


def test_an_event_is_stored_and_answered_with_an_empty_202(echo: Api) -> None:
    answer = echo.invoke(
        payload=b"[1]", headers={"X-Amz-Invocation-Type": "Event", "X-Amz-Log-Type": "Tail"}
    )
    assert answer.status_code == 202
    assert answer.get_data() == b""
    assert answer.headers["Content-Length"] == "0"
    for absent in ("X-Amz-Executed-Version", "X-Amz-Function-Error", "X-Amz-Log-Result"):
        assert absent not in answer.headers
    assert echo.service.invoked == []
    assert [event.payload for event in echo.service.enqueued] == [b"[1]"]
    assert echo.service.enqueued[0].request_id == answer.headers["x-amzn-RequestId"]


def test_a_dry_run_only_looks(echo: Api) -> None:
    answer = echo.invoke(headers={"X-Amz-Invocation-Type": "DryRun"}, query="Qualifier=prod")
    assert answer.status_code == 204
    assert answer.get_data() == b""
    assert [reference.arn for reference in echo.service.checked] == [f"{ARN}:prod"]
    assert not echo.service.invoked
    assert not echo.service.enqueued


@pytest.mark.parametrize("kind", ["RequestResponse", "Event"])
def test_an_empty_body_is_an_empty_object_to_the_function(echo: Api, kind: str) -> None:
    echo.invoke(payload=b"", headers={"X-Amz-Invocation-Type": kind})
    seen = [*echo.service.invoked, *echo.service.enqueued]
    assert [invocation.payload for invocation in seen] == [b"{}"]


@pytest.mark.parametrize("kind", ["RequestResponse", "Event", "DryRun"])
def test_a_payload_that_is_no_json_is_refused_whatever_the_type(echo: Api, kind: str) -> None:
    status, name, body = error_of(
        echo.invoke(payload=b"value", headers={"X-Amz-Invocation-Type": kind})
    )
    assert (status, name, body["Type"]) == (400, "InvalidRequestContentException", "User")
    assert body["message"].startswith(
        "Could not parse request body into json: Could not parse payload into json: "
    )
    assert not echo.service.invoked
    assert not echo.service.enqueued


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
    echo: Api, name: str, query: str, reference: tuple[str, str | None]
) -> None:
    assert echo.invoke(name, query=query).status_code == 200
    asked = echo.service.invoked[0].reference
    assert asked.key == FunctionKey("000000000000", "us-east-1", reference[0])
    assert asked.qualifier == reference[1]


def test_two_qualifiers_that_differ_are_refused(echo: Api) -> None:
    assert error_of(echo.invoke("f:1", query="Qualifier=2")) == (
        400,
        "InvalidParameterValueException",
        {
            "Type": "User",
            "message": "The derived qualifier from the function name does not match the "
            "specified qualifier.",
        },
    )


def test_a_function_of_another_region_is_not_found(echo: Api) -> None:
    name = "arn:aws:lambda:ap-southeast-1:000000000000:function:f"
    assert error_of(echo.invoke(name)) == (
        404,
        "ResourceNotFoundException",
        {
            "Type": "User",
            "Message": "Functions from 'ap-southeast-1' are not reachable in this region "
            "('us-east-1')",
        },
    )


def test_a_name_with_bad_characters_is_a_validation_error(echo: Api) -> None:
    status, name, body = error_of(echo.invoke("in%20valid!"))
    assert (status, name) == (400, "ValidationException")
    assert body["message"].startswith(
        "1 validation error detected: Value 'in valid!' at 'functionName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: "
    )


def test_a_call_in_a_loop_is_refused_with_the_message_in_capitals(echo: Api) -> None:
    echo.service.failure = errors.RecursiveInvocation("again")
    assert error_of(echo.invoke()) == (
        400,
        "RecursiveInvocationException",
        {"Type": "User", "Message": "again"},
    )


def test_a_throttle_says_when_to_try_again(echo: Api) -> None:
    echo.service.failure = errors.TooManyRequests("ConcurrentInvocationLimitExceeded")
    assert echo.invoke().headers["Retry-After"] == "1"


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
    echo: Api, failure: errors.FnboxError, status: int, name: str, kind: str
) -> None:
    echo.service.failure = failure
    answer = echo.invoke(headers={"X-Amz-Invocation-Type": kind})
    found = error_of(answer)
    assert found[:2] == (status, name)
    assert str(failure) in found[2].values()
    assert answer.headers["x-amzn-Remapped-Content-Length"] == "0"


def test_a_fault_of_ours_is_logged_and_told_as_a_500(
    echo: Api, caplog: pytest.LogCaptureFixture
) -> None:
    echo.service.failure = ZeroDivisionError("a secret")
    answer = echo.invoke()
    assert error_of(answer) == (
        500,
        "ServiceException",
        {"Type": "Service", "Message": "An error occurred and the request cannot be processed."},
    )
    assert "ZeroDivisionError: a secret" in caplog.text
    assert answer.headers["x-amzn-RequestId"] in caplog.text


@pytest.mark.parametrize("slash", ["", "/"])
def test_invoke_async_is_an_event(echo: Api, slash: str) -> None:
    answer = echo.request("POST", f"/2014-11-13/functions/f:prod/invoke-async{slash}", b"[1]")
    assert (answer.status_code, answer.get_data()) == (202, b"")
    event = echo.service.enqueued[0]
    assert (event.reference.arn, event.payload) == (f"{ARN}:prod", b"[1]")
    assert event.request_id == answer.headers["x-amzn-RequestId"]
    assert re.fullmatch(r"Root=.*;Sampled=0;Lineage=1:03574033:0", event.trace_id or "")


def test_boto3_reads_every_kind_of_answer(echo: Api) -> None:
    client: Any = echo.boto()
    answer = client.invoke(FunctionName="f:prod", Payload=b'{"a":1}', LogType="Tail")
    assert answer["Payload"].read() == b'{"a":1}'
    assert answer["ExecutedVersion"] == "$LATEST"
    assert base64.b64decode(answer["LogResult"]) == b"a line\n"
    assert client.invoke(FunctionName="f", InvocationType="Event")["StatusCode"] == 202
    assert client.invoke(FunctionName="f", InvocationType="DryRun")["StatusCode"] == 204
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName="f", Payload=b"value")
    echo.service.failure = errors.TooManyRequests("ConcurrentInvocationLimitExceeded")
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        client.invoke(FunctionName="f")
    assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"


def test_another_account_calls_its_own_function(tmp_path: Path) -> None:
    service = EchoService()
    api = open_api(tmp_path, service=service)
    api.boto(region="eu-west-1", access_key="123456789012").invoke(FunctionName="f")
    assert service.invoked[0].reference.key == FunctionKey("123456789012", "eu-west-1", "f")
    api.close()
