"""With enforcement: function URLs, CloudWatch Logs, and what is passed on to other services."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from flask import Flask
from werkzeug.test import TestResponse, run_wsgi_app

from sandbox.access.authentication import INSIDE
from sandbox.api.authorization import Authorization
from sandbox.api.logs import logs_blueprint
from sandbox.api.pages import ask_who_calls
from sandbox.aws.clients import AwsClients
from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.logs import LogStore
from sandbox.settings import Settings
from tests.support.access import client, environ_of, make_authentication, served, sign
from tests.support.api import ACCOUNT, REGION, Api, open_api
from tests.support.urls import UrlApi

OTHER = "111122223333"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
POLICY = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def now_of(clock: FakeClock) -> FakeClock:
    clock.advance(datetime.now(UTC).timestamp() - clock.wall())
    return clock


class Companion:
    """Keeps what it gets of one request, until its body is whole or breaks off, and answers."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.body = b""
        self.ended = threading.Event()

    def connect(self, seconds: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(seconds)
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return ours

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            lines = iter(stream.readline, b"\r\n")
            next(lines)
            fields = (line.decode().strip().partition(": ") for line in lines)
            self.head = {name.lower(): value for name, _, value in fields}
            length = int(self.head.get("content-length", 0))
            self.body = stream.read(length)
            if len(self.body) == length:
                answer = (
                    b"{}"
                    if "x-amz-target" in self.head
                    else b"<A><GetCallerIdentityResult/><ListTopicsResult/></A>"
                )
                connection.sendall(OK % (len(answer), answer))
            self.ended.set()


@pytest.fixture
def companion() -> Companion:
    return Companion()


@pytest.fixture
def api(tmp_path: Path, companion: Companion) -> Iterator[Api]:
    made = open_api(tmp_path, iam="enforce", companion=companion.connect)
    now_of(made.clock)
    made.authentication.store.create_account("team", OTHER)
    yield made
    made.close()


def key_of(api: Api, account: str = "team") -> Credentials:
    made = api.authentication.store.create_key(account)
    return Credentials(made.access_key, made.secret_key)


# what is passed on


@pytest.mark.parametrize(
    ("service", "operation", "members"),
    [
        ("sqs", "list_queues", {}),
        ("events", "list_rules", {}),
        ("sns", "list_topics", {}),
        ("dynamodb", "list_tables", {}),
        ("sts", "get_caller_identity", {}),
        ("s3", "list_objects_v2", {"Bucket": "bucket", "Prefix": "a b/ü+"}),
        ("s3", "put_object", {"Bucket": "bucket", "Key": "a b/ü+~", "Body": b"x" * 100_000}),
    ],
)
def test_what_is_signed_is_passed_on_for_the_account_of_its_key(
    api: Api, companion: Companion, service: str, operation: str, members: dict[str, Any]
) -> None:
    with served(api.app) as url:
        made = client(service, url, key_of(api))
        with suppress(ResponseParserError):  # the answer is not of its operation
            getattr(made, operation)(**members)
        made.close()
    assert companion.head["x-moto-account-id"] == OTHER
    assert len(companion.body) == int(companion.head.get("content-length", 0))


@pytest.mark.parametrize(
    ("service", "operation", "unknown", "mismatch"),
    [
        (
            *("sqs", "list_queues"),
            (400, "UnrecognizedClientException"),
            (400, "InvalidSignatureException"),
        ),
        (
            *("events", "list_rules"),
            (400, "UnrecognizedClientException"),
            (400, "InvalidSignatureException"),
        ),
        (
            *("sns", "list_topics"),
            (403, "InvalidClientTokenId"),
            (403, "SignatureDoesNotMatch"),
        ),
        ("s3", "list_buckets", (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch")),
        (
            *("apigateway", "get_rest_apis"),
            (403, "UnrecognizedClientException"),
            (403, "InvalidSignatureException"),
        ),
    ],
)
def test_every_protocol_has_its_own_words(
    api: Api,
    companion: Companion,
    service: str,
    operation: str,
    unknown: tuple[int, str],
    mismatch: tuple[int, str],
) -> None:
    with served(api.app) as url:
        for keys, expected in (
            (Credentials("test", "test"), unknown),
            (Credentials(key_of(api).access_key, "wrong"), mismatch),
        ):
            made = client(service, url, keys)
            with pytest.raises(ClientError) as refused:
                getattr(made, operation)()
            made.close()
            error = refused.value.response
            found = error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"]
            assert found == expected
    assert companion.head == {}


def test_who_is_late_or_has_no_signature_reads_it_as_s3_says_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = datetime.now(UTC) - timedelta(minutes=10)
    keys = key_of(api)
    assert b"<Code>AccessDenied</Code>" in api.client.get("/bucket/key").get_data()
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: then)
    with served(api.app) as url, pytest.raises(ClientError) as refused:
        client("s3", url, keys).list_buckets()
    assert refused.value.response["Error"] == {
        "Code": "RequestTimeTooSkewed",
        "Message": "The difference between the request time and the current time is too large.",
    }


def put(api: Api, keys: Credentials, payload: str, body: bytes, **change: str) -> TestResponse:
    """A PUT of `body` to S3 that says `payload` of it."""
    request = AWSRequest("PUT", "http://lambda.test/bucket/key", data=body)
    request.headers["X-Amz-Content-SHA256"] = payload
    sign(request, keys, service="s3", signer=botocore.auth.SigV4Auth)
    environ = environ_of(request) | change
    overrides = {name: value for name, value in environ.items() if isinstance(value, str)}
    with api.client.open(
        "/bucket/key", method="PUT", data=body, environ_overrides=overrides
    ) as answer:
        answer.get_data()
        return answer


@pytest.mark.parametrize(
    ("query", "header"),
    [("?AWSAccessKeyId=k&Signature=s&Expires=1", ""), ("", "AWS k:c2lnbmF0dXJl")],
)
def test_version_2_of_the_signature_is_refused_with_what_to_use(
    api: Api, query: str, header: str
) -> None:
    headers = {"Authorization": header} if header else {}
    answer = api.client.get(f"/bucket/key{query}", headers=headers)
    assert answer.status_code == 400
    assert b"<Code>InvalidRequest</Code><Message>The authorization mechanism" in answer.get_data()
    assert b"Please use AWS4-HMAC-SHA256." in answer.get_data()


SIZES = (1, 65_535, 65_536, 65_537, 200_000)


@pytest.mark.parametrize("size", SIZES)
def test_nobody_gets_the_whole_of_a_body_that_was_not_signed(
    api: Api, companion: Companion, size: int
) -> None:
    answer = put(api, key_of(api), hashlib.sha256(b"y" * size).hexdigest(), b"x" * size)
    assert answer.status_code == 400
    assert b"<Code>XAmzContentSHA256Mismatch</Code>" in answer.get_data()
    assert companion.ended.wait(10)
    assert len(companion.body) < size


@pytest.mark.parametrize("size", [*SIZES, 0])
def test_a_body_that_was_signed_arrives_whole(api: Api, companion: Companion, size: int) -> None:
    body = b"x" * size
    assert put(api, key_of(api), hashlib.sha256(body).hexdigest(), body).status_code == 200
    assert companion.body == body


@pytest.mark.parametrize(("sent", "status"), [(b"x" * 70_000, "200"), (b"x" * 69_999, "400")])
def test_a_body_in_chunks_is_checked_on_its_way(tmp_path: Path, sent: bytes, status: str) -> None:
    got: list[bytes] = []

    def connect(seconds: float) -> socket.socket:
        ours, theirs = socket.socketpair()

        def serve() -> None:
            with theirs:
                while not got or not got[-1].endswith(b"0\r\n\r\n"):
                    got.append(theirs.recv(2**20))
                    if not got[-1]:
                        return
                theirs.sendall(OK % (2, b"ok"))

        threading.Thread(target=serve, daemon=True).start()
        return ours

    api = open_api(tmp_path, iam="enforce", companion=connect)
    now_of(api.clock)
    request = AWSRequest("PUT", "http://lambda.test/bucket/key", data=b"x" * 70_000)
    environ = environ_of(sign(request, key_of(api, "default"), service="s3"))
    environ |= {"wsgi.input": io.BytesIO(sent), "wsgi.input_terminated": True}
    environ |= {"CONTENT_LENGTH": "", "wsgi.url_scheme": "http", "PATH_INFO": "/bucket/key"}
    body, found, _ = run_wsgi_app(api.app, environ, buffered=True)
    assert found.startswith(status), b"".join(body)
    api.close()


def test_a_body_that_was_signed_cannot_be_left_out(api: Api, companion: Companion) -> None:
    answer = put(api, key_of(api), hashlib.sha256(b"x").hexdigest(), b"")
    assert b"<Code>SignatureDoesNotMatch</Code>" in answer.get_data()
    assert companion.head == {}


def test_a_body_does_not_join_a_request_that_was_signed_without_one(
    api: Api, companion: Companion
) -> None:
    request = AWSRequest("PUT", "http://lambda.test/bucket/key")
    environ = environ_of(sign(request, key_of(api), service="s3", signer=botocore.auth.SigV4Auth))
    assert "HTTP_X_AMZ_CONTENT_SHA256" not in environ
    overrides = {name: value for name, value in environ.items() if isinstance(value, str)}
    overrides["CONTENT_LENGTH"] = "4"
    with api.client.open(
        "/bucket/key", method="PUT", data=b"body", environ_overrides=overrides
    ) as answer:
        assert b"<Code>XAmzContentSHA256Mismatch</Code>" in answer.get_data()
    assert companion.ended.wait(10)
    assert companion.body == b""


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_a_body_that_nobody_signed_passes(api: Api, companion: Companion, payload: str) -> None:
    assert put(api, key_of(api), payload, b"anything").status_code == 200
    assert companion.body == b"anything"


def test_with_audit_what_fails_is_passed_on_all_the_same(
    tmp_path: Path, companion: Companion
) -> None:
    api = open_api(tmp_path, iam="audit", companion=companion.connect)
    assert put(api, Credentials(OTHER, "x"), "0" * 64, b"body").status_code == 200
    assert (companion.body, companion.head["x-moto-account-id"]) == (b"body", OTHER)
    api.close()


def test_fnbox_itself_delivers_for_an_account_with_keys_of_its_own(
    api: Api, companion: Companion
) -> None:
    sessions = api.authentication.sessions
    with served(api.app) as url:
        elsewhere = {"sqs": url, "sns": "http://127.0.0.1:9"}
        clients = AwsClients(elsewhere, url, partial(sessions.issue, role=None, name="fnbox"))
        clients.get("sqs", REGION, OTHER).send_message(QueueUrl=f"{url}/q", MessageBody="late")
        keys = clients.get("sns", REGION, OTHER)._request_signer._credentials
        clients.get("sqs", REGION, OTHER).close()
    assert companion.head["x-moto-account-id"] == OTHER
    assert b'"late"' in companion.body
    assert (keys.access_key, keys.token) == (OTHER, None)


# function URLs


@pytest.fixture
def urls(tmp_path: Path) -> Iterator[UrlApi]:
    made = UrlApi(tmp_path / "urls", iam="audit")
    now_of(made.api.clock)
    yield made
    made.api.close()


def call(urls: UrlApi, url: str, keys: Credentials, target: str = "/a", **change: Any) -> Any:
    host = f"http://{url}.lambda-url.{REGION}.localhost:4566"
    request = sign(AWSRequest("POST", f"{host}{target}", data=b"body"), keys)
    headers = {name: str(value) for name, value in request.headers.items()}
    return urls.send(url, change.pop("sent", target), "POST", b"body", headers, **change)


def enforce(urls: UrlApi) -> None:
    urls.api.authentication.mode = "enforce"


def test_a_function_url_is_called_by_who_its_key_says(urls: UrlApi) -> None:
    url = urls.url(auth="AWS_IAM")
    enforce(urls)
    keys = key_of(urls.api, "default")
    assert call(urls, url, keys, "/a%20b?x=1&y=a%2Fb").status_code == 200
    assert f'"accessKey":"{keys.access_key}"'.encode() in urls.event().payload
    for wrong, code in (
        (Credentials("test", "x"), "UnrecognizedClientException"),
        (Credentials(keys.access_key, "x"), "InvalidSignatureException"),
    ):
        answer = call(urls, url, wrong)
        assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (403, code)
    answer = call(urls, url, keys, "/a", sent="/b")
    assert answer.headers["x-amzn-ErrorType"] == "InvalidSignatureException"
    assert len(urls.api.service.invoked) == 1


def test_a_function_that_calls_a_url_is_its_role(urls: UrlApi) -> None:
    url = urls.url(auth="AWS_IAM")
    enforce(urls)
    urls.api.authentication.store.put_role(None, "my-role", POLICY)
    made = urls.api.authentication.sessions.issue(ACCOUNT, "my-role", "f")
    keys = Credentials(made.access_key, made.secret_key, made.session_token)
    assert call(urls, url, keys, **{INSIDE: True}).status_code == 200
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/my-role/f"
    assert f'"userArn":"{arn}"'.encode() in urls.event().payload
    assert call(urls, url, Credentials(ACCOUNT, "x"), **{INSIDE: True}).status_code == 403


# CloudWatch Logs


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Clients of CloudWatch Logs by their keys, and the app."""
    clock = now_of(FakeClock())
    catalog = Catalog.open(tmp_path / "state", clock=clock)
    store = LogStore(tmp_path / "logs", clock, 2**24)
    app = Flask(__name__)
    settings = Settings(iam="enforce")
    authentication = make_authentication(catalog.database, clock, settings)
    authentication.store.create_account("team", OTHER)
    authorization = Authorization(authentication, catalog, clock, None)
    ask_who_calls(app, authentication, authorization, settings)
    app.register_blueprint(logs_blueprint(store, settings))
    with served(app) as url:
        made: list[Any] = []

        def connect(account: str, secret: str | None = None) -> Any:
            key = authentication.store.create_key(account)
            keys = Credentials(key.access_key, secret or key.secret_key)
            made.append(client("logs", url, keys))
            return made[-1]

        connect.app, connect.keys = app, authentication.store  # type: ignore[attr-defined]
        yield connect
        for one in made:
            one.close()
    store.close()
    catalog.close()


def test_logs_are_of_the_account_of_the_key(logs: Any) -> None:
    logs("team").create_log_group(logGroupName="g")
    groups = logs("team").describe_log_groups()["logGroups"]
    assert [group["arn"] for group in groups] == [f"arn:aws:logs:{REGION}:{OTHER}:log-group:g:*"]
    assert logs("default").describe_log_groups()["logGroups"] == []
    with pytest.raises(ClientError) as refused:
        logs("team", "wrong").describe_log_groups()
    assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_function_s_log_is_there_for_its_account_and_whom_that_lets(logs: Any) -> None:
    team = logs("team")
    team.create_log_group(logGroupName="/aws/lambda/f")
    team.create_log_stream(logGroupName="/aws/lambda/f", logStreamName="s")
    team.put_log_events(
        logGroupName="/aws/lambda/f",
        logStreamName="s",
        logEvents=[{"timestamp": int(datetime.now(UTC).timestamp() * 1000), "message": "hello"}],
    )
    path = "/_fnbox/logs/f"

    def read(key: Any, query: str = "") -> TestResponse:
        keys = Credentials(key.access_key, key.secret_key)
        request = sign(AWSRequest("GET", f"http://lambda.test{path}{query}"), keys)
        environ = environ_of(request)
        overrides = {name: value for name, value in environ.items() if isinstance(value, str)}
        return logs.app.test_client().get(path + query, environ_overrides=overrides)

    own, other = logs.keys.create_key("team"), logs.keys.create_key("default")
    assert b"hello" in read(own).get_data()
    assert read(other, f"?account={OTHER}").get_data() == b""
    lets = POLICY["Statement"][0] | {"Action": "lambda:*"}
    assert read(logs.keys.create_key("team", "ada", {"Statement": [lets]})).status_code == 403
    assert b"hello" in read(logs.keys.create_key("team", "bob", POLICY)).get_data()


def test_a_presigned_page_is_let_in_like_any_other(logs: Any) -> None:
    key = logs.keys.create_key("team")
    request = AWSRequest("GET", "http://lambda.test/_fnbox/logs/f")
    sign(request, Credentials(key.access_key, key.secret_key), signer=SigV4QueryAuth, expires=60)
    environ = environ_of(request)
    overrides = {name: value for name, value in environ.items() if isinstance(value, str)}
    answer = logs.app.test_client().get("/_fnbox/logs/f", environ_overrides=overrides)
    assert answer.status_code == 200
