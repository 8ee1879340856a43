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

import re
from collections.abc import Mapping
from typing import Any

from sandbox.access import sigv4
from sandbox.access.authentication import digest
from sandbox.access.decisions import Ask
from sandbox.access.errors import AuthenticationError
from sandbox.access.sigv4 import Signed
from sandbox.api.context import RequestContext
from sandbox.catalog import FunctionUrl, Policy, iam
from sandbox.errors import AccessDenied
from sandbox.names import FunctionReference

ACTIONS = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
"""A policy has to allow both."""

FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)

_SHA256 = re.compile(r"[0-9a-f]{64}")


def forbidden() -> AccessDenied:
    return AccessDenied(FORBIDDEN)


def read_signature(environ: Mapping[str, Any]) -> Signed:
    """What the caller signed; AccessDenied for a request that is not signed."""
    try:
        signed = sigv4.read(environ)
    except AuthenticationError as error:
        raise forbidden() from error
    in_header = signed.seconds is None
    if in_header and environ.get("HTTP_X_AMZ_DATE") != signed.at:
        raise forbidden()  # its time is elsewhere, or in another form
    return signed


def check_signature(signed: Signed, region: str, now: float) -> None:
    """Raise AccessDenied for one that no key could make valid here and now."""
    try:
        sigv4.check_scope(signed, "lambda")
        sigv4.check_time(signed, now)
    except AuthenticationError as error:
        raise forbidden() from error
    if not (
        signed.access_key
        and "/" not in signed.access_key
        and signed.region == region
        and "host" in signed.headers.split(";")
        and _SHA256.fullmatch(signed.signature)
    ):
        raise forbidden()


def check_body(signed: Signed, body: bytes) -> None:
    """Raise AccessDenied for a body that is not the one that was signed."""
    if signed.payload and _SHA256.fullmatch(signed.payload) and digest(body) != signed.payload:
        raise forbidden()


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


def identity(signed: Signed, caller: RequestContext) -> dict[str, str | None]:
    """`requestContext.authorizer.iam`: a caller is the root user of its account."""
    return {
        "accessKey": signed.access_key,
        "accountId": caller.account,
        "callerId": caller.account,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": caller.caller,
        "userId": caller.account,
    }
