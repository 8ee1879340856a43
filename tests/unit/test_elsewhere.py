"""Requests for other AWS services: recognised, refused in their clients' form, passed on."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from sandbox.api.elsewhere import destination
from sandbox.api.passing_on import PIECE_BYTES
from sandbox.aws import extra
from sandbox.cli.options import as_options
from sandbox.errors import StartupError
from sandbox.settings import Settings
from tests.support.api import REGION, Api, open_api

HOST = "localhost:4566"


def signed(service: str, key: str = "test") -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={key}/20261122/{REGION}/{service}/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=00"
    )


def service_of(
    method: str, path: str, headers: dict[str, str] | None = None, *, unknown: bool = True
) -> str | None:
    headers = {"Host": HOST, **(headers or {})}
    route, _, query = path.partition("?")
    builder = EnvironBuilder("/", query_string=query, method=method, headers=headers)
    found = destination(builder.get_environ(), route, unknown=unknown)
    return found.service if found else None


FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
SCOPE = f"20261122%2F{REGION}%2Fs3%2Faws4_request"
INVOKE = "/2015-03-31/functions/f/invocations"


@pytest.mark.parametrize(
    ("method", "path", "headers", "service"),
    [
        # who signs says for whom
        ("POST", "/", {"Authorization": signed("sqs")}, "sqs"),
        ("GET", "/", {"Authorization": signed("s3")}, "s3"),
        ("PUT", "/2015-03-31/functions", {"Authorization": signed("s3")}, "s3"),
        ("POST", "/", {"Authorization": signed("events"), "X-Amz-Target": "Logs_1.X"}, "events"),
        ("POST", "/", {"Authorization": signed("lambda")}, None),
        ("GET", "/any/thing", {"Authorization": signed("lambda")}, None),
        ("POST", "/", {"Authorization": signed("logs")}, None),
        (
            "PUT",
            "/b/k",
            {
                "Authorization": "AWS4-ECDSA-P256-SHA256 Credential=k/20261122/s3/aws4_request, "
                "SignedHeaders=host, Signature=00"
            },
            "s3",
        ),
        ("GET", "/b/k", {"Authorization": "AWS key:c2lnbmF0dXJl"}, "s3"),
        # presigned
        ("GET", f"/b/k?X-Amz-Credential=key%2F{SCOPE}&X-Amz-Signature=00", {}, "s3"),
        ("GET", "/?X-Amz-Credential=key%2F20261122%2Fr%2Fsts%2Faws4_request", {}, "sts"),
        ("GET", f"{INVOKE}?X-Amz-Credential=k%2F20261122%2Fr%2Flambda%2Faws4_request", {}, None),
        ("GET", "/b/k?AWSAccessKeyId=key&Signature=abc&Expires=1", {}, "s3"),
        # unsigned: the operation
        ("POST", "/", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, "dynamodb"),
        ("POST", "/", {"X-Amz-Target": "AWSEvents.PutEvents"}, "events"),
        ("POST", "/", {"X-Amz-Target": "AmazonSQS.SendMessage"}, "sqs"),
        ("POST", "/", {"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}, None),
        ("POST", "/", {"X-Amz-Target": "Unheard_20300101.Of"}, "unheard"),
        # unsigned: the host
        ("GET", "/k", {"Host": "bucket.s3.us-east-1.localhost.localstack.cloud:4566"}, "s3"),
        ("GET", "/", {"Host": "sqs.us-east-1.amazonaws.com"}, "sqs"),
        ("GET", "/", {"Host": "events.example.org"}, None),
        ("GET", "/", {"Host": "s3x.localhost:4566"}, None),
        # unsigned: the form
        ("POST", "/", FORM, "sts"),
        ("POST", "/123456789012/queue", FORM, "sqs"),
        ("GET", "/123456789012/queue.fifo?Action=ReceiveMessage", {}, "sqs"),
        ("GET", "/?Action=ListTopics&Version=2010-03-31", {}, "sns"),
        # unsigned: the path
        ("GET", "/bucket/some/key", {}, "s3"),
        ("GET", "/bucket", {}, "s3"),
        ("GET", "/", {}, None),
        ("GET", "/Bucket/key", {}, None),
        ("GET", "/2030-01-01/unheard-of", {}, None),
        # fnbox's own
        ("GET", "/_fnbox/health", {}, None),
        ("GET", "/_fnbox/health", {"Authorization": signed("s3")}, None),
        ("POST", "/", {"Host": "abc.lambda-url.us-east-1.localhost:4566", **FORM}, None),
        ("POST", "/", {}, None),
    ],
)
def test_a_request_shows_whom_it_is_for(
    method: str, path: str, headers: dict[str, str], service: str | None
) -> None:
    assert service_of(method, path, headers) == service


def test_a_path_that_lambda_knows_is_no_bucket() -> None:
    assert service_of("GET", "/functions/f", unknown=False) is None
    assert service_of("GET", "/functions/f", unknown=True) == "s3"


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]),
    st.text("abz019-._/~%?=&", max_size=40),
    st.dictionaries(
        st.sampled_from(["X-Amz-Target", "Content-Type", "Host", "X-Amz-Date"]),
        st.text("abcS3qs.:_/-lambda0", max_size=30),
    ),
    st.sampled_from(["lambda", "logs"]),
)
def test_nothing_that_is_signed_for_lambda_or_logs_leaves(
    method: str, path: str, headers: dict[str, str], service: str
) -> None:
    assert service_of(method, f"/{path}", {**headers, "Authorization": signed(service)}) is None


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_no_header_is_too_odd(authorization: str, target: str, query: str) -> None:
    environ = {
        "REQUEST_METHOD": "POST",
        "HTTP_AUTHORIZATION": authorization,
        "HTTP_X_AMZ_TARGET": target,
        "QUERY_STRING": query,
    }
    destination(environ, "/", unknown=True)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with closing(open_api(tmp_path)) as api:
        yield api


SESSION = botocore.session.get_session()


def client(service: str, send: Callable[..., AWSResponse]) -> Any:
    made = SESSION.create_client(
        service,
        region_name=REGION,
        endpoint_url=f"http://{HOST}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    made.meta.events.register("before-send.*.*", send)
    return made


class Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


@pytest.mark.parametrize(
    ("service", "operation", "members"),
    [
        ("sqs", "list_queues", {}),  # JSON 1.0, with what the query protocol had
        ("events", "list_rules", {}),  # JSON 1.1
        ("sns", "list_topics", {}),  # query
        ("ec2", "describe_regions", {}),
        ("s3", "put_object", {"Bucket": "bucket", "Key": "key", "Body": b"x" * 100_000}),
        ("route53", "list_hosted_zones", {}),  # REST-XML that is not S3's
        ("apigateway", "get_rest_apis", {}),  # REST-JSON
        ("cloudwatch", "list_metrics", {}),  # CBOR
    ],
)
def test_a_client_of_a_service_that_is_off_is_told_how_to_switch_it_on(
    api: Api, service: str, operation: str, members: dict[str, Any]
) -> None:
    def send(request: Any, **_: Any) -> AWSResponse:
        body = request.body.read() if hasattr(request.body, "read") else request.body
        headers = {
            key: value.decode() if isinstance(value, bytes) else value
            for key, value in request.headers.items()
        }
        url = request.url.removeprefix(f"http://{HOST}")
        answer = api.client.open(url, method=request.method, data=body, headers=headers)
        data = answer.get_data()
        return AWSResponse(request.url, answer.status_code, dict(answer.headers), Raw(data))

    with pytest.raises(ClientError) as caught:
        getattr(client(service, send), operation)(**members)
    error = caught.value.response
    assert error["Error"]["Code"] == "NotImplemented"
    assert error["Error"]["Message"].endswith("start it with `fnbox up --aws`.")
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 501


class Companion:
    """Answers each connection as a test says, and keeps what it got."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.got = b""
        self.wanted = 0
        """Bytes of a body that it reads before it answers."""

    def connect(self, seconds: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(seconds)
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return ours

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while (
                len(self.got.partition(b"\r\n\r\n")[2]) < self.wanted or b"\r\n\r\n" not in self.got
            ):
                piece = connection.recv(PIECE_BYTES)
                if not piece:
                    break
                self.got += piece
            connection.sendall(self.answer)

    def _has_all(self) -> bool:
        _, end, body = self.got.partition(b"\r\n\r\n")
        return bool(end) and len(body) >= self.wanted

    @property
    def head(self) -> list[str]:
        return self.got.partition(b"\r\n\r\n")[0].decode().split("\r\n")


ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nX-Own: 1\r\nServer: moto\r\n"
    b"Connection: close\r\nContent-Length: 2\r\n\r\nok"
)


@pytest.fixture
def passing(tmp_path: Path) -> Iterator[Callable[[Companion], Api]]:
    opened: list[Api] = []

    def passing(companion: Companion) -> Api:
        opened.append(open_api(tmp_path / str(len(opened)), companion=companion.connect))
        return opened[-1]

    yield passing
    for api in opened:
        api.close()


def test_a_request_is_passed_on_as_it_was_and_so_is_the_answer(
    passing: Callable[[Companion], Api],
) -> None:
    companion = Companion(ANSWER)
    companion.wanted = 5
    headers = {"Authorization": signed("s3", "111122223333"), "Host": HOST, "X-Amz-Meta-A": "b"}
    path = "/b/%C3%BC%2F%20x?a=1&b"
    answer = passing(companion).request(
        "PUT", path, b"hello", {**headers, "Expect": "100-continue", "X-Moto-Account-Id": "9"}
    )
    assert (answer.status_code, answer.get_data()) == (200, b"ok")
    assert answer.headers["X-Own"] == "1"
    assert "Server" not in answer.headers
    assert answer.headers.getlist("Content-Length") == ["2"]
    line, *fields = companion.head
    assert line == "PUT /b/%C3%BC%2F%20x?a=1&b HTTP/1.1"
    sent = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    assert sent["host"] == HOST
    assert sent["x-amz-meta-a"] == "b"
    assert sent["authorization"] == headers["Authorization"]
    assert sent["x-moto-account-id"] == "111122223333"
    assert sent["content-length"] == "5"
    assert "expect" not in sent
    assert companion.got.endswith(b"\r\n\r\nhello")


def test_a_request_that_is_not_signed_is_passed_on_with_its_service(
    passing: Callable[[Companion], Api],
) -> None:
    companion = Companion(ANSWER)
    target = {"X-Amz-Target": "DynamoDB_20120810.ListTables"}
    passing(companion).client.post("/", headers=target)
    [field] = [field for field in companion.head if field.lower().startswith("authorization")]
    assert f"/{REGION}/dynamodb/aws4_request" in field


def test_a_public_object_is_asked_for_by_nobody(passing: Callable[[Companion], Api]) -> None:
    companion = Companion(ANSWER)
    passing(companion).client.get("/bucket/key")
    assert not [line for line in companion.head if line.lower().startswith("authorization")]


def test_a_large_body_is_never_whole_inside_fnbox(passing: Callable[[Companion], Api]) -> None:
    pieces: list[int] = []

    class Body:
        left = 40 * PIECE_BYTES

        def read(self, size: int = -1) -> bytes:
            pieces.append(size)
            size = min(size, self.left)
            self.left -= size
            return b"x" * size

    companion = Companion(ANSWER)
    companion.wanted = Body.left
    api = passing(companion)
    environ = EnvironBuilder(
        "/b/k", method="PUT", headers={"Authorization": signed("s3"), "Host": HOST}
    ).get_environ()
    environ |= {"wsgi.input": Body(), "CONTENT_LENGTH": str(Body.left)}
    body, status, _ = run_wsgi_app(api.app, environ)
    assert (status, b"".join(body)) == ("200 OK", b"ok")
    assert set(pieces) == {PIECE_BYTES}
    assert len(pieces) == 40


def test_an_answer_leaves_before_it_is_whole(passing: Callable[[Companion], Api]) -> None:
    companion = Companion(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
    answer = passing(companion).request(
        "GET", "/b/k", headers={"Authorization": signed("s3")}, buffered=False
    )
    chunks = iter(answer.response)
    assert next(chunks) == b"first"
    with pytest.raises(http.client.IncompleteRead):
        next(chunks)
    answer.close()


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n"])
def test_a_companion_that_breaks_off_is_an_error_that_clients_try_again(
    passing: Callable[[Companion], Api], answer: bytes
) -> None:
    found = passing(Companion(answer)).request(
        "GET", "/b/k", headers={"Authorization": signed("s3")}
    )
    assert found.status_code == 503
    assert b"<Code>ServiceUnavailable</Code>" in found.get_data()


def test_health_names_what_is_offered(api: Api, passing: Callable[[Companion], Api]) -> None:
    def offered(api: Api) -> set[str]:
        return set(api.client.get("/_fnbox/health").json["services"])

    assert offered(api) == {"lambda"}
    assert offered(passing(Companion(b""))) >= {"lambda", "sqs", "sns", "s3", "sts", "events"}


def test_a_missing_package_is_one_line_that_names_the_extra() -> None:
    extra.check(lambda name: object())
    with pytest.raises(StartupError, match=r"run `pip install 'fnbox\[aws\]'`$") as caught:
        extra.check(lambda name: None if name == "moto" else object())
    assert "\n" not in str(caught.value)


def test_the_control_plane_is_started_with_what_the_command_was_given() -> None:
    assert as_options(Settings(port=1, aws=True))[-1] == "--aws"
    assert "--aws" not in as_options(Settings(port=1))
