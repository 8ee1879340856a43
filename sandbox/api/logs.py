"""CloudWatch Logs, as far as the logs of functions need it, and fnbox's own log endpoint.

CloudWatch's protocol is JSON 1.1: every operation is a POST to `/` that `X-Amz-Target`
names. Requests are read and validated from botocore's model of the service, which is
loaded with the first of them. `StartLiveTail` is left out: SDKs send it to another host
name (`stream-…`), which no local address answers to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flask import Blueprint, Response, g, request

from sandbox.api.context import new_request_id, read_context
from sandbox.api.dispatch import read_plain
from sandbox.api.model import read_model
from sandbox.api.pages import account_shown
from sandbox.api.validation import Check, Constraints
from sandbox.api.wire import Members, Readers, read_document
from sandbox.errors import CallerError, NotFound, RequestTooLarge, ValidationError
from sandbox.logs import (
    Event,
    GroupKey,
    GroupSummary,
    LogStore,
    Position,
    Query,
    StreamSummary,
    compile_pattern,
)
from sandbox.settings import Settings

T = TypeVar("T")

TARGET = "Logs_20140328."
REQUEST_BYTES = 4 * 2**20
IDLE_SECONDS = 15.0
"""How often a silent `follow` sends an empty line, to find out that its client left."""

# fmt: off
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)
# fmt: on

_TOKEN = re.compile(r"(?P<direction>[fb])/(?P<position>[0-9]{56})/s")
_GROUP_ARN = re.compile(r"arn:[^:]+:logs:[^:]*:[^:]*:log-group:(?P<name>[^:]+)(?::\*)?")

Api = Callable[[str, bytes, str, str], tuple[int, dict[str, Any]]]
"""Operation, request body, account and region in; status and answer out. Raises nothing."""


class InvalidParameter(CallerError):
    code = "InvalidParameterException"


class UnknownOperation(CallerError):
    code = "UnknownOperationException"


class _Call(NamedTuple):
    store: LogStore
    account: str
    region: str

    def group(self, body: Members) -> GroupKey:
        """The group that a request names, by name or ARN."""
        text = body.get("logGroupName") or body.get("logGroupIdentifier")
        if text is None:
            raise InvalidParameter("Either logGroupName or logGroupIdentifier is needed.")
        return self.named(text)

    def named(self, text: str) -> GroupKey:
        arn = _GROUP_ARN.fullmatch(text)
        return GroupKey(self.account, self.region, arn["name"] if arn else text)

    def arn(self, group: str) -> str:
        return f"arn:aws:logs:{self.region}:{self.account}:log-group:{group}"


def logs_blueprint(store: LogStore, settings: Settings) -> Blueprint:
    """`POST /` for CloudWatch Logs and `GET /_fnbox/logs/<function>`."""
    blueprint = Blueprint("logs", __name__)
    api = logs_api(store)

    @blueprint.post("/")
    def cloudwatch_logs() -> Response:
        operation = request.headers.get("X-Amz-Target", "").removeprefix(TARGET)
        context = read_context(request.environ, new_request_id(), settings, g.get("principal"))
        try:
            body = read_plain(request.environ, operation, REQUEST_BYTES)
        except CallerError as error:
            status, answer = 413 if isinstance(error, RequestTooLarge) else 400, _error(error)
        else:
            status, answer = api(operation, body, context.account, context.region)
        return Response(
            json.dumps(answer, separators=(",", ":")),
            status,
            {"x-amzn-RequestId": context.request_id},
            content_type="application/x-amz-json-1.1",
        )

    @blueprint.get("/_fnbox/logs/<function>")
    def function_logs(function: str) -> Response:
        """One JSON object a line: `timestamp` in ms, `stream` and `message` as written.

        Query: `since` in ms, `follow=1`, `account`, `region`, and `group` for a log group
        that is not the function's default. A function without logs has no lines. A
        reader skips empty lines: while following they show that the connection lives.
        """
        context = read_context(request.environ, "", settings)
        arguments = request.args
        group = GroupKey(
            account_shown(arguments.get("account", context.account)),
            arguments.get("region", context.region),
            arguments.get("group", f"/aws/lambda/{function}"),
        )
        since = arguments.get("since", type=int)
        follow = arguments.get("follow", "") not in ("", "0", "false")
        return Response(
            _followed(store, group, since) if follow else _kept(store, group, since),
            content_type="application/x-ndjson",
        )

    return blueprint


def logs_api(store: LogStore) -> Api:
    """CloudWatch Logs without HTTP."""
    model = _Model()

    def answer(
        operation: str, body: bytes, account: str, region: str
    ) -> tuple[int, dict[str, Any]]:
        try:
            implementation = OPERATIONS.get(operation)
            if implementation is None:
                raise UnknownOperation(f"fnbox does not implement logs:{operation or '(none)'}.")
            members = model.read(operation, body)
            return 200, implementation(_Call(store, account, region), members)
        except CallerError as error:
            return 400, _error(error)
        except OSError as error:
            return 503, {
                "__type": "ServiceUnavailableException",
                "message": f"The log store failed: {error}",
            }

    return answer


class _Model:
    """Reads the requests of CloudWatch Logs as botocore's model describes them."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def read(self, operation: str, body: bytes) -> Members:
        """The members of a request, typed and valid; raises CallerError."""
        shape = self._document["operations"][operation]["input"]["shape"]
        members = self._readers.structure(self._document["shapes"][shape]["members"])(
            read_document(body)
        )
        if operation not in self._checks:
            self._checks[operation] = self._constraints.of_request(shape)
        try:
            self._checks[operation](members)
        except ValidationError as error:
            raise InvalidParameter(error.message) from error
        return members

    @cached_property
    def _document(self) -> Mapping[str, Any]:
        return read_model(Path("data", "logs", "2014-03-28"))

    @cached_property
    def _readers(self) -> Readers:
        return Readers(self._document["shapes"])

    @cached_property
    def _constraints(self) -> Constraints:
        return Constraints(self._document["shapes"])


def _describe_log_groups(call: _Call, body: Members) -> dict[str, Any]:
    prefix, pattern = body.get("logGroupNamePrefix"), body.get("logGroupNamePattern")
    if prefix and pattern:
        raise InvalidParameter(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."
        )
    identifiers = [call.named(text).name for text in body.get("logGroupIdentifiers", ())]
    groups = [
        group
        for group in call.store.groups(call.account, call.region)
        if group.name.startswith(prefix or "")
        and (pattern or "").lower() in group.name.lower()
        and (not identifiers or group.name in identifiers)
    ]
    found, token = _window(groups, body)
    return {"logGroups": [_log_group(call, group) for group in found], **token}


def _log_group(call: _Call, group: GroupSummary) -> dict[str, Any]:
    document = {
        "logGroupName": group.name,
        "creationTime": group.created,
        "metricFilterCount": 0,
        "arn": f"{call.arn(group.name)}:*",
        "logGroupArn": call.arn(group.name),
        "logGroupClass": "STANDARD",
        "storedBytes": group.size,
    }
    if group.retention_days is not None:
        document["retentionInDays"] = group.retention_days
    return document


def _create_log_group(call: _Call, body: Members) -> dict[str, Any]:
    call.store.create_group(call.group(body), body.get("tags"))
    return {}


def _delete_log_group(call: _Call, body: Members) -> dict[str, Any]:
    call.store.delete_group(call.group(body))
    return {}


def _describe_log_streams(call: _Call, body: Members) -> dict[str, Any]:
    group = call.group(body)
    prefix = body.get("logStreamNamePrefix", "")
    by_time = body.get("orderBy") == "LastEventTime"
    if by_time and prefix:
        raise InvalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
    streams = [stream for stream in call.store.streams(group) if stream.name.startswith(prefix)]
    if by_time:
        streams.sort(key=lambda stream: (stream.last or 0, stream.name))
    if body.get("descending"):
        streams.reverse()
    found, token = _window(streams, body)
    return {
        "logStreams": [_log_stream(call.arn(group.name), stream) for stream in found],
        **token,
    }


def _log_stream(group_arn: str, stream: StreamSummary) -> dict[str, Any]:
    times = {
        "firstEventTimestamp": stream.first,
        "lastEventTimestamp": stream.last,
        "lastIngestionTime": stream.ingested,
    }
    return {
        "logStreamName": stream.name,
        "creationTime": stream.created,
        **{name: time for name, time in times.items() if time is not None},
        "arn": f"{group_arn}:log-stream:{stream.name}",
        "storedBytes": 0,  # what CloudWatch has said of every stream since 2019
    }


def _create_log_stream(call: _Call, body: Members) -> dict[str, Any]:
    call.store.create_stream(call.group(body), body["logStreamName"])
    return {}


def _delete_log_stream(call: _Call, body: Members) -> dict[str, Any]:
    call.store.delete_stream(call.group(body), body["logStreamName"])
    return {}


def _put_log_events(call: _Call, body: Members) -> dict[str, Any]:
    events = [(event["timestamp"], event["message"].encode()) for event in body["logEvents"]]
    call.store.put_events(call.group(body), body["logStreamName"], events)
    return {"nextSequenceToken": f"{0:056d}"}  # long since ignored by CloudWatch


def _get_log_events(call: _Call, body: Members) -> dict[str, Any]:
    """A page of one stream and tokens to both sides of it.

    At either end the answer has the token that was sent, which is how clients know.
    """
    group, name = call.group(body), body["logStreamName"]
    direction, position = _read_token(body.get("nextToken"))
    reverse = direction == "b" or (not direction and not body.get("startFromHead"))
    page = call.store.events(
        group,
        Query(
            streams=name.__eq__,
            start=body.get("startTime"),
            end=body.get("endTime"),
            after=position if direction == "f" else None,
            before=position if direction == "b" else None,
            limit=body.get("limit", 10_000),
            reverse=reverse,
        ),
    )
    if not page.events:
        _require_streams(call, group, [name])
    events = page.events[::-1] if reverse else page.events
    first = last = position
    if events:
        first, last = events[0].position, events[-1].position
    elif direction == "f":  # the token's own event is the first on the way back
        first = position._replace(offset=position.offset + 1)
    elif direction == "b":
        last = position._replace(offset=max(position.offset - 1, 0))
    return {
        "events": [_output_event(event) for event in events],
        "nextForwardToken": f"f/{_written(last)}/s",
        "nextBackwardToken": f"b/{_written(first)}/s",
    }


def _filter_log_events(call: _Call, body: Members) -> dict[str, Any]:
    group = call.group(body)
    names, prefix = body.get("logStreamNames"), body.get("logStreamNamePrefix")
    if names and prefix:
        raise InvalidParameter(
            "logStreamNames and logStreamNamePrefix are mutually exclusive parameters."
        )
    try:
        match = compile_pattern(body.get("filterPattern", ""))
    except ValueError as error:
        raise InvalidParameter(str(error)) from error
    if names:
        _require_streams(call, group, names)
    streams: Callable[[str], bool] | None = None
    if names:
        streams = frozenset(names).__contains__
    elif prefix:
        streams = _starting_with(prefix)
    direction, position = _read_token(body.get("nextToken"))
    reverse = direction == "b" or (not direction and not body.get("startFromHead", True))
    end = body.get("endTime")
    page = call.store.events(
        group,
        Query(
            streams=streams,
            start=body.get("startTime"),
            end=None if end is None else end + 1,  # inclusive here, unlike in GetLogEvents
            after=position if direction == "f" else None,
            before=position if direction == "b" else None,
            match=match,
            limit=body.get("limit", 10_000),
            reverse=reverse,
        ),
    )
    answer: dict[str, Any] = {
        "events": [
            {
                "logStreamName": event.stream,
                **_output_event(event),
                "eventId": _written(event.position),
            }
            for event in page.events
        ],
        "searchedLogStreams": [],
    }
    if page.more:
        side = "b" if reverse else "f"
        answer["nextToken"] = f"{side}/{_written(page.events[-1].position)}/s"
    return answer


def _put_retention_policy(call: _Call, body: Members) -> dict[str, Any]:
    days = body["retentionInDays"]
    if days not in RETENTION_DAYS:
        allowed = ", ".join(str(number) for number in RETENTION_DAYS)
        raise InvalidParameter(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{allowed}]"
        )
    call.store.set_retention(call.group(body), days)
    return {}


def _delete_retention_policy(call: _Call, body: Members) -> dict[str, Any]:
    call.store.set_retention(call.group(body), None)
    return {}


def _list_tags(call: _Call, body: Members) -> dict[str, Any]:
    key = call.named(body.get("resourceArn") or body["logGroupName"])
    for group in call.store.groups(call.account, call.region):
        if group.name == key.name:
            return {"tags": group.tags}
    raise NotFound("The specified log group does not exist.")


def _tag(call: _Call, body: Members) -> dict[str, Any]:
    key = call.named(body.get("resourceArn") or body["logGroupName"])
    call.store.change_tags(key, body["tags"], ())
    return {}


def _untag(call: _Call, body: Members) -> dict[str, Any]:
    key = call.named(body.get("resourceArn") or body["logGroupName"])
    call.store.change_tags(key, {}, body["tagKeys"] if "tagKeys" in body else body["tags"])
    return {}


OPERATIONS: Mapping[str, Callable[[_Call, Members], dict[str, Any]]] = {
    "CreateLogGroup": _create_log_group,
    "CreateLogStream": _create_log_stream,
    "DeleteLogGroup": _delete_log_group,
    "DeleteLogStream": _delete_log_stream,
    "DeleteRetentionPolicy": _delete_retention_policy,
    "DescribeLogGroups": _describe_log_groups,
    "DescribeLogStreams": _describe_log_streams,
    "FilterLogEvents": _filter_log_events,
    "GetLogEvents": _get_log_events,
    "ListTagsForResource": _list_tags,
    "ListTagsLogGroup": _list_tags,
    "PutLogEvents": _put_log_events,
    "PutRetentionPolicy": _put_retention_policy,
    "TagLogGroup": _tag,
    "TagResource": _tag,
    "UntagLogGroup": _untag,
    "UntagResource": _untag,
}


def _error(error: CallerError) -> dict[str, Any]:
    return {"__type": error.code, "message": error.message}


def _starting_with(prefix: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(prefix)


def _require_streams(call: _Call, group: GroupKey, names: Sequence[str]) -> None:
    known = {stream.name for stream in call.store.streams(group)}
    if not known.issuperset(names):
        raise NotFound("The specified log stream does not exist.")


def _output_event(event: Event) -> dict[str, Any]:
    return {
        "timestamp": event.timestamp,
        "message": event.message,
        "ingestionTime": event.ingestion,
    }


def _written(position: Position) -> str:
    """A position as 56 digits, whose order is that of the positions."""
    return f"{position.timestamp:020d}{position.segment:018d}{position.offset:018d}"


def _read_token(token: str | None) -> tuple[str, Position]:
    """Direction, empty without a token, and position."""
    if token is None:
        return "", Position(0, 0, 0)
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParameter("The specified nextToken is invalid.")
    digits = match["position"]
    return match["direction"], Position(int(digits[:20]), int(digits[20:38]), int(digits[38:]))


def _window(items: Sequence[T], body: Members) -> tuple[Sequence[T], dict[str, str]]:
    """The page of a list that is asked for, and the member that leads to the next."""
    token = body.get("nextToken", "0")
    if not (token.isascii() and token.isdigit() and len(token) < 10):
        raise InvalidParameter("The specified nextToken is invalid.")
    begin = int(token)
    end = begin + body.get("limit", 50)
    return items[begin:end], {"nextToken": str(end)} if end < len(items) else {}


def _kept(store: LogStore, group: GroupKey, since: int | None) -> Iterator[bytes]:
    query = Query(start=since)
    while True:
        try:
            page = store.events(group, query)
        except NotFound:
            return
        yield b"".join(_line(event) for event in page.events)
        if not page.more:
            return
        query = Query(start=since, after=page.events[-1].position)


def _followed(store: LogStore, group: GroupKey, since: int | None) -> Iterator[bytes]:
    yield b"\n"  # so that the answer begins now
    for event in store.follow(group, since, IDLE_SECONDS):
        yield b"\n" if event is None else _line(event)


def _line(event: Event) -> bytes:
    document = {"timestamp": event.timestamp, "stream": event.stream, "message": event.message}
    return json.dumps(document).encode() + b"\n"
