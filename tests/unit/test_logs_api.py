"""CloudWatch Logs through boto3's own client, without a socket."""

from __future__ import annotations

import io
import json
import urllib.parse

import boto3
import flask
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from sandbox.api.logs import logs_api, logs_blueprint
from sandbox.clock import FakeClock
from sandbox.logs import GroupKey, LogStore
from sandbox.settings import Settings

NAME = "/aws/lambda/hello"
GROUP = GroupKey("000000000000", "us-east-1", NAME)


@pytest.fixture
def store(tmp_path):
    store = LogStore(tmp_path, FakeClock(), 2**24)
    yield store
    store.close()


@pytest.fixture
def http(store):
    app = flask.Flask(__name__)
    app.register_blueprint(logs_blueprint(store, Settings()))
    return app.test_client()


@pytest.fixture
def connect(http):
    def send(request, **_):
        answer = http.open(
            urllib.parse.urlsplit(request.url).path,
            method=request.method,
            headers=[
                (name, value.decode() if isinstance(value, bytes) else value)
                for name, value in request.headers.items()
            ],
            data=request.body,
        )
        raw = io.BytesIO(answer.data)
        raw.stream = lambda **_: iter([raw.getvalue()])
        return AWSResponse(request.url, answer.status_code, dict(answer.headers), raw)

    def connect(account="test", region="us-east-1"):
        client = boto3.client(
            "logs",
            endpoint_url="http://fnbox.invalid",
            region_name=region,
            aws_access_key_id=account,
            aws_secret_access_key="test",
        )
        client.meta.events.register("before-send.*", send)
        return client

    return connect


@pytest.fixture
def client(connect):
    return connect()


def write(store, *texts, stream="s", at=1.0, group=GROUP):
    store.stream(*group, stream).write("".join(f"{text}\n" for text in texts).encode(), at)


def texts(answer):
    return [event["message"].rstrip("\n") for event in answer["events"]]


def test_groups_are_described_by_prefix_pattern_and_page(client):
    for number in range(60):
        client.create_log_group(logGroupName=f"/many/{number:02}")
    client.create_log_group(logGroupName="/other", tags={"a": "b"})
    client.put_retention_policy(logGroupName="/other", retentionInDays=7)
    first = client.describe_log_groups()
    assert len(first["logGroups"]) == 50
    pages = client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/many")
    assert len([group for page in pages for group in page["logGroups"]]) == 60
    (other,) = client.describe_log_groups(logGroupNamePattern="OTH")["logGroups"]
    assert other["retentionInDays"] == 7
    assert other["arn"] == "arn:aws:logs:us-east-1:000000000000:log-group:/other:*"
    assert client.list_tags_for_resource(resourceArn=other["logGroupArn"])["tags"] == {"a": "b"}
    client.delete_retention_policy(logGroupName="/other")
    (other,) = client.describe_log_groups(logGroupNamePrefix="/other")["logGroups"]
    assert "retentionInDays" not in other


def test_streams_are_described_latest_first(client, store):
    for number in range(4):
        write(store, "x", stream=f"s{number}", at=float(number * 7 % 5))
    answer = client.describe_log_streams(
        logGroupName=NAME, orderBy="LastEventTime", descending=True, limit=3
    )
    assert [stream["logStreamName"] for stream in answer["logStreams"]] == ["s2", "s1", "s3"]
    assert answer["logStreams"][0]["lastEventTimestamp"] == 4000
    rest = client.describe_log_streams(
        logGroupName=NAME, orderBy="LastEventTime", descending=True, nextToken=answer["nextToken"]
    )
    assert [stream["logStreamName"] for stream in rest["logStreams"]] == ["s0"]
    (one,) = client.describe_log_streams(logGroupName=NAME, logStreamNamePrefix="s3")["logStreams"]
    assert one["arn"].endswith(f":log-group:{NAME}:log-stream:s3")


def test_events_that_were_put_can_be_got(client):
    client.create_log_group(logGroupName=NAME)
    client.create_log_stream(logGroupName=NAME, logStreamName="s")
    client.put_log_events(
        logGroupName=NAME,
        logStreamName="s",
        logEvents=[{"timestamp": 1, "message": "two\nlines"}, {"timestamp": 2, "message": "é"}],
    )
    answer = client.get_log_events(logGroupIdentifier=NAME, logStreamName="s")
    assert answer["events"] == [
        {"timestamp": 1, "message": "two\nlines", "ingestionTime": 1_000_000_000},
        {"timestamp": 2, "message": "é", "ingestionTime": 1_000_000_000},
    ]


def test_a_loop_over_forward_tokens_ends_and_goes_on_later(client, store):
    write(store, *range(25))
    found, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        answer = client.get_log_events(
            logGroupName=NAME, logStreamName="s", startFromHead=True, limit=10, **more
        )
        found += texts(answer)
        if answer["nextForwardToken"] == token:
            break
        token = answer["nextForwardToken"]
    assert found == [str(number) for number in range(25)]
    write(store, "later", at=2.0)
    answer = client.get_log_events(logGroupName=NAME, logStreamName="s", nextToken=token)
    assert texts(answer) == ["later"]


def test_without_a_token_the_latest_events_come_and_tokens_lead_back(client, store):
    write(store, *range(25))

    def get(**more):
        return client.get_log_events(logGroupName=NAME, logStreamName="s", limit=10, **more)

    latest = get()
    assert texts(latest) == [str(number) for number in range(15, 25)]
    earlier = get(nextToken=latest["nextBackwardToken"])
    assert texts(earlier) == [str(number) for number in range(5, 15)]
    first = get(nextToken=earlier["nextBackwardToken"])
    assert texts(first) == [str(number) for number in range(5)]
    nothing = get(nextToken=first["nextBackwardToken"])
    assert texts(nothing) == []
    assert nothing["nextBackwardToken"] == first["nextBackwardToken"]
    assert texts(get(nextToken=nothing["nextForwardToken"])) == [str(n) for n in range(10)]
    end = get(nextToken=latest["nextForwardToken"])
    assert texts(end) == []
    assert texts(get(nextToken=end["nextBackwardToken"])) == [str(n) for n in range(15, 25)]


def test_the_end_of_a_time_range_is_open_for_get_and_closed_for_filter(client, store):
    for at in range(5):
        write(store, at, at=float(at))
    span = {"startTime": 1000, "endTime": 3000}
    answer = client.get_log_events(logGroupName=NAME, logStreamName="s", **span)
    assert texts(answer) == ["1", "2"]
    assert texts(client.filter_log_events(logGroupName=NAME, **span)) == ["1", "2", "3"]


def test_filtered_events_come_from_all_streams_page_by_page(client, store):
    for at in range(10):
        write(store, f"ERROR {at}", f"INFO {at}", stream=f"{at % 3}/x", at=float(at))
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=NAME, filterPattern="ERROR -3", PaginationConfig={"PageSize": 4}
    )
    events = [event for page in pages for event in page["events"]]
    assert [e["message"] for e in events] == [f"ERROR {n}\n" for n in range(10) if n != 3]
    assert len({event["eventId"] for event in events}) == 9
    assert events[4]["logStreamName"] == "2/x"
    assert texts(
        client.filter_log_events(logGroupName=NAME, logStreamNames=["0/x"], filterPattern="ERROR")
    ) == ["ERROR 0", "ERROR 3", "ERROR 6", "ERROR 9"]
    assert texts(
        client.filter_log_events(logGroupName=NAME, logStreamNamePrefix="1/", filterPattern="INFO")
    ) == ["INFO 1", "INFO 4", "INFO 7"]


def test_filtered_events_can_come_latest_first(client, store):
    write(store, *range(5))
    first = client.filter_log_events(logGroupName=NAME, startFromHead=False, limit=3)
    assert texts(first) == ["4", "3", "2"]
    rest = client.filter_log_events(logGroupName=NAME, nextToken=first["nextToken"])
    assert texts(rest) == ["1", "0"]


def test_deleted_groups_and_streams_are_gone(client, store):
    write(store, "x", stream="a")
    write(store, "y", stream="b")
    client.delete_log_stream(logGroupName=NAME, logStreamName="a")
    assert texts(client.filter_log_events(logGroupName=NAME)) == ["y"]
    client.delete_log_group(logGroupName=NAME)
    assert client.describe_log_groups()["logGroups"] == []


def test_tags_can_be_changed(client):
    client.create_log_group(logGroupName="/g")
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:/g"
    client.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    client.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}


def test_accounts_and_regions_do_not_see_each_other(connect):
    connect("111111111111").create_log_group(logGroupName="/one")
    connect(region="eu-west-1").create_log_group(logGroupName="/two")
    groups = connect("111111111111").describe_log_groups()["logGroups"]
    assert [group["arn"] for group in groups] == [
        "arn:aws:logs:us-east-1:111111111111:log-group:/one:*"
    ]
    assert connect().describe_log_groups()["logGroups"] == []


@pytest.mark.parametrize(
    ("operation", "arguments", "code", "message"),
    [
        (
            "get_log_events",
            {"logGroupName": "/no", "logStreamName": "s"},
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        ),
        (
            "get_log_events",
            {"logGroupName": NAME, "logStreamName": "no"},
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        ),
        (
            "filter_log_events",
            {"logGroupName": NAME, "logStreamNames": ["s", "no"]},
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        ),
        (
            "put_log_events",
            {
                "logGroupName": NAME,
                "logStreamName": "no",
                "logEvents": [{"timestamp": 1, "message": "x"}],
            },
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        ),
        (
            "create_log_group",
            {"logGroupName": NAME},
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ),
        (
            "filter_log_events",
            {"logGroupName": NAME, "nextToken": "x"},
            "InvalidParameterException",
            "The specified nextToken is invalid.",
        ),
        (
            "filter_log_events",
            {"logGroupName": NAME, "filterPattern": '"'},
            "InvalidParameterException",
            "Invalid filter pattern",
        ),
        (
            "describe_log_streams",
            {"logGroupName": NAME, "nextToken": "x"},
            "InvalidParameterException",
            "The specified nextToken is invalid.",
        ),
        (
            "describe_log_streams",
            {},
            "InvalidParameterException",
            "Either logGroupName or logGroupIdentifier is needed.",
        ),
        (
            "get_log_events",
            {"logGroupName": NAME, "logStreamName": "s", "limit": 10_001},
            "InvalidParameterException",
            "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint: "
            "Member must have value less than or equal to 10000",
        ),
        (
            "describe_queries",
            {},
            "UnknownOperationException",
            "fnbox does not implement logs:DescribeQueries.",
        ),
    ],
)
def test_wrong_requests_get_the_error_of_the_service(
    client, store, operation, arguments, code, message
):
    write(store, "x")
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**arguments)
    assert caught.value.response["Error"] == {"Code": code, "Message": message}
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", "InvalidParameterException"),
        (b'{"logGroupName": 1}', "SerializationException"),
        (b"[]", "SerializationException"),
        (b"{", "InvalidRequestContentException"),
    ],
)
def test_members_are_checked_for_presence_and_type(store, body, code):
    status, answer = logs_api(store)("CreateLogGroup", body, "000000000000", "us-east-1")
    assert (status, answer["__type"]) == (400, code)


def test_a_request_that_is_too_large_is_refused(http):
    answer = http.post("/", data=b"x" * (4 * 2**20 + 1), headers={"X-Amz-Target": "x"})
    assert answer.status_code == 413
    assert json.loads(answer.data)["__type"] == "RequestEntityTooLargeException"


def test_a_failing_disk_is_the_service_that_is_unavailable(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "create_group", full)
    status, answer = logs_api(store)(
        "CreateLogGroup", b'{"logGroupName":"/g"}', "000000000000", "us-east-1"
    )
    assert (status, answer["__type"]) == (503, "ServiceUnavailableException")


def test_the_logs_of_a_function_are_lines_of_json(http, store):
    write(store, "old", at=1.0)
    write(store, "new", "newer", at=2.0)
    answer = http.get("/_fnbox/logs/hello?since=1500")
    assert [json.loads(line) for line in answer.data.splitlines()] == [
        {"timestamp": 2000, "stream": "s", "message": "new\n"},
        {"timestamp": 2000, "stream": "s", "message": "newer\n"},
    ]
    assert len(http.get("/_fnbox/logs/hello").data.splitlines()) == 3
    assert http.get("/_fnbox/logs/hello?region=eu-west-1").data == b""
    write(store, "elsewhere", group=GROUP._replace(name="/mine"))
    assert b"elsewhere" in http.get("/_fnbox/logs/hello?group=/mine").data


def test_long_logs_of_a_function_are_whole(http, store):
    write(store, *range(20_000))
    lines = http.get("/_fnbox/logs/hello").data.splitlines()
    assert [json.loads(line)["message"] for line in lines] == [f"{n}\n" for n in range(20_000)]


def test_following_a_function_begins_at_once_and_ends_with_its_reader(http, store):
    answer = http.get("/_fnbox/logs/hello?follow=1", buffered=False)
    chunks = iter(answer.response)
    assert next(chunks) == b"\n"
    write(store, "one")
    assert json.loads(next(chunks))["message"] == "one\n"
    answer.close()
