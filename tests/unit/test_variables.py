from __future__ import annotations

import pytest

from sandbox.engines.base import Image
from sandbox.environments.variables import configuration
from tests.support.functions import make_version

IMAGE = Image(
    id="sha256:0",
    entrypoint=("/lambda-entrypoint.sh",),
    command=(),
    working_directory="/var/task",
    environment=(),
)


def configured(**members: object) -> dict:
    version = make_version(**members)
    return configuration(version, IMAGE, uid=1, log_group="group", log_stream="stream")


@pytest.mark.parametrize(
    ("members", "asked"),
    [
        ({"Runtime": "python3.13"}, True),
        ({"Runtime": "nodejs22.x"}, True),
        ({"Runtime": "provided.al2023"}, False),
        ({"Runtime": "java21"}, True),
        ({"Runtime": "dotnet8"}, False),
        ({"Runtime": None, "PackageType": "Image"}, False),
    ],
)
def test_a_descriptor_for_records_is_asked_for_where_the_runtime_writes_them(members, asked):
    assert configured(**members)["telemetryLog"] is asked


def test_the_runtime_is_told_the_log_format_and_the_level():
    text = configured()["environment"]
    assert text["AWS_LAMBDA_LOG_FORMAT"] == "Text"
    assert "AWS_LAMBDA_LOG_LEVEL" not in text
    json = configured(LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"})
    assert json["environment"]["AWS_LAMBDA_LOG_FORMAT"] == "JSON"
    assert json["environment"]["AWS_LAMBDA_LOG_LEVEL"] == "WARN"
