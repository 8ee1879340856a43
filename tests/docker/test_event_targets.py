"""Events of real functions, told to real services: moto's server stands for AWS."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import pytest
from moto.server import ThreadedMotoServer

from sandbox.catalog import event_configs
from sandbox.control_plane import ControlPlane
from sandbox.invocation import Invocation
from sandbox.names import LATEST, FunctionKey, FunctionReference
from sandbox.settings import Settings
from tests.support.functions import until

pytestmark = pytest.mark.docker

ACCOUNT = "123456789012"  # moto's own
REGION = "us-east-1"
SOURCE = """
def handler(event, context):
    print("got", event)
    if "fail" in event:
        raise ValueError(event["fail"])
    return {"echo": event}
"""
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """Where moto's services are."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def client(aws: str) -> Callable[[str], Any]:
    def client(service: str) -> Any:
        return botocore.session.get_session().create_client(
            service,
            region_name=REGION,
            endpoint_url=aws,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="test",
        )

    return client


@pytest.fixture(scope="module")
def control_plane(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    settings = Settings.load(
        state_dir=tmp_path_factory.mktemp("state"),
        spares=0,
        event_retry_scale=0.001,
        endpoints=dict.fromkeys(("sqs", "sns", "events", "s3"), aws),
    )
    control_plane = ControlPlane(settings)
    yield control_plane
    control_plane.close()


@pytest.fixture(scope="module")
def function(control_plane: ControlPlane) -> FunctionKey:
    return deploy(control_plane, "tells")


@pytest.fixture
def queue(client: Callable[[str], Any], request: pytest.FixtureRequest) -> Iterator[Queue]:
    queue = Queue(client("sqs"), re.sub(r"\W", "-", request.node.name)[:80])
    yield queue
    queue.client.delete_queue(QueueUrl=queue.url)


class Queue:
    """A queue at moto's, and what is in it."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        self.url = client.create_queue(QueueName=name)["QueueUrl"]

    def message(self) -> dict[str, Any]:
        """The only message that comes."""
        found: list[dict[str, Any]] = []

        def received() -> bool:
            answer = self.client.receive_message(
                QueueUrl=self.url,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
                WaitTimeSeconds=1,
                MaxNumberOfMessages=10,
            )
            found.extend(answer.get("Messages", []))
            return bool(found)

        until(received, 30)
        [message] = found
        return message


def deploy(control_plane: ControlPlane, name: str) -> FunctionKey:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("handler.py", SOURCE)
    key = FunctionKey(ACCOUNT, REGION, name)
    request = {
        "Runtime": "python3.13",
        "Handler": "handler.handler",
        "Role": f"arn:aws:iam::{ACCOUNT}:role/any",
        "Timeout": 10,
        "Code": {"ZipFile": package.getvalue()},
    }
    control_plane.catalog.create_function(key, request)
    control_plane.catalog.activate(key, LATEST)
    return key


def configure(
    control_plane: ControlPlane,
    key: FunctionKey,
    *,
    success: str = "",
    failure: str = "",
    dead_letter: str = "",
    retries: int = 0,
) -> None:
    destinations = {"OnSuccess": {"Destination": success}, "OnFailure": {"Destination": failure}}
    config = {"MaximumRetryAttempts": retries, "DestinationConfig": destinations}
    control_plane.catalog.attach(
        key, lambda function: event_configs.put(function, LATEST, config, now=0)
    )
    control_plane.catalog.update_configuration(
        key, {"DeadLetterConfig": {"TargetArn": dead_letter}}
    )
    control_plane.catalog.activate(key, LATEST)


def send(control_plane: ControlPlane, key: FunctionKey, payload: bytes) -> str:
    """Invoke as an event; its request id."""
    invocation = Invocation(FunctionReference(key, None), payload, trace_id=TRACE)
    control_plane.service.enqueue(invocation)
    return invocation.request_id


def success_record(key: FunctionKey, request_id: str, event: Any) -> dict[str, Any]:
    return {
        "version": "1.0",
        "timestamp": "TIME",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{key.arn}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"echo": event},
    }


def failure_record(key: FunctionKey, request_id: str, event: Any, runs: int = 1) -> dict[str, Any]:
    record = success_record(key, request_id, event)
    record["requestContext"] |= {"condition": "RetriesExhausted", "approximateInvokeCount": runs}
    record["responseContext"]["functionError"] = "Unhandled"
    record["responsePayload"] = {
        "errorMessage": event["fail"],
        "errorType": "ValueError",
        "requestId": request_id,
        "stackTrace": [
            '  File "/var/task/handler.py", line 5, in handler\n'
            '    raise ValueError(event["fail"])\n'
        ],
    }
    return record


def read(record: str | bytes) -> dict[str, Any]:
    """A record with its time checked and taken out."""
    document: dict[str, Any] = json.loads(record)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["timestamp"])
    return document | {"timestamp": "TIME"}


def test_a_dead_letter_queue_gets_the_event(
    control_plane: ControlPlane, function: FunctionKey, queue: Queue
) -> None:
    configure(control_plane, function, dead_letter=queue.arn, retries=2)
    request_id = send(control_plane, function, b'{"fail": "on  purpose"}')
    message = queue.message()
    assert message["Body"] == '{"fail": "on  purpose"}'
    assert message["MessageAttributes"] == {
        "RequestID": {"StringValue": request_id, "DataType": "String"},
        "ErrorCode": {"StringValue": "200", "DataType": "Number"},
        "ErrorMessage": {"StringValue": "on  purpose", "DataType": "String"},
    }


def test_a_dead_letter_topic_gets_the_event(
    control_plane: ControlPlane,
    function: FunctionKey,
    queue: Queue,
    client: Callable[[str], Any],
) -> None:
    topic = subscribed(client("sns"), "letters", queue)
    configure(control_plane, function, dead_letter=topic)
    request_id = send(control_plane, function, b'{"fail": "on purpose"}')
    notification = json.loads(queue.message()["Body"])
    assert (notification["TopicArn"], notification["Message"]) == (topic, '{"fail": "on purpose"}')
    assert notification["MessageAttributes"] == {
        "RequestID": {"Type": "String", "Value": request_id},
        "ErrorCode": {"Type": "Number", "Value": "200"},
        "ErrorMessage": {"Type": "String", "Value": "on purpose"},
    }


def subscribed(sns: Any, name: str, queue: Queue) -> str:
    topic: str = sns.create_topic(Name=name)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn)
    return topic


def test_a_queue_is_told_of_a_success(
    control_plane: ControlPlane, function: FunctionKey, queue: Queue
) -> None:
    configure(control_plane, function, success=queue.arn)
    request_id = send(control_plane, function, b'{"n": 1.0}')
    message = queue.message()
    assert read(message["Body"]) == success_record(function, request_id, {"n": 1.0})
    assert message["Attributes"]["AWSTraceHeader"] == TRACE
    assert "MessageAttributes" not in message


def test_a_queue_is_told_of_a_failure_beside_the_dead_letter_queue(
    control_plane: ControlPlane,
    function: FunctionKey,
    queue: Queue,
    client: Callable[[str], Any],
) -> None:
    letters = Queue(client("sqs"), "letters")
    configure(control_plane, function, failure=queue.arn, dead_letter=letters.arn, retries=1)
    request_id = send(control_plane, function, b'{"fail": "no"}')
    record = read(queue.message()["Body"])
    assert record == failure_record(function, request_id, {"fail": "no"}, runs=2)
    assert letters.message()["Body"] == '{"fail": "no"}'


def test_a_topic_is_told(
    control_plane: ControlPlane,
    function: FunctionKey,
    queue: Queue,
    client: Callable[[str], Any],
) -> None:
    configure(control_plane, function, success=subscribed(client("sns"), "told", queue))
    request_id = send(control_plane, function, b'{"n": 2}')
    notification = json.loads(queue.message()["Body"])
    assert read(notification["Message"]) == success_record(function, request_id, {"n": 2})
    assert "MessageAttributes" not in notification


@pytest.mark.parametrize("payload", [b'{"n": 3}', b'{"fail": "no"}'])
def test_a_bus_is_told(
    control_plane: ControlPlane,
    function: FunctionKey,
    queue: Queue,
    client: Callable[[str], Any],
    payload: bytes,
) -> None:
    events = client("events")
    name = f"bus-{len(payload)}"
    bus = events.create_event_bus(Name=name)["EventBusArn"]
    pattern = json.dumps({"source": ["lambda"]})
    events.put_rule(Name="all", EventBusName=name, EventPattern=pattern)
    targets = [{"Id": "1", "Arn": queue.arn}]
    events.put_targets(Rule="all", EventBusName=name, Targets=targets)
    configure(control_plane, function, success=bus, failure=bus)
    request_id = send(control_plane, function, payload)
    event = json.loads(queue.message()["Body"])
    given = json.loads(payload)
    failed = "fail" in given
    expected = (failure_record if failed else success_record)(function, request_id, given)
    result = "Failure" if failed else "Success"
    assert event.pop("id")
    assert event.pop("time")
    assert event.pop("account", ACCOUNT) == ACCOUNT  # which moto leaves out
    assert event | {"detail": read(json.dumps(event["detail"]))} == {
        "version": "0",
        "source": "lambda",
        "detail-type": f"Lambda Function Invocation Result - {result}",
        "region": REGION,
        "resources": [bus, f"{function.arn}:$LATEST"],
        "detail": expected,
    }


def test_a_bucket_is_told_of_a_failure(
    control_plane: ControlPlane, function: FunctionKey, client: Callable[[str], Any]
) -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket="failures")
    configure(control_plane, function, failure="arn:aws:s3:::failures")
    request_id = send(control_plane, function, b'{"fail": "no"}')
    until(lambda: s3.list_objects_v2(Bucket="failures").get("Contents"), 30)
    [item] = s3.list_objects_v2(Bucket="failures")["Contents"]
    assert re.fullmatch(
        r"aws/lambda/async/tells/(\d{4})/(\d\d)/(\d\d)/\1-\2-\3T\d\d\.\d\d\.\d\d-[0-9a-f-]{36}",
        item["Key"],
    )
    body = s3.get_object(Bucket="failures", Key=item["Key"])["Body"].read()
    assert read(body) == failure_record(function, request_id, {"fail": "no"})


def test_another_function_is_invoked_with_the_record(
    control_plane: ControlPlane, function: FunctionKey, queue: Queue
) -> None:
    other = deploy(control_plane, "is-told")
    configure(control_plane, other, success=queue.arn)
    configure(control_plane, function, success=other.arn)
    request_id = send(control_plane, function, b'{"n": 4}')
    # what it was told, it tells on
    record = json.loads(queue.message()["Body"])
    told = read(json.dumps(record["requestPayload"]))
    assert told == success_record(function, request_id, {"n": 4})
    assert record["requestContext"]["requestId"] != request_id
    assert record["requestContext"]["functionArn"] == f"{other.arn}:$LATEST"


def test_what_a_missing_queue_should_have_got_is_a_dead_event_until_it_is_there(
    control_plane: ControlPlane, function: FunctionKey, client: Callable[[str], Any]
) -> None:
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:later"
    configure(control_plane, function, failure=arn)
    request_id = send(control_plane, function, b'{"fail": "no"}')
    web = control_plane.app.test_client()
    until(lambda: web.get("/_fnbox/events").json["events"], 30)
    [event] = web.get("/_fnbox/events").json["events"]
    assert (event["target"], event["kind"], event["requestId"]) == (arn, "OnFailure", request_id)
    queue = Queue(client("sqs"), "later")
    assert web.post(f"/_fnbox/events/{event['id']}/retry").json == {"retried": 1}
    record = read(queue.message()["Body"])
    assert record == failure_record(function, request_id, {"fail": "no"})
    assert web.get("/_fnbox/events").json == {"events": [], "count": 0}


def test_metrics_tell_what_happened(control_plane: ControlPlane) -> None:
    def read() -> dict[str, str]:
        text = control_plane.app.test_client().get("/_fnbox/metrics").get_data(as_text=True)
        lines = (line for line in text.splitlines() if not line.startswith("#"))
        return dict(line.rsplit(" ", 1) for line in lines)

    until(lambda: float(read()["fnbox_events_queued"]) == 0)
    numbers = read()
    assert float(numbers["fnbox_cold_starts_total"]) >= 1
    assert float(numbers['fnbox_events_dropped_total{condition="RetriesExhausted"}']) >= 1
    assert float(numbers['fnbox_deliveries_total{result="delivered"}']) >= 1
    assert {name for name in numbers if name.startswith("fnbox_environments{")} == {
        f'fnbox_environments{{state="{state}"}}'
        for state in ("starting", "busy", "idle", "spare", "stopping")
    }
