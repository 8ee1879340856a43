"""What policies call a request to another AWS service: its action, and the resource where it shows.

The operation is what a request says of itself: `X-Amz-Target`, the query protocol's Action, or for
S3 method, path and query. Resources are found for SQS, SNS, DynamoDB, EventBridge, S3 and
AssumeRole; elsewhere, and where a request names none, it is `*`, which only a policy with that
resource allows. Source: the Service Authorization Reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from sandbox.access.decisions import ANYTHING, Ask

Parameters = Mapping[str, Any]

OPEN = frozenset({"sts:GetCallerIdentity"})
"""What nobody has to be allowed."""
_PREFIXES = {"monitoring": "cloudwatch", "email": "ses"}
"""Of actions, where it is not what requests are signed for."""


class Request(NamedTuple):
    service: str
    """As requests are signed for it."""
    method: str
    path: str
    """As it was sent."""
    query: str
    target: str
    """The header X-Amz-Target."""
    is_form: bool
    body: bytes
    """Of S3 none: it does not say what is asked for."""
    copy_source: str = ""
    """The header X-Amz-Copy-Source."""


def others_asked(request: Request, account: str, region: str) -> list[Ask]:
    """What a request's caller has to be allowed; nothing where everybody is."""
    if request.service == "s3":
        return [Ask(action, resource, account) for action, resource in _s3(request)]
    operation, parameters = _read(request)
    action = f"{_PREFIXES.get(request.service, request.service)}:{operation}"
    if action in OPEN:
        return []
    found = _FINDERS.get(request.service)
    names = list(found(parameters, account, region)) if found else []
    return [Ask(action, name, _owner(name, account)) for name in names or [ANYTHING]]


def _owner(name: str, account: str) -> str:
    parts = name.split(":", 5)
    return parts[4] if len(parts) == 6 and parts[4] else account


def _read(request: Request) -> tuple[str, Parameters]:
    """The operation, and what it is given; one that no action is called, when it does not show."""
    given = parse_qsl(request.query, keep_blank_values=True)
    if request.is_form:
        given += parse_qsl(request.body.decode("latin-1"), keep_blank_values=True)
    parameters = dict(given)
    action = parameters.get("Action")
    if len(parameters) < len(given) or (request.target and action):
        return "-", {}  # which of them counts is the companion's choice
    if request.target:
        return request.target.rpartition(".")[2], _document(request.body)
    if action:
        return action, parameters
    if "/operation/" in request.path:  # Smithy's RPC protocol
        return request.path.rpartition("/")[2], {}
    return "-", {}


def _document(body: bytes) -> Parameters:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _queue(given: Parameters, account: str, region: str) -> Iterator[str]:
    if url := _text(given, "QueueUrl"):
        owner, name = url.rstrip("/").split("/")[-2:] if url.count("/") else (account, url)
        yield f"arn:aws:sqs:{region}:{owner if owner.isdigit() else account}:{name}"
    elif name := _text(given, "QueueName"):
        owner = _text(given, "QueueOwnerAWSAccountId") or account
        yield f"arn:aws:sqs:{region}:{owner}:{name}"


def _topic(given: Parameters, account: str, region: str) -> Iterator[str]:
    for member in ("TopicArn", "TargetArn", "ResourceArn", "SubscriptionArn"):
        if arn := _text(given, member):
            # a subscription's is its topic's and one part more
            yield ":".join(arn.split(":")[:6])
            return
    if name := _text(given, "Name"):
        yield f"arn:aws:sns:{region}:{account}:{name}"


def _tables(given: Parameters, account: str, region: str) -> Iterator[str]:
    names: list[str] = []
    if name := _text(given, "TableName"):
        names.append(name)
    if isinstance(given.get("RequestItems"), dict):
        names += given["RequestItems"]
    for item in _listed(given.get("TransactItems")):
        for part in item.values() if isinstance(item, dict) else ():
            if isinstance(part, dict) and (name := _text(part, "TableName")):
                names.append(name)
    for name in names:
        table = name if name.startswith("arn:") else f"table/{name}"
        index = _text(given, "IndexName")
        arn = table if table == name else f"arn:aws:dynamodb:{region}:{account}:{table}"
        yield f"{arn}/index/{index}" if index else arn


def _buses(given: Parameters, account: str, region: str) -> Iterator[str]:
    for entry in _listed(given.get("Entries")):
        name = (_text(entry, "EventBusName") if isinstance(entry, dict) else "") or "default"
        whole = name.startswith("arn:")
        yield name if whole else f"arn:aws:events:{region}:{account}:event-bus/{name}"


def _role(given: Parameters, account: str, region: str) -> Iterator[str]:
    if arn := _text(given, "RoleArn"):
        yield arn


_FINDERS = {"sqs": _queue, "sns": _topic, "dynamodb": _tables, "events": _buses, "sts": _role}


def _text(given: Parameters, name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) else ""


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


_OBJECT = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
_BUCKET = {
    "GET": "ListBucket",
    "HEAD": "ListBucket",
    "PUT": "CreateBucket",
    "DELETE": "DeleteBucket",
}
_PLAIN = frozenset(
    {
        *("list-type", "prefix", "delimiter", "marker", "max-keys", "continuation-token"),
        *("start-after", "fetch-owner", "encoding-type", "versions", "uploads", "location"),
    }
)
"""Names in a query that make no other action of listing a bucket."""
_UPLOADS = frozenset({"uploads", "uploadId"})
_ABOUT_OBJECTS = frozenset({"acl", "tagging", "retention"})
_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}


def _s3(request: Request) -> Iterator[tuple[str, str]]:
    """Actions and resources of a request in path style, which is how the companion reads it."""
    method, path = request.method, unquote(request.path)
    bucket, _, key = path[1:].partition("/")
    names = {name for name, _ in parse_qsl(request.query, keep_blank_values=True)}
    about = sorted(name for name in names if name.islower() and not name.startswith("x-amz-"))
    arn = f"arn:aws:s3:::{bucket}"
    if request.copy_source:
        source = unquote(request.copy_source).lstrip("/").partition("?")[0]
        yield "s3:GetObject", f"arn:aws:s3:::{source}"
    if path.startswith("//"):
        yield "s3:-", ANYTHING  # who knows which bucket that is
    elif not bucket:
        yield ("s3:ListAllMyBuckets" if method == "GET" else "s3:-"), ANYTHING
    elif key:
        yield f"s3:{_on_object(method, names, about)}", f"{arn}/{key}"
    elif method == "POST":
        yield f"s3:{'DeleteObject' if 'delete' in about else 'PutObject'}", f"{arn}/*"
    else:
        other = [name for name in about if name not in _PLAIN or method != "GET"]
        named = f"{_VERBS.get(method, '-')}Bucket{other[0].title()}" if other else ""
        yield f"s3:{named or _BUCKET.get(method, '-')}", arn


def _on_object(method: str, names: set[str], about: Sequence[str]) -> str:
    if _UPLOADS & names and method != "GET":
        return "AbortMultipartUpload" if method == "DELETE" else "PutObject"
    for name in about:
        if name in _ABOUT_OBJECTS:
            return f"{_VERBS.get(method, '-')}Object{name.title()}"
    return _OBJECT.get(method, "PutObject")
