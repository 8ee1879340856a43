"""Who calls and from where, as the request says: to verify it is `sandbox.access`'s part."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from sandbox.access.key_ids import account_of
from sandbox.access.principals import Principal, believed
from sandbox.errors import InvalidRequestContent
from sandbox.identifiers import new_uuid, random_hex
from sandbox.settings import Settings

if TYPE_CHECKING:
    from sandbox.access.authentication import Authentication

_CREDENTIAL = re.compile(
    # SigV4A's scope has no region
    r"(?P<key>[^/\s,]+)/\d{8}/(?:(?P<region>[a-z0-9-]+)/)?[a-z0-9-]+/aws4_request"
)
_REGION = re.compile(r"(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d")
_ACCOUNT = re.compile(r"[0-9]{12}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TRACE_ROOT = re.compile(r"1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}")
_TRACE_PARENT = re.compile(r"[0-9a-fA-F]{16}")

RECEIVED = "fnbox.received"
"""Member of the WSGI environment: when the request came, in `clock.monotonic()`."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What holds for a request whatever its operation."""

    account: str
    """The principal's; of one who is believed, the access key when that is 12 digits, the account
    of a key that fnbox made, else the instance's."""
    region: str
    request_id: str
    caller: str
    """The caller's ARN."""
    base_url: str
    """Where the caller reached this instance, for links in answers; no slash at the end."""
    environ: Mapping[str, Any]
    """The WSGI environment."""
    principal: Principal
    """Who calls; believed, where nothing was verified."""


def new_request_id() -> str:
    return new_uuid()


def read_request_id(environ: Mapping[str, Any]) -> str:
    """The caller's own `x-amzn-RequestId`, else a new one.

    Raises InvalidRequestContent for one that is not a UUID.
    """
    given: str | None = environ.get("HTTP_X_AMZN_REQUESTID")
    if given is None:
        return new_request_id()
    if _UUID.fullmatch(given) is None:
        raise InvalidRequestContent(
            "Invalid Request ID: The 'x-amzn-RequestId' header must be a valid UUID format string."
        )
    return given


def read_context(
    environ: Mapping[str, Any],
    request_id: str,
    settings: Settings,
    principal: Principal | None = None,
) -> RequestContext:
    """Account and region out of the SigV4 credential, in the header or a presigned query.

    The account is that of `principal`, when there is one.
    """
    credential = environ.get("HTTP_AUTHORIZATION", "")
    if not credential:
        query = environ.get("QUERY_STRING", "")
        if "X-Amz-Credential=" in query:
            credential = parse_qs(query).get("X-Amz-Credential", [""])[0]
    # A signature differs each time, what it stands behind does not.
    scope = credential.rpartition("Credential=")[2].partition(",")[0]
    account, region = _read_scope(scope) if scope else (None, None)
    if principal is None:
        principal = believed(account or settings.account)
    region = region or settings.region
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    return RequestContext(
        account=principal.account,
        region=region,
        request_id=request_id,
        caller=principal.arn,
        base_url=f"{environ.get('wsgi.url_scheme', 'http')}://{host}",
        environ=environ,
        principal=principal,
    )


def verified(
    authentication: Authentication, context: RequestContext, body: bytes, service: str
) -> RequestContext:
    """The context of a request whose sender is verified as far as `FNBOX_IAM` says.

    Raises AuthenticationError.
    """
    if not authentication.needed(context.environ):
        return context
    principal = authentication.authenticate(context.environ, body, service, context.account)
    return of_principal(context, principal)


def of_principal(context: RequestContext, principal: Principal) -> RequestContext:
    return replace(context, principal=principal, account=principal.account, caller=principal.arn)


@lru_cache(256)
def _read_scope(scope: str) -> tuple[str | None, str | None]:
    """Account and region, each if it is there and can be one."""
    found = _CREDENTIAL.search(scope)
    if found is None:
        return None, None
    account = found["key"] if _ACCOUNT.fullmatch(found["key"]) else account_of(found["key"])
    # a region that no ARN may hold would make functions that cannot be named again
    region = found["region"] if found["region"] and _REGION.fullmatch(found["region"]) else None
    return account, region


def read_trace(header: str | None) -> str:
    """The trace that an invocation belongs to, as `Root=…;Parent=…;Sampled=…[;Lineage=…]`.

    What the caller sent is kept; what it left out, or sent broken, is made.
    """
    if not header:
        digits = random_hex()
        return f"Root=1-{int(time.time()):08x}-{digits[:24]};Parent={digits[24:]};Sampled=0"
    fields: dict[str, str] = {}
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        fields[key.lower()] = value
    root, parent = fields.get("root", ""), fields.get("parent", "")
    if not _TRACE_ROOT.fullmatch(root):
        root, parent = f"1-{int(time.time()):08x}-{random_hex()[:24]}", ""
    if not _TRACE_PARENT.fullmatch(parent):
        parent = random_hex()[:16]
    sampled = "1" if fields.get("sampled") == "1" else "0"
    lineage = fields.get("lineage", "")
    trace = f"Root={root};Parent={parent};Sampled={sampled}"
    if lineage and lineage.isascii() and lineage.isprintable():
        trace += f";Lineage={lineage}"
    return trace


def parent_of(trace: str) -> str:
    """The Parent in a trace that `read_trace` has made."""
    return trace.partition(";Parent=")[2][:16]


def answer_trace(trace: str) -> str:
    """The same trace as Invoke's answer carries it: with lower-case names."""
    root, _, rest = trace.partition(";Parent=")
    parent, _, rest = rest.partition(";Sampled=")
    return f"r{root[1:]};parent={parent};sampled={rest.replace(';L', ';l', 1)}"
