"""Where messages go: SQS, SNS, EventBridge and S3 over HTTP, Lambda inside fnbox.

The only module here that knows botocore; its errors are sorted into those that another try may
mend and those that it cannot.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from sandbox import lineage
from sandbox.aws.clients import AwsClients, NoEndpoint
from sandbox.errors import AccessDenied, Conflict, FnboxError, StorageError
from sandbox.invocation import Invocation
from sandbox.names import LATEST, FunctionKey, function_of_arn
from sandbox.queue.outbox import Delivery
from sandbox.queue.records import DEAD_LETTER, ON_SUCCESS, Message

_THROTTLED = 429
_REASON_LENGTH = 500


class TargetDown(FnboxError):
    """A target could not be reached, or failed: it may take the message later."""


class Undeliverable(FnboxError):
    """A target refuses the message, or is none."""


class Arn(NamedTuple):
    service: str
    region: str
    account: str
    resource: str


def read_arn(text: str) -> Arn:
    """Raises Undeliverable."""
    parts = text.split(":", 5)
    if len(parts) != 6:
        raise Undeliverable(f"{text} is no ARN")
    _, _, service, region, account, resource = parts
    return Arn(service, region, account, resource)


def _anything(function: FunctionKey, target: str, request_id: str) -> None:
    """Nobody is asked."""


class Targets:
    """Sends messages."""

    def __init__(
        self,
        clients: AwsClients,
        enqueue: Callable[[Invocation], None],
        check: Callable[[FunctionKey, str, str], None] = _anything,
    ) -> None:
        """`check(function, target, request id)` raises AccessDenied unless the function's role may
        tell a target."""
        self._clients = clients
        self._enqueue = enqueue
        self._check = check

    def send(self, delivery: Delivery) -> None:
        """Returns when the target has the message. Raises TargetDown, or Undeliverable."""
        message = delivery.message
        arn = read_arn(message.target)
        try:
            self._check(message.reference.key, message.target, message.request_id)
        except AccessDenied as error:
            raise Undeliverable(str(error)) from error
        if arn.service == "lambda":
            self._invoke(message)
            return
        send = _SENDERS.get(arn.service)
        if send is None:
            raise Undeliverable(f"{message.target} is of no service that takes messages")
        try:
            send(self._client(arn, message), arn, delivery)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            if status >= 500 or status == _THROTTLED:
                raise TargetDown(_reason(error)) from error
            raise Undeliverable(_reason(error)) from error
        except (ParamValidationError, NoEndpoint) as error:
            raise Undeliverable(str(error)) from error
        except BotoCoreError as error:
            raise TargetDown(str(error)) from error

    def _invoke(self, message: Message) -> None:
        reference = function_of_arn(message.target)
        trace = message.trace_id and lineage.forwarded(message.trace_id, reference.key)
        try:
            self._enqueue(Invocation(reference, message.body, trace_id=trace))
        except (Conflict, StorageError) as error:
            raise TargetDown(str(error)) from error

    def _client(self, arn: Arn, message: Message) -> Any:
        region = arn.region or message.reference.key.region
        account = arn.account or message.reference.key.account
        return self._clients.get(arn.service, region, account)


def _to_queue(client: Any, arn: Arn, delivery: Delivery) -> None:
    message = delivery.message
    url = client.get_queue_url(QueueName=arn.resource, QueueOwnerAWSAccountId=arn.account)
    request: dict[str, Any] = {"QueueUrl": url["QueueUrl"], "MessageBody": _text(message)}
    if message.kind == DEAD_LETTER:
        request["MessageAttributes"] = _attributes(message)
    elif message.trace_id:
        header = {"DataType": "String", "StringValue": message.trace_id}
        request["MessageSystemAttributes"] = {"AWSTraceHeader": header}
    client.send_message(**request)


def _to_topic(client: Any, arn: Arn, delivery: Delivery) -> None:
    message = delivery.message
    request = {"TopicArn": message.target, "Message": _text(message)}
    client.publish(**request, MessageAttributes=_attributes(message))


def _to_bus(client: Any, arn: Arn, delivery: Delivery) -> None:
    message = delivery.message
    reference = message.reference
    result = "Success" if message.kind == ON_SUCCESS else "Failure"
    entry = {
        "Time": datetime.fromtimestamp(delivery.created_at, UTC),
        "Source": "lambda",
        "DetailType": f"Lambda Function Invocation Result - {result}",
        "Resources": [message.target, reference.key.qualified(reference.qualifier or LATEST)],
        "Detail": _text(message),
        "EventBusName": message.target,
    }
    answer = client.put_events(Entries=[entry])
    if answer.get("FailedEntryCount"):
        failed = answer["Entries"][0]
        raise Undeliverable(f"{failed.get('ErrorCode')}: {failed.get('ErrorMessage')}")


def _to_bucket(client: Any, arn: Arn, delivery: Delivery) -> None:
    message = delivery.message
    client.put_object(Bucket=arn.resource, Key=object_key(delivery), Body=message.body)


def object_key(delivery: Delivery) -> str:
    """The name of a record in a bucket; the same each time that it is delivered."""
    message = delivery.message
    moment = datetime.fromtimestamp(delivery.created_at, UTC)
    unique = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:uuid:{message.request_id}")
    folder = f"aws/lambda/async/{message.reference.key.name}/{moment:%Y/%m/%d}"
    return f"{folder}/{moment:%Y-%m-%dT%H.%M.%S}-{unique}"


_SENDERS: Mapping[str, Callable[[Any, Arn, Delivery], None]] = {
    "sqs": _to_queue,
    "sns": _to_topic,
    "events": _to_bus,
    "s3": _to_bucket,
}


def _reason(error: ClientError) -> str:
    """One line, however long a page the target answered with."""
    return " ".join(str(error).split())[:_REASON_LENGTH]


def _text(message: Message) -> str:
    return message.body.decode(errors="replace")


def _attributes(message: Message) -> dict[str, dict[str, str]]:
    return {
        name: {"DataType": "Number" if name == "ErrorCode" else "String", "StringValue": value}
        for name, value in message.attributes.items()
    }
