"""Invoke by whatever name, qualifier and headers: always an answer as AWS gives them.

Behind the API are a real catalog and a real InvokeService; only environments are played.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from sandbox.access.limits import AccountLimits
from sandbox.catalog.records import Version
from sandbox.invocation import Invocation, Outcome
from sandbox.metrics import Metrics
from sandbox.names import LATEST, FunctionKey
from sandbox.service import InvokeService
from sandbox.traces.store import Traces
from tests.support.api import ACCOUNT, REGION, Api, open_api
from tests.support.times import turns

# As the Invoke API has them, and botocore's model at another place.
NAME = re.compile(
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?"
    r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?"
    r"([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?",
    re.ASCII,
)
QUALIFIER = re.compile(r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+", re.ASCII)
STATUSES = {
    200: None,
    202: None,
    204: None,
    400: {
        "ValidationException",
        "InvalidParameterValueException",
        "InvalidRequestContentException",
        "RecursiveInvocationException",
    },
    404: {"ResourceNotFoundException"},
    413: {"RequestEntityTooLargeException"},
    429: {"TooManyRequestsException"},
}
"""Those that the table of errors has for a caller's requests, with the errors' names."""

OURS = {"f": {None, LATEST, "1", "prod"}, "tenants": {None, LATEST}}
"""The functions that there are, and by which qualifiers they are called."""


class EchoPool:
    """Leases environments that answer with the event."""

    settling = None

    def lease(self, version: Version, timeout: float, tenant_id: str | None) -> EchoPool:
        return self

    def release(self, environment: EchoPool, *, lost: bool) -> None:
        assert not lost

    def retire(self, *_: object) -> None:
        pass

    def invoke(self, invocation: Invocation) -> Outcome:
        assert invocation.reference.key.name in OURS
        stream = invocation.stream
        if stream is None:
            return Outcome(invocation.payload, None, LATEST, b"", 1.0)
        stream.open(LATEST, lambda _: None)
        stream.write(bytes(invocation.payload))
        return Outcome(b"", None, LATEST, b"", 1.0)


class Behind:
    """The service, which needs the catalog that the API is opened with."""

    service: InvokeService

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service, name)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    behind = Behind()
    opened = open_api(tmp_path_factory.mktemp("state"), service=behind)  # type: ignore[arg-type]
    behind.service = InvokeService(
        catalog=opened.catalog,
        pool=EchoPool(),  # type: ignore[arg-type]
        put_event=opened.events.put,
        metrics=Metrics(),
        traces=Traces(opened.clock, count=10, max_bytes=2**20),
        wait_timeout=1,
        limits=AccountLimits(concurrency=1000),
        turns=turns(opened.clock)[0],
    )
    image = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    tenancy = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}
    for name, more in (("f", {}), ("tenants", tenancy)):
        key = FunctionKey(ACCOUNT, REGION, name)
        opened.catalog.create_function(key, image | more)
        opened.catalog.activate(key, LATEST)
    key = FunctionKey(ACCOUNT, REGION, "f")
    opened.catalog.publish_version(key, {})
    opened.catalog.activate(key, "1")
    opened.catalog.create_alias(key, {"Name": "prod", "FunctionVersion": "1"})
    yield opened
    opened.close()


WAYS = {
    "Invoke": "/2015-03-31/functions/{}/invocations",
    "InvokeWithResponseStream": "/2021-11-15/functions/{}/response-streaming-invocations",
    "InvokeAsync": "/2014-11-13/functions/{}/invoke-async",
}


def send(
    api: Api,
    way: str,
    name: str,
    qualifier: str | None = None,
    headers: Mapping[str, str] | None = None,
    payload: bytes = b"{}",
) -> TestResponse:
    """One request, whose path reaches the API as a server gives it: not yet decoded."""
    path = WAYS[way].format(quote(name, safe=""))
    if qualifier is not None:
        path += "?" + urlencode({"Qualifier": qualifier})
    return api.request("POST", path, payload, headers, environ_overrides={"RAW_URI": path})


def check(answer: TestResponse, caplog: pytest.LogCaptureFixture) -> str | None:
    """That an answer is one of AWS's; the name of its error."""
    body = answer.get_data()
    faults = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not faults
    assert answer.status_code in STATUSES, body
    errors = STATUSES[answer.status_code]
    if errors is None:
        assert "x-amzn-ErrorType" not in answer.headers
        return None
    assert uuid.UUID(answer.headers["x-amzn-RequestId"])
    error = answer.headers["x-amzn-ErrorType"]
    assert error in errors
    assert answer.headers["Content-Type"] == "application/json"
    document = json.loads(body)
    capital = error in (
        "ResourceNotFoundException",
        "RequestEntityTooLargeException",
        "RecursiveInvocationException",
    )
    assert document["Message" if capital else "message"]
    return error


class Called(NamedTuple):
    """A well-formed request, and what it means."""

    text: str
    region: str
    account: str
    name: str
    own: str | None
    """The qualifier in the name."""
    qualifier: str | None
    tenant: str | None


@st.composite
def well_formed(draw: st.DrawFn) -> Called:
    arn = draw(st.sampled_from(["", "arn:aws:lambda:", "arn:aws-cn:lambda:", "arn::lambda:"]))
    region = draw(st.sampled_from([None, REGION, REGION, "eu-west-1", "us-gov-west-1"]))
    account = draw(st.sampled_from([None, ACCOUNT, ACCOUNT, "123456789012"]))
    name = draw(
        st.one_of(
            st.sampled_from(sorted(OURS)),
            st.from_regex(r"[a-zA-Z0-9-_.]{1,65}", fullmatch=True).filter(
                lambda text: text not in ("arn", "function") and not re.fullmatch(r"\d{12}", text)
            ),
        )
    )
    qualifiers = st.sampled_from([LATEST, "1", "2", "prod", "none", "$LATEST.PUBLISHED"])
    own = draw(st.one_of(st.none(), qualifiers))
    qualifier = draw(
        st.one_of(st.none(), st.just(own), qualifiers, st.sampled_from(["$latest", "a$b"]))
    )
    tenant = draw(st.sampled_from([None, "blue", "Green @ 1"]))
    text = "".join(
        [
            arn,
            f"{region}:" if region else "",
            f"{account}:" if account else "",
            draw(st.sampled_from(["", "function:"])),
            name,
            f":{own}" if own else "",
        ]
    )
    return Called(text, region or REGION, account or ACCOUNT, name, own, qualifier, tenant)


def meaning(called: Called) -> tuple[int, str | None]:
    """The status of a call, 200 for one that runs, and the text of its error."""
    if called.own and called.qualifier and called.own != called.qualifier:
        return 400, (
            "The derived qualifier from the function name does not match the specified qualifier."
        )
    if called.region != REGION:
        return 404, (
            f"Functions from '{called.region}' are not reachable in this region ('{REGION}')"
        )
    qualifier = called.qualifier or called.own
    there = called.account == ACCOUNT and qualifier in OURS.get(called.name, ())
    if not there:
        arn = f"arn:aws:lambda:{REGION}:{called.account}:function:{called.name}"
        return 404, f"Function not found: {arn}:{qualifier or LATEST}"
    if (called.name == "tenants") == (called.tenant is None):
        return 400, None
    return 200, None


SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@SETTINGS
@given(
    called=well_formed(),
    way=st.sampled_from(["Invoke", "InvokeWithResponseStream"]),
    kind=st.sampled_from(["RequestResponse", "DryRun", "Event"]),
)
def test_a_well_formed_name_means_what_the_documentation_says(
    api: Api, caplog: pytest.LogCaptureFixture, called: Called, way: str, kind: str
) -> None:
    caplog.clear()
    kind = "RequestResponse" if (way, kind) == ("InvokeWithResponseStream", "Event") else kind
    assert NAME.fullmatch(called.text)
    headers = {"X-Amz-Invocation-Type": kind}
    if called.tenant is not None:
        headers["X-Amz-Tenant-Id"] = called.tenant
    answer = send(api, way, called.text, called.qualifier, headers)
    error = check(answer, caplog)
    status, text = meaning(called)
    success = {"RequestResponse": 200, "DryRun": 204, "Event": 202}[kind]
    assert answer.status_code == (success if status == 200 else status)
    if error is not None:
        invalid, missing = "InvalidParameterValueException", "ResourceNotFoundException"
        assert error == (missing if status == 404 else invalid)
        document = json.loads(answer.get_data())
        assert text in (None, document.get("message"), document.get("Message"))


PIECES = st.sampled_from(
    [
        *(
            "arn:",
            "aws",
            "aws-cn",
            ":lambda:",
            "us-east-1:",
            "eu-west-1:",
            ACCOUNT,
            ":",
            "function:",
        ),
        *("f", "tenants", "$LATEST", "$latest", "$LATEST.PUBLISHED", "1", "prod", ".", "-", "_"),
        *(" ", "\n", "%", "/", "?", "\u00e9", "\u0661", "x" * 140, "\0", "{", "\u2028"),
    ]
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ANY_NAME = st.one_of(
    TEXT, st.lists(PIECES, max_size=8).map("".join), well_formed().map(lambda called: called.text)
)


@SETTINGS
@given(
    name=ANY_NAME, qualifier=st.one_of(st.none(), TEXT, PIECES), way=st.sampled_from(sorted(WAYS))
)
def test_exactly_the_names_and_qualifiers_of_the_pattern_are_accepted(
    api: Api, caplog: pytest.LogCaptureFixture, name: str, qualifier: str | None, way: str
) -> None:
    assume(name)  # without one it is another path
    caplog.clear()
    error = check(send(api, way, name, qualifier), caplog)
    broken = not NAME.fullmatch(name) or len(name) > 256
    if qualifier is not None and way != "InvokeAsync":
        broken |= not QUALIFIER.fullmatch(qualifier) or len(qualifier) > 128
    assert (error == "ValidationException") == broken


HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
UUIDS = st.uuids().map(str)
HEADERS: dict[str, st.SearchStrategy[str]] = {
    "X-Amz-Invocation-Type": st.sampled_from(["RequestResponse", "Event", "DryRun", "event", ""]),
    "X-Amz-Log-Type": st.sampled_from(["None", "Tail", "tail"]),
    "X-Amz-Client-Context": st.sampled_from(["e30=", "e30", "bnVsbA==", "eyJhIjoxfQ==", "="]),
    "X-Amz-Tenant-Id": st.sampled_from(["blue", "a{b", "x" * 257, "a b"]),
    "X-Amz-Durable-Execution-Name": st.sampled_from(["name", "a b", "x" * 65]),
    "X-Amzn-Trace-Id": st.sampled_from(
        [
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=1:03574033:15",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=1:03574033:14%7C1:a87bd80c:99",
            "Lineage=|:|;;=",
        ]
    ),
    "X-Fnbox-Cognito-Identity": st.sampled_from(
        ['{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}', "{}", "[1"]
    ),
    "x-amzn-RequestId": st.one_of(UUIDS, st.just("mine")),
    "Content-Type": st.sampled_from(["application/json", "text/plain", ""]),
    "Authorization": st.just("AWS4-HMAC-SHA256 Credential=/"),
}


@st.composite
def headers(draw: st.DrawFn) -> dict[str, str]:
    names = draw(st.sets(st.sampled_from(sorted(HEADERS)), max_size=4))
    return {name: draw(st.one_of(HEADERS[name], HEADER_TEXT)) for name in sorted(names)}


@SETTINGS
@given(
    given_headers=headers(),
    name=st.sampled_from(sorted(OURS)),
    way=st.sampled_from(sorted(WAYS)),
    payload=st.sampled_from([b"{}", b"", b"[1]", b"value", b"\xff", b'"x"']),
)
def test_no_header_keeps_a_call_from_an_answer(
    api: Api,
    caplog: pytest.LogCaptureFixture,
    given_headers: dict[str, str],
    name: str,
    way: str,
    payload: bytes,
) -> None:
    caplog.clear()
    check(send(api, way, name, None, given_headers, payload), caplog)
