"""Account, region, request id and trace, as requests carry them."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.api.context import answer_trace, read_context, read_request_id, read_trace
from sandbox.errors import InvalidRequestContent
from sandbox.settings import Settings

SETTINGS = Settings(account="123456789012", region="eu-west-1")
SERVER = {"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "4566"}
TRACE = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=[01]"
ROOT = "1-5759e988-bd862e3fe1be46a994272793"


def caller(environ: dict[str, Any]) -> tuple[str, str]:
    context = read_context({**SERVER, **environ}, "id", SETTINGS)
    return context.account, context.region


def signed(credential: str) -> dict[str, str]:
    return {
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential={credential}, "
        "SignedHeaders=host;x-amz-date, Signature=0123"
    }


@pytest.mark.parametrize(
    ("environ", "account", "region"),
    [
        ({}, "123456789012", "eu-west-1"),
        (signed("test/20261122/us-east-1/lambda/aws4_request"), "123456789012", "us-east-1"),
        (
            signed("000000000007/20261122/ap-south-1/lambda/aws4_request"),
            "000000000007",
            "ap-south-1",
        ),
        (signed("AKIA/20261122/local/lambda/aws4_request"), "123456789012", "eu-west-1"),
        (signed("AKIA/20261122/lambda/aws4_request"), "123456789012", "eu-west-1"),
        (
            signed(
                "\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660/20261122/us-east-1/lambda/aws4_request"
            ),
            "123456789012",
            "us-east-1",
        ),
        ({"HTTP_AUTHORIZATION": "Bearer abc"}, "123456789012", "eu-west-1"),
        ({"HTTP_AUTHORIZATION": "Credential="}, "123456789012", "eu-west-1"),
        (
            {
                "QUERY_STRING": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
                "000000000008%2F20261122%2Fus-west-2%2Flambda%2Faws4_request"
            },
            "000000000008",
            "us-west-2",
        ),
    ],
)
def test_the_credential_says_who_calls_and_from_where(
    environ: dict[str, Any], account: str, region: str
) -> None:
    assert caller(environ) == (account, region)


def test_links_lead_to_where_the_caller_found_this_instance() -> None:
    context = read_context({**SERVER, "HTTP_HOST": "lambda.test:80"}, "id", SETTINGS)
    assert context.base_url == "http://lambda.test:80"
    assert read_context(SERVER, "id", SETTINGS).base_url == "http://127.0.0.1:4566"


def test_a_request_id_is_made_or_taken_from_the_caller() -> None:
    assert uuid.UUID(read_request_id({}))
    given_id = "8b1e2f6a-0000-4000-8000-00000000000f"
    assert read_request_id({"HTTP_X_AMZN_REQUESTID": given_id}) == given_id


@pytest.mark.parametrize("text", ["", "x", "8b1e2f6a00004000800000000000000f", "{}", "\n"])
def test_a_request_id_must_be_a_uuid(text: str) -> None:
    with pytest.raises(InvalidRequestContent) as caught:
        read_request_id({"HTTP_X_AMZN_REQUESTID": text})
    assert caught.value.message == (
        "Invalid Request ID: The 'x-amzn-RequestId' header must be a valid UUID format string."
    )


@pytest.mark.parametrize(
    ("header", "pattern"),
    [
        (None, TRACE),
        ("", TRACE),
        ("nonsense", TRACE),
        ("Root=1-xyz;Parent=0123456789abcdef;Sampled=1", TRACE),
        (f"Root={ROOT}", rf"Root={ROOT};Parent=[0-9a-f]{{16}};Sampled=0"),
        (
            f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1",
            f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1",
        ),
        (
            f"Sampled=1; Parent=53995c3f42cd8ad8; Root={ROOT};Lineage=1:a87bd80c:1",
            f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:1",
        ),
        (f"root={ROOT};sampled=?", rf"Root={ROOT};Parent=[0-9a-f]{{16}};Sampled=0"),
    ],
)
def test_a_trace_is_kept_and_what_is_missing_is_made(header: str | None, pattern: str) -> None:
    assert re.fullmatch(pattern, read_trace(header))


def test_the_answer_has_the_traces_names_in_lower_case() -> None:
    trace = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:1"
    assert answer_trace(trace) == (
        f"root={ROOT};parent=53995c3f42cd8ad8;sampled=1;lineage=1:a87bd80c:1"
    )
    assert answer_trace(f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0") == (
        f"root={ROOT};parent=53995c3f42cd8ad8;sampled=0"
    )


@given(st.text())
def test_no_header_breaks_a_trace(header: str) -> None:
    trace = read_trace(header)
    assert re.match(TRACE, trace)
    assert re.match(TRACE.lower().replace("[0-9a-f]", "[0-9a-f]"), answer_trace(trace))
    assert trace.isprintable()
