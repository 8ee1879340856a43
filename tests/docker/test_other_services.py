"""Other AWS services on the same port: the real moto, the real AWS CLI, real SDK clients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.functions import until
from tests.support.instance import AWS, Instance, Start, package

Client = Callable[..., Any]

FAILS = """
def handler(event, context):
    raise ValueError("on purpose")
"""
ECHO = """
def handler(event, context):
    return event
"""
SIZE = 150 * 2**20
"""Of an object that nobody wants to have in memory."""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One with other services, that the tests of this module share."""
    shared = Instance(
        tmp_path_factory.mktemp("others") / "state", aws="true", event_retry_scale=0.001, spares=0
    )
    try:
        yield shared.start()
    finally:
        shared.stop()
    assert not (shared.state_dir / "aws.sock").exists()


@pytest.fixture(scope="module")
def client(instance: Instance) -> Client:
    session = botocore.session.get_session()

    def client(service: str, access_key: str = "test", **config: Any) -> Any:
        return session.create_client(
            service,
            endpoint_url=instance.url,
            region_name="us-east-1",
            aws_access_key_id=access_key,
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, proxies={}, **config),
        )

    return client


def aws(instance: Instance, *arguments: str, status: int = 0) -> str:
    """What the AWS CLI prints."""
    done = subprocess.run(
        # its version 1 does not read the variable for SQS
        [AWS, "--endpoint-url", instance.url, *arguments],
        env=instance.variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def companion(instance: Instance) -> int | None:
    """The process id of moto's server."""
    worker = instance.worker
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    for child in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if b"sandbox.aws.server" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def memory_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmRSS" in line)


def test_the_aws_cli_finds_the_services_of_the_account(instance: Instance, tmp_path: Path) -> None:
    identity = json.loads(aws(instance, "sts", "get-caller-identity"))
    assert identity["Account"] == "000000000000"
    queue = json.loads(aws(instance, "sqs", "create-queue", "--queue-name", "orders"))
    assert queue == {"QueueUrl": f"{instance.url}/000000000000/orders"}
    assert json.loads(aws(instance, "dynamodb", "list-tables"))["TableNames"] == []
    assert json.loads(aws(instance, "iam", "list-users"))["Users"] == []
    given, back = tmp_path / "given", tmp_path / "back"
    given.write_bytes(os.urandom(20 * 2**20))  # in parts, some at once
    aws(instance, "s3", "mb", "s3://cli")
    aws(instance, "s3", "cp", str(given), "s3://cli/a/ü b")
    aws(instance, "s3", "cp", "s3://cli/a/ü b", str(back))
    assert back.read_bytes() == given.read_bytes()
    assert json.loads(aws(instance, "lambda", "list-functions")) == {"Functions": []}
    assert json.loads(aws(instance, "logs", "describe-log-groups"))["logGroups"] == []


@pytest.mark.parametrize("signature", ["s3v4", "s3"])
def test_presigned_urls_work(client: Client, signature: str) -> None:
    s3 = client("s3", signature_version=signature)
    s3.create_bucket(Bucket="presigned")
    place = {"Bucket": "presigned", "Key": "k"}
    put = urllib.request.Request(
        s3.generate_presigned_url("put_object", Params=place), b"content", method="PUT"
    )
    put.add_header("Content-Type", "")
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=place)) as answer:
        assert answer.read() == b"content"
    with pytest.raises(urllib.error.HTTPError, match="403"):  # unsigned, and not public
        urllib.request.urlopen(f"{s3.meta.endpoint_url}/presigned/k")


def test_topics_and_buses_reach_queues(client: Client) -> None:
    sqs, sns, events = client("sqs"), client("sns"), client("events")
    url = sqs.create_queue(QueueName="all")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:000000000000:all"
    topic = sns.create_topic(Name="t")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    sns.publish(TopicArn=topic, Message="from a topic")
    events.put_rule(Name="r", EventPattern='{"source": ["mine"]}')
    events.put_targets(Rule="r", Targets=[{"Id": "1", "Arn": arn}])
    events.put_events(Entries=[{"Source": "mine", "DetailType": "d", "Detail": '{"n": 1}'}])
    found: list[Any] = []

    def received() -> bool:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        found.extend(json.loads(message["Body"]) for message in answer.get("Messages", []))
        return len(found) == 2

    until(received, 30)
    assert {body.get("Message") or body["detail"]["n"] for body in found} == {"from a topic", 1}


def test_accounts_are_told_apart_by_the_access_key(client: Client) -> None:
    client("sqs", "111122223333").create_queue(QueueName="theirs")
    assert client("sts", "111122223333").get_caller_identity()["Account"] == "111122223333"
    assert "QueueUrls" not in client("sqs").list_queues(QueueNamePrefix="theirs")


def test_an_event_that_fails_arrives_in_the_dead_letter_queue(
    instance: Instance, client: Client
) -> None:
    sqs = client("sqs")
    url = sqs.create_queue(QueueName="letters")["QueueUrl"]
    target = {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:letters"}
    function = instance.deploy(FAILS, DeadLetterConfig=target)
    request_id = function.invoke({"n": 1}, InvocationType="Event", LogType="None").request_id
    found: list[Any] = []

    def received() -> bool:
        answer = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=1)
        found.extend(answer.get("Messages", []))
        return bool(found)

    until(received, 60)
    [message] = found
    assert json.loads(message["Body"]) == {"n": 1}
    assert message["MessageAttributes"]["RequestID"]["StringValue"] == request_id
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == "on purpose"


def test_functions_are_made_of_code_in_s3(instance: Instance, client: Client) -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket="code")
    s3.put_object(Bucket="code", Key="f.zip", Body=package(ECHO))
    function = instance.deploy(ECHO, Code={"S3Bucket": "code", "S3Key": "f.zip"})
    assert function.invoke({"n": 1}).document == {"n": 1}
    for place, told in (
        (
            {"S3Bucket": "none", "S3Key": "f.zip"},
            "S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist",
        ),
        (
            {"S3Bucket": "code", "S3Key": "none"},
            "S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.",
        ),
    ):
        with pytest.raises(ClientError) as caught:
            instance.client.update_function_code(FunctionName=function.name, **place)
        assert caught.value.response["Error"] == {
            "Code": "InvalidParameterValueException",
            "Message": f"Error occurred while GetObject. {told}",
        }


def test_large_objects_pass_without_being_kept(instance: Instance, client: Client) -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket="large")
    worker = instance.worker
    assert worker is not None
    before = memory_mib(worker)
    body = bytes(SIZE)
    s3.put_object(Bucket="large", Key="k", Body=body)
    stream = s3.get_object(Bucket="large", Key="k")["Body"]
    assert stream.read(2**20) == body[: 2**20]  # and then is slow
    assert memory_mib(worker) - before < SIZE / 2**20 / 4
    assert len(stream.read()) == SIZE - 2**20
    assert memory_mib(worker) - before < SIZE / 2**20 / 4


def test_a_companion_that_dies_is_replaced_and_requests_wait_for_it(
    instance: Instance, client: Client
) -> None:
    sqs = client("sqs")
    sqs.create_queue(QueueName="forgotten")
    until(lambda: companion(instance) is not None, 30)
    first = companion(instance)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: companion(instance) not in (None, first), 30)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix="forgotten")
    assert "another one is started" in instance.log_path.read_text()


def test_it_ends_with_the_control_plane_however_that_ends(start: Start) -> None:
    own = start(aws="true", spares=0)
    until(lambda: companion(own) is not None, 30)
    process = companion(own)
    own.kill()
    until(lambda: not Path(f"/proc/{process}").exists(), 30)
    own.start()
    until(lambda: companion(own) is not None, 30)
    process = companion(own)
    own.stop()
    assert not Path(f"/proc/{process}").exists()


def test_without_them_the_aws_cli_says_how_to_have_them(start: Start) -> None:
    own = start(spares=0)
    told = "start it with `fnbox up --aws`."
    for command in (["sqs", "list-queues"], ["sns", "list-topics"], ["s3", "ls"]):
        assert told in aws(own, *command, status=255)
