"""Code that is named as an object of S3, and dead letters: what is refused, and how."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.response import StreamingBody

from sandbox.catalog.package import S3_ZIPPED_LIMIT, ZIPPED_LIMIT
from tests.support.api import ACCOUNT, REGION, ROLE, Api, error_of, open_api, zip_bytes

FUNCTIONS = "/2015-03-31/functions"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:letters"
OBJECT = {"S3Bucket": "bucket", "S3Key": "f.zip"}


class Storage:
    """S3, and all its clients."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, ...], bytes] = {("bucket", "f.zip"): zip_bytes()}
        self.failure: Exception | None = None
        self.asked: list[tuple[str, str, str]] = []
        self.length: int | None = None
        self.read = False

    def get(self, *of: str) -> Storage:
        self.asked.append(of)  # type: ignore[arg-type]
        return self

    def get_object(self, Bucket: str, Key: str, **version: str) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        data = self.objects[(Bucket, Key, *version.values())]
        length = len(data) if self.length is None else self.length
        return {"ContentLength": length, "Body": _Body(self, data)}


class _Body(StreamingBody):
    def __init__(self, storage: Storage, data: bytes) -> None:
        super().__init__(io.BytesIO(data), len(data))
        self._storage = storage

    def read(self, *amount: int) -> bytes:
        self._storage.read = True
        return super().read(*amount)


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def api(tmp_path: Path, storage: Storage) -> Iterator[Api]:
    with closing(open_api(tmp_path, clients=storage)) as api:
        yield api


def create(api: Api, code: dict[str, Any] | None = None, **members: Any) -> Any:
    request = {
        "FunctionName": "f",
        "Role": ROLE,
        "Runtime": "python3.13",
        "Handler": "app.handler",
        "Code": code or OBJECT,
        **members,
    }
    answer = api.request("POST", FUNCTIONS, request)
    api.settle()
    return answer


def test_a_function_is_created_and_updated_from_s3(api: Api, storage: Storage) -> None:
    created = create(api).json
    assert created["CodeSize"] == len(zip_bytes())
    assert storage.asked == [("s3", REGION, ACCOUNT)]
    other = zip_bytes({"app.py": "handler = print\n"})
    storage.objects["bucket", "f.zip", "v2"] = other
    updated = api.request("PUT", f"{FUNCTIONS}/f/code", {**OBJECT, "S3ObjectVersion": "v2"}).json
    assert updated["CodeSize"] == len(other)
    assert updated["CodeSha256"] != created["CodeSha256"]
    assert "S3Bucket" not in updated


def test_a_layer_is_published_from_s3(api: Api, storage: Storage) -> None:
    content = {"Content": {**OBJECT, "S3ObjectVersion": "v2"}}
    storage.objects["bucket", "f.zip", "v2"] = zip_bytes({"python/own.py": ""})
    answer = api.request("POST", "/2018-10-31/layers/own/versions", content)
    assert answer.status_code == 201
    assert answer.json["Content"]["CodeSize"] == len(storage.objects["bucket", "f.zip", "v2"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("NoSuchBucket", "The specified bucket does not exist"),
        ("NoSuchKey", "The specified key does not exist."),
    ],
)
def test_what_s3_says_is_told_as_lambda_tells_it(
    api: Api, storage: Storage, code: str, message: str
) -> None:
    error = {"Error": {"Code": code, "Message": message}}
    storage.failure = ClientError({**error, "ResponseMetadata": {"HTTPStatusCode": 404}}, "Get")
    status, name, body = error_of(create(api))
    assert (status, name) == (400, "InvalidParameterValueException")
    assert body["message"] == (
        f"Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"
    )


def test_s3_that_does_not_answer_is_not_the_callers_fault(api: Api, storage: Storage) -> None:
    storage.failure = EndpointConnectionError(endpoint_url="http://nowhere")
    status, name, body = error_of(create(api))
    assert (status, name) == (500, "ServiceException")
    assert "http://nowhere" in body["Message"]


def test_without_an_endpoint_the_error_says_what_to_do(tmp_path: Path) -> None:
    with closing(open_api(tmp_path)) as api:
        status, name, body = error_of(create(api))
    assert (status, name) == (400, "InvalidParameterValueException")
    assert "run `fnbox up --aws`, or set FNBOX_ENDPOINTS=s3=http://" in body["message"]


def test_an_object_that_is_too_large_is_not_read(api: Api, storage: Storage) -> None:
    storage.length = S3_ZIPPED_LIMIT + 1
    status, name, body = error_of(create(api))
    assert (status, name) == (400, "InvalidParameterValueException")
    assert body["message"] == "Unzipped size must be smaller than 262144000 bytes"
    assert not storage.read


def test_a_package_from_s3_may_be_larger_than_one_in_a_request(api: Api, storage: Storage) -> None:
    storage.objects["bucket", "f.zip"] = b"x" * (ZIPPED_LIMIT + 1)
    _, name, body = error_of(create(api))
    assert name == "InvalidParameterValueException"  # and no RequestEntityTooLargeException
    assert body["message"].startswith("Could not unzip uploaded file.")


@pytest.mark.parametrize(
    ("arn", "text"),
    [
        (f"arn:aws:s3:::{ACCOUNT}", "it must be of SQS or SNS."),
        (f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:g", "it must be of SQS or SNS."),
        ("arn:aws:sqs:letters", "it must be of SQS or SNS."),
        (f"{QUEUE}.fifo", "it must be a standard queue."),
        (f"arn:aws:sns:{REGION}:{ACCOUNT}:t.fifo", "it must be a standard topic."),
    ],
)
def test_dead_letters_go_to_standard_queues_and_topics_alone(api: Api, arn: str, text: str) -> None:
    config = {"DeadLetterConfig": {"TargetArn": arn}}
    expected = (
        400,
        "InvalidParameterValueException",
        f"The dead letter ARN {arn} is invalid: {text}",
    )
    status, name, body = error_of(create(api, **config))
    assert (status, name, body["message"]) == expected
    assert create(api).status_code == 201
    changed = api.request("PUT", f"{FUNCTIONS}/f/configuration", config)
    status, name, body = error_of(changed)
    assert (status, name, body["message"]) == expected


def test_a_dead_letter_queue_is_set_and_unset(api: Api) -> None:
    set_to = create(api, DeadLetterConfig={"TargetArn": QUEUE}).json
    assert set_to["DeadLetterConfig"] == {"TargetArn": QUEUE}
    none = {"DeadLetterConfig": {"TargetArn": ""}}
    unset = api.request("PUT", f"{FUNCTIONS}/f/configuration", none).json
    assert not (unset.get("DeadLetterConfig") or {}).get("TargetArn")
