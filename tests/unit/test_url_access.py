"""Who may call a function URL, and what browsers are told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.test import TestResponse

from sandbox.invocation import Outcome
from tests.support.urls import NOW, UrlApi, signed

ORIGIN = "https://example.org"
OTHER = "111111111111"
FORBIDDEN = {
    "Message": "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
}


@pytest.fixture
def urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UrlApi]:
    made = UrlApi(tmp_path)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)
    yield made
    made.api.close()


@pytest.fixture
def enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UrlApi]:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)
    made = UrlApi(tmp_path, iam="enforce")
    yield made
    made.api.close()


def address(url: str) -> str:
    return f"http://{url}.lambda-url.us-east-1.localhost:4566/"


def call(urls: UrlApi, url: str, body: bytes = b"", **options: str) -> TestResponse:
    """A signed POST."""
    headers = signed(address(url), "POST", body, **options)
    return urls.send(url, "/", "POST", body, headers)


def is_forbidden(urls: UrlApi, answer: TestResponse) -> bool:
    assert urls.api.service.invoked == []
    return (answer.status_code, answer.headers["x-amzn-ErrorType"], answer.get_json()) == (
        403,
        "AccessDeniedException",
        FORBIDDEN,
    )


def grant(urls: UrlApi, auth: str = "NONE", principal: str = "*", **members: Any) -> None:
    """Both statements that AWS asks for."""
    common = {"FunctionName": "f", "Principal": principal, **members}
    urls.boto.add_permission(
        StatementId="url", Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType=auth, **common
    )
    urls.boto.add_permission(
        StatementId="invoke", Action="lambda:InvokeFunction", InvokedViaFunctionUrl=True, **common
    )


def test_a_url_that_is_not_there_is_forbidden(urls: UrlApi) -> None:
    assert is_forbidden(urls, urls.send("a" * 32))
    assert is_forbidden(urls, urls.api.client.get(f"/_fnbox/urls/{'a' * 32}/"))
    assert is_forbidden(urls, urls.api.client.get("/_fnbox/urls/"))


def test_the_url_of_an_alias_that_was_deleted_is_forbidden(urls: UrlApi) -> None:
    url = urls.url("live")
    urls.boto.delete_alias(FunctionName="f", Name="live")
    assert is_forbidden(urls, urls.send(url))


def test_everybody_may_call_a_url_of_type_none(urls: UrlApi) -> None:
    assert urls.send(urls.url()).status_code == 200


def test_a_signed_call_of_the_own_account_says_who_it_is(urls: UrlApi) -> None:
    answer = call(urls, urls.url(auth="AWS_IAM"), b"{}", access_key="AKIAEXAMPLE")
    context = json.loads(answer.get_data())["requestContext"]
    assert context["accountId"] == "000000000000"
    assert context["authorizer"] == {
        "iam": {
            "accessKey": "AKIAEXAMPLE",
            "accountId": "000000000000",
            "callerId": "000000000000",
            "cognitoIdentity": None,
            "principalOrgId": None,
            "userArn": "arn:aws:iam::000000000000:root",
            "userId": "000000000000",
        }
    }


def test_a_presigned_call_is_a_signed_one(urls: UrlApi) -> None:
    url = urls.url(auth="AWS_IAM")
    request = AWSRequest("GET", address(url))
    SigV4QueryAuth(Credentials("test", "x"), "lambda", "us-east-1", expires=60).add_auth(request)
    target = request.url.removeprefix(address(url)[:-1])
    urls.api.clock.advance(59)
    assert urls.send(url, target).status_code == 200
    urls.api.service.reset()
    urls.api.clock.advance(2)
    assert is_forbidden(urls, urls.send(url, target))


@pytest.mark.parametrize(
    "change",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer abc"},
        {"Authorization": "AWS4-HMAC-SHA256"},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=,SignedHeaders=host,Signature="},
        {"X-Amz-Date": "20261122T170001"},
        {"X-Amz-Date": "20261123T170000Z"},
        {"X-Amz-Date": "99999999T999999Z"},
    ],
)
def test_a_signature_that_is_not_whole_is_forbidden(urls: UrlApi, change: dict[str, str]) -> None:
    url = urls.url(auth="AWS_IAM")
    headers = signed(address(url)) | change
    assert is_forbidden(urls, urls.send(url, headers=headers))


@pytest.mark.parametrize(
    ("old", "new"), [("host;", ""), ("Signature=", "Signature=z"), ("test/", "/")]
)
def test_a_signature_with_a_broken_part_is_forbidden(urls: UrlApi, old: str, new: str) -> None:
    url = urls.url(auth="AWS_IAM")
    headers = signed(address(url))
    assert old in headers["Authorization"]
    headers["Authorization"] = headers["Authorization"].replace(old, new)
    assert is_forbidden(urls, urls.send(url, headers=headers))


@pytest.mark.parametrize("scope", [{"region": "eu-west-1"}, {"service": "s3"}])
def test_a_signature_for_something_else_is_forbidden(urls: UrlApi, scope: dict[str, str]) -> None:
    assert is_forbidden(urls, call(urls, urls.url(auth="AWS_IAM"), **scope))


@pytest.mark.parametrize(("seconds", "late"), [(299, False), (301, True), (-299, False)])
def test_a_signature_is_good_for_five_minutes(urls: UrlApi, seconds: int, late: bool) -> None:
    url = urls.url(auth="AWS_IAM")
    urls.api.clock.advance(seconds)
    answer = call(urls, url)
    assert is_forbidden(urls, answer) if late else answer.status_code == 200


def test_a_body_that_was_not_signed_is_forbidden(urls: UrlApi) -> None:
    url = urls.url(auth="AWS_IAM")
    for size in (1, 100_000):
        body = b"a" * size
        headers = signed(
            address(url), "POST", body, **{"X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}
        )
        assert urls.send(url, "/", "POST", body, headers).status_code == 200
        urls.api.service.reset()
        assert is_forbidden(urls, urls.send(url, "/", "POST", b"b" * size, headers))


def test_another_account_needs_both_permissions(urls: UrlApi) -> None:
    url = urls.url(auth="AWS_IAM")
    assert is_forbidden(urls, call(urls, url, access_key=OTHER))
    grant(urls, "AWS_IAM", OTHER)
    assert call(urls, url, access_key=OTHER).status_code == 200
    urls.api.service.reset()
    assert is_forbidden(urls, call(urls, url, access_key="222222222222"))
    urls.boto.remove_permission(FunctionName="f", StatementId="invoke")
    assert is_forbidden(urls, call(urls, url, access_key=OTHER))
    assert call(urls, url).status_code == 200, "the own account"


def test_a_permission_for_another_auth_type_or_qualifier_is_none(urls: UrlApi) -> None:
    url = urls.url("live", auth="AWS_IAM")
    grant(urls, "AWS_IAM", OTHER)
    assert is_forbidden(urls, call(urls, url, access_key=OTHER))
    grant(urls, "NONE", OTHER, Qualifier="live")
    assert is_forbidden(urls, call(urls, url, access_key=OTHER))
    urls.boto.remove_permission(FunctionName="f", StatementId="url", Qualifier="live")
    urls.boto.add_permission(
        FunctionName="f",
        Qualifier="live",
        StatementId="url",
        Action="lambda:*",
        Principal=OTHER,
    )
    assert call(urls, url, access_key=OTHER).status_code == 200


def test_with_enforcement_a_url_of_type_none_needs_both_permissions_too(enforced: UrlApi) -> None:
    url = enforced.url()
    assert is_forbidden(enforced, enforced.send(url))
    grant(enforced)
    assert enforced.send(url).status_code == 200
    enforced.api.service.reset()
    enforced.boto.remove_permission(FunctionName="f", StatementId="invoke")
    assert is_forbidden(enforced, enforced.send(url))


CORS = {
    "AllowOrigins": [ORIGIN, "http://localhost:3000"],
    "AllowMethods": ["GET", "PUT"],
    "AllowHeaders": ["x-one", "x-two"],
    "ExposeHeaders": ["x-three"],
    "MaxAge": 0,
    "AllowCredentials": True,
}
ASKS = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}


def outcome(payload: bytes) -> Outcome:
    return Outcome(payload, None, "1", b"", 1.0)


def cors_of(answer: TestResponse) -> dict[str, str]:
    return {
        name.lower().removeprefix("access-control-"): value
        for name, value in answer.headers
        if name.lower().startswith("access-control-")
    }


def test_a_preflight_is_answered_without_the_function(urls: UrlApi) -> None:
    url = urls.url(auth="AWS_IAM", Cors=CORS)  # and without a signature, which browsers leave out
    answer = urls.send(url, "/x", "OPTIONS", headers=ASKS)
    assert (answer.status_code, answer.get_data()) == (200, b"")
    assert cors_of(answer) == {
        "allow-origin": ORIGIN,
        "allow-methods": "GET,PUT",
        "allow-headers": "x-one,x-two",
        "max-age": "0",
        "allow-credentials": "true",
    }
    assert answer.headers["Vary"] == "Origin"
    assert urls.api.service.invoked == []
    stranger = urls.send(url, "/x", "OPTIONS", headers=ASKS | {"Origin": "https://evil.example"})
    assert (stranger.status_code, cors_of(stranger)) == (200, {})


def test_options_without_cors_or_from_no_browser_are_the_functions(urls: UrlApi) -> None:
    plain, with_cors = urls.url(), urls.url("live", Cors=CORS)
    assert urls.send(plain, "/", "OPTIONS", headers=ASKS).status_code == 200
    assert urls.send(with_cors, "/", "OPTIONS", headers={"Origin": ORIGIN}).status_code == 200
    assert len(urls.api.service.invoked) == 2


@pytest.mark.parametrize(
    ("cors", "origin", "expected"),
    [
        (
            CORS,
            ORIGIN,
            {"allow-origin": ORIGIN, "allow-credentials": "true", "expose-headers": "x-three"},
        ),
        (CORS, "https://evil.example", {}),
        (CORS, None, {}),
        ({"AllowOrigins": ["*"]}, ORIGIN, {"allow-origin": "*"}),
        (
            {"AllowOrigins": ["*"], "AllowCredentials": True},
            ORIGIN,
            {"allow-origin": ORIGIN, "allow-credentials": "true"},
        ),
        ({"AllowMethods": ["GET"]}, ORIGIN, {}),
    ],
)
def test_what_is_configured_takes_the_place_of_what_the_function_says(
    urls: UrlApi, cors: dict[str, Any], origin: str | None, expected: dict[str, str]
) -> None:
    says = {"Access-Control-Allow-Origin": "null", "access-control-max-age": "9", "X-Own": "1"}
    returned = json.dumps({"statusCode": 200, "headers": says}).encode()
    url = urls.url(Cors=cors)
    headers = {"Origin": origin} if origin else {}
    urls.api.service.outcome = outcome(returned)
    answer = urls.send(url, headers=headers)
    assert cors_of(answer) == expected
    assert answer.headers["X-Own"] == "1"


def test_without_cors_the_function_speaks_for_itself(urls: UrlApi) -> None:
    says = {"Access-Control-Allow-Origin": "null"}
    urls.api.service.outcome = outcome(json.dumps({"statusCode": 200, "headers": says}).encode())
    assert cors_of(urls.send(urls.url(), headers={"Origin": ORIGIN})) == {"allow-origin": "null"}


def test_errors_can_be_read_by_the_page_too(urls: UrlApi) -> None:
    url = urls.url(auth="AWS_IAM", Cors=CORS)
    answer = urls.send(url, headers={"Origin": ORIGIN})
    assert is_forbidden(urls, answer)
    assert cors_of(answer)["allow-origin"] == ORIGIN
