"""Requests to function URLs, and the events that functions get of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.api.dispatch import SYNC_BYTES
from sandbox.api.urls.event import parameters_of
from sandbox.lineage import forwarded
from tests.support.urls import NOW, UrlApi

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[UrlApi, str]]:
    urls = UrlApi(tmp_path_factory.mktemp("state"))
    yield urls, urls.url()
    urls.api.close()


@pytest.fixture
def urls(opened: tuple[UrlApi, str]) -> UrlApi:
    opened[0].api.service.reset()
    return opened[0]


@pytest.fixture
def url(opened: tuple[UrlApi, str]) -> str:
    return opened[1]


def event_of(urls: UrlApi, url: str, *args: Any, **members: Any) -> dict[str, Any]:
    assert urls.send(url, *args, **members).status_code == 200
    event: dict[str, Any] = json.loads(urls.event().payload)
    return event


def test_the_whole_event_of_a_plain_request(urls: UrlApi, url: str) -> None:
    sent = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=0123456789abcdef;Sampled=1"
    headers = {"X-Amzn-Trace-Id": sent, "User-Agent": "curl/8", "Accept": "*/*"}
    answer = urls.send(url, "/p%20q/%E2%82%AC?a=1&a=2", headers=headers)
    invocation = urls.event()
    event = json.loads(invocation.payload)
    trace = forwarded(sent, invocation.reference.key)
    host = f"{url}.lambda-url.us-east-1.localhost"
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/p%20q/%E2%82%AC",
        "rawQueryString": "a=1&a=2",
        "headers": {
            "host": f"{host}:4566",
            "user-agent": "curl/8",
            "accept": "*/*",
            "x-amzn-trace-id": trace,
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "4566",
            "x-forwarded-proto": "http",
        },
        "queryStringParameters": {"a": "1,2"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": url,
            "domainName": host,
            "domainPrefix": url,
            "http": {
                "method": "GET",
                "path": "/p%20q/%E2%82%AC",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8",
            },
            "requestId": invocation.request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": "22/Nov/2026:17:00:00 +0000",
            "timeEpoch": int(NOW.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    assert answer.headers["x-amzn-RequestId"] == invocation.request_id
    assert answer.headers["X-Amzn-Trace-Id"] == trace == invocation.trace_id


@pytest.mark.parametrize(
    ("target", "parameters"),
    [
        ("/", None),
        ("/?", None),
        ("/?a", {"a": ""}),
        ("/?a=", {"a": ""}),
        ("/?a=1&b=2", {"a": "1", "b": "2"}),
        ("/?q=foo&q=%2Fbar", {"q": "foo,/bar"}),
        ("/?a=x+y%2Bz&%C3%A4=%E2%82%AC", {"a": "x y+z", "ä": "€"}),
        ("/?a=1;b=2", {"a": "1;b=2"}),
    ],
)
def test_queries(urls: UrlApi, url: str, target: str, parameters: dict[str, str] | None) -> None:
    event = event_of(urls, url, target)
    assert event.get("queryStringParameters") == parameters
    assert event["rawQueryString"] == target.partition("?")[2]


@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=2), st.text("xy", max_size=2))))
def test_the_values_of_a_name_are_joined_in_order(pairs: list[tuple[str, str]]) -> None:
    found = parameters_of("&".join(f"{name}={value}" for name, value in pairs))
    for name in {name for name, _ in pairs}:
        assert found.pop(name) == ",".join(value for other, value in pairs if other == name)
    assert found == {}


@pytest.mark.parametrize(
    "path",
    ["/", "//", "/a//b/", "/a/../b", "/%2e%2e/", "/a;b", "/2015-03-31/functions/f", "/a%2Fb"],
)
def test_the_path_is_as_it_was_sent(urls: UrlApi, url: str, path: str) -> None:
    event = event_of(urls, url, path)
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == path


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain", b"a", True),
        ("text/csv; charset=utf-8", "ä,ö".encode(), True),
        ("TEXT/HTML", b"<p>", True),
        ("application/json", b'{"a":"\xe2\x82\xac"}', True),
        ("application/json;charset=utf-8", b"[]", True),
        ("application/xml", b"<a/>", True),
        ("application/javascript", b"1", True),
        ("application/octet-stream", b"abc", False),
        ("application/x-www-form-urlencoded", b"a=1", False),
        ("multipart/form-data; boundary=x", b"--x--", False),
        ("image/png", PNG, False),
        ("", b"abc", False),
        ("text/plain", b"\xff\xfe", False),
        ("application/json", b'{"gzip": "\x1f\x8b"}', False),
    ],
)
def test_bodies(urls: UrlApi, url: str, kind: str, body: bytes, text: bool) -> None:
    headers = {"Content-Type": kind} if kind else {}
    event = event_of(urls, url, "/", "POST", body, headers)
    assert event["isBase64Encoded"] is not text
    assert event["body"] == (body.decode() if text else base64.b64encode(body).decode())
    assert event["headers"]["content-length"] == str(len(body))
    assert event["headers"].get("content-type", "") == kind


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
def test_any_method_reaches_the_function(urls: UrlApi, url: str, method: str) -> None:
    event = event_of(urls, url, method=method)
    assert event["requestContext"]["http"]["method"] == method
    assert "body" not in event


def test_headers_of_the_connection_are_not_the_functions(urls: UrlApi, url: str) -> None:
    headers = {
        "Connection": "keep-alive, x-other",
        "Keep-Alive": "1",
        "TE": "trailers",
        "Upgrade": "h2c",
        "X-Two": "1,2",
        "X-Forwarded-For": "198.51.100.1",
        "Authorization": "Bearer abc",
        "X-Name": "Zo\u00c3\u00ab",  # what WSGI makes of UTF-8
        "X-Latin": "Zo\u00eb",
    }
    given = event_of(urls, url, headers=headers)["headers"]
    assert given["x-two"] == "1,2"
    assert given["authorization"] == "Bearer abc"
    assert given["x-forwarded-for"] == "203.0.113.7"
    assert given["x-name"] == given["x-latin"] == "Zo\u00eb"
    assert not {"connection", "keep-alive", "te", "upgrade"} & given.keys()


@pytest.mark.parametrize(
    ("header", "cookies"),
    [("a=1", ["a=1"]), ("a=1; b=2;;c=3;", ["a=1", "b=2", "c=3"]), ("", None), (" ", None)],
)
def test_cookies(urls: UrlApi, url: str, header: str, cookies: list[str] | None) -> None:
    event = event_of(urls, url, headers={"Cookie": header})
    assert event.get("cookies") == cookies
    assert event["headers"].get("cookie", "") == header


def test_the_functions_alias_is_invoked_when_the_url_is_its(urls: UrlApi, url: str) -> None:
    event_of(urls, url)
    assert urls.event().reference.qualifier is None
    alias = urls.url("live")
    event = event_of(urls, alias)
    assert event["requestContext"]["apiId"] == alias
    assert urls.event().reference.qualifier == "live"
    urls.boto.delete_function_url_config(FunctionName="f", Qualifier="live")


def test_a_url_is_reached_by_path_too(urls: UrlApi, url: str) -> None:
    for rest, path in (("", "/"), ("/", "/"), ("/a%20b/c", "/a%20b/c"), ("//x", "//x")):
        answer = urls.send(url, f"/_fnbox/urls/{url}{rest}?q=1", headers={"Host": "127.0.0.1:4566"})
        event = json.loads(answer.get_data())
        assert (event["rawPath"], event["rawQueryString"]) == (path, "q=1")
        context = event["requestContext"]
        assert context["domainName"] == f"{url}.lambda-url.us-east-1.localhost"
        assert event["headers"]["host"] == "127.0.0.1:4566"


@pytest.mark.parametrize(
    "path",
    [
        "/2015-03-31/functions/f/invocations",
        "/_fnbox/health",
        "/_fnbox/urls/other/",
        "/2021-11-15/functions/f/response-streaming-invocations",
    ],
)
def test_a_urls_host_goes_before_every_path_of_the_api(urls: UrlApi, url: str, path: str) -> None:
    event = event_of(urls, url, path, "POST", b"{}")
    assert event["rawPath"] == path


def test_a_urls_host_may_be_of_any_domain(urls: UrlApi, url: str) -> None:
    for domain in ("on.aws", "localhost", "LocalHost:1"):
        host = f"{url.upper()}.lambda-url.us-east-1.{domain}"
        assert event_of(urls, url, headers={"Host": host})["requestContext"]["apiId"] == url


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "CONNECT"]),
    target=st.text("/%?&=+;#aZ09\u20ac .:@", max_size=20),
    body=st.binary(max_size=50),
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "Cookie", "Origin", "X-Amzn-Trace-Id", "User-Agent"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
    ),
)
def test_no_request_ends_in_a_fault(
    opened: tuple[UrlApi, str], method: str, target: str, body: bytes, headers: dict[str, str]
) -> None:
    urls, url = opened
    quoted = "/" + quote(target, safe="/%?&=+;#.:@")
    answer = urls.send(url, quoted, method, body, headers)
    assert answer.status_code == 200
    event = json.loads(urls.event().payload)
    assert event["rawPath"] == quoted.partition("?")[0]
    sent = event.get("body", "")
    assert (base64.b64decode(sent) if event["isBase64Encoded"] else sent.encode()) == body


def test_a_request_over_the_limit_is_not_run(urls: UrlApi, url: str) -> None:
    small = "text/plain"
    answer = urls.send(url, "/", "POST", bytes(SYNC_BYTES + 1), {"Content-Type": small})
    assert answer.status_code == 413
    assert answer.headers["x-amzn-ErrorType"] == "RequestEntityTooLargeException"
    assert answer.get_json() == {
        "Message": f"Request must be smaller than {SYNC_BYTES} bytes for the InvokeFunction "
        "operation"
    }
    # base64 makes it a third longer
    assert urls.send(url, "/", "POST", bytes(5_000_000)).status_code == 413
    assert urls.send(url, "/", "POST", b"a" * 5_000_000, {"Content-Type": small}).status_code == 200
    assert len(urls.api.service.invoked) == 1
