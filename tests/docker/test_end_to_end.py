"""The control plane as its users see it: boto3 and the AWS CLI against real containers."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from tests.support.instance import AWS, Deploy, Function, Instance

ECHO = """
def handler(event, context):
    print("handling", event)
    return event
"""

CONTEXT = """
def handler(event, context):
    client = context.client_context
    return {
        "aws_request_id": context.aws_request_id,
        "function_name": context.function_name,
        "function_version": context.function_version,
        "invoked_function_arn": context.invoked_function_arn,
        "memory_limit_in_mb": context.memory_limit_in_mb,
        "log_group_name": context.log_group_name,
        "log_stream_name": context.log_stream_name,
        "remaining": context.get_remaining_time_in_millis(),
        "client": client and [client.client.installation_id, client.custom, client.env],
    }
"""


def test_a_new_function_answers_with_what_its_handler_returns(deploy: Deploy) -> None:
    answer = deploy(ECHO).invoke({"name": "Bob"})
    assert answer.status == 200
    assert answer.error is None
    assert answer.version == "$LATEST"
    assert answer.document == {"name": "Bob"}


@pytest.mark.parametrize(
    "payload",
    ["null", "0", '"text"', "[]", '{"a": {"b": [1, 2.5, true, null]}}', '"\\u00e9 \U0001f600"'],
)
def test_any_json_document_is_an_event(deploy: Deploy, payload: str) -> None:
    assert deploy(ECHO).invoke(Payload=payload).document == json.loads(payload)


def test_a_call_without_a_payload_is_an_empty_object(deploy: Deploy) -> None:
    assert deploy(ECHO).invoke(Payload=b"").document == {}


def test_payloads_of_six_megabytes_travel_both_ways(deploy: Deploy) -> None:
    function = deploy("def handler(event, context):\n    return event")
    text = "x" * (6_291_456 - 2)
    assert function.invoke(text).document == text


def test_a_package_that_is_large_is_run_too(deploy: Deploy) -> None:
    source = "from big import BLOB\ndef handler(event, context):\n    return len(BLOB)"
    blob = "".join(f"{number:08x}" for number in range(2**20))
    function = deploy({"handler.py": source, "big/__init__.py": f"BLOB = '{blob}'"})
    assert function.invoke().document == 2**23


def test_the_log_tail_is_complete_and_in_order_each_time(deploy: Deploy) -> None:
    function = deploy("""
import sys
def handler(event, context):
    for number in range(20):
        print(event, number, file=(sys.stdout, sys.stderr)[number % 2])
""")
    for call in range(100):
        answer = function.invoke(call)
        lines = answer.log.splitlines()
        if call == 0:
            assert lines.pop(0).startswith("INIT_START Runtime Version: python:3.13")
        assert lines[0] == f"START RequestId: {answer.request_id} Version: $LATEST"
        assert lines[1:-2] == [f"{call} {number}" for number in range(20)]
        assert lines[-2] == f"END RequestId: {answer.request_id}"
        assert lines[-1].startswith(f"REPORT RequestId: {answer.request_id}\tDuration: ")
        assert ("Init Duration" in lines[-1]) == (call == 0)


def test_an_event_is_accepted_and_then_runs(deploy: Deploy) -> None:
    function = deploy(ECHO)
    answer = function.invoke({"name": "event"}, InvocationType="Event", LogType="None")
    assert (answer.status, answer.body, answer.version) == (202, b"", None)
    assert function.await_log("handling") == "handling {'name': 'event'}\n"
    assert answer.request_id in function.await_log("REPORT RequestId")


def test_a_dry_run_runs_nothing(deploy: Deploy) -> None:
    function = deploy(ECHO)
    answer = function.invoke("dry", InvocationType="DryRun", LogType="None")
    assert (answer.status, answer.body) == (204, b"")
    function.invoke("wet")
    assert function.await_log("handling") == "handling wet\n"
    with pytest.raises(ClientError, match="Function not found"):
        Function(function.instance, "absent").invoke(InvocationType="DryRun", LogType="None")


def test_a_handler_that_raises_is_a_function_error(deploy: Deploy) -> None:
    function = deploy("def handler(event, context):\n    raise ValueError('boom')")
    answer = function.invoke()
    assert (answer.status, answer.error) == (200, "Unhandled")
    assert answer.document == {
        "errorMessage": "boom",
        "errorType": "ValueError",
        "requestId": answer.request_id,
        "stackTrace": [
            "  File \"/var/task/handler.py\", line 2, in handler\n    raise ValueError('boom')\n"
        ],
    }
    assert "[ERROR] ValueError: boom" in answer.log


def test_the_handler_is_told_who_called_it_and_how(deploy: Deploy) -> None:
    function = deploy(CONTEXT, MemorySize=256, Timeout=40)
    answer = function.invoke()
    context = answer.document
    assert context["aws_request_id"] == answer.request_id
    assert context["function_name"] == function.name
    assert context["function_version"] == "$LATEST"
    assert context["invoked_function_arn"] == function.arn
    assert context["memory_limit_in_mb"] == "256"
    assert context["log_group_name"] == f"/aws/lambda/{function.name}"
    assert "/[$LATEST]" in context["log_stream_name"]
    assert 20_000 < context["remaining"] <= 40_000
    assert context["client"] is None


def test_the_handler_gets_the_callers_client_context(deploy: Deploy) -> None:
    given = {"client": {"installation_id": "i"}, "custom": {"a": "b"}, "env": {"c": "d"}}
    encoded = base64.b64encode(json.dumps(given).encode()).decode()
    context = deploy(CONTEXT).invoke(ClientContext=encoded).document
    assert context["client"] == ["i", {"a": "b"}, {"c": "d"}]


def test_a_function_sees_its_variables_and_nothing_of_ours(deploy: Deploy) -> None:
    function = deploy(
        "import os\ndef handler(event, context):\n    return dict(os.environ)",
        Environment={"Variables": {"GREETING": "hello"}},
    )
    variables = function.invoke().document
    assert variables["GREETING"] == "hello"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == function.name
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["_HANDLER"] == "handler.handler"
    assert variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"
    assert [name for name in variables if name.startswith("FNBOX")] == []


@pytest.mark.parametrize("runtime", ["python3.13", "python3.11"])
def test_each_runtime_is_of_its_version(deploy: Deploy, runtime: str) -> None:
    source = "import sys\ndef handler(event, context):\n    return sys.version_info[:2]"
    function = deploy(source, Runtime=runtime)
    assert f"python{'.'.join(map(str, function.invoke().document))}" == runtime


def test_a_function_can_use_the_sdk_that_its_runtime_has(deploy: Deploy) -> None:
    function = deploy("""
import boto3
def handler(event, context):
    return boto3.client("lambda").meta.region_name
""")
    assert function.invoke().document == "us-east-1"


def test_every_form_of_name_reaches_the_function(deploy: Deploy) -> None:
    function = deploy(CONTEXT)
    function.publish()
    function.instance.client.create_alias(
        FunctionName=function.name, Name="live", FunctionVersion="1"
    )
    partial = f"000000000000:function:{function.name}"
    for name in (function.name, f"000000000000:{function.name}", partial, function.arn):
        for qualifier, version in ((None, "$LATEST"), ("$LATEST", "$LATEST"), ("1", "1")):
            answer = function.invoke(FunctionName=name, qualifier=qualifier)
            assert answer.version == answer.document["function_version"] == version
            expected = f"{function.arn}:{qualifier}" if qualifier else function.arn
            assert answer.document["invoked_function_arn"] == expected
        for form in (f"{name}:live", name):
            answer = function.invoke(FunctionName=form, qualifier="live")
            assert answer.version == answer.document["function_version"] == "1"
            assert answer.document["invoked_function_arn"] == f"{function.arn}:live"


@pytest.mark.parametrize("safe", ["", ":"], ids=["escaped", "as it is"])
def test_a_name_may_be_escaped_in_the_path(deploy: Deploy, safe: str) -> None:
    function = deploy(ECHO)
    connection = http.client.HTTPConnection("127.0.0.1", function.instance.port, timeout=30)
    with closing(connection):
        for name in (function.name, f"{function.name}:$LATEST", function.arn):
            path = f"/2015-03-31/functions/{quote(name, safe=safe)}/invocations"
            connection.request("POST", path, b'{"a":1}')
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())) == (200, {"a": 1})


def test_the_aws_cli_invokes_a_function_and_queues_an_event(
    deploy: Deploy, instance: Instance, tmp_path: Path
) -> None:
    function = deploy(ECHO, name="my-function")
    invoke = [AWS, "lambda", "invoke", "--function-name", "my-function"]
    invoke += ["--payload", '{ "name": "Bob" }']
    printed = _run([*invoke, "response.json"], instance, tmp_path)
    assert json.loads(printed) == {"StatusCode": 200, "ExecutedVersion": "$LATEST"}
    assert json.loads((tmp_path / "response.json").read_text()) == {"name": "Bob"}

    printed = _run([*invoke, "--invocation-type", "Event", "response.json"], instance, tmp_path)
    assert json.loads(printed) == {"StatusCode": 202}
    with function.follow() as messages:
        handled = (message for message in messages if message.startswith("handling"))
        assert [next(handled), next(handled)] == ["handling {'name': 'Bob'}\n"] * 2


def test_the_aws_cli_does_all_that_a_function_needs(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(ECHO)
    script = """
        python -m zipfile -c function.zip handler.py
        aws lambda create-function --function-name by-hand --runtime python3.13 \\
            --handler handler.handler --role arn:aws:iam::000000000000:role/r \\
            --zip-file fileb://function.zip --query FunctionArn
        aws lambda wait function-active-v2 --function-name by-hand
        aws lambda invoke --function-name by-hand --payload '"spoken"' --log-type Tail \\
            --query LogResult --output text response.json | base64 -d
        aws logs filter-log-events --log-group-name /aws/lambda/by-hand
        aws lambda delete-function --function-name by-hand
    """
    printed = _run(["sh", "-ec", script], instance, tmp_path)
    assert '"arn:aws:lambda:us-east-1:000000000000:function:by-hand"' in printed
    assert printed.count("handling spoken") == 2
    assert printed.count("REPORT RequestId") == 2
    with pytest.raises(ClientError, match="Function not found"):
        instance.client.get_function(FunctionName="by-hand")


def _run(command: list[str], instance: Instance, directory: Path) -> str:
    beside = str(Path(AWS).parent)
    done = subprocess.run(
        command,
        cwd=directory,
        env=instance.variables | {"PATH": f"{beside}:{instance.variables['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
