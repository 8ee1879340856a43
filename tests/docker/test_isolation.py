"""What every container is allowed: as the engine tells it, and as the function finds it."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.instance import Deploy, Function, docker

PROBE = """
import ctypes, errno, os, resource, signal, socket, subprocess, time
libc = ctypes.CDLL(None, use_errno=True)

def refused(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

def system_call(function, *arguments):
    ctypes.set_errno(0)
    if getattr(libc, function)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), function)

def handler(event, context):
    scope = dict(globals())
    exec(event, scope)
    return scope["result"]
"""

BIG = {"blob.bin": bytes(range(256)) * (20 * 1024)}
"""More than travels by frame: such code is mounted."""


@pytest.fixture(params=["code by frame", "code mounted"])
def probe(deploy: Deploy, request: pytest.FixtureRequest) -> Function:
    """A function that runs the Python that is its event."""
    files = {"handler.py": PROBE, **(BIG if request.param == "code mounted" else {})}
    return deploy(files)


def result(function: Function, expression: str) -> Any:
    answer = function.invoke(f"result = {expression}")
    assert answer.error is None, answer.body
    return answer.document


def inspect(function: Function) -> dict[str, Any]:
    """What the engine says about the container of an idle environment."""
    container = result(function, "socket.gethostname()")
    found: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return found


def test_the_engine_is_asked_for_every_isolation(probe: Function) -> None:
    container = inspect(probe)
    host = container["HostConfig"]
    assert container["Config"]["Labels"]["dev.fnbox.instance"] == probe.instance.id
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert sorted(name.removeprefix("CAP_") for name in host["CapAdd"]) == [
        "KILL",
        "SETGID",
        "SETPCAP",
        "SETUID",
    ]
    assert host["Privileged"] is False
    assert "no-new-privileges" in host["SecurityOpt"]
    assert any(option.startswith("seccomp={") for option in host["SecurityOpt"])
    assert host["PidsLimit"] == 1024
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["NanoCpus"] > 0
    assert {(u["Name"], u["Soft"], u["Hard"]) for u in host["Ulimits"]} == {
        ("nofile", 1024, 1024),
        ("core", 0, 0),
    }
    assert host["IpcMode"] == "none"
    assert host["PidMode"] == host["UTSMode"] == host["UsernsMode"] == ""
    assert host["CgroupnsMode"] == "private"
    assert host["LogConfig"]["Type"] == "none"
    assert not host["Devices"]
    assert not host["Binds"]
    writable = {mount["Destination"] for mount in container["Mounts"] if mount["RW"]}
    assert writable <= {"/fnbox/channel"}


def test_nothing_secret_can_be_read_through_the_engine(deploy: Deploy) -> None:
    secret = uuid.uuid4().hex
    function = deploy(
        PROBE + f"CODE = '{secret}'", Environment={"Variables": {"TOKEN": secret, "NAMED": "x"}}
    )
    assert result(function, "[CODE, os.environ['TOKEN']]") == [secret, secret]
    container = inspect(function)
    assert secret not in json.dumps(container)
    assert "NAMED" not in json.dumps(container)
    pid = container["State"]["Pid"]
    with open(f"/proc/{pid}/environ", "rb") as environ:
        assert secret.encode() not in environ.read()


def test_the_runtime_is_nobody_and_may_nothing(probe: Function) -> None:
    lines = result(probe, "open('/proc/self/status').read().splitlines()")
    status = dict(line.split(":\t", 1) for line in lines)
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert int(status[f"Cap{kind}"], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    uids, gids = status["Uid"].split(), status["Gid"].split()
    assert len({*uids, *gids}) == 1
    assert int(uids[0]) >= 100_000
    assert status["Groups"].split() in ([], [uids[0]])


def test_each_environment_has_a_user_id_of_its_own(deploy: Deploy) -> None:
    function = deploy(PROBE)
    with ThreadPoolExecutor(3) as threads:
        calls = ["time.sleep(8) or os.getuid()"] * 3
        uids = list(threads.map(lambda call: result(function, call), calls))
    assert len(set(uids)) == 3


@pytest.mark.parametrize(
    "path", ["/file", "/var/task/file", "/var/runtime/file", "/etc/file", "/usr/bin/file", "/opt/f"]
)
def test_nothing_but_tmp_can_be_written(deploy: Deploy, path: str) -> None:
    function = deploy(PROBE)
    assert result(function, f"refused(open, {path!r}, 'w')") in ("EROFS", "EACCES")
    assert result(function, "refused(open, '/tmp/file', 'w')") is None


def test_the_code_cannot_be_changed(probe: Function) -> None:
    for action in (
        "open, '/var/task/handler.py', 'r+'",
        "os.unlink, '/var/task/handler.py'",
        "os.rename, '/var/task/handler.py', '/var/task/other.py'",
        "os.chmod, '/var/task/handler.py', 0o777",
        "os.mkdir, '/var/task/other'",
    ):
        assert result(probe, f"refused({action})") in ("EROFS", "EACCES", "EPERM"), action


def test_programs_in_tmp_can_be_run(deploy: Deploy) -> None:
    function = deploy(PROBE)
    answer = function.invoke("""
with open("/tmp/program", "w") as file:
    file.write("#!/bin/sh\\necho ran")
os.chmod("/tmp/program", 0o755)
result = subprocess.check_output("/tmp/program", text=True)
""")
    assert answer.document == "ran\n"


def test_a_full_tmp_is_no_space_left_and_no_end(deploy: Deploy) -> None:
    function = deploy(PROBE, MemorySize=128, EphemeralStorage={"Size": 512})
    answer = function.invoke("""
def fill():
    with open("/tmp/file", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
result = [refused(fill), os.stat("/tmp/file").st_size >> 20, os.unlink("/tmp/file")]
""")
    assert answer.error is None, answer.body
    assert answer.document == ["ENOSPC", 512, None]


def test_there_is_no_network_and_no_shared_memory(probe: Function) -> None:
    assert result(probe, "os.listdir('/sys/class/net')") == ["lo"]
    for address in ("('1.1.1.1', 53)", "('169.254.169.254', 80)", "('172.17.0.1', 22)"):
        expression = f"refused(socket.create_connection, {address}, 2)"
        assert result(probe, expression) == "ENETUNREACH", address
    port = probe.instance.port
    expression = f"refused(socket.create_connection, ('127.0.0.1', {port}), 2)"
    assert result(probe, expression) == "ECONNREFUSED"
    assert result(probe, "os.path.exists('/dev/shm')") is False


def test_the_init_is_out_of_reach(probe: Function) -> None:
    for action in (
        "open, '/proc/1/environ'",
        "open, '/proc/1/mem', 'rb'",
        "os.listdir, '/proc/1/fd'",
        "os.listdir, '/proc/1/root/'",
        "os.kill, 1, signal.SIGKILL",
        "os.kill, 1, signal.SIGTERM",
    ):
        assert result(probe, f"refused({action})") in ("EACCES", "EPERM"), action
    assert result(probe, "os.path.exists('/fnbox/channel/control.sock')") is False
    for action in (
        "open, '/fnbox/init', 'r+b'",
        "os.unlink, '/fnbox/init'",
        "open, '/fnbox/channel/file', 'w'",
        "os.listdir, '/fnbox/channel'",
    ):
        assert result(probe, f"refused({action})") in ("EACCES", "EPERM", "EROFS"), action
    # Sockets of ours that a runtime could have inherited.
    links = result(probe, "[os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2)]")
    assert not any("socket" in link for link in links)


def test_what_endangers_the_kernel_is_refused(deploy: Deploy) -> None:
    function = deploy(PROBE)
    for call in (
        "'unshare', 0x10000000",  # a user namespace
        "'mount', b'none', b'/tmp', b'tmpfs', 0, None",
        "'ptrace', 16, 1, 0, 0",
        "'syscall', 425, 8, ctypes.create_string_buffer(120)",  # io_uring_setup
        "'syscall', 250, 0, 0, 0, 0, 0",  # keyctl
        "'syscall', 321, 0, 0, 0",  # bpf
        "'setuid', 0",
        "'sethostname', b'x', 1",
    ):
        found = result(function, f"refused(system_call, {call})")
        assert found in ("EPERM", "EACCES", "ENOSYS"), call
    expression = "refused(socket.socket, 40, socket.SOCK_STREAM)"  # AF_VSOCK
    assert result(function, expression) in ("EPERM", "EACCES", "EAFNOSUPPORT")
    assert result(function, "resource.getrlimit(resource.RLIMIT_NOFILE)") == [1024, 1024]
    assert result(function, "resource.getrlimit(resource.RLIMIT_CORE)") == [0, 0]


def test_processes_are_limited_and_end_with_their_environment(deploy: Deploy) -> None:
    function = deploy(PROBE, MemorySize=1024)
    answer = function.invoke("""
spawned = []
def spawn():
    while True:
        spawned.append(os.posix_spawn("/bin/sleep", ["sleep", "1000"], {}))
result = [refused(spawn), len(spawned)]
""")
    assert answer.error is None, answer.body
    assert answer.document[0] == "EAGAIN"
    assert 500 < answer.document[1] < 1024
    assert result(deploy(PROBE), "'others run'") == "others run"
