"""Deployment packages that are not to be trusted: AWS's 400, and no trace of them."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.support.instance import ROLE, Deploy, Instance, package

UNREADABLE = "Could not unzip uploaded file. Please check your file, then try to upload again."
TOO_LARGE = "Unzipped size must be smaller than 262144000 bytes"
GOOD = "def handler(event, context):\n    return 'well'"


def link(target: str, *, name: str = "link", below: str | None = None) -> bytes:
    """A package with a symbolic link, and maybe a file that would be written through it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.create_system = 3
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, target)
        archive.writestr("handler.py", GOOD)
        if below is not None:
            archive.writestr(f"{name}/{below}", "written")
    return buffer.getvalue()


def large() -> bytes:
    """262,144,001 bytes, in 256 kB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("handler.py", GOOD)
        with archive.open("zeros", "w") as entry:
            for _ in range(250):
                entry.write(bytes(2**20))
    return buffer.getvalue()


BAD = {
    "no zip": (lambda outside: b"this is no zip", UNREADABLE),
    "cut off": (lambda outside: package(GOOD)[:-30], UNREADABLE),
    "a damaged entry": (lambda outside: package(GOOD).replace(b"handler.py", b"\0andler.py"), ""),
    "up and out": (lambda outside: package({"../" * 12 + f".{outside}/file": "x"}), UNREADABLE),
    "an absolute path": (lambda outside: package({f"{outside}/file": "x"}), UNREADABLE),
    "a link out": (lambda outside: link(str(outside)), UNREADABLE),
    "a link up and out": (lambda outside: link("../" * 20 + str(outside)[1:]), UNREADABLE),
    "through a link": (lambda outside: link(str(outside), below="file"), UNREADABLE),
    "too large": (lambda outside: large(), TOO_LARGE),
}


@pytest.mark.parametrize("what", BAD)
def test_a_package_that_cannot_be_trusted_is_refused_without_a_trace(
    instance: Instance, tmp_path: Path, what: str
) -> None:
    make, message = BAD[what]
    before = set((instance.state_dir / "code").rglob("*"))
    with pytest.raises(ClientError) as caught:
        instance.client.create_function(
            FunctionName="refused",
            Role=ROLE,
            Runtime="python3.13",
            Handler="handler.handler",
            Code={"ZipFile": make(tmp_path)},
        )
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["Error"]["Code"] == "InvalidParameterValueException"
    assert message in answer["Error"]["Message"]
    assert list(tmp_path.iterdir()) == []
    assert set((instance.state_dir / "code").rglob("*")) == before
    with pytest.raises(ClientError, match="Function not found"):
        instance.client.get_function(FunctionName="refused")


def test_a_refused_update_leaves_the_function_as_it_was(deploy: Deploy) -> None:
    function = deploy(GOOD)
    before = function.invoke()
    with pytest.raises(ClientError, match="Could not unzip"):
        function.update({"../file": "x"})
    assert function.invoke().document == before.document == "well"


def test_a_link_within_the_package_is_followed(deploy: Deploy) -> None:
    function = deploy(GOOD, Code={"ZipFile": link("handler.py", name="linked.py")})
    client = function.instance.client
    client.update_function_configuration(FunctionName=function.name, Handler="linked.handler")
    assert function.invoke().document == "well"
