"""Who may call a function URL.

A URL of AuthType AWS_IAM wants a signed request, whatever the settings. What is looked at here
needs no secret key: that the signature is whole, for this service and region, and for this host;
that it is not older than it may be; that the body is the one that was signed. The signature itself
is `sandbox.access`'s part, and with `FNBOX_IAM=off` nobody's: **whoever says an access key is
believed to own it**. The account is then the access key when that is 12 digits, else the
instance's.

With `FNBOX_IAM=enforce` a URL asks for both actions below as Lambda's API asks for its own: the
policies of the caller's identity and of the function, version or alias. A URL of AuthType NONE
takes everybody for anonymous, so that its resource policy alone counts. Otherwise a signed caller
of the function's own account is let in unless the resource policy denies it, one of another account
needs a resource policy that allows both, and a URL of AuthType NONE lets in whom none denies.
Source: the Lambda developer guide, "Control access to Lambda function URLs", and the IAM user guide
on Signature Version 4.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from sandbox.access.decisions import Ask
from sandbox.api.context import RequestContext
from sandbox.catalog import FunctionUrl, Policy, iam
from sandbox.errors import AccessDenied
from sandbox.names import FunctionReference
from sandbox.threads import run_native

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS = 300
LONGEST_SECONDS = 604_800
"""For which a presigned request may be valid."""
LARGE = 64 * 1024

ACTIONS = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
"""A policy has to allow both."""

FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)

_FIELD = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


class Signature(NamedTuple):
    """What a Signature Version 4 says, in a header or in a presigned query."""

    credential: str
    signed_headers: str
    signature: str
    at: str
    """As `20261122T170000Z`."""
    seconds: int
    """For which it is valid."""
    payload_sha256: str | None
    """Of the body, in hexadecimal; None where the caller has not signed it."""

    @property
    def access_key(self) -> str:
        return self.credential.partition("/")[0]


def forbidden() -> AccessDenied:
    return AccessDenied(FORBIDDEN)


def read_signature(environ: Mapping[str, Any]) -> Signature:
    """What the caller signed; AccessDenied for a request that is not signed."""
    given = environ.get("HTTP_X_AMZ_CONTENT_SHA256")
    payload = given if given and _SIGNATURE.fullmatch(given) else None
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    if header:
        algorithm, _, rest = header.partition(" ")
        fields = dict(_FIELD.findall(rest))
        at, seconds = environ.get("HTTP_X_AMZ_DATE", ""), str(SKEW_SECONDS)
    else:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        one = {name: values[0] for name, values in query.items()}
        algorithm, at = one.get("X-Amz-Algorithm", ""), one.get("X-Amz-Date", "")
        seconds = one.get("X-Amz-Expires", "")
        fields = {name: one.get(f"X-Amz-{name}", "") for name in _FIELDS}
    if algorithm != ALGORITHM or not seconds.isdecimal() or len(seconds) > 6:
        raise forbidden()
    credential, signed, signature = (fields.get(name, "") for name in _FIELDS)
    return Signature(credential, signed, signature, at, int(seconds), payload)


_FIELDS = ("Credential", "SignedHeaders", "Signature")


def check_signature(signature: Signature, region: str, now: float) -> None:
    """Raise AccessDenied for one that no key could make valid here and now."""
    access_key, *scope = signature.credential.split("/")
    try:
        at = datetime.strptime(signature.at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise forbidden() from error
    if not (
        access_key
        and scope == [signature.at[:8], region, "lambda", "aws4_request"]
        and "host" in signature.signed_headers.split(";")
        and _SIGNATURE.fullmatch(signature.signature)
        and at - SKEW_SECONDS <= now <= at + min(signature.seconds, LONGEST_SECONDS)
    ):
        raise forbidden()


def check_body(signature: Signature, body: bytes) -> None:
    """Raise AccessDenied for a body that is not the one that was signed."""
    if signature.payload_sha256 is None:
        return
    digest = run_native(_digest, body) if len(body) > LARGE else _digest(body)
    if digest != signature.payload_sha256:
        raise forbidden()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def asks(url: FunctionUrl) -> list[Ask]:
    """What a caller of a URL has to be allowed."""
    reference = FunctionReference(url.key, url.qualifier)
    keys = _keys(url)
    return [Ask(action, url.arn, url.key.account, reference, keys) for action in ACTIONS]


def _keys(url: FunctionUrl) -> dict[str, str]:
    return {
        "lambda:FunctionUrlAuthType": url.auth_type,
        "lambda:InvokedViaFunctionUrl": "true",
    }


def check_access(url: FunctionUrl, policy: Policy | None, caller: RequestContext | None) -> None:
    """Raise AccessDenied for whom a URL does not let in where nothing is enforced; None has not
    said who it is."""
    document = policy.document if policy else {}
    context = _keys(url)
    if caller is None:
        principal, by_default = iam.ANYONE, "Allow"
    else:
        principal = caller.caller
        by_default = "Allow" if caller.account == url.key.account else ""
        context["aws:PrincipalAccount"] = caller.account
        context["aws:PrincipalArn"] = caller.caller
    for action in ACTIONS:
        effect = iam.effect(document, action, url.arn, principal, context)
        if (effect or by_default) != "Allow":
            raise forbidden()


def identity(signature: Signature, caller: RequestContext) -> dict[str, str | None]:
    """`requestContext.authorizer.iam`: a caller is the root user of its account."""
    return {
        "accessKey": signature.access_key,
        "accountId": caller.account,
        "callerId": caller.account,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": caller.caller,
        "userId": caller.account,
    }
