"""What a function finds in its container: variables, folders, limits; each language looks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest

from tests.support.images import by_runtime, compiled, ensure
from tests.support.instance import Deploy, Function, Instance
from tests.support.probes import PROBES, PYTHON, QUICK, Probe

MEMORY = 256
_LIBRARIES = "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
_BINARIES = "/usr/local/bin:/usr/bin/:/bin:/opt/bin"

# What every managed runtime has; None: whatever it is.
MANAGED: Mapping[str, str | None] = {
    "PATH": f"/var/lang/bin:{_BINARIES}",
    "LD_LIBRARY_PATH": f"/var/lang/lib:{_LIBRARIES}",
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
    "PWD": "/var/task",
    "SHLVL": "0",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_SESSION_TOKEN": None,
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY),
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_LOG_FORMAT": "Text",
    "AWS_LAMBDA_LOG_STREAM_NAME": None,
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "AWS_LAMBDA_METADATA_API": "127.0.0.1:9001",
    "AWS_LAMBDA_METADATA_TOKEN": None,
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
    "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
    "_AWS_XRAY_DAEMON_PORT": "2000",
}

_NODE_PATH = "/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task"
# What a language's has beside them, or has not: then it is "-".
OWN: Mapping[str, Mapping[str, str | None]] = {
    "python": {"PYTHONPATH": "/var/runtime", "LC_CTYPE": "C.UTF-8", "_X_AMZN_TRACE_ID": None},
    "nodejs": {"_X_AMZN_TRACE_ID": None},
    "ruby": {
        "GEM_HOME": "/var/task/vendor/bundle/ruby/3.3.0",
        "GEM_PATH": "/var/task/vendor/bundle/ruby/3.3.0:/opt/ruby/gems/3.3.0",
        "RUBYLIB": "/var/task:/var/runtime/lib:/opt/ruby/lib",
        "_X_AMZN_TRACE_ID": None,
    },
    # the others' clients take it out of their environment, which Java cannot
    "java": {"_LAMBDA_TELEMETRY_LOG_FD": None},
    "provided": {
        "PATH": _BINARIES,
        "LD_LIBRARY_PATH": _LIBRARIES,
        "AWS_EXECUTION_ENV": "-",
        # bash's own
        "SHLVL": None,
        "_": None,
    },
}


@pytest.fixture(scope="module", params=by_runtime(PROBES, QUICK))
def probe(request: pytest.FixtureRequest) -> Probe:
    chosen: Probe = request.param
    ensure(chosen.runtime)
    return chosen


@pytest.fixture(scope="module")
def function(
    probe: Probe, instance: Instance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    files: Mapping[str, str | bytes] = probe.files
    if "Handler.java" in files:
        files = compiled(probe.files, tmp_path_factory.mktemp("compiled"))
    made = instance.deploy(
        {**files, "wrapper": WRAPPER},
        Runtime=probe.runtime,
        Handler=probe.handler,
        MemorySize=MEMORY,
        Environment={"Variables": {"OWN": "mine"}},
    )
    yield made
    made.delete()


def expected(probe: Probe, function: Function) -> dict[str, str | None]:
    language = next(name for name in OWN if probe.runtime.startswith(name))
    of_node = {}
    if language == "nodejs":
        major = probe.runtime.removeprefix("nodejs").removesuffix(".x")
        of_node = {"NODE_PATH": f"/opt/nodejs/node{major}/node_modules:{_NODE_PATH}"}
    every = {
        **MANAGED,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{probe.runtime}",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "_HANDLER": probe.handler,
        "OWN": "mine",
        **of_node,
        **OWN[language],
    }
    return {name: value for name, value in every.items() if value != "-"}


def test_it_has_the_variables_of_lambda_and_no_others(probe: Probe, function: Function) -> None:
    found = function.invoke({"env": True}).document
    wanted = expected(probe, function)
    assert sorted(found) == sorted(wanted)
    told = {name: value for name, value in wanted.items() if value is not None}
    assert {name: found[name] for name in told} == told
    assert "[$LATEST]" in found["AWS_LAMBDA_LOG_STREAM_NAME"]


INTERPRETERS = {
    probe.runtime: f"/var/lang/bin/{interpreter}"
    for probe in PROBES
    for language, interpreter in (
        ("python", "python3"),
        ("nodejs", "node"),
        ("ruby", "ruby"),
        ("java", "java"),
    )
    if probe.runtime.startswith(language)
}
WRAPPER = """#!/bin/sh
export WRAPPED="$*" OWN=it
exec "$@"
"""
LOOK = "stat -c '%A %u:%g %n' /var/task /opt /tmp /var/runtime"


def run(function: Function, command: str) -> list[str]:
    answer = function.invoke({"run": command})
    assert answer.error is None, answer.body
    lines: list[str] = answer.document.splitlines()
    return lines


def test_it_starts_in_its_folder_as_nobody_with_lambdas_limits(function: Function) -> None:
    assert run(function, "pwd; ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc; ulimit -s") == [
        "/var/task",
        *("1024", "1024", "0", "0", "8192"),
    ]
    uid, gid, groups = run(function, "id -u; id -g; id -G")
    assert uid == gid == groups
    assert int(uid) >= 100_000
    assert run(function, "id -un; getent passwd sbx_user1051") == [
        "sbx_user1051",
        f"sbx_user1051:x:{uid}:{uid}::/home/sbx_user1051:/sbin/nologin",
    ]
    assert run(function, "ls -d /dev/shm 2>/dev/null || echo none") == ["none"]


def test_folders_belong_to_root_and_only_tmp_is_open(function: Function) -> None:
    assert run(function, LOOK) == [
        "drwxr-xr-x 0:0 /var/task",
        "drwxr-xr-x 0:0 /opt",
        "drwxrwxrwt 0:0 /tmp",
        "drwxr-xr-x 0:0 /var/runtime",
    ]
    assert run(function, "stat -f -c '%b %S %c' /tmp") == [f"{512 * 256} 4096 {512 * 64}"]


def test_a_wrapper_starts_the_runtime_of_every_managed_language(
    probe: Probe, function: Function
) -> None:
    if probe.runtime.startswith("provided"):
        pytest.skip("what it does with a wrapper is its own affair: see test_bootstraps.py")
    with_wrapper(function, "/var/task/wrapper")
    found = function.invoke({"env": True}).document
    assert (found["WRAPPED"].partition(" ")[0], found["OWN"]) == (INTERPRETERS[probe.runtime], "it")
    with_wrapper(function, "/var/task/none")
    answer = function.invoke({"env": True})
    assert answer.document == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer.request_id} "
        "Error: Runtime exited with error: exit status 127",
    }
    function.configure(Environment={"Variables": {"OWN": "mine"}})
    assert "WRAPPED" not in function.invoke({"env": True}).document


def with_wrapper(function: Function, path: str) -> None:
    function.configure(Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": path}})


def test_tmp_is_as_large_as_it_is_asked_to_be(deploy: Deploy) -> None:
    function = deploy(PYTHON, EphemeralStorage={"Size": 2048})
    assert run(function, "stat -f -c '%b %S %c' /tmp") == [f"{2048 * 256} 4096 {2048 * 64}"]
    assert run(function, "head -c 600M /dev/zero >/tmp/f; stat -c %s /tmp/f") == [str(600 * 2**20)]
    function.configure(EphemeralStorage={"Size": 513})
    assert run(function, "ls -A /tmp; stat -f -c '%b' /tmp") == [str(513 * 256)]


@pytest.mark.parametrize("size", [0, 6 * 2**20], ids=["by frame", "mounted"])
def test_files_of_the_code_can_be_read_and_what_may_be_run_run(deploy: Deploy, size: int) -> None:
    function = deploy({"handler.py": PYTHON, "data": os.urandom(size), "deep/er/file": ""})
    owners = {f"{owner}:{owner}" for owner in (0, os.geteuid())}
    lines = run(function, "cd /var/task; stat -c '%A %U:%G %u:%g %n' . data deep deep/er/file")
    rights = [(line.split()[0], line.split()[-1]) for line in lines]
    assert rights == [
        ("drwxr-xr-x", "."),
        ("-rwxr-xr-x", "data"),
        ("drwxr-xr-x", "deep"),
        ("-rwxr-xr-x", "deep/er/file"),
    ]
    assert {line.split()[2] for line in lines} <= owners


def test_a_function_may_have_its_own_of_what_is_not_reserved(deploy: Deploy) -> None:
    own = {
        "PATH": "/bin:/var/task",
        "LD_LIBRARY_PATH": "/var/task",
        "PYTHONPATH": "/var/task/vendor",
        "LANG": "C.UTF-8",
        "TZ": "Europe/Paris",
        "AWS_XRAY_CONTEXT_MISSING": "IGNORE_ERROR",
    }
    function = deploy(
        {"handler.py": PYTHON, "vendor/vendored.py": "WHO = 'vendored'"},
        Environment={"Variables": own},
    )
    found = function.invoke({"env": True}).document
    assert {name: found[name] for name in own} == own
    assert function.invoke({"load": "vendored"}).document == "vendored"
    assert run(function, "date -d @0 +%H")[0] == "01"


METADATA = """
import os, urllib.request

def handler(event, context):
    request = urllib.request.Request(
        f"http://{os.environ['AWS_LAMBDA_METADATA_API']}/2026-01-15/metadata/execution-environment",
        headers={"Authorization": f"Bearer {os.environ['AWS_LAMBDA_METADATA_TOKEN']}"},
    )
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()
"""


def test_it_may_ask_where_it_runs(deploy: Deploy) -> None:
    assert deploy(METADATA).invoke().document == '{"AvailabilityZoneID":"use1-az1"}'


def test_the_sdk_for_python_is_in_the_runtime(deploy: Deploy) -> None:
    function = deploy(
        "import boto3, botocore\n"
        "def handler(event, context):\n"
        "    return [boto3.__file__, botocore.__file__, boto3.client('s3').meta.region_name]"
    )
    assert function.invoke().document == [
        "/var/runtime/boto3/__init__.py",
        "/var/runtime/botocore/__init__.py",
        "us-east-1",
    ]
