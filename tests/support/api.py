"""The HTTP surface without a server: an app, a service that echoes, and a real boto3 client."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile, ZipInfo

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from flask import Flask
from werkzeug.test import Client, TestResponse

from sandbox.access.audit import Entry
from sandbox.access.authentication import Authentication
from sandbox.access.limits import AccountLimits
from sandbox.api import Services, create_app
from sandbox.api.authorization import Authorization
from sandbox.aws.clients import AwsClients
from sandbox.aws.companion import Connect
from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.environments.provisioned import Provided
from sandbox.errors import ImageMissing
from sandbox.invocation import Invocation, Outcome, ResponseStream
from sandbox.metrics import Metrics
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import DeadEvents, EventQueue, Outbox
from sandbox.settings import Settings
from sandbox.traces.store import Traces
from tests.support.access import make_authentication

ACCOUNT = "000000000000"
REGION = "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/lambda-role"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
FUNCTIONS = "/2015-03-31/functions"
IMAGE_ID = "sha256:" + "1f" * 32
AUTHORIZATION = (
    f"AWS4-HMAC-SHA256 Credential=test/20261122/{REGION}/lambda/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00"
)


class EchoService:
    """Answers with the payload; remembers what it was asked, and fails when told to."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.invoked: list[Invocation] = []
        self.enqueued: list[Invocation] = []
        self.checked: list[FunctionReference] = []
        self.tenants: list[str | None] = []
        """Of what was checked."""
        self.outcome: Outcome | None = None
        self.failure: BaseException | None = None
        self.pieces: list[bytes] | None = None
        """Of a stream; None: the payload."""
        self.content_type = "text/plain"

    def invoke(self, invocation: Invocation) -> Outcome:
        self.invoked.append(invocation)
        self._fail()
        return self.outcome or Outcome(invocation.payload, None, "$LATEST", b"a line\n", 1.0)

    def stream(self, invocation: Invocation) -> ResponseStream:
        self.invoked.append(invocation)
        self._fail()
        stream = ResponseStream()
        stream.open("$LATEST", lambda _: None)
        for piece in [bytes(invocation.payload)] if self.pieces is None else self.pieces:
            stream.write(piece, self.content_type)
        stream.end(self.outcome or Outcome(b"", None, "$LATEST", b"a line\n", 1.0))
        stream.begin()
        return stream

    def enqueue(self, invocation: Invocation) -> None:
        self.enqueued.append(invocation)
        self._fail()

    def check(self, reference: FunctionReference, tenant_id: str | None = None) -> None:
        self.checked.append(reference)
        self.tenants.append(tenant_id)
        self._fail()

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def as_sent(target: str) -> dict[str, str]:
    """What a server's environ says of a request's target, to override a test client's `/`:
    werkzeug would take the target apart, and cannot with every one."""
    path, _, query = target.partition("?")
    return {"RAW_URI": target, "PATH_INFO": unquote(path, "latin-1"), "QUERY_STRING": query}


@dataclass
class Api:
    """An app and what stands behind it."""

    app: Flask
    catalog: Catalog
    service: EchoService
    clock: FakeClock
    events: EventQueue
    outbox: Outbox
    authentication: Authentication
    authorization: Authorization
    traces: Traces
    waiting: list[tuple[FunctionKey, str]] = field(default_factory=list)
    """Versions that wait for `settle`."""
    images: dict[str, str] = field(default_factory=dict)
    provided: dict[tuple[FunctionKey, str], Provided] = field(default_factory=dict)
    """By function and qualifier; nothing where none is told."""
    missing: set[str] = field(default_factory=set)
    """Runtimes without an image."""
    noted: list[Entry] = field(default_factory=list)
    """The entries of the audit log."""

    @property
    def client(self) -> Client:
        return Client(self.app, use_cookies=False)

    def create(self, name: str = "f", **members: Any) -> dict[str, Any]:
        """A function, Active."""
        created: dict[str, Any] = self.boto().create_function(
            **{
                "FunctionName": name,
                "Role": ROLE,
                "Runtime": "python3.13",
                "Handler": "app.handler",
                "Code": {"ZipFile": zip_bytes()},
                **members,
            }
        )
        self.settle()
        return created

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> TestResponse:
        """One request; a body that is no bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.open(
            path,
            method=method,
            data=data,
            headers={"Authorization": AUTHORIZATION, **(headers or {})},
            **options,
        )

    def invoke(
        self,
        name: str = "f",
        payload: bytes = b"{}",
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> TestResponse:
        path = f"/2015-03-31/functions/{name}/invocations"
        return self.request("POST", f"{path}?{query}" if query else path, payload, headers)

    def close(self) -> None:
        self.catalog.close()

    def settle(self) -> None:
        """Ends whatever is Pending or InProgress."""
        while self.waiting:
            self.catalog.activate(*self.waiting.pop(0))

    def boto(self, region: str = REGION, access_key: str = "test") -> Any:
        """A boto3 client whose requests go to this app, without a socket; of the account's root
        user, where it has to be verified."""
        keys: tuple[str, ...] = (access_key, "test")
        if self.authentication.mode == "enforce":
            keys = self.authentication.sessions.issue(ACCOUNT, None, "test")[:3]
        client = _client(region, *keys)
        client.meta.events.unregister("before-send.lambda.*", unique_id="app")
        client.meta.events.register("before-send.lambda.*", self._send, unique_id="app")
        return client

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        body = request.body.read() if hasattr(request.body, "read") else request.body
        url = request.url.removeprefix("http://lambda.test")
        headers = {"Host": "lambda.test"} | {
            key: value.decode() if isinstance(value, bytes) else value
            for key, value in request.headers.items()
        }
        answer = self.client.open(url, method=request.method, data=body, headers=headers)
        return AWSResponse(
            request.url, answer.status_code, dict(answer.headers), _Raw(answer.get_data())
        )


@cache
def _client(region: str, access_key: str, secret_key: str, token: str | None = None) -> Any:
    """Shared by all tests: to make one takes longer than most of them."""
    return boto3.session.Session().client(
        "lambda",
        region_name=region,
        endpoint_url="http://lambda.test",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


class _Raw(io.BytesIO):
    def stream(self) -> Any:
        yield self.read()


def open_api(
    folder: Path,
    *,
    service: EchoService | None = None,
    clients: Any = None,
    companion: Connect | None = None,
    logs: Any = None,  # CloudWatch Logs has tests of its own
    **settings: Any,
) -> Api:
    """An API over a new catalog in `folder`. What it changes waits for `Api.settle`."""
    clock = FakeClock()
    catalog = Catalog.open(folder, clock=clock)
    service = service or EchoService()
    waiting: list[tuple[FunctionKey, str]] = []
    images: dict[str, str] = {}
    provided: dict[tuple[FunctionKey, str], Provided] = {}
    missing: set[str] = set()
    events, outbox = EventQueue(catalog.database, clock), Outbox(catalog.database, clock)
    dead_events = DeadEvents(catalog.database, clock, events, outbox)

    def image_id(uri: str) -> str:
        if uri not in images:
            raise ImageMissing(f"no image {uri}")
        return images[uri]

    def check_runtime(runtime: str) -> None:
        if runtime in missing:
            raise ImageMissing(f"the image of {runtime} is missing: build it")

    told = Settings(**{"state_dir": folder, "allowed_hosts": ("lambda.test",), **settings})
    authentication = make_authentication(catalog.database, clock, told)
    limits = AccountLimits.of(told, authentication.store)
    catalog.room.limit(limits)
    noted: list[Entry] = []
    traces = Traces(clock, count=100, max_bytes=2**20)
    note = noted.append if told.audit or authentication.verifies else None
    services = Services(
        settings=told,
        clock=clock,
        authentication=authentication,
        authorization=Authorization(authentication, catalog, clock, note),
        limits=limits,
        catalog=catalog,
        service=service,
        logs=logs,
        dead_events=dead_events,
        metrics=Metrics(),
        traces=traces,
        activate=lambda key, version: waiting.append((key, version)),
        provided=lambda function, name: provided.get((function.key, name), Provided(0, None)),
        image_id=image_id,
        check_runtime=check_runtime,
        clients=clients or AwsClients({}),
        companion=companion,
    )
    parts = (
        catalog,
        service,
        clock,
        events,
        outbox,
        authentication,
        services.authorization,
        traces,
    )
    return Api(create_app(services), *parts, waiting, images, provided, missing, noted)


def zip_bytes(files: Mapping[str, str] | None = None) -> bytes:
    """A deployment package; the same files give the same bytes."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, text in (
            files or {"app.py": "def handler(event, context):\n    return event\n"}
        ).items():
            archive.writestr(ZipInfo(name), text)
    return buffer.getvalue()


def body_of_create(**members: Any) -> dict[str, Any]:
    """The JSON of CreateFunction; a member that is None is left out."""
    body = {
        "FunctionName": "f",
        "Runtime": "python3.13",
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": base64.b64encode(zip_bytes()).decode()},
        **members,
    }
    return {name: value for name, value in body.items() if value is not None}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """What boto3 answers but these members, and but what it says of the response."""
    return {k: v for k, v in document.items() if k not in (*names, "ResponseMetadata")}


def refused(call: Callable[..., object], *args: Any, **members: Any) -> tuple[str, str]:
    """Code and text of the error that a boto3 client is answered."""
    with pytest.raises(ClientError) as caught:
        call(*args, **members)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def refusal(call: Callable[[], object]) -> tuple[int, str, str]:
    """Status, code and text of the error that a boto3 client is answered."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return (
        response["ResponseMetadata"]["HTTPStatusCode"],
        response["Error"]["Code"],
        response["Error"]["Message"],
    )


def error_of(answer: TestResponse) -> tuple[int, str, dict[str, Any]]:
    """Status, error name and body of an error."""
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status_code, answer.headers["x-amzn-ErrorType"], json.loads(answer.get_data())
