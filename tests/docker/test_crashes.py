"""SIGKILL at random moments of a stream of changes: the old state or the new one, never half.

A client changes functions, versions and layers one after the other and keeps in a `Model` what has
been acknowledged. In the midst of one change the control plane is killed; started again, it must
show the model as it was before that change, or after it, and its code store exactly the packages
that are in use, whole. No container runs here. FNBOX_TEST_KILLS asks for more kills than a few,
FNBOX_TEST_SEED for those of an earlier run.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import click
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.instance import ROLE, Instance, Start, package

KILLS = int(os.environ.get("FNBOX_TEST_KILLS", "5"))
SEED = int(os.environ.get("FNBOX_TEST_SEED", random.SystemRandom().randrange(10**6)))
MOST_CHANGES = 12
"""Before a kill, at most."""
KILL_WITHIN = 0.03
"""Seconds after its change has begun: most take less."""

LayerName = tuple[str, int]


class Content(NamedTuple):
    """What a version is."""

    code: str
    """SHA-256 of its package."""
    layers: tuple[LayerName, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Deployed:
    """A function."""

    latest: Content
    versions: dict[int, Content] = field(default_factory=dict)

    def published(self, last: int) -> tuple[Deployed, int]:
        """With one more version, unless the last is the same; and the last number."""
        newest = self.versions.get(last)
        if newest is not None and newest[:2] == self.latest[:2]:
            return self, last
        return replace(self, versions={**self.versions, last + 1: self.latest}), last + 1


@dataclass(frozen=True)
class Model:
    """All that is deployed."""

    functions: dict[str, Deployed] = field(default_factory=dict)
    layers: dict[LayerName, str] = field(default_factory=dict)
    """SHA-256 of their packages."""

    @property
    def contents(self) -> list[Content]:
        return [
            content
            for function in self.functions.values()
            for content in (function.latest, *function.versions.values())
        ]


class Change(NamedTuple):
    """One request, and what there is when it has been done."""

    send: Callable[[], Any]
    after: Model
    version: int | None = None
    """The number that the answer must have."""


class Client:
    """Draws changes and sends them; knows what numbers and packages there have ever been."""

    def __init__(self, instance: Instance, draw: random.Random) -> None:
        self.model = Model()
        self.changes = 0
        self.packages: dict[LayerName, str] = {}
        """Of all layers, those that are deleted too."""
        self.amid: Change | None = None
        """What was sent and not answered."""
        self._client = instance.client
        self._draw = draw
        self._last: dict[str, int] = {}

    def run(self, count: int, last_begins: threading.Event) -> None:
        """Make so many changes, or end within one; say when the last one begins."""
        for number in range(count):
            change = self._drawn()
            self.amid = change
            if number == count - 1:
                last_begins.set()
            try:
                answer = self._sent(change.send)
            except BotoCoreError:
                return
            self.settle(change)
            if change.version is not None:
                assert int(answer["Version"]) == change.version

    def settle(self, change: Change) -> None:
        """Note that a change has been made."""
        self.model, self.amid = change.after, None
        self.changes += 1
        for name, function in self.model.functions.items():
            self._last[name] = max([self._last.get(name, 0), *function.versions])
        for name, number in self.model.layers:
            self._last[name] = max(self._last.get(name, 0), number)

    def _sent(self, send: Callable[[], Any]) -> Any:
        while True:
            try:
                return send()
            except ClientError as error:
                # the change before it is done within milliseconds
                if "cannot be performed at this time" not in str(error):
                    raise

    def _drawn(self) -> Change:
        draw, model = self._draw, self.model
        name = draw.choice("fgh")
        if draw.random() < 0.3:
            return self._of_layers(draw.choice("lmn"))
        found = model.functions.get(name)
        if found is None:
            return self._creation(name)
        return draw.choice(
            [self._code, self._code, self._configuration, self._publication, self._deletion]
        )(name, found)

    def _with(self, name: str, function: Deployed | None) -> Model:
        left = {other: one for other, one in self.model.functions.items() if other != name}
        return replace(self.model, functions=left if function is None else {**left, name: function})

    def _package(self, name: str) -> tuple[bytes, str]:
        data = package({name: str(self._draw.random())})
        return data, hashlib.sha256(data).hexdigest()

    def _some_layers(self) -> tuple[LayerName, ...]:
        """Of different names, in any order."""
        newest = dict(self._draw.sample(sorted(self.model.layers), len(self.model.layers)))
        return tuple(self._draw.sample(sorted(newest.items()), self._draw.randint(0, len(newest))))

    def _creation(self, name: str) -> Change:
        data, sha256 = self._package("code")
        content = Content(sha256, self._some_layers(), f"{self.changes}")
        function, version, publish = Deployed(content), None, self._draw.random() < 0.5
        if publish:
            function, version = function.published(self._last.get(name, 0))
        request = {
            "FunctionName": name,
            "Role": ROLE,
            "Runtime": "python3.13",
            "Handler": "a.b",
            "Code": {"ZipFile": data},
            "Description": content.description,
            "Layers": [arn(layer) for layer in content.layers],
            "Publish": publish,
        }
        return Change(
            lambda: self._client.create_function(**request), self._with(name, function), version
        )

    def _code(self, name: str, found: Deployed) -> Change:
        data, sha256 = self._package("code")
        function, version = replace(found, latest=found.latest._replace(code=sha256)), None
        publish = self._draw.random() < 0.5
        if publish:
            function, version = function.published(self._last[name])
        request = {"FunctionName": name, "ZipFile": data, "Publish": publish}
        return Change(
            lambda: self._client.update_function_code(**request),
            self._with(name, function),
            version,
        )

    def _configuration(self, name: str, found: Deployed) -> Change:
        content = found.latest._replace(layers=self._some_layers(), description=f"{self.changes}")
        request = {
            "FunctionName": name,
            "Description": content.description,
            "Layers": [arn(layer) for layer in content.layers],
        }
        after = self._with(name, replace(found, latest=content))
        return Change(lambda: self._client.update_function_configuration(**request), after)

    def _publication(self, name: str, found: Deployed) -> Change:
        function, version = found.published(self._last[name])
        after = self._with(name, function)
        return Change(lambda: self._client.publish_version(FunctionName=name), after, version)

    def _deletion(self, name: str, found: Deployed) -> Change:
        if not found.versions or self._draw.random() < 0.5:
            return Change(
                lambda: self._client.delete_function(FunctionName=name), self._with(name, None)
            )
        number = self._draw.choice(list(found.versions))
        left = {other: one for other, one in found.versions.items() if other != number}
        return Change(
            lambda: self._client.delete_function(FunctionName=name, Qualifier=str(number)),
            self._with(name, replace(found, versions=left)),
        )

    def _of_layers(self, name: str) -> Change:
        mine = [number for layer, number in self.model.layers if layer == name]
        if mine and self._draw.random() < 0.4:
            number = self._draw.choice(mine)
            left = {key: one for key, one in self.model.layers.items() if key != (name, number)}
            return Change(
                lambda: self._client.delete_layer_version(LayerName=name, VersionNumber=number),
                replace(self.model, layers=left),
            )
        data, sha256 = self._package(name)
        number = self._last.get(name, 0) + 1
        self.packages[name, number] = sha256
        return Change(
            lambda: self._client.publish_layer_version(LayerName=name, Content={"ZipFile": data}),
            replace(self.model, layers={**self.model.layers, (name, number): sha256}),
            number,
        )


def arn(layer: LayerName) -> str:
    name, number = layer
    return f"arn:aws:lambda:us-east-1:000000000000:layer:{name}:{number}"


def shown(client: Any) -> Model:
    """What the API tells of everything; all of it is settled."""
    functions: dict[str, Deployed] = {}
    for page in client.get_paginator("list_functions").paginate(FunctionVersion="ALL"):
        for item in page["Functions"]:
            document = client.get_function_configuration(FunctionName=item["FunctionArn"])
            assert (document["State"], document["LastUpdateStatus"]) == ("Active", "Successful")
            layers = tuple(named(each["Arn"]) for each in document.get("Layers", ()))
            sha256 = base64.b64decode(document["CodeSha256"]).hex()
            content = Content(sha256, layers, document["Description"])
            if document["Version"] == "$LATEST":
                functions[document["FunctionName"]] = Deployed(content)
            else:
                functions[document["FunctionName"]].versions[int(document["Version"])] = content
    layers = {
        named(version["LayerVersionArn"]): content_of(client, version["LayerVersionArn"])
        for layer in client.list_layers()["Layers"]
        for version in client.list_layer_versions(LayerName=layer["LayerName"])["LayerVersions"]
    }
    return Model(functions, layers)


def named(layer_arn: str) -> LayerName:
    *_, name, number = layer_arn.split(":")
    return name, int(number)


def content_of(client: Any, layer_arn: str) -> str:
    content = client.get_layer_version_by_arn(Arn=layer_arn)["Content"]
    return base64.b64decode(content["CodeSha256"]).hex()


def check_store(code: Path, model: Model, packages: dict[LayerName, str]) -> None:
    """Exactly what is in use is there, and whole."""
    used = {content.code: {"code"} for content in model.contents}
    used |= {sha256: {name} for (name, _), sha256 in model.layers.items()}
    for content in model.contents:
        if content.layers:
            parts = [packages[layer] for layer in content.layers]
            several = hashlib.sha256("\n".join(parts).encode()).hexdigest()
            used[parts[0] if len(parts) == 1 else several] = {name for name, _ in content.layers}
    assert {path.name for path in code.glob("??/*")} == used.keys()
    assert list((code / "tmp").iterdir()) == []
    for sha256, files in used.items():
        place = code / sha256[:2] / sha256
        assert {path.name for path in (place / "tree").iterdir()} == files
        original = place / "package.zip"
        if len(files) == 1:
            assert hashlib.sha256(original.read_bytes()).hexdigest() == sha256


def test_a_kill_leaves_the_old_state_or_the_new_one(start: Start) -> None:
    click.echo(f"FNBOX_TEST_SEED={SEED}")  # pytest shows it when the test fails
    draw = random.Random(SEED)
    instance = start(docker_host="unix:///no/engine")
    client = Client(instance, draw)
    amid = undone = 0
    for _ in range(KILLS):
        kill_amid(instance, client, draw)
        found = shown(instance.client)
        if client.amid is not None:
            amid += 1
            undone += found == client.model
            if found != client.model:
                client.settle(client.amid)
        assert found == client.model
        check_store(instance.state_dir / "code", client.model, client.packages)
    told = f"{amid} of them amid a change, of which {undone} were undone"
    click.echo(f"{KILLS} kills within {client.changes} changes, {told}")


def kill_amid(instance: Instance, client: Client, draw: random.Random) -> None:
    """Kill it at some moment of some change, and start it again."""
    last_begins = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            client.run(draw.randint(1, MOST_CHANGES), last_begins)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)
            last_begins.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert last_begins.wait(60)
    last_begins.clear()
    last_begins.wait(random.uniform(0, KILL_WITHIN))  # which change it is, the seed says
    instance.kill()
    thread.join()
    if failures:
        raise failures[0]
    instance.start()
