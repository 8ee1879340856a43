"""Images that are not on the engine: pulled from a registry while the function is Pending."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.support.bootstraps import GO
from tests.support.functions import until
from tests.support.images import compiled
from tests.support.instance import ROLE, Instance, docker, package
from tests.support.registry import Registry

Document = dict[str, Any]


class Pulling:
    """An instance, and the registry that it pulls from."""

    def __init__(self, registry: Registry, instance: Instance, program: bytes) -> None:
        self.registry = registry
        self.instance = instance
        self.client = instance.client
        self._program = program

    def put(self, name: str, program: str = "program") -> tuple[str, str]:
        """Keep a new image, which answers each event with it: its full name and its digest."""
        # Every image is another: none is on the engine yet.
        digest = self.registry.put(
            name, {program: self._program, uuid4().hex: b""}, Entrypoint=[f"/{program}"]
        )
        return f"{self.registry.host}/{name}", digest

    def create(self, name: str, image: str) -> Document:
        answer: Document = self.client.create_function(
            FunctionName=name, Role=ROLE, PackageType="Image", Code={"ImageUri": image}, Timeout=30
        )
        return answer

    def settled(self, name: str, member: str = "State") -> Document:
        """The function's configuration once it is no longer Pending, or InProgress."""
        found: Document = {}

        def over() -> bool:
            found.update(self.client.get_function_configuration(FunctionName=name))
            return found[member] not in ("Pending", "InProgress")

        until(over, 30)
        return found

    def run(self, name: str) -> Any:
        """The event that came back."""
        answer = self.client.invoke(FunctionName=name, Payload=b'{"a": 1}')
        return json.loads(answer["Payload"].read())

    def asked(self, part: str) -> int:
        return sum(part in path for path in self.registry.asked)


ECHOED = {"bootstrap": "/program", "event": {"a": 1}}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    built = compiled({"main.go": GO}, tmp_path_factory.mktemp("go"))["bootstrap"]
    assert isinstance(built, bytes)
    return built


@pytest.fixture(scope="module")
def pulling(program: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulling]:
    with Registry() as registry:
        instance = Instance(
            tmp_path_factory.mktemp("pulling") / "state",
            runtime_registry=f"{registry.host}/lambda",
            spares=0,
        )
        try:
            yield Pulling(registry, instance.start(), program)
        finally:
            instance.stop()
            names = docker("images", "--format", "{{.Repository}}@{{.Digest}} {{.ID}}")
            for line in set(names.splitlines()):
                name, image = line.split()
                if name.startswith(registry.host):
                    docker("rmi", "--force", image)


def test_a_function_is_pending_while_its_image_is_pulled_and_creating_it_takes_no_time(
    pulling: Pulling,
) -> None:
    image, digest = pulling.put("slow:1")
    pulling.registry.layers.clear()
    created = pulling.create("slow", image)
    assert (created["State"], created["StateReasonCode"]) == ("Pending", "Creating")
    assert created["CodeSha256"] == digest.removeprefix("sha256:")
    code = pulling.client.get_function(FunctionName="slow")["Code"]
    assert code["ResolvedImageUri"] == f"{pulling.registry.host}/slow@{digest}"
    until(lambda: "/v2/slow/blobs/" in "".join(pulling.registry.asked))
    with urllib.request.urlopen(f"{pulling.instance.url}/_fnbox/pulls") as answer:
        assert [pull["image"] for pull in json.load(answer)["pulls"]] == [image]
    with pytest.raises(ClientError, match="currently in the following state: Pending"):
        pulling.run("slow")
    pulling.registry.layers.set()
    assert pulling.settled("slow")["State"] == "Active"
    assert pulling.run("slow") == ECHOED
    log = pulling.instance.log_path.read_text()
    assert f"pulling {image}" in log
    assert f"pulled {image}: " in log


def test_what_was_pulled_is_not_pulled_again_by_name_or_for_another_function(
    pulling: Pulling,
) -> None:
    image, digest = pulling.put("once:1")
    pulling.create("first", image)
    assert pulling.settled("first")["State"] == "Active"
    before = len(pulling.registry.asked)
    second = pulling.create("second", image)
    pulling.settled("second")
    assert pulling.run("second") == ECHOED
    assert len(pulling.registry.asked) == before
    assert second["CodeSha256"] == digest.removeprefix("sha256:")
    assert docker("inspect", "--format", "{{.RepoTags}}", image) == f"[{image}]"


def test_two_functions_that_want_an_image_at_once_have_it_pulled_once(pulling: Pulling) -> None:
    image, _ = pulling.put("shared:1")
    pulling.registry.layers.clear()
    for name in "one", "other":
        assert pulling.create(name, image)["State"] == "Pending"
    pulling.registry.layers.set()
    for name in "one", "other":
        assert pulling.settled(name)["State"] == "Active"
        assert pulling.run(name) == ECHOED
    assert pulling.instance.log_path.read_text().count(f"pulled {image}: ") == 1


def test_a_tag_that_moves_at_the_registry_changes_nothing_until_the_next_update(
    pulling: Pulling,
) -> None:
    image, first = pulling.put("moving:1", "first")
    pulling.create("moving", image)
    pulling.settled("moving")
    _, second = pulling.put("moving:1", "second")
    docker("pull", "--quiet", image)
    pulling.client.update_function_configuration(FunctionName="moving", MemorySize=256)
    pulling.settled("moving", "LastUpdateStatus")
    assert pulling.run("moving")["bootstrap"] == "/first"
    updated = pulling.client.update_function_code(FunctionName="moving", ImageUri=image)
    assert updated["LastUpdateStatus"] == "InProgress"
    assert updated["CodeSha256"] == second.removeprefix("sha256:") != first
    assert pulling.settled("moving", "LastUpdateStatus")["LastUpdateStatus"] == "Successful"
    assert pulling.run("moving")["bootstrap"] == "/second"


def test_an_image_that_breaks_on_its_way_makes_a_function_that_has_failed(
    pulling: Pulling,
) -> None:
    image, _ = pulling.put("broken:1")
    pulling.registry.lose_layers()
    assert pulling.create("broken", image)["State"] == "Pending"
    found = pulling.settled("broken")
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "InternalError")
    assert f"pulling {pulling.registry.host}/broken@sha256:" in found["StateReason"]
    assert "unknown blob" in found["StateReason"]
    deploy = ("deploy", "--image", image, "--name", "broken-too")
    done = subprocess.run(
        pulling.instance.command(*deploy),
        env=pulling.instance.variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"fnbox: broken-too has failed: {found['StateReason']}"
    mended, _ = pulling.put("mended:1")
    pulling.client.update_function_code(FunctionName="broken", ImageUri=mended)
    assert pulling.settled("broken", "LastUpdateStatus")["State"] == "Active"
    assert pulling.run("broken") == ECHOED


def test_what_the_registry_has_not_got_is_refused_at_once(pulling: Pulling) -> None:
    image = f"{pulling.registry.host}/none:1"
    with pytest.raises(ClientError) as caught:
        pulling.create("none", image)
    assert caught.value.response["Error"]["Message"] == (
        f"Source image {image} does not exist. Provide a valid source image."
    )


def test_a_registry_that_does_not_answer_is_named_and_not_asked_again(pulling: Pulling) -> None:
    messages = []
    for name in "a:1", "b:1":
        with pytest.raises(ClientError) as caught:
            pulling.create("none", f"127.0.0.1:1/{name}")
        messages.append(caught.value.response["Error"]["Message"])
    assert messages[0].startswith("Source image 127.0.0.1:1/a:1 does not exist. ")
    assert "the registry 127.0.0.1:1 does not answer: " in messages[0]
    assert "connection refused" in messages[0]
    assert messages[1] == messages[0].replace("/a:1 does", "/b:1 does")


def zipped(pulling: Pulling, name: str, runtime: str) -> Document:
    answer: Document = pulling.client.create_function(
        FunctionName=name,
        Role=ROLE,
        Runtime=runtime,
        Handler="handler.handler",
        Code={"ZipFile": package("def handler(event, context): return 'ours'")},
        Timeout=30,
    )
    return answer


def test_a_runtime_that_we_make_no_image_of_runs_on_awss_which_is_pulled(
    pulling: Pulling,
) -> None:
    image, _ = pulling.put("lambda/dotnet:8")
    assert zipped(pulling, "dotnet", "dotnet8")["State"] == "Pending"
    assert pulling.settled("dotnet")["State"] == "Active"
    assert pulling.run("dotnet") == ECHOED
    assert f"pulled {image}: " in pulling.instance.log_path.read_text()
    before = len(pulling.registry.asked)
    zipped(pulling, "dotnet-too", "dotnet8")
    pulling.settled("dotnet-too")
    assert len(pulling.registry.asked) == before


def test_a_runtime_that_the_registry_has_not_got_either_runs_on_the_nearest(
    pulling: Pulling,
) -> None:
    zipped(pulling, "nearest", "python3.12")
    assert pulling.settled("nearest")["State"] == "Active"
    assert pulling.run("nearest") == "ours"
    assert pulling.asked("/v2/lambda/python/manifests/3.12") > 0
    with pytest.raises(ClientError, match="fnbox makes no image of it"):
        zipped(pulling, "none", "dotnet10")


def test_a_restart_goes_on_with_what_was_pending(pulling: Pulling) -> None:
    image, _ = pulling.put("restarted:1")
    pulling.registry.layers.clear()
    pulling.create("restarted", image)
    until(lambda: pulling.asked("/v2/restarted/blobs/") > 0)
    pulling.instance.kill()
    pulling.instance.start()
    assert pulling.client.get_function_configuration(FunctionName="restarted")["State"] == "Pending"
    pulling.registry.layers.set()
    assert pulling.settled("restarted")["State"] == "Active"
    assert pulling.run("restarted") == ECHOED


def test_fnbox_deploy_shows_the_pull(pulling: Pulling) -> None:
    image, _ = pulling.put("shown:1")
    pulling.registry.layers.clear()
    with subprocess.Popen(
        pulling.instance.command("deploy", "--image", image, "--name", "shown"),
        env=pulling.instance.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        begun = process.stderr.readline()
        pulling.registry.layers.set()
        out, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert begun.startswith(f"image {image}")
    assert "pulling" in begun
    assert rest.splitlines()[0].endswith("done")
    assert json.loads(out)["State"] == "Active"
