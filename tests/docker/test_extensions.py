"""Extensions in real containers: external ones, in bash and in Python, and internal ones."""

from __future__ import annotations

import json
import re
import stat
import threading
import zipfile
from io import BytesIO
from typing import Any
from uuid import uuid4

from sandbox.engines.docker import INSTANCE_LABEL
from tests.support.instance import Deploy, Function, Instance, Start, docker, gone

# What an extension does with each event comes where it says ON_EVENT.
BASH = r"""#!/bin/bash
api=/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}
call() {
  exec 3<>"$api"
  printf '%s /2020-01-01/extension/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n' "$1" "$2" >&3
  printf '%bContent-Length: %d\r\n\r\n%s' "$3" "${#4}" "$4" >&3
  answer=$(cat <&3)
}
name=${0##*/}
call POST register "Lambda-Extension-Name: $name\r\n" '{"events":EVENTS}'
[[ $answer =~ Lambda-Extension-Identifier:\ ([-0-9a-f]+) ]] && id=${BASH_REMATCH[1]}
left=$(env | grep -c -e ^_HANDLER -e ^LAMBDA_TASK_ROOT -e ^AWS_EXECUTION_ENV)
echo "$name registered with $left too many"
while :; do
  call GET event/next "Lambda-Extension-Identifier: $id\r\n" ''
  event=${answer##*$'\r\n'}
  ON_EVENT
done
"""
ECHO = """echo "$name got $event"; [[ $event == *SHUTDOWN* ]] && exit 0"""

PYTHON = """#!/usr/bin/env python3
import http.client, json, os, sys, time
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def call(method, path, body=None, **headers):
    names = {"name": "Lambda-Extension-Name", "id": "Lambda-Extension-Identifier",
             "error": "Lambda-Extension-Function-Error-Type"}
    headers = {names[name]: value for name, value in headers.items()}
    connection.request(method, "/2020-01-01/extension/" + path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())

def register(*events, name=os.path.basename(__file__)):
    status, headers, body = call("POST", "register", json.dumps({"events": events}), name=name)
    return headers["Lambda-Extension-Identifier"], status, body

def events(id):
    while True:
        yield call("GET", "event/next", id=id)[2]

def say(*words):
    print("extension:", *words, flush=True)
"""

HANDLER = """
import os, signal, sys, time
def stop(*_):
    print("SIGTERM", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, stop)
def handler(event, context):
    print("handling", event, flush=True)
    if event == "who":
        return os.getuid()
    if event == "where":
        return os.uname().nodename
    if isinstance(event, dict):
        for name in event.get("make", ()):
            open(name, "w").close()
        time.sleep(event.get("sleep", 0))
    return event
"""


def bash(on_event: str = ECHO, *events: str) -> str:
    return BASH.replace("EVENTS", json.dumps(events or ("INVOKE", "SHUTDOWN"))).replace(
        "ON_EVENT", on_event
    )


def layer(instance: Instance, files: dict[str, str], mode: int = 0o755) -> str:
    """The ARN of a layer with these files in /opt/extensions."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(f"extensions/{name}")
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, content)
    answer = instance.client.publish_layer_version(
        LayerName=f"layer-{uuid4().hex}", Content={"ZipFile": buffer.getvalue()}
    )
    arn: str = answer["LayerVersionArn"]
    return arn


def extended(instance: Instance, deploy: Deploy, files: dict[str, str], **members: Any) -> Function:
    return deploy(HANDLER, Layers=[layer(instance, files)], **members)


def call(function: Function, event: object = None) -> Any:
    """The answer to a caller who does not ask for the log, and so waits for no extension."""
    return function.invoke(event, LogType="None")


def container(function: Function) -> str:
    """The id of the one container of a function."""
    label = f"label={INSTANCE_LABEL}={function.instance.id}"
    name = f"name=fnbox-{function.name}-"
    (found,) = docker("ps", "--quiet", "--filter", label, "--filter", name).split()
    return found


def in_order(log: str, *wanted: str) -> None:
    """These are in the log, in this order."""
    place = 0
    for text in wanted:
        found = log.find(text, place)
        assert found >= 0, f"{text!r} is not in, or not in this place of\n{log}"
        place = found + len(text)


def reports(log: str) -> list[str]:
    return re.findall("REPORT RequestId: .*", log)


def test_extensions_get_every_event_until_their_environment_ends(
    instance: Instance, deploy: Deploy
) -> None:
    python = PYTHON + (
        "id, _, body = register('SHUTDOWN')\n"
        "say(body)\nsay('user', os.getuid())\n"
        "for event in events(id):\n    say(event['shutdownReason'])\n    break\n"
    )
    function = extended(instance, deploy, {"watcher": bash(), "second": python})
    first = function.invoke(1)
    assert (first.document, first.error) == (1, None)
    second = function.invoke("who")
    function.configure(Description="retires its environments")
    function.await_log("extension: SPINDOWN")
    function.await_log('"shutdownReason":"SPINDOWN"')
    log = function.log()
    registered = (
        f"extension: {{'functionName': '{function.name}', 'functionVersion': '$LATEST', "
        "'handler': 'handler.handler'}"
    )
    assert registered in log
    assert f"extension: user {second.document}\n" in log, "it is the function's"
    assert "watcher registered with 0 too many" in log
    in_order(
        log,
        "INIT_START",
        "EXTENSION\tName: second\tState: Ready\tEvents: [SHUTDOWN]\n",
        "EXTENSION\tName: watcher\tState: Ready\tEvents: [INVOKE,SHUTDOWN]\n",
        f"START RequestId: {first.request_id}",
        f"REPORT RequestId: {first.request_id}",
        f"START RequestId: {second.request_id}",
        f"REPORT RequestId: {second.request_id}",
        "SIGTERM\n",
        "SPINDOWN",
    )
    for answer in (first, second):
        got = re.search(rf'watcher got ({{.*"requestId":"{answer.request_id}".*}})', log)
        assert got is not None
        event = json.loads(got[1])
        assert event.keys() == {
            "eventType",
            "deadlineMs",
            "requestId",
            "invokedFunctionArn",
            "tracing",
        }
        assert (event["eventType"], event["invokedFunctionArn"]) == ("INVOKE", function.arn)
        assert event["tracing"]["value"].startswith("Root=1-")


def test_the_caller_has_the_answer_before_an_extension_is_done_and_the_next_call_waits_for_it(
    start: Start,
) -> None:
    slow = PYTHON + (
        "id = register('INVOKE')[0]\n"
        "for event in events(id):\n"
        "    while not os.path.exists('/tmp/go'):\n        time.sleep(0.01)\n"
        "    say('done with', event['requestId'])\n"
    )
    instance = start(max_environments=1, spares=0)
    function = extended(instance, instance.deploy, {"slow": slow})
    first = call(function, "first")
    assert first.document == "first"
    assert not reports(function.log()), "the invocation is not over"
    answers: list[Any] = []
    second = threading.Thread(target=lambda: answers.append(call(function, "second")))
    second.start()
    docker("exec", container(function), "touch", "/tmp/go")
    second.join()
    with_log = function.invoke("third")
    log = function.log()
    in_order(
        log,
        "handling first",
        f"extension: done with {first.request_id}",
        f"REPORT RequestId: {first.request_id}",
        f"START RequestId: {answers[0].request_id}",
        f"extension: done with {answers[0].request_id}",
        f"START RequestId: {with_log.request_id}",
    )
    assert reports(with_log.log), "whoever wants the log waits for its end"
    assert f"done with {with_log.request_id}" in with_log.log
    assert log.count("INIT_START") == 1


def test_an_extension_that_is_not_done_in_time_resets_the_environment(
    instance: Instance, deploy: Deploy
) -> None:
    stuck = PYTHON + (
        "id = register('INVOKE', 'SHUTDOWN')[0]\n"
        "for event in events(id):\n"
        "    while not os.path.exists('/tmp/reset'):\n"
        "        open('/tmp/reset', 'w').close()\n        time.sleep(60)\n"
    )
    function = extended(instance, deploy, {"stuck": stuck}, Timeout=4)
    first = call(function, "first")
    assert (first.document, first.error) == ("first", None)
    report = function.await_log(f"REPORT RequestId: {first.request_id}")
    assert "Duration: 4000.00 ms" in report
    assert report.rstrip("\n").endswith("Status: timeout")
    second = function.invoke("second")  # /tmp is kept
    assert (second.document, second.error) == ("second", None)
    assert "Init Duration" not in reports(second.log)[0]


def test_an_extension_is_told_that_the_function_was_too_slow_or_has_failed(
    instance: Instance, deploy: Deploy
) -> None:
    function = extended(instance, deploy, {"watcher": bash()}, Timeout=1)
    late = function.invoke({"sleep": 30})
    assert late.document["errorType"] == "Sandbox.Timedout"
    in_order(late.log, '"shutdownReason":"TIMEOUT"', "END", "Status: timeout")
    function.configure(Timeout=20)
    dies = "import os\ndef handler(event, context):\n    os._exit(3)\n"
    function.update(dies)
    died = function.invoke()
    assert died.document["errorType"] == "Runtime.ExitError"
    in_order(died.log, '"shutdownReason":"FAILURE"', "END", "Error Type: Runtime.ExitError")
    function.update(
        "import time\ndef handler(event, context):\n"
        "    held = b'x' * 2**29\n    time.sleep(15)\n    return len(held)\n"
    )
    grew = function.invoke()
    assert grew.document["errorType"] == "Runtime.OutOfMemory"
    in_order(grew.log, '"shutdownReason":"FAILURE"', "END", "Error Type: Runtime.OutOfMemory")


def test_an_extension_that_crashes_fails_the_invocation_and_the_next_starts_all_again(
    instance: Instance, deploy: Deploy
) -> None:
    on_event = ECHO + "\nuntil [ -e /tmp/crash ]; do sleep 0.01; done; rm /tmp/crash; exit 7"
    function = extended(instance, deploy, {"fragile": bash(on_event)})
    answer = function.invoke({"make": ["/tmp/crash"], "sleep": 20})
    assert answer.error == "Unhandled"
    assert answer.document == {
        "errorType": "Extension.Crash",
        "errorMessage": f"RequestId: {answer.request_id} Error: exit code 7",
    }
    assert reports(answer.log)[0].endswith("\tStatus: error\tError Type: Extension.Crash")
    again = function.invoke({"make": ["/tmp/crash"]})
    assert again.log.count("EXTENSION\tName: fragile\tState: Ready") == 1


def test_an_extension_that_cannot_be_started_fails_the_initialization(
    instance: Instance, deploy: Deploy
) -> None:
    function = deploy(HANDLER, Layers=[layer(instance, {"broken": bash()}, mode=0o644)])
    answer = function.invoke()
    assert answer.document == {
        "errorType": "Extension.LaunchError",
        "errorMessage": f"RequestId: {answer.request_id} Error: "
        "fork/exec /opt/extensions/broken: permission denied",
    }
    in_order(
        answer.log,
        "EXTENSION\tName: broken\tState: LaunchError\tEvents: []\tError Type: PermissionDenied\n",
        "Phase: init\tStatus: error\tError Type: Extension.LaunchError\n",
        "Phase: invoke\tStatus: error\tError Type: Extension.LaunchError\n",
        "START",
    )


def test_an_extension_that_reports_an_error_ends_the_environment(
    instance: Instance, deploy: Deploy
) -> None:
    gives_up = PYTHON + (
        "id = register('INVOKE')[0]\n"
        "say(call('POST', 'init/error', '{}', id=id, error='Mine.Bad')[0])\n"
        "sys.exit(3)\n"
    )
    function = extended(instance, deploy, {"gives-up": gives_up})
    answer = function.invoke()
    assert answer.document == {
        "errorType": "Extension.InitError",
        "errorMessage": f"RequestId: {answer.request_id} Error: exit code 3",
    }
    in_order(
        answer.log,
        "extension: 202",
        "EXTENSION\tName: gives-up\tState: InitError\tEvents: [INVOKE]\tError Type: Mine.Bad\n",
        "Phase: init\tStatus: error\tError Type: Extension.InitError\n",
    )


def test_a_runtime_registers_at_most_ten_extensions_of_its_own(
    instance: Instance, deploy: Deploy
) -> None:
    internal = PYTHON.replace("os.path.basename(__file__)", "''") + (
        "import threading\n"
        "print('refused', register('SHUTDOWN', name='one'))\n"
        "def follow(id):\n"
        "    for name, event in zip('ab', follow_events(id)):\n"
        "        say(name, event['eventType'])\n"
        "def follow_events(id):\n"
        "    own = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])\n"
        "    while True:\n"
        "        own.request('GET', '/2020-01-01/extension/event/next', None,\n"
        "                    {'Lambda-Extension-Identifier': id})\n"
        "        yield json.loads(own.getresponse().read())\n"
        "for number in range(10):\n"
        "    events = ['INVOKE'] if number == 9 else []\n"
        "    id, status, _ = register(*events, name=f'internal-{number}')\n"
        "    threading.Thread(target=follow, args=(id,), daemon=True).start()\n"
        "print('refused', register('INVOKE', name='eleven'))\n"
        "def handler(event, context):\n"
        "    return register('INVOKE', name='late')[2]['errorType']\n"
    )
    function = deploy(internal)
    answer = function.invoke()
    assert answer.document == "Extension.RegistrationClosed"
    assert "'Extension.InvalidEventType'" in answer.log
    assert "'Extension.TooManyExtensions'" in answer.log
    assert "Extension limit (10) reached" in answer.log
    assert answer.log.count("\tState: Ready\tEvents: []\n") == 9
    in_order(
        answer.log,
        "EXTENSION\tName: internal-9\tState: Ready\tEvents: [INVOKE]\n",
        "START",
        "extension: a INVOKE",
        "REPORT",
    )


def test_eleven_files_are_too_many_and_ten_extensions_start_together(
    instance: Instance, deploy: Deploy
) -> None:
    ten = {f"number-{number}": bash("", "SHUTDOWN") for number in range(10)}
    answer = extended(instance, deploy, ten).invoke("ten")
    assert (answer.document, answer.error) == ("ten", None)
    assert answer.log.count("\tState: Ready\tEvents: [SHUTDOWN]\n") == 10
    answer = extended(instance, deploy, {**ten, "number-a": bash()}).invoke("eleven")
    assert answer.document["errorType"] == "Extension.LaunchError"
    assert "State: LaunchError\tEvents: []\tError Type: TooManyExtensions" in answer.log


def test_an_extension_of_an_image_runs_too(instance: Instance, tmp_path: Any) -> None:
    name = f"fnbox-test/{uuid4().hex}:1"
    (tmp_path / "Dockerfile").write_text(
        "FROM fnbox/python3.13\nCOPY handler.py /var/task/\nCOPY watcher /opt/extensions/\n"
        'CMD ["handler.handler"]\n'
    )
    (tmp_path / "handler.py").write_text(HANDLER)
    (tmp_path / "watcher").write_text(bash())
    (tmp_path / "watcher").chmod(0o755)
    docker("build", "--quiet", "--force-rm", "--tag", name, str(tmp_path))
    try:
        function = instance.deploy(
            "",
            name=f"image-{uuid4().hex[:8]}",
            Code={"ImageUri": name},
            PackageType="Image",
            Runtime=None,
            Handler=None,
        )
        answer = function.invoke("from an image")
        assert answer.document == "from an image"
        assert f'"requestId":"{answer.request_id}"' in answer.log
        before = {function.invoke("where").document}
        function.delete()
        gone(instance, before)
    finally:
        docker("rmi", "--force", name)


def test_fnbox_down_gives_extensions_their_time_all_at_once(start: Start) -> None:
    instance = start()
    functions = [
        extended(instance, instance.deploy, {"watcher": bash()}, Timeout=10) for _ in range(3)
    ]
    for number, function in enumerate(functions):
        assert call(function, number).document == number
    instance.stop()
    instance.start()
    for function in functions:
        assert '"shutdownReason":"SPINDOWN"' in function.log()
