"""Signatures, verified against those that botocore makes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.auth
import pytest
from botocore.auth import S3SigV4QueryAuth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from sandbox.access import sigv4
from sandbox.access.errors import (
    AuthenticationError,
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
)
from tests.support.access import environ_of, sign

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SESSION = Credentials("ASIDEXAMPLE", "secret+/", "token/+==")
NOW = datetime(2026, 11, 22, 17, 0, 0, tzinfo=UTC)
HOST = "http://127.0.0.1:4566"
BODY = b'{"a": 1}'
INVOKE = "/2015-03-31/functions/f/invocations"
FIVE_MINUTES = timedelta(minutes=5)
Environ = dict[str, Any]


@pytest.fixture(autouse=True)
def _held_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)


def verify(
    environ: Environ,
    body: bytes = b"",
    keys: Credentials = KEYS,
    *,
    now: datetime = NOW,
    service: str = "lambda",
) -> sigv4.Signed:
    signed = sigv4.read(environ)
    sigv4.check_scope(signed, service)
    sigv4.check_time(signed, now.timestamp())
    path = environ["RAW_URI"].partition("?")[0]
    payload = sigv4.body_hash(signed, hashlib.sha256(body).hexdigest())
    sigv4.check_signature(signed, environ, path, payload, keys.secret_key)
    return signed


def post(path: str = INVOKE, body: bytes = b"{}", **headers: str) -> AWSRequest:
    return AWSRequest("POST", HOST + path, data=body, headers=headers)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        INVOKE,
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af/invocations",
        "/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:f:1/invocations",
        "/2015-03-31/functions/f%3A%24LATEST/invocations",
        "/2015-03-31/functions/f:$LATEST/invocations",
        "/a%20b/c+d/%C3%A9/%25",
        "/%2F/..%2f",
        "/a/./b/../c//d/",
        "/~a-b_c.d!e*f'(g)",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_paths_of_every_shape_are_verified(method: str, path: str) -> None:
    body = b'{"a": 1}' if method == "POST" else b""
    request = sign(AWSRequest(method, HOST + path, data=body), KEYS)
    assert verify(environ_of(request), body).access_key == "AKIDEXAMPLE"


@pytest.mark.parametrize(
    "query",
    [
        {"Qualifier": "$LATEST"},
        {"b": "2", "a": "1", "A": "0"},
        {"Marker": "a/b+c=d&e f", "MaxItems": "10"},
        {"name": "Ada Lovelace é ✓", "empty": ""},
        {"tagKeys": "~-._", "t": "%41"},
    ],
)
def test_queries_of_every_shape_are_verified(query: dict[str, str]) -> None:
    request = sign(AWSRequest("GET", f"{HOST}/2015-03-31/functions/f", params=query), KEYS)
    verify(environ_of(request))


def test_a_name_may_be_in_a_query_several_times() -> None:
    url = f"{HOST}/2017-03-31/tags/arn?tagKeys=b&tagKeys=a&tagKeys=a&flag"
    verify(environ_of(sign(AWSRequest("DELETE", url), KEYS)))


def test_headers_are_folded_and_trimmed_as_signers_do() -> None:
    request = post(**{"X-Amz-Client-Context": "  a   b\tc ", "X-Amz-Meta": "ü", "A-B": "x"})
    environ = environ_of(sign(request, KEYS))
    assert environ["HTTP_X_AMZ_CLIENT_CONTEXT"] == "a   b\tc"
    verify(environ, b"{}")


def test_a_session_token_is_part_of_what_is_signed() -> None:
    environ = environ_of(sign(post(), SESSION))
    assert verify(environ, b"{}", SESSION).token == "token/+=="


@pytest.mark.parametrize("size", [0, 1, 100_000, 6_000_000])
def test_bodies_of_every_size_are_signed(size: int) -> None:
    body = b"x" * size
    environ = environ_of(sign(post(body=body), KEYS))
    verify(environ, body)
    with pytest.raises(InvalidSignature, match="does not match"):
        verify(environ, body + b"y")


def test_a_presigned_request_is_verified_until_it_expires() -> None:
    request = AWSRequest("GET", f"{HOST}/2015-03-31/functions/f?Qualifier=%241")
    environ = environ_of(sign(request, SESSION, signer=SigV4QueryAuth, expires=900))
    assert "HTTP_AUTHORIZATION" not in environ
    signed = verify(environ, keys=SESSION, now=NOW + timedelta(minutes=15))
    assert (signed.seconds, signed.token) == (900, "token/+==")
    with pytest.raises(InvalidSignature) as refused:
        verify(environ, keys=SESSION, now=NOW + timedelta(minutes=15, seconds=1))
    assert str(refused.value) == (
        "Signature expired: 20261122T170000Z is now earlier than 20261122T170001Z "
        "(20261122T171501Z - 15 min.)"
    )


@pytest.mark.parametrize(
    "payload",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ],
)
def test_s3_may_leave_the_body_to_be_signed_otherwise(payload: str) -> None:
    request = AWSRequest("PUT", f"{HOST}/bucket/a%20key//é", data=b"anything")
    request.url = request.url.replace("é", "%C3%A9")
    request.headers["X-Amz-Content-SHA256"] = payload
    signer = botocore.auth.SigV4Auth(KEYS, "s3", "us-east-1")
    signer._normalize_url_path = lambda path: path  # type: ignore[method-assign]  # as S3's does
    signer.add_auth(request)
    environ = environ_of(request)
    verify(environ, b"something else", service="s3")
    assert not sigv4.is_hash(sigv4.read(environ).payload)


def test_what_s3_clients_send_is_verified_by_what_they_say_of_the_body() -> None:
    request = AWSRequest("PUT", f"{HOST}/bucket/k", data=b"content")
    environ = environ_of(sign(request, KEYS, service="s3"))
    signed = verify(environ, b"another", service="s3")
    assert sigv4.is_hash(signed.payload)
    assert signed.payload == hashlib.sha256(b"content").hexdigest()


def test_a_presigned_object_is_verified() -> None:
    request = AWSRequest("PUT", f"{HOST}/bucket/a%20b/../c", data=b"")
    environ = environ_of(
        sign(request, KEYS, service="s3", signer=S3SigV4QueryAuth, expires=604_800)
    )
    verify(environ, b"whatever", service="s3", now=NOW + timedelta(days=6))


def test_nobody_but_s3_leaves_a_body_unsigned() -> None:
    request = post(**{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    environ = environ_of(sign(request, KEYS))
    with pytest.raises(InvalidSignature, match="does not match"):
        verify(environ, b"{}")


def test_the_day_may_come_from_the_date_header() -> None:
    request = post(Date="Sun, 22 Nov 2026 17:00:00 GMT")
    environ = environ_of(sign(request, KEYS))
    assert "HTTP_X_AMZ_DATE" not in environ
    verify(environ, b"{}")


@pytest.mark.parametrize(
    ("off", "text"),
    [
        (
            FIVE_MINUTES + timedelta(seconds=1),
            "Signature expired: 20261122T170000Z is now earlier than 20261122T170001Z "
            "(20261122T170501Z - 5 min.)",
        ),
        (
            -FIVE_MINUTES - timedelta(seconds=1),
            "Signature not yet current: 20261122T170000Z is still later than 20261122T165959Z "
            "(20261122T165459Z + 5 min.)",
        ),
    ],
)
def test_clocks_may_differ_by_five_minutes(off: timedelta, text: str) -> None:
    environ = environ_of(sign(post(), KEYS))
    for within in (FIVE_MINUTES, -FIVE_MINUTES, timedelta()):
        verify(environ, b"{}", now=NOW + within)
    with pytest.raises(InvalidSignature) as refused:
        verify(environ, b"{}", now=NOW + off)
    assert str(refused.value) == text


def changed(environ: Environ, **members: Any) -> Environ:
    return {name: value for name, value in (environ | members).items() if value is not None}


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (
            "Bearer abc",
            "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with "
            "SHA-256 and encoded with Base64): 'szIijBE7H2VfkHyWpbIsaLMVwVgi9k3m6mP3jWPQNHI='.",
        ),
        ("AWS4-HMAC-SHA512 Credential=a", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'."),
        (
            "AWS4-HMAC-SHA256 Credential=key, SignedHeaders=host, Signature=0",
            "Credential must have at least 5 slash-delimited elements, e.g. "
            "keyid/date/region/service/term, got 'key'",
        ),
    ],
)
def test_a_signature_in_a_form_that_is_none_is_incomplete(header: str, text: str) -> None:
    environ = changed(environ_of(post()), HTTP_AUTHORIZATION=header, HTTP_X_AMZ_DATE="x")
    with pytest.raises(IncompleteSignature) as refused:
        verify(environ)
    if header == "Bearer abc":
        text = text.partition("'")[0]
    assert str(refused.value).startswith(text)


def test_what_a_header_lacks_is_named() -> None:
    environ = changed(environ_of(post()), HTTP_AUTHORIZATION="AWS4-HMAC-SHA256 Signature=00")
    with pytest.raises(IncompleteSignature) as refused:
        verify(environ)
    assert str(refused.value).startswith(
        "Authorization header requires 'Credential' parameter. Authorization header requires "
        "'SignedHeaders' parameter. Authorization header requires existence of either a "
        "'X-Amz-Date' or a 'Date' header. (Hashed with SHA-256 and encoded with Base64) "
        "Authorization="
    )


@pytest.mark.parametrize("name", ["Credential", "Date", "Expires", "SignedHeaders", "Signature"])
def test_what_a_presigned_query_lacks_is_named(name: str) -> None:
    request = AWSRequest("GET", f"{HOST}/2015-03-31/functions/f")
    environ = environ_of(sign(request, KEYS, signer=SigV4QueryAuth))
    query = environ["QUERY_STRING"].split("&")
    left = "&".join(part for part in query if not part.startswith(f"X-Amz-{name}="))
    with pytest.raises(IncompleteSignature, match=f"must include 'X-Amz-{name}'"):
        verify(changed(environ, QUERY_STRING=left))


@pytest.mark.parametrize("seconds", ["0x1", "-1", "604801", "99999999999", "1.5", "²"])
def test_how_long_a_presigned_request_is_valid_is_a_number_up_to_a_week(seconds: str) -> None:
    request = AWSRequest("GET", f"{HOST}/2015-03-31/functions/f")
    environ = environ_of(sign(request, KEYS, signer=SigV4QueryAuth))
    query = environ["QUERY_STRING"].replace("X-Amz-Expires=3600", f"X-Amz-Expires={seconds}")
    with pytest.raises(IncompleteSignature, match="X-Amz-Expires must be"):
        verify(changed(environ, QUERY_STRING=query))


@pytest.mark.parametrize("header", [None, ""])
def test_a_request_without_a_signature_lacks_a_token(header: str | None) -> None:
    environ = changed(environ_of(post()), HTTP_AUTHORIZATION=header)
    with pytest.raises(MissingAuthenticationToken, match="Missing Authentication Token"):
        verify(environ)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("/lambda/", "/sqs/", "Credential should be scoped to correct service: 'lambda'. "),
        ("us-east-1", "nowhere", "Credential should be scoped to a valid region. "),
        (
            "aws4_request",
            "aws5_request",
            "Credential should be scoped with a valid terminator: 'aws4_request', not "
            "'aws5_request'. ",
        ),
        (
            "20261122",
            "20261121",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            "HTTP: '20261121' != '20261122', from '20261122T170000Z'. ",
        ),
    ],
)
def test_a_credential_is_for_a_day_a_region_and_a_service(old: str, new: str, text: str) -> None:
    environ = environ_of(sign(post(), KEYS))
    header = environ["HTTP_AUTHORIZATION"].replace(old, new, 1)
    with pytest.raises(InvalidSignature) as refused:
        verify(changed(environ, HTTP_AUTHORIZATION=header), b"{}")
    assert str(refused.value) == text


@pytest.mark.parametrize("at", ["yesterday", "20261322T170000Z", "20260230T170000Z", "²" * 16])
def test_a_time_that_is_none_is_refused(at: str) -> None:
    environ = environ_of(sign(post(), KEYS))
    header = environ["HTTP_AUTHORIZATION"].replace("20261122", at[:8], 1)
    with pytest.raises(IncompleteSignature, match="Date must be in ISO-8601"):
        verify(changed(environ, HTTP_X_AMZ_DATE=at, HTTP_AUTHORIZATION=header), b"{}")


def test_the_host_and_every_header_of_amazons_have_to_be_signed() -> None:
    environ = environ_of(sign(post(), KEYS))
    added = changed(environ, HTTP_X_AMZ_INVOCATION_TYPE="Event")
    with pytest.raises(InvalidSignature, match="'x-amz-invocation-type' must be a 'SignedHeader'"):
        verify(added, b"{}")
    header = environ["HTTP_AUTHORIZATION"].replace("SignedHeaders=host;", "SignedHeaders=")
    with pytest.raises(InvalidSignature, match="'Host' or ':authority' must be"):
        verify(changed(environ, HTTP_AUTHORIZATION=header), b"{}")


def test_a_trace_that_a_proxy_adds_is_none_of_the_signatures_business() -> None:
    environ = environ_of(sign(post(), KEYS))
    verify(changed(environ, HTTP_X_AMZN_TRACE_ID="Root=1-0-0", HTTP_USER_AGENT="other"), b"{}")


def test_a_key_is_of_one_day_region_and_service() -> None:
    keys = {
        sigv4.signing_key("secret", *scope)
        for scope in (
            ("20261122", "us-east-1", "lambda"),
            ("20261123", "us-east-1", "lambda"),
            ("20261122", "eu-west-1", "lambda"),
            ("20261122", "us-east-1", "logs"),
        )
    }
    assert len(keys) == 4


# AWS's own example: IAM user guide, "Signature Version 4 signing process", the derived key.
def test_the_derived_key_is_that_of_the_guides_example() -> None:
    key = sigv4.signing_key(KEYS.secret_key, "20150830", "us-east-1", "iam")
    expected = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    assert key.hex() == expected


def signed_request(presigned: bool) -> Environ:
    url = f"{HOST}/2015-03-31/functions/f%3A1/invocations?Qualifier=1"
    headers = {"X-Amz-Log-Type": "Tail", "Content-Type": "a/b"}
    request = AWSRequest("POST", url, data=b"" if presigned else BODY, headers=headers)
    signer = SigV4QueryAuth if presigned else None
    return environ_of(sign(request, SESSION, signer=signer))


_BYTES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)


@given(st.data(), st.booleans())
def test_whatever_is_changed_of_a_signed_request_it_is_refused(
    data: st.DataObject, presigned: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)
        environ = signed_request(presigned)
    body = b"" if presigned else BODY
    verify(environ, body, SESSION)
    names = sorted(name for name in environ if name in _COVERED or name.startswith("HTTP_X_AMZ_"))
    name = data.draw(st.sampled_from(names))
    value = environ[name]
    at = data.draw(st.integers(0, len(value)))
    cut = data.draw(st.integers(0, 3))
    new = value[:at] + data.draw(_BYTES) + value[at + cut :]
    if _same_to_a_signer(name, value, new):
        return
    tampered = {**environ, name: new}
    if name == "QUERY_STRING":
        tampered["RAW_URI"] = f"{environ['RAW_URI'].partition('?')[0]}?{new}"
    with pytest.raises(AuthenticationError):
        verify(tampered, body, SESSION)


_COVERED = {
    *("REQUEST_METHOD", "RAW_URI", "QUERY_STRING", "HTTP_HOST", "CONTENT_TYPE"),
    "HTTP_AUTHORIZATION",
}


def _same_to_a_signer(name: str, old: str, new: str) -> bool:
    """What says the same in other bytes."""
    if name == "RAW_URI":
        old, new = (sigv4.canonical_path(uri.partition("?")[0], once=False) for uri in (old, new))
    elif name == "QUERY_STRING":
        old, new = (sigv4.canonical_query(text, True) for text in (old, new))
    elif name == "HTTP_AUTHORIZATION":
        old, new = (sorted(text.replace(" ", "").split(",")) for text in (old, new))  # type: ignore[assignment]
    return old == new or " ".join(old).split() == " ".join(new).split()


@given(st.text(max_size=60), st.text(max_size=40), st.sampled_from(["", "X-Amz-Algorithm=a&"]))
def test_no_header_and_no_query_makes_it_break(header: str, query: str, prefix: str) -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/",
        "HTTP_HOST": "h",
        "HTTP_AUTHORIZATION": header.encode().decode("latin-1"),
        "QUERY_STRING": prefix + query.encode().decode("latin-1"),
    }
    with pytest.raises(AuthenticationError):
        verify(environ)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_parts_of_a_signature_that_are_none_are_refused(key: str, names: str, hexed: str) -> None:
    key, names, hexed = (text.encode().decode("latin-1") for text in (key, names, hexed))
    scope = f"{key}/20261122/us-east-1/lambda/aws4_request"
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/",
        "HTTP_HOST": "h",
        "QUERY_STRING": "",
        "HTTP_X_AMZ_DATE": "20261122T170000Z",
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;{names}, "
        f"Signature={hexed}",
    }
    with pytest.raises(AuthenticationError):
        verify(environ)
