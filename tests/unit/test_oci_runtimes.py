"""Which OCI runtime starts a function's containers, and what a change of it does."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.catalog.choices import OCI_RUNTIME as TAG
from sandbox.catalog.choices import oci_runtime
from sandbox.catalog.records import Version
from sandbox.clock import FakeClock
from sandbox.engines.base import Image
from sandbox.environments.launch import Launcher
from sandbox.environments.runtimes import RuntimeImage
from sandbox.errors import CallerError
from sandbox.names import FunctionKey
from sandbox.settings import Settings
from tests.support.access import make_sessions
from tests.support.api import ROLE, Api, zip_bytes
from tests.support.functions import make_version

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
KEY = FunctionKey("000000000000", "us-east-1", "f")


def settings(default: str, choices: str) -> Settings:
    return Settings(oci_runtime=default, oci_runtime_choices=choices)


@pytest.mark.parametrize(
    ("tags", "default", "choices", "expected"),
    [
        ({}, "", "runsc", ""),
        ({TAG: "runsc"}, "", "runsc", "runsc"),
        ({}, "runsc", "", "runsc"),
        ({TAG: "runsc"}, "runsc", "", "runsc"),
        ({TAG: "kata"}, "runsc", "runsc, kata", "kata"),
    ],
)
def test_a_tag_chooses_of_what_the_instance_allows(
    tags: dict[str, str], default: str, choices: str, expected: str
) -> None:
    assert oci_runtime(tags, settings(default, choices)) == expected


@pytest.mark.parametrize(
    ("name", "default", "choices"),
    [("runc", "runsc", "runsc"), ("", "runsc", "runsc"), ("/bin/sh", "", "runsc")],
)
def test_a_function_cannot_take_itself_out_of_what_the_instance_has(
    name: str, default: str, choices: str
) -> None:
    with pytest.raises(CallerError, match=f"The tag {TAG} may be runsc here, not {name!r}"):
        oci_runtime({TAG: name}, settings(default, choices))


def create(api: Api, **members: Any) -> None:
    api.boto().create_function(
        FunctionName="f",
        Runtime="python3.13",
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": zip_bytes()},
        **members,
    )
    api.settle()


def test_a_tag_that_may_not_be_is_refused_when_it_is_set(api: Api) -> None:
    with pytest.raises(ClientError, match="may be runsc here, not 'runc'"):
        create(api, Tags={TAG: "runc"})
    create(api, Tags={TAG: "runsc"})
    with pytest.raises(ClientError, match="may be runsc here, not 'runc'"):
        api.boto().tag_resource(Resource=ARN, Tags={TAG: "runc"})
    assert api.boto().list_tags(Resource=ARN)["Tags"] == {TAG: "runsc"}


def test_environments_of_before_serve_no_version_once_the_tag_has_changed(api: Api) -> None:
    create(api)
    client = api.boto()
    client.publish_version(FunctionName="f")

    def revisions() -> list[str]:
        return [version.revision for version in api.catalog.function(KEY).versions.values()]

    seen = [revisions()]
    client.tag_resource(Resource=ARN, Tags={"team": "blue"})
    assert revisions() == seen[0]
    for change in (
        lambda: client.tag_resource(Resource=ARN, Tags={TAG: "runsc"}),
        lambda: client.untag_resource(Resource=ARN, TagKeys=[TAG]),
    ):
        change()
        seen.append(revisions())
    assert len({revision for each in seen for revision in each}) == 6


class Engine:
    """Has every image, and boots nothing."""

    provide = None

    def find(self, version: Version) -> RuntimeImage:
        return RuntimeImage(Image("sha256:0", ("/entry",), (), "/", ()), None)

    def boot(self, name: str, spec: Any, limits: Any, on_lost: Any) -> Any:
        self.booted = spec, limits


def test_a_container_is_started_by_it_and_has_room_for_a_kernel_of_its_own() -> None:
    engine: Any = Engine()
    made = []
    for name in ("", "runsc"):
        launcher = Launcher(
            images=engine,
            containers=engine,
            code=None,  # type: ignore[arg-type]
            logs=None,  # type: ignore[arg-type]
            settings=Settings(),
            clock=FakeClock(),
            sessions=make_sessions(),
            tags=lambda key, name=name: {TAG: name} if name else {},  # type: ignore[misc]
        )
        spec = launcher.spec(make_version())
        launcher.boot(None, spec, lambda _: None)
        made.append(engine.booted)
    (own, less), (other, more) = made
    assert (own.oci_runtime, other.oci_runtime) == ("", "runsc")
    assert own != other  # a spare of the one is none of the other
    assert more.memory_bytes - less.memory_bytes == 128 * 2**20
