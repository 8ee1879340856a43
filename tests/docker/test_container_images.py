"""Functions that are container images: what an image says, what ImageConfig overrides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.functions import until
from tests.support.images import compiled
from tests.support.instance import ROLE, Function, Instance, docker

# Answers each event with what it was started as.
PROGRAM = """
package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
)

func main() {
	directory, _ := os.Getwd()
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	_, unwritable := os.Create("/file")
	for {
		next, err := http.Get(api + "next")
		if err != nil {
			panic(err)
		}
		next.Body.Close()
		body, _ := json.Marshal(map[string]any{
			"argv": os.Args, "cwd": directory, "root": os.Getuid() == 0, "path": os.Getenv("PATH"),
			"own": os.Getenv("OWN"), "env": os.Getenv("AWS_EXECUTION_ENV"),
			"handler": os.Getenv("_HANDLER"), "readonly": unwritable != nil,
		})
		id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		done, err := http.Post(api+id+"/response", "application/json", bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		done.Body.Close()
	}
}
"""

PYTHON = """
import os
def handler(event, context):
    return [TEXT, os.environ["_HANDLER"], os.getcwd(), os.environ["LAMBDA_TASK_ROOT"]]
"""


class Images:
    """Images of a test's own, gone after it."""

    def __init__(self, instance: Instance, folder: Path) -> None:
        self.instance = instance
        self.folder = folder
        self.names: set[str] = set()
        self.functions: list[Function] = []

    def build(self, dockerfile: str, files: Mapping[str, str | bytes], name: str = "") -> str:
        """Its name."""
        name = name or f"fnbox-test/{uuid4().hex}:1"
        folder = self.folder / uuid4().hex
        folder.mkdir()
        for file, content in {**files, "Dockerfile": dockerfile}.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / file).write_bytes(data)
            (folder / file).chmod(0o755)
        docker("build", "--quiet", "--force-rm", "--tag", name, str(folder))
        self.names.add(name)
        return name

    def deploy(self, image: str, **members: Any) -> Function:
        function = self.instance.deploy(
            {},
            name=f"image-{uuid4().hex[:8]}",
            PackageType="Image",
            Code={"ImageUri": image},
            Runtime=None,
            Handler=None,
            **members,
        )
        self.functions.append(function)
        return function


@pytest.fixture
def images(instance: Instance, tmp_path: Path) -> Iterator[Images]:
    made = Images(instance, tmp_path)
    yield made
    for function in made.functions:
        function.delete()
    for name in made.names:
        docker("rmi", "--force", name)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | bytes]:
    return compiled({"main.go": PROGRAM}, tmp_path_factory.mktemp("go"))


SCRATCH = """FROM scratch
COPY bootstrap /app/program
USER 0
ENV OWN=mine PATH=/app
WORKDIR /app
ENTRYPOINT ["/app/program"]
CMD ["one", "two"]
"""


def test_a_static_binary_is_image_enough(images: Images, program: dict[str, str | bytes]) -> None:
    function = images.deploy(images.build(SCRATCH, program))
    assert function.invoke().document == {
        "argv": ["/app/program", "one", "two"],
        "cwd": "/app",
        "root": False,
        "path": "/app",
        "own": "mine",
        "env": "",
        "handler": "",
        "readonly": True,
    }


def test_image_config_overrides_what_the_image_says(
    images: Images, program: dict[str, str | bytes]
) -> None:
    image = images.build(SCRATCH, program)
    config = {"Command": ["three"], "WorkingDirectory": "/"}
    answer = images.deploy(image, ImageConfig=config).invoke().document
    assert (answer["argv"], answer["cwd"]) == (["/app/program", "three"], "/")
    config = {"EntryPoint": ["program", "four"]}
    answer = images.deploy(image, ImageConfig=config).invoke().document
    assert (answer["argv"], answer["cwd"]) == (["program", "four"], "/app")


@pytest.mark.parametrize(
    ("config", "error_type", "message"),
    [
        (
            {"EntryPoint": ["/none"]},
            "Runtime.InvalidEntrypoint",
            "fork/exec /none: no such file or directory",
        ),
        (
            {"EntryPoint": ["none"]},
            "Runtime.InvalidEntrypoint",
            'exec: "none": executable file not found in $PATH',
        ),
        (
            {"EntryPoint": ["/app"]},
            "Runtime.InvalidEntrypoint",
            "fork/exec /app: permission denied",
        ),
        (
            {"WorkingDirectory": "/app/program"},
            "Runtime.InvalidWorkingDir",
            "chdir /app/program: not a directory",
        ),
        (
            {"WorkingDirectory": "/none"},
            "Runtime.InvalidWorkingDir",
            "chdir /none: no such file or directory",
        ),
    ],
)
def test_an_entry_point_or_a_directory_that_is_not_there_is_named(
    images: Images,
    program: dict[str, str | bytes],
    config: dict[str, Any],
    error_type: str,
    message: str,
) -> None:
    answer = images.deploy(images.build(SCRATCH, program), ImageConfig=config).invoke()
    assert answer.document == {
        "errorType": error_type,
        "errorMessage": f"RequestId: {answer.request_id} Error: {message}",
    }


def test_our_images_are_a_base_as_awss_are(images: Images) -> None:
    dockerfile = 'FROM fnbox/python3.13\nCOPY app.py ./\nCMD ["app.handler"]\n'
    image = images.build(dockerfile, {"app.py": f"TEXT = 'first'\n{PYTHON}"})
    answer = images.deploy(image).invoke().document
    assert answer == ["first", "app.handler", "/var/task", "/var/task"]


def test_a_tag_that_moves_changes_nothing_until_the_code_is_updated(images: Images) -> None:
    dockerfile = 'FROM fnbox/python3.13\nCOPY app.py ./\nCMD ["app.handler"]\n'
    image = images.build(dockerfile, {"app.py": f"TEXT = 'first'\n{PYTHON}"})
    first = docker("inspect", "--format", "{{.Id}}", image)
    function = images.deploy(image)
    client = images.instance.client
    resolved = client.get_function(FunctionName=function.name)["Code"]["ResolvedImageUri"]
    images.build(dockerfile, {"app.py": f"TEXT = 'second'\n{PYTHON}"}, name=image)
    client.update_function_configuration(FunctionName=function.name, MemorySize=256)
    client.get_waiter("function_updated_v2").wait(FunctionName=function.name)
    assert function.invoke().document[0] == "first"
    assert client.get_function(FunctionName=function.name)["Code"]["ResolvedImageUri"] == resolved
    client.update_function_code(FunctionName=function.name, ImageUri=image)
    client.get_waiter("function_updated_v2").wait(FunctionName=function.name)
    assert function.invoke().document[0] == "second"
    assert client.get_function(FunctionName=function.name)["Code"]["ResolvedImageUri"] != resolved
    # what was kept booted of the image is gone with the version, and lets the image go
    until(lambda: not docker("ps", "--all", "--quiet", "--filter", f"ancestor={first}"))
    docker("rmi", first)


def test_an_image_that_is_not_there_is_refused(images: Images) -> None:
    client = images.instance.client
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        client.create_function(
            FunctionName="none",
            Role=ROLE,
            PackageType="Image",
            Code={"ImageUri": "fnbox-test/none:1"},
        )
    # whether a registry says so or none answers
    assert caught.value.response["Error"]["Message"].startswith(
        "Source image fnbox-test/none:1 does not exist. Provide a valid source image."
    )
    assert json.dumps(client.list_functions()["Functions"]).count('"none"') == 0
