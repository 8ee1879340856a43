"""Version 2 of the AWS CLI, which pip does not have and Debian's packages do: in a container."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.support.images import ensure
from tests.support.instance import Deploy, Instance, docker

DOCKERFILE = """FROM fnbox/base-trixie
RUN apt-get update && apt-get install -y awscli
"""
NAME = "fnbox-test/aws-cli"
_SECONDS = 120
CHATTY = """
def handler(event, context):
    print("told", event)
    return event
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Kept for the next run, which then needs no network; only one is."""
    ensure("base-trixie")
    base = docker("inspect", "--format", "{{.Id}}", "fnbox/base-trixie")
    name = f"{NAME}:{hashlib.sha256((DOCKERFILE + base).encode()).hexdigest()[:16]}"
    kept = docker("images", "--format", "{{.Repository}}:{{.Tag}}", NAME).split()
    if name not in kept:
        folder = tmp_path_factory.mktemp("aws-cli")
        (folder / "Dockerfile").write_text(DOCKERFILE)
        docker("build", "--quiet", "--force-rm", "--tag", name, str(folder), seconds=600)
        for outdated in kept:
            docker("rmi", "--force", outdated)
    return name


@contextmanager
def aws(image: str, instance: Instance, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command, as long as it is needed."""
    name = f"fnbox-test-{uuid4().hex}"
    variables = [f"{key}={value}" for key, value in instance.variables.items() if "AWS_" in key]
    if "--follow" in arguments:  # what is printed is to be read while it runs on
        variables.append("PYTHONUNBUFFERED=1")
    settings = [part for variable in variables for part in ("--env", variable)]
    command = [
        "docker",
        "run",
        "--rm",
        "--name",
        name,
        "--network",
        "host",
        *settings,
        image,
        "aws",
    ]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        end = threading.Timer(_SECONDS, docker, ("kill", name))
        end.start()
        try:
            yield process
        finally:
            end.cancel()
            if process.poll() is None:
                docker("kill", name)


def output(image: str, instance: Instance, *arguments: str) -> str:
    with aws(image, instance, *arguments) as process:
        told, _ = process.communicate()
    assert process.returncode == 0, told
    return told


def test_invoke_with_its_way_of_giving_a_payload(
    image: str, instance: Instance, deploy: Deploy
) -> None:
    function = deploy(CHATTY)
    told = output(
        *(image, instance, "lambda", "invoke", "--function-name", function.name),
        *(
            "--cli-binary-format",
            "raw-in-base64-out",
            "--payload",
            '{"name": "Bob"}',
            "/dev/stderr",
        ),
    )
    assert '{"name": "Bob"}' in told
    assert '"StatusCode": 200' in told


def test_logs_tail_follows_what_a_function_prints(
    image: str, instance: Instance, deploy: Deploy
) -> None:
    function = deploy(CHATTY)
    function.invoke("before")
    group = f"/aws/lambda/{function.name}"
    with aws(image, instance, "logs", "tail", group, "--follow", "--format", "short") as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        seen = next(line for line in lines if "told before" in line)
        assert "T" in seen.split()[0]  # short: the time, and what was printed
        for number in range(3):
            function.invoke(number)
            assert any(f"told {number}" in line for line in lines)


def test_what_lists_find_is_json(image: str, instance: Instance, deploy: Deploy) -> None:
    function = deploy(CHATTY)
    listed = json.loads(output(image, instance, "lambda", "list-functions", "--no-paginate"))
    assert function.name in [found["FunctionName"] for found in listed["Functions"]]
