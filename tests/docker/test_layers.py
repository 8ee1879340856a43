"""Layers in real containers: what a function finds at /opt, and what becomes of it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import urllib.request
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.support.instance import AWS, Deploy, Instance, Start, package

LOOK = """
import ctypes, os, subprocess, sys
def handler(event, context):
    if "import" in event:
        return __import__(event["import"]).WHO
    if "read" in event:
        return open(event["read"]).read()
    if "run" in event:
        return subprocess.check_output(event["run"], text=True).strip()
    try:
        open(event["write"], "w")
    except OSError as error:
        return error.strerror
"""


def executable(name: str, text: str) -> bytes:
    """A layer with a script that may be run."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(entry, text)
    return buffer.getvalue()


def publish(instance: Instance, name: str, content: dict[str, str] | bytes) -> str:
    """The ARN of a new layer version."""
    content = content if isinstance(content, bytes) else package(content)
    answer = instance.client.publish_layer_version(LayerName=name, Content={"ZipFile": content})
    arn: str = answer["LayerVersionArn"]
    return arn


def test_layers_are_on_the_paths_in_their_order_and_cannot_be_written(
    instance: Instance, deploy: Deploy
) -> None:
    layers = [
        publish(
            instance,
            "first",
            {
                "python/both.py": "WHO = 'first'",
                "python/lib/python3.13/site-packages/packaged.py": "WHO = 'site-packages'",
                "text/kept": "of the first",
                "text/both": "of the first",
            },
        ),
        publish(
            instance, "second", {"python/both.py": "WHO = 'second'", "text/both": "of the second"}
        ),
        publish(instance, "tools", executable("bin/greet", "#!/bin/sh\necho hello from /opt/bin")),
    ]
    function = deploy(LOOK, Layers=layers)
    answers = {
        "both": function.invoke({"import": "both"}),
        "packaged": function.invoke({"import": "packaged"}),
        "kept": function.invoke({"read": "/opt/text/kept"}),
        "overridden": function.invoke({"read": "/opt/text/both"}),
        "run": function.invoke({"run": ["greet"]}),
        "a file": function.invoke({"write": "/opt/text/kept"}),
        "a new file": function.invoke({"write": "/opt/new"}),
    }
    assert {name: answer.document for name, answer in answers.items()} == {
        "both": "second",
        "packaged": "site-packages",
        "kept": "of the first",
        "overridden": "of the second",
        "run": "hello from /opt/bin",
        "a file": "Read-only file system",
        "a new file": "Read-only file system",
    }
    listed = instance.client.get_function_configuration(FunctionName=function.name)["Layers"]
    assert [each["Arn"] for each in listed] == layers


def test_the_functions_own_module_wins_over_a_layers(instance: Instance, deploy: Deploy) -> None:
    arn = publish(instance, "shadowed", {"python/who.py": "WHO = 'layer'"})
    function = deploy({"handler.py": LOOK, "who.py": "WHO = 'function'"}, Layers=[arn])
    assert function.invoke({"import": "who"}).document == "function"


def test_a_layer_that_is_deleted_goes_on_in_the_functions_that_use_it(start: Start) -> None:
    instance = start()
    arns = [publish(instance, name, {f"python/{name}.py": f"WHO = {name!r}"}) for name in "ab"]
    function = instance.deploy(LOOK, Layers=arns)
    alone = instance.deploy(LOOK, Layers=arns[:1])
    for name in "ab":
        instance.client.delete_layer_version(LayerName=name, VersionNumber=1)
    for _ in range(2):
        assert function.invoke({"import": "a"}).document == "a"
        assert function.invoke({"import": "b"}).document == "b"
        assert alone.invoke({"import": "a"}).document == "a"
        function.update({"handler.py": LOOK + "# changed"})
        instance.kill()
        instance.start()
    assert function.invoke({"import": "b"}).document == "b"
    assert publish(instance, "a", {"x": "y"}).endswith(":layer:a:2")


def test_a_change_of_layers_is_a_new_environment_without_those_that_are_gone(
    instance: Instance, deploy: Deploy
) -> None:
    function = deploy(LOOK, Layers=[publish(instance, "old", {"python/who.py": "WHO = 'old'"})])
    assert function.invoke({"import": "who"}).document == "old"
    new = publish(instance, "new", {"python/who.py": "WHO = 'new'"})
    for layers, expected in ([new], "new"), ([], None):
        instance.client.update_function_configuration(FunctionName=function.name, Layers=layers)
        instance.client.get_waiter("function_updated_v2").wait(
            FunctionName=function.name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500}
        )
        answer = function.invoke({"import": "who"})
        assert (answer.document if answer.error is None else None) == expected


def test_a_large_layer_and_a_large_package_are_mounted_side_by_side(
    instance: Instance, deploy: Deploy
) -> None:
    noise = os.urandom(6 * 2**20)  # more than is sent to a container
    arn = publish(instance, "large", package({"noise": noise, "python/who.py": "WHO = 'large'"}))
    function = deploy({"handler.py": LOOK, "noise": noise}, Layers=[arn])
    assert function.invoke({"import": "who"}).document == "large"
    sizes = ["stat", "--format=%s", "/opt/noise", "/var/task/noise"]
    assert function.invoke({"run": sizes}).document.split() == [str(len(noise))] * 2


def test_the_aws_command_line_publishes_and_uses_a_layer(
    instance: Instance, deploy: Deploy, tmp_path: Path
) -> None:
    zip_file = tmp_path / "tools.zip"
    zip_file.write_bytes(executable("bin/greet", "#!/bin/sh\necho hello"))
    function = deploy(LOOK)
    arn = aws(
        instance,
        *("publish-layer-version", "--layer-name", "cli-tools"),
        *("--zip-file", f"fileb://{zip_file}", "--compatible-runtimes", "python3.13"),
    )["LayerVersionArn"]
    aws(
        instance,
        *("update-function-configuration", "--function-name", function.name, "--layers", arn),
    )
    aws(instance, "wait", "function-updated-v2", "--function-name", function.name)
    assert function.invoke({"run": ["greet"]}).document == "hello"
    listed = aws(instance, "list-layers", "--compatible-runtime", "python3.13")["Layers"]
    assert [each["LatestMatchingVersion"]["LayerVersionArn"] for each in listed] == [arn]
    by_arn = aws(instance, "get-layer-version-by-arn", "--arn", arn)
    with urllib.request.urlopen(by_arn["Content"]["Location"]) as answer:
        assert answer.read() == zip_file.read_bytes()
    aws(instance, "delete-layer-version", "--layer-name", "cli-tools", "--version-number", "1")
    assert aws(instance, "list-layer-versions", "--layer-name", "cli-tools")["LayerVersions"] == []


def aws(instance: Instance, *arguments: str) -> Any:
    """What `aws lambda` prints."""
    done = subprocess.run(
        [AWS, "lambda", *arguments, "--output", "json"],
        env=instance.variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")
