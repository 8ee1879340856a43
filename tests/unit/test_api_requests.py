"""Requests before any operation has them: unknown paths, and bodies that cannot be taken."""

from __future__ import annotations

import io

import pytest

from tests.support.api import Api, error_of

# paths


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
def test_an_unknown_path_or_method_is_a_json_404(echo: Api, method: str, path: str) -> None:
    status, name, body = error_of(echo.request(method, path))
    assert (status, name, list(body)) == (404, "UnknownOperationException", ["message"])


def test_head_has_no_body(echo: Api) -> None:
    answer = echo.request("HEAD", "/2015-03-31/functions")
    assert (answer.status_code, answer.get_data()) == (404, b"")
    assert answer.headers["Content-Type"] == "application/json"


def test_an_operation_that_is_not_there_says_its_name(echo: Api) -> None:
    assert error_of(echo.request("GET", "/2015-03-31/event-source-mappings")) == (
        501,
        "NotImplementedException",
        {
            "Type": "Service",
            "message": "fnbox does not implement lambda:ListEventSourceMappings.",
        },
    )


@pytest.mark.parametrize("path", ["/_fnbox/health", "/_localstack/health"])
def test_health_is_json(echo: Api, path: str) -> None:
    answer = echo.request("GET", path)
    assert answer.status_code == 200
    assert answer.get_json()["status"] == "running"


def test_a_path_in_absolute_form_is_understood(echo: Api) -> None:
    answer = echo.request(
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
    assert echo.service.invoked[0].reference.qualifier == "1"


# bodies


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
    echo: Api, path: str, headers: dict[str, str], limit: int, operation: str
) -> None:
    answer = echo.request(
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
def test_a_chunked_body_is_read_up_to_the_limit(echo: Api, kind: str, limit: int) -> None:
    def send(size: int) -> int:
        return echo.request(
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
def test_a_content_length_that_is_wrong_is_refused(echo: Api, length: str) -> None:
    answer = echo.request(
        "POST",
        "/2015-03-31/functions/f/invocations",
        environ_overrides={"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"{}")},
    )
    assert error_of(answer)[:2] == (400, "InvalidRequestContentException")
    assert not echo.service.invoked


class Broken(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise ConnectionResetError


def test_a_client_that_leaves_within_its_body_runs_nothing(echo: Api) -> None:
    answer = echo.request(
        "POST",
        "/2015-03-31/functions/f/invocations",
        environ_overrides={"CONTENT_LENGTH": "10", "wsgi.input": Broken()},
    )
    assert error_of(answer)[:2] == (400, "InvalidRequestContentException")
    assert not echo.service.invoked


def test_a_compressed_body_is_refused(echo: Api) -> None:
    status, name, body = error_of(echo.invoke(headers={"Content-Encoding": "gzip"}))
    assert (status, name) == (415, "UnsupportedMediaTypeException")
    assert "gzip" in body["message"]
