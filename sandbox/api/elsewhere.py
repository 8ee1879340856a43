"""Which requests are for another AWS service than those that fnbox answers. Pure.

What a request says of itself counts, the surest first: the service that it is signed for, in its
header or in a presigned URL; the operation that `X-Amz-Target` names; the host; and for what is
not signed at all its form and path. SDKs sign nearly everything, so the last ones are for
browsers, curl, public objects and the few operations of STS that nobody can sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

OWN = frozenset({"lambda", "logs"})
"""What fnbox answers itself, by the names that requests are signed for."""

S3 = "s3"

_SCOPE = re.compile(
    # SigV4A's has no region
    r"(?P<key>[^/\s,=]+)/\d{8}/(?:(?P<region>[a-z0-9-]+)/)?(?P<service>[a-z0-9.-]+)/aws4_request"
)
_TARGETS = {
    "Logs": "logs",
    "AmazonSQS": "sqs",
    "AWSEvents": "events",
    "DynamoDB": "dynamodb",
    "DynamoDBStreams": "dynamodb",
    "TrentService": "kms",
    "AmazonSSM": "ssm",
    "secretsmanager": "secretsmanager",
    "AWSStepFunctions": "states",
    "Kinesis": "kinesis",
    "Firehose": "firehose",
    "GraniteServiceVersion20100801": "monitoring",
}
"""By what stands before the version in `X-Amz-Target`."""
_VERSIONS = {
    "2012-11-05": "sqs",
    "2010-03-31": "sns",
    "2011-06-15": "sts",
    "2010-05-08": "iam",
    "2010-05-15": "cloudformation",
    "2010-08-01": "monitoring",
    "2016-11-15": "ec2",
}
"""Of the query protocol, as `Version` names it: each service has one."""
_HOST = re.compile(
    r"(?:.+\.)?(?P<service>s3|sqs|sns|sts|iam|events|dynamodb|kms|ssm|secretsmanager|states|kinesis)"
    r"[.-](?:.+\.)?(?:amazonaws\.com|localhost|localhost\.localstack\.cloud)(?::\d+)?"
)
_QUEUE = re.compile(r"/\d{12}/[A-Za-z0-9_-]{1,80}(?:\.fifo)?/?")
_BUCKET = re.compile(r"/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/.*)?", re.DOTALL)
_DATED = re.compile(r"/\d{4}-\d\d-\d\d(?:/|$)")
"""How the paths of Lambda's API begin, also those of operations that there are not."""


class Destination(NamedTuple):
    """Where a request belongs."""

    service: str
    """As requests are signed for it."""
    signed: bool
    """Whether the request says so in an Authorization header."""


def destination(environ: Mapping[str, Any], path: str, *, unknown: bool) -> Destination | None:
    """The other service that a request is for; None when it is for fnbox.

    `path` is as it was sent; `unknown` says that no operation of Lambda's has it.
    """
    if path.startswith("/_"):
        return None
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    found = _SCOPE.search(authorization) if authorization else None
    if found is not None:
        return _other(found["service"], signed=True)
    if authorization.startswith("AWS "):  # version 2 of the signature, of which S3 is the last user
        return Destination(S3, signed=True)
    host = environ.get("HTTP_HOST", "").lower()
    if ".lambda-url." in host:
        return None
    service = _unsigned(environ, path, host)
    if service is None and unknown and not _DATED.match(path) and _BUCKET.fullmatch(path):
        service = S3
    return _other(service, signed=False) if service else None


def _other(service: str, *, signed: bool) -> Destination | None:
    return None if service in OWN else Destination(service, signed)


def _unsigned(environ: Mapping[str, Any], path: str, host: str) -> str | None:
    text = environ.get("QUERY_STRING", "")
    query = parse_qs(text) if text else {}
    found = _SCOPE.fullmatch(query.get("X-Amz-Credential", [""])[0])
    if found is not None:
        return found["service"]
    if "AWSAccessKeyId" in query and "Signature" in query:
        return S3
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        prefix = re.split(r"[_.]", target, maxsplit=1)[0]
        return _TARGETS.get(prefix, prefix.lower())
    found = _HOST.fullmatch(host)
    if found is not None:
        return found["service"]
    if "Action" in query:
        return _VERSIONS.get(
            query.get("Version", [""])[0], "sqs" if _QUEUE.fullmatch(path) else None
        )
    if environ["REQUEST_METHOD"] == "POST" and _is_form(environ):
        if _QUEUE.fullmatch(path):
            return "sqs"
        if path == "/":
            return "sts"
    return None


def _is_form(environ: Mapping[str, Any]) -> bool:
    kind: str = environ.get("CONTENT_TYPE", "")
    return kind.lower().startswith("application/x-www-form-urlencoded")
