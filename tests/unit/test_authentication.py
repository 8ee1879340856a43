"""Who is let in: by mode, from within and without, in the words that clients know from AWS."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from sandbox.access.authentication import INSIDE
from sandbox.access.principals import Principal
from sandbox.api import dispatch, invoke
from sandbox.api.services import Call
from tests.support.access import client, environ_of, served, sign
from tests.support.api import ACCOUNT, REGION, Api, open_api

AWS = str(Path(sys.executable).parent / "aws")
OTHER = "111122223333"
POLICY = {"Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}]}
FUNCTIONS = "/2015-03-31/functions"
DOES_NOT_MATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS "
    "Secret Access Key and signing method. Consult the service documentation for details."
)
INVALID_TOKEN = "The security token included in the request is invalid."

Open = Callable[..., Api]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """An API by its mode, on the machine's time; its account `team` is another than its own."""
    made: list[Api] = []

    def make(mode: str) -> Api:
        api = open_api(tmp_path / mode, iam=mode)
        api.clock.advance(datetime.now(UTC).timestamp() - api.clock.wall())
        api.authentication.store.create_account("team", OTHER)
        made.append(api)
        return api

    yield make
    for api in made:
        api.close()


@pytest.fixture
def enforced(opened: Open) -> Api:
    return opened("enforce")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Principal]:
    """Who ListFunctions was called by."""
    principals: list[Principal] = []
    listed = dispatch.OPERATIONS["ListFunctions"]

    def note(call: Call, members: dict[str, Any]) -> dict[str, Any]:
        assert call.context.account == call.context.principal.account
        assert call.context.caller == call.context.principal.arn
        principals.append(call.context.principal)
        return listed(call, members)

    monkeypatch.setitem(dispatch.OPERATIONS, "ListFunctions", note)
    return principals


def root_key(api: Api, account: str | None = None) -> Credentials:
    made = api.authentication.store.create_key(account)
    return Credentials(made.access_key, made.secret_key)


def role_keys(api: Api, account: str = ACCOUNT) -> Credentials:
    """Of a role that may do all that Lambda has."""
    api.authentication.store.put_role(account, "my-role", POLICY)
    made = api.authentication.sessions.issue(account, "my-role", "my-function")
    return Credentials(made.access_key, made.secret_key, made.session_token)


def send(
    api: Api,
    keys: Credentials | None,
    *,
    method: str = "GET",
    path: str = FUNCTIONS,
    body: bytes = b"",
    inside: bool = False,
    service: str = "lambda",
    change: dict[str, str] | None = None,
    **headers: str,
) -> TestResponse:
    """One request, signed when there are keys; `change` replaces what was signed."""
    request = AWSRequest(method, f"http://lambda.test{path}", data=body, headers=headers)
    if keys is not None:
        sign(request, keys, service=service)
    environ = environ_of(request) | (change or {})
    overrides = {name: value for name, value in environ.items() if isinstance(value, str)}
    overrides |= {INSIDE: True} if inside else {}  # type: ignore[dict-item]
    content = environ["wsgi.input"].read()
    return api.client.open(path, method=method, data=content, environ_overrides=overrides)


def refusal_of(answer: TestResponse) -> tuple[int, str, str]:
    assert answer.headers["Content-Type"] == "application/json"
    [(_, text)] = answer.get_json().items()
    return answer.status_code, answer.headers["x-amzn-ErrorType"], text


# off


def test_with_off_whoever_says_a_key_is_believed(opened: Open, seen: list[Principal]) -> None:
    api = opened("off")
    for key in ("test", OTHER, root_key(api, "team").access_key, role_keys(api, OTHER).access_key):
        assert send(api, Credentials(key, "whatever")).status_code == 200
    assert send(api, None).status_code == 200
    assert [one.account for one in seen] == [ACCOUNT, OTHER, OTHER, OTHER, ACCOUNT]
    assert {one.kind for one in seen} == {"unverified"}
    assert {one.failure for one in seen} == {None}


@pytest.mark.parametrize("mode", ["off", "audit", "enforce"])
def test_who_calls_from_within_is_verified_in_every_mode(
    opened: Open, seen: list[Principal], mode: str
) -> None:
    api = opened(mode)
    assert send(api, role_keys(api, OTHER), inside=True).status_code == 200
    [principal] = seen
    assert principal.kind == "role"
    assert principal.account == OTHER
    assert principal.arn == f"arn:aws:sts::{OTHER}:assumed-role/my-role/my-function"
    keys = role_keys(api)
    assert keys.token is not None
    for wrong in (
        Credentials("test", "test"),
        Credentials(OTHER, "local", "local"),
        Credentials(keys.access_key, "guessed", keys.token),
        Credentials(keys.access_key, keys.secret_key),
        Credentials(keys.access_key, keys.secret_key, keys.token[:-2]),
        None,
    ):
        assert send(api, wrong, inside=True).status_code == 403
    assert len(seen) == 1


def test_with_off_only_a_functions_own_keys_will_do_from_within(opened: Open) -> None:
    off, enforced = opened("off"), opened("enforce")
    assert send(off, root_key(off), inside=True).status_code == 403
    assert send(enforced, root_key(enforced), inside=True).status_code == 200


# audit


def test_with_audit_who_fails_is_believed_and_what_was_wrong_is_known(
    opened: Open, seen: list[Principal]
) -> None:
    api = opened("audit")
    key = root_key(api)
    for keys in (key, Credentials(OTHER, "x"), Credentials(key.access_key, "wrong"), None):
        assert send(api, keys).status_code == 200
    assert [(one.kind, one.account) for one in seen] == [
        ("account", ACCOUNT),
        ("unverified", OTHER),
        ("unverified", ACCOUNT),
        ("unverified", ACCOUNT),
    ]
    assert [one.failure and one.failure.code for one in seen] == [
        None,
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
    ]


# enforce


def test_with_enforce_a_principal_is_what_its_key_says(
    enforced: Api, seen: list[Principal]
) -> None:
    made = enforced.authentication.store.create_key("team", "ada", POLICY)
    root, role = root_key(enforced, "team"), role_keys(enforced, OTHER)
    for keys in (root, Credentials(made.access_key, made.secret_key), role):
        assert send(enforced, keys).status_code == 200
    assert seen == [
        Principal(OTHER, f"arn:aws:iam::{OTHER}:root", "account", root.access_key),
        Principal(OTHER, f"arn:aws:iam::{OTHER}:user/ada", "user", made.access_key, (POLICY,)),
        Principal(
            OTHER,
            f"arn:aws:sts::{OTHER}:assumed-role/my-role/my-function",
            "role",
            role.access_key,
            (POLICY,),
        ),
    ]


def test_who_is_not_known_is_refused_in_the_words_of_aws(enforced: Api) -> None:
    key = root_key(enforced)
    unknown = Credentials("AKIAIOSFODNN7EXAMPLE", "x")
    assert refusal_of(send(enforced, unknown)) == (
        *(403, "UnrecognizedClientException"),
        INVALID_TOKEN,
    )
    assert refusal_of(send(enforced, Credentials(key.access_key, "wrong"))) == (
        *(403, "InvalidSignatureException"),
        DOES_NOT_MATCH,
    )
    assert refusal_of(send(enforced, None)) == (
        *(403, "MissingAuthenticationTokenException"),
        "Missing Authentication Token",
    )
    status, code, _ = refusal_of(send(enforced, None, Authorization="Bearer x"))
    assert (status, code) == (403, "IncompleteSignatureException")
    with_token = Credentials(key.access_key, key.secret_key, "a token that it has not")
    assert refusal_of(send(enforced, with_token))[1] == "UnrecognizedClientException"


def test_what_is_refused_is_refused_before_it_is_looked_at(enforced: Api) -> None:
    path = f"{FUNCTIONS}/no-such-function/invocations"
    answer = send(enforced, Credentials("test", "x"), method="POST", path=path, body=b"no json")
    assert refusal_of(answer)[1] == "UnrecognizedClientException"
    assert enforced.service.invoked == []


def test_a_key_that_is_disabled_or_deleted_ends_at_once(enforced: Api) -> None:
    store = enforced.authentication.store
    keys = root_key(enforced)
    assert send(enforced, keys).status_code == 200
    store.activate_key(keys.access_key, active=False)
    assert refusal_of(send(enforced, keys))[1] == "UnrecognizedClientException"
    store.activate_key(keys.access_key, active=True)
    assert send(enforced, keys).status_code == 200
    store.delete_key(keys.access_key)
    assert refusal_of(send(enforced, keys))[1] == "UnrecognizedClientException"


def test_sessions_end_with_their_account_and_their_time(enforced: Api) -> None:
    keys = role_keys(enforced, OTHER)
    assert send(enforced, keys).status_code == 200
    enforced.authentication.store.delete_account("team")
    assert refusal_of(send(enforced, keys))[1] == "UnrecognizedClientException"
    own = role_keys(enforced)
    enforced.clock.advance(36 * 3600)
    assert refusal_of(send(enforced, own)) == (
        *(403, "ExpiredTokenException"),
        "The security token included in the request is expired",
    )


def test_a_request_of_another_time_is_refused_with_both_times(
    enforced: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.fromtimestamp(enforced.clock.wall(), UTC)
    keys = root_key(enforced)
    for minutes, text in ((-6, "Signature expired: "), (6, "Signature not yet current: ")):
        then = now + timedelta(minutes=minutes)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda then=then: then)
        status, code, message = refusal_of(send(enforced, keys))
        assert (status, code) == (403, "InvalidSignatureException")
        assert message.startswith(f"{text}{then:%Y%m%dT%H%M%SZ} is ")


def test_whatever_of_an_invoke_is_changed_it_does_not_run(enforced: Api) -> None:
    enforced.create()
    keys = root_key(enforced)
    path = f"{FUNCTIONS}/f/invocations"

    def call(**change: Any) -> TestResponse:
        return send(enforced, keys, method="POST", path=path, body=b"{}", **change)

    assert call().status_code == 200
    changes = (
        {"HTTP_HOST": "localhost"},
        {"QUERY_STRING": "Qualifier=1"},
        {"RAW_URI": f"{FUNCTIONS}/g/invocations"},
        {"HTTP_X_AMZ_INVOCATION_TYPE": "Event"},
    )
    for change in changes:
        assert refusal_of(call(change=change))[1] == "InvalidSignatureException"
    assert len(enforced.service.invoked) == 1
    assert enforced.service.enqueued == []


@pytest.mark.parametrize("body", [b"{}", b'{"a": "' + b"x" * 200_000 + b'"}'])
def test_a_body_in_chunks_is_verified_when_it_is_whole(enforced: Api, body: bytes) -> None:
    enforced.create()
    path = f"{FUNCTIONS}/f/invocations"
    request = sign(AWSRequest("POST", f"http://lambda.test{path}", data=body), root_key(enforced))
    environ = environ_of(request)
    overrides = {name: value for name, value in environ.items() if isinstance(value, str)}
    del overrides["CONTENT_LENGTH"]
    statuses = []
    for sent in (body, body[:-1] + b" "):
        builder = EnvironBuilder(path, method="POST", environ_overrides=overrides)
        chunked = builder.get_environ() | {"wsgi.input": io.BytesIO(sent)}
        chunked |= {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
        _, status, _ = run_wsgi_app(enforced.app, chunked)
        statuses.append(status)
    assert statuses == ["200 OK", "403 Forbidden"]


def test_a_presigned_invoke_runs(enforced: Api) -> None:
    enforced.create()
    path = f"{FUNCTIONS}/f/invocations"
    request = AWSRequest("POST", f"http://lambda.test{path}")
    sign(request, role_keys(enforced), signer=SigV4QueryAuth, expires=60)
    environ = environ_of(request)
    overrides = {name: value for name, value in environ.items() if isinstance(value, str)}
    answer = enforced.client.open(path, method="POST", environ_overrides=overrides)
    assert answer.status_code == 200, answer.get_data()


# boto3 and the AWS CLI, over a socket


def test_boto3_is_let_in_by_every_kind_of_key(enforced: Api) -> None:
    name = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
    with served(enforced.app) as url:
        root = client("lambda", url, root_key(enforced))
        enforced.create()
        for keys in (root_key(enforced), role_keys(enforced)):
            boto = client("lambda", url, keys)
            answer = boto.invoke(
                FunctionName=name, Qualifier="$LATEST", Payload=b'"\xc3\xa9"', LogType="Tail"
            )
            assert answer["Payload"].read() == b'"\xc3\xa9"'
            boto.tag_resource(Resource=name, Tags={"a b": "é+/=", "x": ""})
            boto.untag_resource(Resource=name, TagKeys=["a b", "x+/=@:y"])
            assert len(boto.list_functions(MaxItems=1, Marker="")["Functions"]) == 1
        root.delete_function(FunctionName="f")
        root.close()


@pytest.mark.parametrize(
    ("service", "operation", "status", "code"),
    [
        ("lambda", "list_functions", 403, "UnrecognizedClientException"),
        ("logs", "describe_log_groups", 400, "UnrecognizedClientException"),
    ],
)
def test_boto3_is_told_what_is_wrong(
    enforced: Api, service: str, operation: str, status: int, code: str
) -> None:
    with served(enforced.app) as url, pytest.raises(ClientError) as refused:
        getattr(client(service, url, Credentials("test", "test")), operation)()
    error = refused.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == status
    assert (error["Error"]["Code"], error["Error"]["Message"]) == (code, INVALID_TOKEN)


def test_the_aws_cli_is_let_in_and_told_what_is_wrong(enforced: Api) -> None:
    keys = root_key(enforced)

    def run(secret: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "NO_PROXY": "*",
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": REGION,
        }
        command = [AWS, "--endpoint-url", url, "lambda", "list-functions", "--max-items", "3"]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)

    with served(enforced.app) as url:
        good, bad = run(keys.secret_key), run("wrong")
    assert json.loads(good.stdout) == {"Functions": []}
    assert bad.returncode != 0
    assert bad.stderr.strip() == (
        "An error occurred (InvalidSignatureException) when calling the ListFunctions operation: "
        f"{DOES_NOT_MATCH}"
    )


# fnbox's own pages


def bearer(api: Api, token: str | None = None) -> dict[str, str]:
    own = api.authentication._token.decode()
    return {"Authorization": own if token is None else f"Bearer {token}"}


PAGES = ("/_fnbox/events", "/_fnbox/traces", "/_fnbox/metrics")


def test_pages_of_all_accounts_are_the_administrators(opened: Open) -> None:
    api, path = opened("enforce"), "/_fnbox/metrics"
    assert api.client.get(path, headers=bearer(api)).status_code == 200
    refused = [
        api.client.get(path),
        api.client.get(path, headers=bearer(api, "0" * 64)),
        send(api, root_key(api), path=path),
        send(api, role_keys(api), path=path),
    ]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert [answer.headers["x-amzn-ErrorType"] for answer in refused] == [
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
        "AccessDeniedException",
        "AccessDeniedException",
    ]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("mode", ["off", "audit"])
def test_pages_are_open_where_nobody_is_refused_but_not_to_functions(
    opened: Open, mode: str, path: str
) -> None:
    api = opened(mode)
    assert api.client.get(path).status_code == 200
    assert send(api, role_keys(api), path=path, inside=True).status_code == 403
    assert send(api, None, path=path, inside=True).status_code == 403


@pytest.mark.parametrize("mode", ["off", "audit", "enforce"])
def test_accounts_and_keys_are_the_administrators_in_every_mode(opened: Open, mode: str) -> None:
    api = opened(mode)
    path = "/_fnbox/access/keys"
    assert api.client.get(path).status_code == 403
    assert send(api, root_key(api), path=path).status_code == 403
    assert api.client.post(path, json={}, headers=bearer(api, "guess")).status_code == 403
    assert len(api.authentication.store.keys()) == 1
    made = api.client.post(path, json={}, headers=bearer(api))
    assert made.status_code == 200
    assert len(made.get_json()["secretAccessKey"]) == 40


def test_health_and_code_are_open(enforced: Api) -> None:
    assert enforced.client.get("/_fnbox/health").status_code == 200
    enforced.create()
    location = enforced.boto().get_function(FunctionName="f")["Code"]["Location"]
    with enforced.client.get(location.removeprefix("http://lambda.test")) as answer:
        assert answer.status_code == 200
    answer = enforced.client.get(location.removeprefix("http://lambda.test").partition("?")[0])
    assert answer.status_code == 404


def test_off_costs_an_invoke_nothing_but_a_look(opened: Open) -> None:
    """No signature is read, no principal made anew."""
    api = opened("off")
    api.create()
    contexts: list[Any] = []
    implementation = invoke.OPERATIONS["Invoke"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(api.authentication), "authenticate", None)

        def note(call: Call, members: dict[str, Any]) -> dict[str, Any]:
            contexts.append(call.context)
            return implementation(call, members)

        patch.setitem(dispatch.OPERATIONS, "Invoke", note)
        assert api.invoke().status_code == api.invoke().status_code == 200
    first, second = contexts
    assert first.principal is second.principal
