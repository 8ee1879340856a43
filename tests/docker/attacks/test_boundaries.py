"""What a hostile function finds at the walls of its container, and at the Runtime API.

Every attack runs in a real container, as the function: a runtime of the function's own does
what its event says, with the Runtime API in its hands.
"""

from __future__ import annotations

import json
import uuid

import pytest

from tests.support.hostile import FUNCTION_SECRET, HOST_SECRET, inspect, run, value
from tests.support.instance import Function, docker

# Files

WALK = """
def write(path, flags):
    file = os.open(path, flags | os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if path.startswith("/proc/"):  # what may be opened there need not take anything
            os.write(file, b"x")
    finally:
        os.close(file)

found = []
own = {str(os.getpid()), "self", "thread-self"}
for folder, directories, files in os.walk("/"):
    if folder == "/":
        directories.remove("tmp")
    if folder == "/proc":
        directories[:] = [name for name in directories if name not in own]
    if refused(write, os.path.join(folder, "probe"), os.O_CREAT) is None:
        found.append(folder + "/")
    for name in files:
        path = os.path.join(folder, name)
        if os.path.islink(path) or os.stat(path).st_rdev == os.makedev(1, 3):
            continue  # what the engine hides in /proc is /dev/null
        if refused(write, path, 0) is None:
            found.append(path)
result = sorted(found)
"""
HARMLESS = {f"/dev/{name}" for name in ("full", "null", "ptmx", "random", "urandom", "zero")}
# Terminals and message queues of its own: of no other namespace, and gone with it.
HARMLESS |= {"/dev/pts/ptmx", "/dev/mqueue/"}


def test_no_file_outside_tmp_can_be_written(hostile: Function) -> None:
    assert set(run(hostile, WALK)) <= HARMLESS
    assert value(hostile, "refused(open, '/tmp/file', 'w')") is None


def test_there_are_no_devices_but_the_harmless(hostile: Function) -> None:
    nodes = run(
        hostile,
        """
result = []
for folder, _, files in os.walk("/"):
    for name in files:
        mode = os.lstat(os.path.join(folder, name)).st_mode if folder[:5] != "/proc" else 0
        if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
            result.append(os.path.join(folder, name))
""",
    )
    # What the engine lays over files in /proc and /sys is /dev/null.
    assert {node for node in nodes if not node.startswith("/sys/")} <= HARMLESS | {"/dev/tty"}


def test_what_is_mounted_is_read_only_or_carries_no_privilege(hostile: Function) -> None:
    lines = value(hostile, "open('/proc/self/mounts').read().splitlines()")
    for line in lines:
        _, path, _, options = line.split()[:4]
        assert {"ro", "nosuid"} & set(options.split(",")) or path == "/fnbox/channel", line
    assert value(hostile, "refused(os.listdir, '/fnbox/channel')") == "EACCES"


def test_a_program_with_the_setuid_bit_gives_nothing(hostile: Function) -> None:
    found = run(
        hostile,
        """
status = open("/proc/self/status").read()
programs = [f"/usr/bin/{name}" for name in ("su", "mount", "passwd")]
program = next(filter(os.path.exists, programs), None)
result = ["NoNewPrivs:\\t1" in status, program and bool(os.stat(program).st_mode & stat.S_ISUID)]
if program:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([program], **pipes) as child:
        lines = open(f"/proc/{child.pid}/status").read().splitlines()
        child.kill()
    (uids,) = [line.split()[1:] for line in lines if line.startswith("Uid")]
    result.append(set(uids) == {str(os.getuid())})
""",
    )
    assert found[0] is True
    assert found[2:] in ([], [True])


# Secrets


def test_nothing_secret_can_be_read_below_proc(hostile: Function) -> None:
    code = f"""
secrets = [{HOST_SECRET!r}.encode(), {FUNCTION_SECRET!r}.encode()]
def read(path):
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(file, 1 << 20)
    finally:
        os.close(file)

result, seen = [], 0
others = [name for name in os.listdir("/proc") if name.isdigit() and name != str(os.getpid())]
for process in others:
    for folder, directories, files in os.walk(f"/proc/{{process}}"):
        directories[:] = [name for name in directories if name not in ("root", "cwd")]
        for path in (os.path.join(folder, name) for name in files):
            try:
                content = read(path)
            except OSError:
                continue
            seen += 1
            if any(secret in content for secret in secrets):
                result.append(path)
for name in ("environ", "maps", "mem", "auxv", "stack", "syscall", "io"):
    if not refused(read, f"/proc/1/{{name}}"):
        result.append(name)
result = [result, seen > 0]
"""
    found = run(hostile, code)
    assert found == [[], True]


def test_the_environment_holds_the_functions_own_and_nothing_of_the_hosts(
    hostile: Function,
) -> None:
    names = set(value(hostile, "dict(os.environ)"))
    assert HOST_SECRET not in json.dumps(value(hostile, "dict(os.environ)"))
    assert not [name for name in names if name.startswith(("FNBOX_", "HOST_", "DOCKER_"))]


def test_neither_the_container_nor_its_image_tells_a_secret(hostile: Function) -> None:
    container = inspect(hostile)
    history = docker("history", "--no-trunc", container["Image"])
    told = json.dumps(container) + docker("inspect", container["Image"]) + history
    for secret in (HOST_SECRET, FUNCTION_SECRET, "TOKEN"):
        assert secret not in told


# The init, its channel, other environments

INIT = {
    "kill": "os.kill, 1, 9",
    "the signal 0": "os.kill, 1, 0",
    "a signal by descriptor": "lambda: signal.pidfd_send_signal(os.pidfd_open(1), 9)",
    "its memory": "open, '/proc/1/mem', 'r+b'",
    "its descriptors": "os.listdir, '/proc/1/fd'",
    "its root": "os.listdir, '/proc/1/root/'",
    "its working directory": "os.listdir, '/proc/1/cwd/'",
    "its program": "os.readlink, '/proc/1/exe'",
    "its namespaces": "os.readlink, '/proc/1/ns/net'",
    "its priority": "os.setpriority, os.PRIO_PROCESS, 1, 19",
    "its CPUs": "os.sched_setaffinity, 1, {0}",
    "its scheduling": "os.sched_setscheduler, 1, os.SCHED_BATCH, os.sched_param(0)",
    "its limits": "lambda: __import__('resource').prlimit(1, 7, (3, 3))",
    "its score": "open, '/proc/1/oom_score_adj', 'w'",
    "the channel's directory": "os.listdir, '/fnbox/channel'",
    "the channel": "lambda: socket.socket(socket.AF_UNIX).connect('/fnbox/channel/control.sock')",
    "the init's program": "open, '/fnbox/init', 'r+b'",
}


@pytest.mark.parametrize("what", INIT)
def test_of_the_init_out_of_reach_is(hostile: Function, what: str) -> None:
    assert value(hostile, f"refused({INIT[what]})") in ("EPERM", "EACCES", "EROFS", "ENOSYS")


def test_no_socket_of_anybody_elses_listens_where_it_can_be_reached(hostile: Function) -> None:
    found = run(
        hostile,
        """
lines = [line.split() for line in open("/proc/net/unix").read().splitlines()[1:]]
paths = [line[7] for line in lines if len(line) > 7]
def connect(path):
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("\\0" + path[1:] if path[0] == "@" else path)
result = [path for path in paths if refused(connect, path) is None]
""",
    )
    assert found == []


def test_no_process_of_another_environment_is_seen(hostile: Function) -> None:
    source = "import subprocess\nsubprocess.Popen(['sleep', '99'])\ndef handler(*_): pass"
    hostile.instance.deploy(source).invoke()
    commands = run(
        hostile,
        """
processes = [name for name in os.listdir("/proc") if name.isdigit()]
result = [open(f"/proc/{name}/cmdline").read().split("\\0")[0] for name in processes]
""",
    )
    assert "/fnbox/init" in commands
    assert not [command for command in commands if "sleep" in command]


def test_accounts_share_no_environment_and_no_function(hostile: Function) -> None:
    instance = hostile.instance
    other = instance.of_account("111111111111")
    source = (
        "import os, socket\ndef handler(event, context): return [socket.gethostname(), os.getuid()]"
    )
    ours, theirs = instance.deploy(source, "same-name"), other.deploy(source, "same-name")
    try:
        mine, others = ours.invoke().document, theirs.invoke().document
        assert mine[0] != others[0]
        assert mine[1] != others[1]
        assert ours.invoke().document == mine
    finally:
        theirs.delete()
        other.client.close()


# The Runtime API


def test_an_answer_to_another_request_is_refused(hostile: Function) -> None:
    foreign = str(uuid.uuid4())
    code = f"""
statuses = [respond(name, "forged") for name in ({foreign!r}, "x", "..", "")]
statuses.append(ask("POST", API + "/invocation/{foreign}/error", "{{}}")[0])
result = statuses
"""
    statuses = run(hostile, code)
    assert {status // 100 for status in statuses} == {4}


def test_the_first_of_two_answers_counts(hostile: Function) -> None:
    code = """
kept["statuses"] = [respond(request, "first"), respond(request, "second")]
answered = True
"""
    assert run(hostile, code) == "first"
    first, second = value(hostile, "kept['statuses']")
    assert first == 202
    assert second // 100 == 4


def test_an_answer_that_comes_after_the_next_event_is_refused(hostile: Function) -> None:
    run(hostile, "kept['old'] = request; result = None")
    status, own = run(hostile, "result = [respond(kept['old'], 'late'), 'own']")
    assert (status // 100, own) == (4, "own")


def test_initialization_cannot_fail_after_it_has_ended(hostile: Function) -> None:
    status, own = run(hostile, "result = [ask('POST', API + '/init/error', '{}')[0], 'own']")
    assert (status // 100, own) == (4, "own")


def test_a_second_runtime_that_asks_for_events_disturbs_no_answer(hostile: Function) -> None:
    start = """
import threading
def steal():
    for _ in range(3):
        try:
            _, body, headers = ask("GET", API + "/invocation/next")
            kept.setdefault("stolen", []).append(headers["Lambda-Runtime-Aws-Request-Id"])
        except OSError:
            pass
kept["thief"] = threading.Thread(target=steal, daemon=True)
kept["thief"].start()
result = "started"
"""
    assert run(hostile, start) == "started"
    assert [value(hostile, repr(number)) for number in range(10)] == list(range(10))
    again = _fresh(hostile)
    assert value(again, "'well'") == "well"


def _fresh(function: Function) -> Function:
    """The same with a new environment: what was done to the last is its own affair."""
    function.configure(Description=uuid.uuid4().hex)
    return function


def raw(data: str, *, wait: bool = True) -> str:
    read = (
        "first = end.recv(100).decode()"
        if wait
        else "first = ''; kept.setdefault('open', []).append(end)"
    )
    return f"""
host, port = HOST.split(":")
end = socket.create_connection((host, int(port)), 5)
try:
    end.sendall({data})
    {read}
except OSError as error:
    first = type(error).__name__
result = first
"""


@pytest.mark.parametrize(
    "data",
    [
        "b'GET / HTTP/1.1\\r\\nX: ' + b'x' * (1 << 20) + b'\\r\\n\\r\\n'",
        "b'GET /' + b'x' * (1 << 20) + b' HTTP/1.1\\r\\n\\r\\n'",
        "b'GET / HTTP/1.1\\r\\n' + b'X: y\\r\\n' * 100000 + b'\\r\\n'",
        "b'POST / HTTP/1.1\\r\\nContent-Length: 99999999999999999999\\r\\n\\r\\n'",
        "b'POST / HTTP/1.1\\r\\nContent-Length: -1\\r\\n\\r\\n'",
        "b'\\0' * (3 << 20)",
    ],
    ids=[
        "a header of 1 MiB",
        "a path of 1 MiB",
        "100,000 headers",
        "a length of 20 digits",
        "a length below 0",
        "bytes that are no HTTP",
    ],
)
def test_a_request_that_is_too_large_or_none_ends_its_connection_alone(
    hostile: Function, data: str
) -> None:
    first = run(hostile, raw(data))
    assert first == "" or first.startswith("HTTP/1.1 4") or first.endswith("Error"), first
    assert value(hostile, "'well'") == "well"


def test_half_requests_hold_up_nobody(hostile: Function) -> None:
    for data in (
        "b'GET /2018-06-01/runtime/invocation/ne'",
        "b'POST / HTTP/1.1\\r\\nContent-Length: 9\\r\\n\\r\\nhalf'",
    ):
        for _ in range(20):
            assert run(hostile, raw(data, wait=False)) == ""
    assert [value(hostile, repr(number)) for number in range(10)] == list(range(10))
    _fresh(hostile)


def test_a_thousand_connections_hold_up_nobody(hostile: Function) -> None:
    code = """
host, port = HOST.split(":")
def connect():
    while len(kept.setdefault("many", [])) < 1000:
        kept["many"].append(socket.create_connection((host, int(port)), 5))
        kept["many"][-1].sendall(b"GET /half")
result = [refused(connect), len(kept["many"])]
"""
    error, count = run(hostile, code)
    assert error in (None, "EMFILE", "ETIMEDOUT", "ECONNRESET", "EPIPE"), error
    assert count > 500
    assert [value(hostile, repr(number)) for number in range(10)] == list(range(10))
    assert value(_fresh(hostile), "'well'") == "well"
