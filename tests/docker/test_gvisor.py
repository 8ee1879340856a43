"""Functions that choose gVisor, beside those that do not; and where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from sandbox.catalog.choices import OCI_RUNTIME as TAG
from tests.support.instance import Function, Instance, docker

KERNEL = """
import ctypes, os
def handler(event, context):
    log = ctypes.create_string_buffer(4096)
    ctypes.CDLL(None).klogctl(3, log, 4096)
    if event == "fork":
        while True:
            try:
                os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
            except OSError:
                pass
    if event == "fill":
        try:
            for _ in range(600):
                open("/tmp/file", "ab", buffering=0).write(bytes(2**20))
        except OSError as error:
            return error.errno
    return [b"gVisor" in log.raw, os.getuid()]
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One that lets functions choose a runtime, too, that no engine has."""
    state = tmp_path_factory.mktemp("gvisor") / "state"
    shared = Instance(state, spares=0, oci_runtime_choices="runsc,nonesuch")
    try:
        yield shared.start()
    finally:
        shared.stop()


@pytest.fixture
def function(instance: Instance) -> Iterator[Function]:
    made = instance.deploy(KERNEL, Timeout=5)
    yield made
    made.delete()


def tag(function: Function, name: str) -> None:
    function.instance.client.tag_resource(Resource=function.arn, Tags={TAG: name})


@pytest.fixture
def runsc() -> None:
    if "runsc" not in docker("info", "--format", "{{json .Runtimes}}"):
        pytest.skip("the engine has no runsc: `make gvisor`")


@pytest.mark.usefixtures("runsc")
def test_a_function_is_under_gvisor_while_its_tag_says_so(function: Function) -> None:
    assert function.invoke().document[0] is False
    tag(function, "runsc")
    under, uid = function.invoke().document
    assert under is True
    assert uid >= 100_000
    assert function.invoke("fill").document == 28  # ENOSPC
    function.instance.client.untag_resource(Resource=function.arn, TagKeys=[TAG])
    assert function.invoke().document[0] is False


@pytest.mark.thorough
@pytest.mark.usefixtures("runsc")
def test_a_fork_bomb_under_gvisor_harms_its_own_environment_alone(
    instance: Instance, function: Function
) -> None:
    neighbour = instance.deploy(KERNEL)
    before = neighbour.invoke().document
    tag(function, "runsc")
    try:
        ending = function.invoke("fork").error
    except ClientError as error:  # gVisor itself has ended, which is no answer of Lambda's
        ending = str(error)
    assert ending == "Unhandled" or "ended" in str(ending)
    assert neighbour.invoke().document == before
    assert function.invoke().document[0] is True


def test_a_runtime_that_the_engine_lacks_is_told_and_nothing_else_runs_the_function(
    instance: Instance, function: Function
) -> None:
    tag(function, "nonesuch")
    with pytest.raises(ClientError, match="the Docker Engine has no OCI runtime 'nonesuch'"):
        function.invoke()
    with pytest.raises(ClientError, match="may be runsc, nonesuch here, not 'runc'"):
        tag(function, "runc")
    assert function.log() == ""
