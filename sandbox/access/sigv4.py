"""Signature Version 4, verified: pure functions of a request as it was sent.

The canonical request is made from the request's own path, query and headers, so that what a proxy
or an attacker has changed on the way shows. Both forms are known, the Authorization header and the
presigned query; a key with a session token is a key like any other here.

S3 has rules of its own: its paths are encoded once and not normalized, and the body's hash is what
`X-Amz-Content-SHA256` says, which may be that the body is not signed. Everybody else's body is
hashed. Every `x-amz-` header that a request has must be signed, by whatever service.

Source: the IAM user guide, "Create a signed AWS API request"; the texts are those of AWS's answers.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from calendar import timegm
from collections.abc import Mapping
from email.utils import parsedate
from functools import lru_cache
from time import gmtime, strftime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from sandbox.access.errors import (
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
    SignatureDoesNotMatch,
    SignatureNotOfNow,
    UnsupportedSignature,
)

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
SKEW_SECONDS = 300
LONGEST_SECONDS = 604_800
"""For which a presigned request may be valid."""
S3 = "s3"
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMED = "STREAMING-"
"""How the hash of a body begins whose pieces are signed by themselves, or not at all."""

_VERSION_2 = "AWS "
_UNRESERVED = "-_.~"
_ISO = "%Y%m%dT%H%M%SZ"
# What no signature needs to name: it is part of what is signed by other ways, or says nothing.
_BOUND = frozenset(
    {"x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-user-agent"}
)
_REGION = re.compile(r"[a-z]{2,4}-[a-z0-9-]{1,28}[0-9]")
_PRESIGNED = ("Algorithm", "Credential", "Signature", "Date", "SignedHeaders", "Expires")

Environ = Mapping[str, Any]


class Signed(NamedTuple):
    """What a request says of its signature."""

    access_key: str
    date: str
    """The credential's scope: day, region, service and how it ends."""
    region: str
    service: str
    terminator: str
    headers: str
    """Names of headers, as they were sent: small, sorted, with semicolons between."""
    signature: str
    at: str
    """As `20261122T170000Z`."""
    seconds: int | None
    """For which it is valid; None: an Authorization header."""
    token: str | None
    """The session's."""
    payload: str | None
    """The body's hash, or what stands for it, if the request names one."""


def read(environ: Environ) -> Signed:
    """What a request says. Raises MissingAuthenticationToken, IncompleteSignature."""
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    if header.startswith(_VERSION_2):
        raise UnsupportedSignature
    if header:
        return _of_header(environ, header)
    query = environ.get("QUERY_STRING", "")
    if "X-Amz-Algorithm=" in query or "X-Amz-Signature=" in query:
        return _of_query(environ, query)
    if "AWSAccessKeyId=" in query and "Signature=" in query:
        raise UnsupportedSignature
    raise MissingAuthenticationToken


def _of_header(environ: Environ, header: str) -> Signed:
    algorithm, _, rest = header.partition(" ")
    fields = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals:
            raise IncompleteSignature(
                "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with "
                f"SHA-256 and encoded with Base64): '{_hidden(header)}'."
            )
        fields[name] = value
    if algorithm != ALGORITHM:
        raise IncompleteSignature(f"Unsupported AWS 'algorithm': '{algorithm[:64]}'.")
    at = _given_time(environ)
    lacking = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not fields.get(name)
    ]
    if not at:
        lacking.append(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if lacking:
        raise IncompleteSignature(
            f"{' '.join(lacking)} (Hashed with SHA-256 and encoded with Base64) "
            f"Authorization={_hidden(header)}"
        )
    return Signed(
        *_scope(fields["Credential"]),
        fields["SignedHeaders"],
        fields["Signature"],
        at,
        None,
        environ.get("HTTP_X_AMZ_SECURITY_TOKEN"),
        environ.get("HTTP_X_AMZ_CONTENT_SHA256"),
    )


def _given_time(environ: Environ) -> str:
    given: str = environ.get("HTTP_X_AMZ_DATE") or environ.get("HTTP_DATE", "")
    if given and "," in given:  # as HTTP writes it
        read = parsedate(given)
        return strftime(_ISO, read) if read else ""
    return given


def _of_query(environ: Environ, query: str) -> Signed:
    given = dict(parse_qsl(query, keep_blank_values=True, encoding="latin-1"))
    fields = {name: given.get(f"X-Amz-{name}", "") for name in _PRESIGNED}
    lacking = [f"'X-Amz-{name}'" for name, value in fields.items() if not value]
    if lacking:
        raise IncompleteSignature(
            f"AWS query-string parameters must include {', '.join(lacking)}. Re-examine the "
            "query-string parameters."
        )
    if fields["Algorithm"] != ALGORITHM:
        raise IncompleteSignature(f"Unsupported AWS 'algorithm': '{fields['Algorithm'][:64]}'.")
    seconds = fields["Expires"]
    if not (seconds.isdecimal() and len(seconds) < 7 and int(seconds) <= LONGEST_SECONDS):
        raise IncompleteSignature(
            f"X-Amz-Expires must be a number of seconds, {LONGEST_SECONDS} at most."
        )
    return Signed(
        *_scope(fields["Credential"]),
        fields["SignedHeaders"],
        fields["Signature"],
        fields["Date"],
        int(seconds),
        given.get("X-Amz-Security-Token"),
        environ.get("HTTP_X_AMZ_CONTENT_SHA256") or given.get("X-Amz-Content-Sha256"),
    )


def _scope(credential: str) -> tuple[str, str, str, str, str]:
    # a key may hold slashes, what follows cannot
    parts = credential.rsplit("/", 4)
    if len(parts) != 5:
        raise IncompleteSignature(
            "Credential must have at least 5 slash-delimited elements, e.g. "
            f"keyid/date/region/service/term, got '{credential[:128]}'"
        )
    key, date, region, service, terminator = parts
    return key, date, region, service, terminator


def _hidden(header: str) -> str:
    return b64encode(hashlib.sha256(header.encode("latin-1", "replace")).digest()).decode()


def check_scope(signed: Signed, service: str) -> None:
    """Raise InvalidSignature for a signature that is for another service, or for no day."""
    if signed.service != service:
        raise InvalidSignature(f"Credential should be scoped to correct service: '{service}'. ")
    if _REGION.fullmatch(signed.region) is None:
        raise InvalidSignature("Credential should be scoped to a valid region. ")
    if signed.terminator != TERMINATOR:
        raise InvalidSignature(
            "Credential should be scoped with a valid terminator: "
            f"'{TERMINATOR}', not '{signed.terminator[:64]}'. "
        )
    if signed.date != signed.at[:8]:
        raise InvalidSignature(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{signed.date[:64]}' != '{signed.at[:8]}', from '{signed.at[:64]}'. "
        )


def check_time(signed: Signed, now: float) -> None:
    """Raise InvalidSignature for one that has expired or is of a time to come, else return."""
    at = _seconds(signed.at)
    if at is None:
        raise IncompleteSignature(
            "Date must be in ISO-8601 'basic format'. Got "
            f"'{signed.at[:64]}'. See http://en.wikipedia.org/wiki/ISO_8601"
        )
    valid = SKEW_SECONDS if signed.seconds is None else signed.seconds
    if at + valid < now:
        raise SignatureNotOfNow(
            f"Signature expired: {signed.at} is now earlier than {_iso(now - valid)} "
            f"({_iso(now)} - {valid // 60} min.)"
        )
    if at > now + SKEW_SECONDS:
        raise SignatureNotOfNow(
            f"Signature not yet current: {signed.at} is still later than "
            f"{_iso(now + SKEW_SECONDS)} ({_iso(now)} + {SKEW_SECONDS // 60} min.)"
        )


@lru_cache(64)
def _seconds(at: str) -> int | None:
    """Since the epoch; None for what is no time."""
    if len(at) != 16 or at[8] != "T" or at[15] != "Z" or not at.isascii():
        return None
    digits = at[:8] + at[9:15]
    if not digits.isdecimal():
        return None
    parts = (at[:4], at[4:6], at[6:8], at[9:11], at[11:13], at[13:15])
    year, month, day, hour, minute, second = map(int, parts)
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60):
        return None
    seconds = timegm((year, month, day, hour, minute, second))
    return seconds if _iso(seconds) == at else None


def _iso(seconds: float) -> str:
    return strftime(_ISO, gmtime(seconds))


def check_signature(signed: Signed, environ: Environ, path: str, body: str, secret: str) -> None:
    """Raise InvalidSignature unless the request was signed with `secret`.

    `path` is as it was sent; `body` is the hash of the request's body, as `body_hash` says.
    """
    request = canonical_request(signed, environ, path, body)
    scope = f"{signed.date}/{signed.region}/{signed.service}/{signed.terminator}"
    digest = hashlib.sha256(request.encode("latin-1")).hexdigest()
    text = f"{ALGORITHM}\n{signed.at}\n{scope}\n{digest}"
    key = signing_key(secret, signed.date, signed.region, signed.service)
    expected = hmac.digest(key, text.encode("latin-1"), "sha256").hex()
    if not hmac.compare_digest(expected.encode(), signed.signature.encode("latin-1", "replace")):
        raise SignatureDoesNotMatch


@lru_cache(1024)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of a day, a region and a service: four HMACs, which many requests share."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode("latin-1", "replace"), "sha256")
    return key


def canonical_request(signed: Signed, environ: Environ, path: str, body: str) -> str:
    """What was signed, a character for each byte. Raises InvalidSignature for a request with
    headers that have to be signed and are not."""
    query: str = environ.get("QUERY_STRING", "")
    names = _header_names(signed.headers)
    unsigned = [
        name for name in environ if name.startswith("HTTP_X_AMZ_") and name not in names.values()
    ]
    for variable in unsigned:
        name = variable[5:].replace("_", "-").lower()
        if name not in _BOUND:
            raise InvalidSignature(f"'{name}' must be a 'SignedHeader' in the AWS Authorization. ")
    if "host" not in names:
        raise InvalidSignature(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization. "
        )
    lines = [
        environ["REQUEST_METHOD"],
        canonical_path(path, once=signed.service == S3),
        canonical_query(query, signed.seconds is not None) if query else "",
    ]
    for name, variable in names.items():
        value = environ.get(variable, "")
        if "  " in value or "\t" in value:
            value = " ".join(value.split())
        lines.append(f"{name}:{value.strip()}")
    lines += ("", signed.headers, body)
    return "\n".join(lines)


@lru_cache(256)
def _header_names(listed: str) -> Mapping[str, str]:
    """WSGI's names of headers, by the names that were signed."""
    names = {}
    for name in listed.split(";"):
        variable = name.upper().replace("-", "_")
        plain = variable in ("CONTENT_TYPE", "CONTENT_LENGTH")
        names[name] = variable if plain else f"HTTP_{variable}"
    return names


@lru_cache(1024)
def canonical_path(path: str, *, once: bool) -> str:
    """`once`: as S3 has it, encoded once and else as it is."""
    if once:
        return quote(unquote_to_bytes(path.encode("latin-1")), safe="/" + _UNRESERVED) or "/"
    return quote(_normalized(path).encode("latin-1"), safe="/" + _UNRESERVED)


def _normalized(path: str) -> str:
    """Without empty parts, `.` and `..`."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part and part != ".":
            kept.append(part)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def canonical_query(query: str, presigned: bool) -> str:
    """Sorted, and encoded as AWS encodes, however the client did; `presigned`: its signature is
    in there too."""
    pairs = []
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if presigned and name == "X-Amz-Signature":
            continue
        pairs.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded(text: str) -> str:
    # a plus is a space, as for whoever reads the query later
    return quote(unquote_to_bytes(text.replace("+", " ").encode("latin-1")), safe=_UNRESERVED)


def body_hash(signed: Signed, actual: str) -> str:
    """What the signature says of a body whose hash is `actual`: S3 believes what is named."""
    if signed.service == S3:
        return signed.payload or (UNSIGNED if signed.seconds is not None else actual)
    return actual


def is_hash(payload: str | None) -> bool:
    """Whether what a request names of its body is a hash of it."""
    return payload is not None and payload != UNSIGNED and not payload.startswith(STREAMED)
