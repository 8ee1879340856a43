"""What a request to another service asks for, as policies name it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.exceptions import ClientError

from sandbox.access.others import Request, others_asked
from tests.support.api import Api, open_api
from tests.support.callers import allow, client, open_the_clock, user

OWN, OTHER = "111111111111", "222222222222"
QUEUE = f"arn:aws:sqs:us-east-1:{OWN}:q"
TOPIC = f"arn:aws:sns:us-east-1:{OWN}:t"
TABLE = f"arn:aws:dynamodb:us-east-1:{OWN}:table/t"


def asked(**members: Any) -> list[tuple[str, str]]:
    request = Request(
        **{"method": "POST", "path": "/", "query": "", "target": "", "is_form": False, "body": b""}
        | members
    )
    return [ask[:2] for ask in others_asked(request, OWN, "us-east-1")]


@pytest.mark.parametrize(
    ("service", "target", "body", "expected"),
    [
        ("sqs", "AmazonSQS.SendMessage", {"QueueUrl": f"http://h/{OWN}/q"}, [QUEUE]),
        (
            "sqs",
            "AmazonSQS.SendMessage",
            {"QueueUrl": f"http://h/{OTHER}/q"},
            [QUEUE.replace(OWN, OTHER)],
        ),
        ("sqs", "AmazonSQS.GetQueueUrl", {"QueueName": "q"}, [QUEUE]),
        ("sqs", "AmazonSQS.ListQueues", {}, ["*"]),
        ("dynamodb", "DynamoDB_20120810.GetItem", {"TableName": "t"}, [TABLE]),
        (
            "dynamodb",
            "DynamoDB_20120810.Query",
            {"TableName": TABLE, "IndexName": "i"},
            [f"{TABLE}/index/i"],
        ),
        (
            "dynamodb",
            "DynamoDB_20120810.BatchGetItem",
            {"RequestItems": {"t": {}, "u": {}}},
            [TABLE, f"{TABLE[:-1]}u"],
        ),
        (
            "dynamodb",
            "DynamoDB_20120810.TransactWriteItems",
            {"TransactItems": [{"Put": {"TableName": "t"}}]},
            [TABLE],
        ),
        (
            "events",
            "AWSEvents.PutEvents",
            {"Entries": [{}]},
            [f"arn:aws:events:us-east-1:{OWN}:event-bus/default"],
        ),
        ("secretsmanager", "secretsmanager.GetSecretValue", {"SecretId": "s"}, ["*"]),
    ],
)
def test_a_json_request_names_its_operation_in_a_header(
    service: str, target: str, body: Any, expected: list[str]
) -> None:
    action = f"{service}:{target.rpartition('.')[2]}"
    found = asked(service=service, target=target, body=json.dumps(body).encode())
    assert found == [(action, resource) for resource in expected]


@pytest.mark.parametrize(
    ("service", "form", "expected"),
    [
        ("sns", {"Action": "Publish", "TopicArn": TOPIC}, ("sns:Publish", TOPIC)),
        (
            "sns",
            {"Action": "Unsubscribe", "SubscriptionArn": f"{TOPIC}:1-2"},
            ("sns:Unsubscribe", TOPIC),
        ),
        ("sns", {"Action": "CreateTopic", "Name": "t"}, ("sns:CreateTopic", TOPIC)),
        ("iam", {"Action": "ListRoles"}, ("iam:ListRoles", "*")),
        (
            "sts",
            {"Action": "AssumeRole", "RoleArn": "arn:aws:iam::1:role/r"},
            ("sts:AssumeRole", "arn:aws:iam::1:role/r"),
        ),
        ("monitoring", {"Action": "PutMetricData"}, ("cloudwatch:PutMetricData", "*")),
    ],
)
def test_a_form_names_its_operation_in_its_action(
    service: str, form: dict[str, str], expected: tuple[str, str]
) -> None:
    text = urlencode(form)
    assert asked(service=service, is_form=True, body=text.encode()) == [expected]
    assert asked(service=service, method="GET", query=text) == [expected]


def test_who_one_is_may_everybody_ask() -> None:
    assert asked(service="sts", query="Action=GetCallerIdentity") == []


@pytest.mark.parametrize(
    "members",
    [
        {"target": "AmazonSQS.ReceiveMessage", "query": "Action=DeleteQueue"},
        {"query": "Action=ListQueues", "is_form": True, "body": b"Action=DeleteQueue"},
        {"is_form": True, "body": b"Action=ListQueues&Action=DeleteQueue"},
        {"path": "/what/is/this"},
    ],
)
def test_a_request_that_may_be_read_in_two_ways_is_no_action(members: dict[str, Any]) -> None:
    assert asked(service="sqs", **members) == [("sqs:-", "*")]


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/", "", ("s3:ListAllMyBuckets", "*")),
        ("PUT", "/b", "", ("s3:CreateBucket", "arn:aws:s3:::b")),
        ("GET", "/b", "list-type=2&prefix=x", ("s3:ListBucket", "arn:aws:s3:::b")),
        ("HEAD", "/b", "", ("s3:ListBucket", "arn:aws:s3:::b")),
        ("GET", "/b", "policy", ("s3:GetBucketPolicy", "arn:aws:s3:::b")),
        ("PUT", "/b", "versioning=", ("s3:PutBucketVersioning", "arn:aws:s3:::b")),
        ("DELETE", "/b/", "", ("s3:DeleteBucket", "arn:aws:s3:::b")),
        ("POST", "/b", "delete", ("s3:DeleteObject", "arn:aws:s3:::b/*")),
        ("GET", "/b/k/l", "", ("s3:GetObject", "arn:aws:s3:::b/k/l")),
        ("GET", "/b/a%20b", "versionId=1", ("s3:GetObject", "arn:aws:s3:::b/a b")),
        ("GET", "/b%2Fk", "", ("s3:GetObject", "arn:aws:s3:::b/k")),
        ("PUT", "/b/k", "x-id=PutObject", ("s3:PutObject", "arn:aws:s3:::b/k")),
        ("PUT", "/b/k", "acl", ("s3:PutObjectAcl", "arn:aws:s3:::b/k")),
        ("POST", "/b/k", "uploads", ("s3:PutObject", "arn:aws:s3:::b/k")),
        ("DELETE", "/b/k", "uploadId=u", ("s3:AbortMultipartUpload", "arn:aws:s3:::b/k")),
        ("DELETE", "/b/k", "", ("s3:DeleteObject", "arn:aws:s3:::b/k")),
        ("PUT", "//b/k", "", ("s3:-", "*")),
    ],
)
def test_s3_is_read_by_method_path_and_query(
    method: str, path: str, query: str, expected: tuple[str, str]
) -> None:
    assert asked(service="s3", method=method, path=path, query=query) == [expected]


def test_a_copy_reads_its_source() -> None:
    assert asked(service="s3", method="PUT", path="/b/k", copy_source="/a/j%20k?versionId=1") == [
        ("s3:GetObject", "arn:aws:s3:::a/j k"),
        ("s3:PutObject", "arn:aws:s3:::b/k"),
    ]


def test_what_is_another_accounts_is_said_to_be() -> None:
    request = Request(
        "sqs",
        "POST",
        "/",
        "",
        "AmazonSQS.SendMessage",
        False,
        b'{"QueueUrl": "http://h/%b/q"}' % OTHER.encode(),
    )
    [ask] = others_asked(request, OWN, "us-east-1")
    assert ask.account == OTHER


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """One that offers other services, whose companion answers `{}` to whatever it is asked."""

    companions: list[socket.socket] = []

    def connect(seconds: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        companions.append(theirs)
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        ours.settimeout(seconds)
        return ours

    made = open_api(tmp_path, iam="enforce", companion=connect)
    open_the_clock(made, monkeypatch)
    yield made
    made.close()
    for companion in companions:
        companion.close()


def refusal(call: Any, **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**members)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def told(action: str, resource: str, kind: str = "identity") -> str:
    return (
        f"User: arn:aws:iam::{OWN}:user/ada is not authorized to perform: {action} on resource: "
        f"{resource} because no {kind}-based policy allows the {action} action"
    )


def test_a_service_is_asked_for_whom_policies_let_and_refuses_in_its_own_form(api: Api) -> None:
    lets = [allow("dynamodb:GetItem", TABLE), allow("sns:*"), allow("s3:GetObject", "*:::b/own/*")]
    keys = user(api, *lets)
    tables = client(api, *keys, service="dynamodb")
    key = {"Key": {"k": {"S": "1"}}}
    tables.get_item(TableName="t", **key)
    assert refusal(tables.get_item, TableName="u", **key) == (
        "AccessDeniedException",
        told("dynamodb:GetItem", f"{TABLE[:-1]}u"),
    )
    topics = client(api, *keys, service="sns")
    assert refusal(topics.publish, TopicArn=TOPIC.replace(OWN, OTHER), Message="m") == (
        "AccessDenied",
        told("sns:Publish", TOPIC.replace(OWN, OTHER), "resource"),
    )
    objects = client(api, *keys, service="s3")
    objects.get_object(Bucket="b", Key="own/x")
    assert refusal(objects.get_object, Bucket="b", Key="x") == (
        "AccessDenied",
        told("s3:GetObject", "arn:aws:s3:::b/x"),
    )
    assert [(entry.action, entry.decision, entry.status) for entry in api.noted] == [
        ("dynamodb:GetItem", "allowed", 0),
        ("dynamodb:GetItem", "denied", 400),
        ("sns:Publish", "denied", 403),
        ("s3:GetObject", "allowed", 0),
        ("s3:GetObject", "denied", 403),
    ]
