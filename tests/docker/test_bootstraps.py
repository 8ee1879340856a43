"""`provided.*`: bootstraps in four languages, and what is said of those that cannot be started."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pytest

from tests.support.bootstraps import OOPS, SOURCES
from tests.support.images import compiled, ensure
from tests.support.instance import Answer, Function, Instance, package

EXECUTABLE = 0o755
MISSING = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
SCRIPT = "#!/bin/sh\nexit 9\n"
# The head of a program for a machine of IBM, and nothing else.
FOREIGN = b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16" + bytes(44)


def zipped(files: dict[str, tuple[str | bytes, int]]) -> bytes:
    """A package of these files with these modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, (content, mode) in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


@pytest.fixture(scope="module", params=list(SOURCES))
def bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    source = SOURCES[request.param]
    if "bootstrap" in source:
        return source["bootstrap"].encode()
    content = compiled(source, tmp_path_factory.mktemp(request.param))["bootstrap"]
    assert isinstance(content, bytes)
    return content


@pytest.fixture(scope="module")
def function(instance: Instance) -> Iterator[Function]:
    """One whose code each test replaces."""
    ensure("provided.al2023")
    made = instance.deploy({"data": ""}, Runtime="provided.al2023", Handler="its.own")
    yield made
    made.delete()


def put(function: Function, code: bytes, *layers: bytes) -> None:
    """Give the function this code and these layers."""
    client = function.instance.client
    arns = [
        client.publish_layer_version(LayerName="bootstraps", Content={"ZipFile": layer})[
            "LayerVersionArn"
        ]
        for layer in layers
    ]
    function.configure(Layers=arns)
    client.update_function_code(FunctionName=function.name, ZipFile=code)
    client.get_waiter("function_updated_v2").wait(
        FunctionName=function.name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500}
    )


def test_a_bootstrap_in_any_language_is_found_in_the_code_and_in_a_layer(
    function: Function, bootstrap: bytes
) -> None:
    files: dict[str, str | bytes] = {"bootstrap": bootstrap}
    event = {"text": "é 漢字 😀", "numbers": [1, 2.5, None]}
    put(function, package(files))
    for _ in range(2):
        answer = function.invoke(event)
        assert answer.document == {"bootstrap": "/var/task/bootstrap", "event": event}
    answer = function.invoke({"do": "raise"})
    assert (answer.error, answer.document) == ("Unhandled", OOPS)
    assert function.invoke(1).document == {"bootstrap": "/var/task/bootstrap", "event": 1}
    put(function, package({"data": ""}), package(files))
    assert function.invoke(2).document == {"bootstrap": "/opt/bootstrap", "event": 2}


def told(answer: Answer) -> tuple[str, str]:
    """Type and text of the platform's error; its log has the type as well."""
    document = answer.document
    head = f"RequestId: {answer.request_id} Error: "
    assert answer.error == "Unhandled"
    assert document["errorMessage"].startswith(head)
    text = document["errorMessage"].removeprefix(head)
    assert f"Status: error\tError Type: {document['errorType']}" in answer.log
    return document["errorType"], text


@pytest.mark.parametrize(
    ("content", "mode", "error_type", "text"),
    [
        pytest.param(
            SCRIPT,
            0o644,
            "Runtime.InvalidEntrypoint",
            "fork/exec /var/task/bootstrap: permission denied",
            id="not executable",
        ),
        pytest.param(
            "#!/no/such/interpreter\n",
            EXECUTABLE,
            "Runtime.InvalidEntrypoint",
            "fork/exec /var/task/bootstrap: no such file or directory",
            id="no interpreter",
        ),
        pytest.param(
            "#!/bin/sh\r\nexit 0\r\n",
            EXECUTABLE,
            "Runtime.InvalidEntrypoint",
            "fork/exec /var/task/bootstrap: no such file or directory",
            id="Windows's line ends",
        ),
        pytest.param(
            "exit 0\n",
            EXECUTABLE,
            "Runtime.InvalidEntrypoint",
            "fork/exec /var/task/bootstrap: exec format error",
            id="a script without its first line",
        ),
        pytest.param(
            FOREIGN,
            EXECUTABLE,
            "Runtime.InvalidEntrypoint",
            "fork/exec /var/task/bootstrap: exec format error",
            id="another machine's program",
        ),
        pytest.param(
            "\x7fELF but no more\n",
            EXECUTABLE,
            "Runtime.InvalidEntrypoint",
            "fork/exec /var/task/bootstrap: exec format error",
            id="no program at all",
        ),
        pytest.param(
            "#!/bin/sh\nexec /no/such/program\n",
            EXECUTABLE,
            "Runtime.ExitError",
            "Runtime exited with error: exit status 127",
            id="a program of its own missing",
        ),
        pytest.param(
            "#!/bin/sh\nexec /var/task/data\n",
            EXECUTABLE,
            "Runtime.ExitError",
            "Runtime exited with error: exit status 126",
            id="a program of its own not executable",
        ),
        pytest.param(
            "#!/bin/sh\nexit 0\n",
            EXECUTABLE,
            "Runtime.ExitError",
            "Runtime exited without providing a reason",
            id="over at once",
        ),
    ],
)
def test_a_bootstrap_that_cannot_run_is_told_as_lambda_tells_it_each_time(
    function: Function, content: str | bytes, mode: int, error_type: str, text: str
) -> None:
    put(function, zipped({"bootstrap": (content, mode), "data": ("", 0o644)}))
    for _ in range(2):
        assert told(function.invoke()) == (error_type, text)


def test_a_bootstrap_that_is_nowhere_is_missed_in_both_places(function: Function) -> None:
    put(function, zipped({"bootstrap/in/a/folder": ("", EXECUTABLE), "bin/bootstrap": ("", 0o755)}))
    assert told(function.invoke()) == ("Runtime.InvalidEntrypoint", MISSING)
    put(function, package({"data": ""}), package({"bin/bootstrap": SCRIPT}))
    assert told(function.invoke()) == ("Runtime.InvalidEntrypoint", MISSING)


def test_a_folder_of_that_name_does_not_hide_a_layers_bootstrap(function: Function) -> None:
    put(function, package({"bootstrap/file": ""}), package({"bootstrap": SCRIPT}))
    assert told(function.invoke()) == (
        "Runtime.ExitError",
        "Runtime exited with error: exit status 9",
    )


def test_awss_wrapper_is_not_for_runtimes_of_ones_own(function: Function) -> None:
    put(function, package({"bootstrap": SCRIPT, "wrapper": "#!/bin/sh\nexit 8\n"}))
    function.configure(Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}})
    assert told(function.invoke())[1] == "Runtime exited with error: exit status 9"
    function.configure(Environment={"Variables": {}})
