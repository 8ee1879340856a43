from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox.engines.base import Image
from sandbox.environments.variables import configuration
from sandbox.logs.formats import PROVISIONED
from tests.support.access import make_sessions
from tests.support.functions import make_version

IMAGE = Image(
    id="sha256:0",
    entrypoint=("/lambda-entrypoint.sh",),
    command=(),
    working_directory="/var/task",
    environment=(),
)
KEYS = make_sessions().issue("000000000000", "lambda-role", "my-function")


def configured(**members: object) -> dict:
    version = make_version(**members)
    return configuration(version, IMAGE, KEYS, uid=1, log_group="group", log_stream="stream")


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
        make_version(),
        IMAGE,
        KEYS,
        uid=1,
        log_group="g",
        log_stream="s",
        initialization=PROVISIONED,
    )
    assert ahead["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"


def test_what_layers_bring_is_on_the_search_paths():
    of_zip = configured()["environment"]
    assert of_zip["PATH"].endswith(":/opt/bin")
    assert of_zip["LD_LIBRARY_PATH"].endswith(":/opt/lib")
    assert "LD_LIBRARY_PATH" not in configured(PackageType="Image")["environment"]
    own = configured(Environment={"Variables": {"LD_LIBRARY_PATH": "/mine"}})["environment"]
    assert own["LD_LIBRARY_PATH"] == "/mine"


def test_the_working_directory_is_the_one_that_it_is_told():
    assert configured()["environment"]["PWD"] == "/var/task"
    image = replace(IMAGE, working_directory="/app")
    version = make_version(Runtime=None, PackageType="Image")
    told = configuration(version, image, KEYS, uid=1, log_group="group", log_stream="stream")
    assert told["environment"]["PWD"] == told["workingDirectory"] == "/app"


def test_programs_in_a_container_image_know_a_home():
    version = make_version(Runtime=None, PackageType="Image")
    for own, home in ((), "/home/sbx_user1051"), (("HOME=/me",), "/me"):
        image = replace(IMAGE, environment=own)
        told = configuration(version, image, KEYS, uid=1, log_group="group", log_stream="stream")
        assert told["environment"]["HOME"] == home
    assert "HOME" not in configured()["environment"]


def test_an_image_knows_its_paths_better_than_the_platform():
    image = replace(IMAGE, environment=("PATH=/bin", "LD_LIBRARY_PATH=/lib"))
    version = make_version()
    told = configuration(version, image, KEYS, uid=1, log_group="group", log_stream="stream")
    assert told["environment"]["PATH"] == "/bin"
    assert told["environment"]["LD_LIBRARY_PATH"] == "/lib"


def test_a_function_finds_the_keys_of_its_role_whatever_it_brings_itself():
    own = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SESSION_TOKEN": "mine"}
    found = configured(Environment={"Variables": own})["environment"]
    assert {name: found[name] for name in KEYS.variables()} == KEYS.variables()


def test_a_function_is_told_where_it_reaches_fnbox_unless_it_knows_better():
    def told(**variables: str) -> tuple[object, object]:
        version = make_version(Environment={"Variables": variables})
        found = configuration(
            version, IMAGE, KEYS, uid=1, log_group="g", log_stream="s", endpoint="127.0.0.1:4566"
        )
        return found["endpoint"], found["environment"]["AWS_ENDPOINT_URL"]

    assert told() == ("127.0.0.1:4566", "http://127.0.0.1:4566")
    assert told(AWS_ENDPOINT_URL="http://own") == ("127.0.0.1:4566", "http://own")
    assert "endpoint" not in configured()
    assert "AWS_ENDPOINT_URL" not in configured()["environment"]
