from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox.engines.base import Image
from sandbox.environments.variables import configuration
from sandbox.logs.formats import PROVISIONED
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


def test_the_init_is_told_what_only_telemetry_says():
    told = configured(timeout=7, TracingConfig={"Mode": "Active"})
    assert (told["timeoutMs"], told["activeTracing"]) == (7000, True)
    assert told["runtimeVersion"] == "python:3.13"
    assert "runtimeVersion" not in configured(Runtime="provided.al2023")


def test_the_runtime_is_told_why_it_is_initialized():
    assert configured()["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    ahead = configuration(
        make_version(), IMAGE, uid=1, log_group="g", log_stream="s", initialization=PROVISIONED
    )
    assert ahead["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"


def test_what_layers_bring_is_on_the_search_paths():
    of_zip = configured()["environment"]
    assert of_zip["PATH"].endswith(":/opt/bin")
    assert of_zip["LD_LIBRARY_PATH"].endswith(":/opt/lib")
    assert "LD_LIBRARY_PATH" not in configured(PackageType="Image")["environment"]
    own = configured(Environment={"Variables": {"LD_LIBRARY_PATH": "/mine"}})["environment"]
    assert own["LD_LIBRARY_PATH"] == "/mine"


def test_an_image_knows_its_paths_better_than_the_platform():
    image = replace(IMAGE, environment=("PATH=/bin", "LD_LIBRARY_PATH=/lib"))
    version = make_version()
    told = configuration(version, image, uid=1, log_group="group", log_stream="stream")
    assert told["environment"]["PATH"] == "/bin"
    assert told["environment"]["LD_LIBRARY_PATH"] == "/lib"
