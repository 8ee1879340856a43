"""The promises of `runtime/PROTOCOL.md`, kept by the real init in real containers.

The runtime is a small Python program that speaks the Runtime API itself, so that each test
says exactly what its function does. A test states what it promises in its name; the
container that it ran in is gone when it ends, which the fixture proves.
"""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import peer as channel
from tests.support.peer import (
    EXITED,
    FUNCTION_UID,
    INIT_ERROR,
    INITIALIZED,
    LOG,
    RESULT,
    SEGMENT,
    Peer,
)

pytestmark = pytest.mark.docker

LOOP = """
import http.client, json, os, sys, threading, time
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
BASE = "/2018-06-01/runtime"

def call(method, path, body=None, headers={}):
    connection.request(method, BASE + path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def serve(handler):
    while True:
        _, headers, event = call("GET", "/invocation/next")
        path = "/invocation/" + headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
        call("POST", path, json.dumps(handler(json.loads(event))))
"""


@pytest.fixture(scope="session")
def init_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The init to test: `FNBOX_TEST_INIT`, else the one in the image `fnbox/init`."""
    if given := os.environ.get("FNBOX_TEST_INIT"):
        return Path(given)
    return channel.extract("fnbox/init", "/init", tmp_path_factory.mktemp("init") / "init")


@pytest.fixture(scope="session")
def python_image() -> str:
    """An image with `python3`."""
    return os.environ.get("FNBOX_TEST_IMAGE", "fnbox/python3.13")


Boot = Callable[..., Peer]


@pytest.fixture
def boot(init_binary: Path, python_image: str) -> Iterator[Boot]:
    """Start a container whose runtime is LOOP and then the given code; nothing is left of it."""
    run = uuid.uuid4().hex
    with ExitStack() as stack:

        def start(
            code: str, *, wait: bool = True, extra: tuple[str, ...] = (), **over: Any
        ) -> Peer:
            peer = stack.enter_context(channel.container(init_binary, python_image, run, extra))
            peer.configure({"main.py": LOOP + code}, ["python3", "/var/task/main.py"], **over)
            peer.start()
            if wait:
                peer.until(INITIALIZED)
            return peer

        yield start
    assert channel.containers(run) == []


def invoke(peer: Peer, event: object) -> tuple[Any, bytes]:
    frame, output = peer.invoke(json.dumps(event).encode())
    assert frame.kind == RESULT, f"{frame}, {output.decode()}"
    return json.loads(frame.payload), output


def test_all_output_precedes_the_result(boot: Boot) -> None:
    peer = boot("""
def handler(count):
    for i in range(count):
        print("line", i, file=(sys.stdout, sys.stderr)[i % 2], flush=i % 2)
    sys.stdout.flush()
    return count
serve(handler)
""")
    choose = random.Random(1)
    for _ in range(2000):
        count = choose.choice((0, 1, 2, choose.randrange(40), choose.randrange(400)))
        assert invoke(peer, count)[1].count(b"\n") == count


def test_output_larger_than_the_pipe_precedes_the_result(boot: Boot) -> None:
    peer = boot("""
def handler(size):
    os.write(1, b"x" * size)
serve(handler)
""")
    for size in (65_536, 65_537, 5_000_000):
        assert len(invoke(peer, size)[1]) == size


SEGMENTS = """
import socket
daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
daemon.connect(("127.0.0.1", 2000))
def handler(count):
    for i in range(count):
        daemon.send(b"segment %d" % i)
    return count
serve(handler)
"""


def _segments(peer: Peer, count: int) -> tuple[list[bytes], int]:
    """The datagrams that precede the RESULT of an invocation, and how many were dropped."""
    peer.post(json.dumps(count).encode())
    payloads, dropped = [], 0
    while (frame := peer.until(SEGMENT, RESULT)[0]).kind == SEGMENT:
        if lost := frame.meta.get("dropped", 0):
            dropped += lost
        else:
            payloads.append(frame.payload)
    return payloads, dropped


def test_what_is_sent_to_the_daemon_s_address_precedes_the_result(boot: Boot) -> None:
    peer = boot(SEGMENTS)
    for count in (0, 1, 2, 100):
        assert _segments(peer, count) == ([b"segment %d" % i for i in range(count)], 0)


def test_a_flood_of_segments_is_bounded_and_the_next_invocation_has_its_own(boot: Boot) -> None:
    peer = boot(SEGMENTS)
    for _ in range(3):
        payloads, dropped = _segments(peer, 20_000)
        assert len(payloads) <= 1000
        assert len(payloads) + dropped <= 20_000  # the kernel drops some without a word
        assert payloads[0] == b"segment 0"
    assert _segments(peer, 1) == ([b"segment 0"], 0)


def test_a_flood_from_a_grandchild_holds_up_no_result(boot: Boot) -> None:
    peer = boot("""
import subprocess
subprocess.Popen(["sh", "-c", "while :; do echo flood; done"])
serve(lambda event: event)
""")
    for i in range(50):
        assert invoke(peer, i)[0] == i
    peer.kill()
    peer.until(EXITED)


TICKING = """
import subprocess
subprocess.Popen(["setsid", "sleep", "1000"])
def tick():
    while True:
        print("tick", flush=True)
        time.sleep(0.001)
threading.Thread(target=tick, daemon=True).start()
serve(lambda event: event)
"""


def test_between_invocations_every_thread_is_stopped(boot: Boot) -> None:
    peer = boot(TICKING, wait=False)
    for i in range(20):
        until(lambda: set(_states(peer)) == {"T"})
        assert len(_states(peer)) == 3
        request_id = peer.post(str(i).encode())
        frame, _ = peer.until(*((INITIALIZED,) if i == 0 else ()), RESULT)
        if frame.kind == INITIALIZED:
            frame, _ = peer.until(RESULT)
        assert (frame.meta["requestId"], frame.payload) == (request_id, str(i).encode())


def test_processes_run_on_between_invocations_where_freezing_is_off(boot: Boot) -> None:
    peer = boot(TICKING, freeze=False)
    invoke(peer, None)
    for _ in range(100):
        assert peer.receive().kind == LOG


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"


def _states(peer: Peer) -> list[str]:
    """The state of each thread in the container but the init's."""
    return [
        task.read_text().rpartition(")")[2].split()[0]
        for pid in _pids(peer)[1:]
        for task in Path(f"/proc/{pid}/task").glob("*/stat")
    ]


def _pids(peer: Peer) -> list[int]:
    return sorted(int(line) for line in peer.docker("top", "-o", "pid").splitlines()[1:])


def test_a_runtime_has_no_identity_but_its_own(boot: Boot) -> None:
    peer = boot("""
def handler(event):
    return [line.split() for line in open("/proc/self/status")]
serve(handler)
""")
    lines = {name.rstrip(":"): values for name, *values in invoke(peer, None)[0]}
    assert lines["Uid"] == lines["Gid"] == [str(FUNCTION_UID)] * 4
    assert lines["Groups"] == []
    assert lines["NoNewPrivs"] == ["1"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert lines[name] == ["0" * 16], name


def test_a_runtime_can_reach_neither_the_init_nor_the_channel(boot: Boot) -> None:
    peer = boot("""
import ctypes, socket
def attempt(action):
    try:
        return repr(action())
    except OSError as error:
        return type(error).__name__
def connect():
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect("/fnbox/run/channel")
def attach():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, 1, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
def handler(event):
    return {
        "descriptors": sorted(os.listdir("/proc/self/fd"))[:3],
        "standard input": os.readlink("/proc/self/fd/0"),
        "signal": attempt(lambda: os.kill(1, 0)),
        "its descriptors": attempt(lambda: os.listdir("/proc/1/fd")),
        "its environment": attempt(lambda: open("/proc/1/environ").read()),
        "its memory": attempt(lambda: open("/proc/1/mem", "rb").read()),
        "trace": attempt(attach),
        "channel": attempt(connect),
        "code": attempt(lambda: open("/var/task/other", "w")),
        "root": attempt(lambda: open("/other", "w")),
        "inherited": sorted(set(os.environ) - {"PWD", "LC_CTYPE", "_"}),
    }
serve(handler)
""")
    assert invoke(peer, None)[0] == {
        "descriptors": ["0", "1", "2"],
        "standard input": "/dev/null",
        "signal": "PermissionError",
        "its descriptors": "PermissionError",
        "its environment": "PermissionError",
        "its memory": "PermissionError",
        "trace": "PermissionError",
        "channel": "PermissionError",
        "code": "PermissionError",
        "root": "OSError",
        "inherited": ["AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LANG", "PATH"],
    }


@pytest.mark.parametrize(
    ("code", "description"),
    [
        ("sys.exit(0)", ""),
        ("sys.exit(1)", "exit status 1"),
        ("os._exit(129)", "exit status 129"),
        ("os.kill(os.getpid(), 9)", "signal: killed"),
        ("os.kill(os.getpid(), 6)", "signal: aborted"),
        ("os.kill(os.getpid(), 11)", "signal: segmentation fault"),
        ("os.kill(os.getpid(), 15)", "signal: terminated"),
    ],
)
@pytest.mark.parametrize("during", ["init", "an invocation"])
def test_an_end_is_reported_with_its_status_and_all_output(
    boot: Boot, code: str, description: str, during: str
) -> None:
    if during == "init":
        peer = boot(f"print('last words', flush=True); {code}", wait=False)
        frame, output = peer.until(EXITED)
        assert "requestId" not in frame.meta
    else:
        peer = boot(f"""
def handler(event):
    print('last words', flush=True); {code}
serve(handler)
""")
        frame, output = peer.invoke()
    assert frame.meta["generation"] == 1
    assert (frame.meta["cause"], frame.meta["description"]) == ("exit", description)
    assert output.startswith(b"last words\n")


def test_an_end_while_stopped_is_reported_too(boot: Boot) -> None:
    peer = boot("serve(lambda event: event)")
    invoke(peer, None)
    runtime = _pids(peer)[1]
    os.kill(runtime, 9)
    frame, _ = peer.until(EXITED)
    assert (frame.meta["cause"], frame.meta["description"]) == ("exit", "signal: killed")
    assert "requestId" not in frame.meta


def test_a_runtime_takes_with_it_what_it_has_left(boot: Boot) -> None:
    peer = boot("""
import subprocess
def handler(event):
    subprocess.Popen(["setsid", "sh", "-c", "sleep 1000 & sleep 1000"])
    os._exit(7)
serve(handler)
""")
    frame, _ = peer.invoke()
    assert frame.meta["description"] == "exit status 7"
    assert len(_pids(peer)) == 1


def test_orphans_are_reaped_while_the_runtime_lives(boot: Boot) -> None:
    peer = boot("""
import subprocess
def handler(event):
    for _ in range(20):
        subprocess.run(["sh", "-c", "true & true & exit 0"])
    return None
serve(handler)
""")
    for _ in range(30):  # 1,200 orphans, against a limit of 1,024 processes
        invoke(peer, None)
    assert len(_pids(peer)) == 2


def test_an_answer_counts_though_its_sender_dies_at_once(boot: Boot) -> None:
    peer = boot("""
_, headers, event = call("GET", "/invocation/next")
path = BASE + "/invocation/" + headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
connection.putrequest("POST", path)
connection.putheader("Content-Length", "2")
connection.endheaders(b"42")
os._exit(5)
""")
    frame, _ = peer.invoke()
    assert (frame.kind, frame.payload) == (RESULT, b"42")
    frame, _ = peer.until(EXITED)
    assert "requestId" not in frame.meta
    assert frame.meta["description"] == "exit status 5"


def test_a_kill_and_a_start_keep_tmp_and_nothing_else(boot: Boot) -> None:
    peer = boot("""
count = 0
def handler(event):
    global count
    count += 1
    with open("/tmp/log", "a+") as log:
        log.write("x")
        log.seek(0)
        return [count, log.read()]
def hang_or(event):
    if event != "hang":
        return handler(event)
    print("hangs", flush=True)
    time.sleep(1000)
serve(hang_or)
""")
    assert invoke(peer, 1)[0] == [1, "x"]
    assert invoke(peer, 2)[0] == [2, "xx"]
    request_id = peer.post(b'"hang"')
    peer.until(LOG)
    peer.kill()
    frame, _ = peer.until(EXITED)
    assert frame.meta["requestId"] == request_id
    assert (frame.meta["cause"], frame.meta["description"]) == ("killed", "signal: killed")
    peer.start("invoke")
    peer.until(INITIALIZED)
    assert invoke(peer, 3)[0] == [1, "xxx"]
    invoke(peer, 4)
    peer.kill()  # now it is stopped
    assert peer.until(EXITED)[0].meta["cause"] == "killed"


def test_more_anonymous_memory_than_configured_ends_the_runtime(boot: Boot) -> None:
    peer = boot(
        """
def handler(megabytes):
    block = bytearray(megabytes << 20)
    print(len(block), flush=True)
    return None
serve(handler)
""",
        memoryBytes=128 << 20,
        extra=("--memory=1g",),
    )
    frame, _ = peer.invoke(b"64")
    assert frame.kind == RESULT
    peak = frame.meta["maxMemoryBytes"]
    frame, _ = peer.invoke(b"512")
    assert frame.kind == EXITED
    assert frame.meta["cause"] == "outOfMemory"
    assert frame.meta["maxMemoryBytes"] > max(peak, 128 << 20)


def test_a_kill_by_the_kernel_for_want_of_memory_is_told_apart(boot: Boot) -> None:
    peer = boot(
        "serve(lambda megabytes: len(bytearray(megabytes << 20)))",
        extra=("--memory=64m", "--memory-swap=64m"),
    )
    frame, _ = peer.invoke(b"512")
    assert (frame.meta["cause"], frame.meta["description"]) == ("outOfMemory", "signal: killed")
    peer.start("invoke")
    peer.until(INITIALIZED)
    assert invoke(peer, 1)[0] == 1 << 20


def test_the_kernel_is_told_to_prefer_the_runtime_to_the_init(boot: Boot) -> None:
    peer = boot("serve(lambda event: event)")
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in _pids(peer)]
    assert scores == [0, 500]


def test_what_lies_in_tmp_is_not_charged_as_memory(boot: Boot) -> None:
    peer = boot(
        """
def handler(megabytes):
    with open("/tmp/file", "wb") as file:
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
    time.sleep(0.2)
    return None
serve(handler)
""",
        memoryBytes=64 << 20,
    )
    frame, _ = peer.invoke(b"200")
    assert frame.kind == RESULT
    assert frame.meta["maxMemoryBytes"] < 64 << 20


@pytest.mark.parametrize(
    ("over", "cause", "description"),
    [
        (
            {"command": []},
            "invalidEntrypoint",
            "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]",
        ),
        ({"command": ["/x"]}, "invalidEntrypoint", "fork/exec /x: no such file or directory"),
        (
            {"command": ["/var/task/main.py"]},
            "invalidEntrypoint",
            "fork/exec /var/task/main.py: exec format error",
        ),
        ({"workingDirectory": "/x"}, "invalidWorkingDir", "chdir /x: no such file or directory"),
    ],
)
def test_what_cannot_be_started_is_said(
    init_binary: Path,
    python_image: str,
    over: dict[str, Any],
    cause: str,
    description: str,
) -> None:
    run = uuid.uuid4().hex
    with channel.container(init_binary, python_image, run) as peer:
        peer.configure({"main.py": "no interpreter line"}, **{"command": ["python3"], **over})
        peer.start()
        frame, _ = peer.until(EXITED)
        assert (frame.meta["cause"], frame.meta["description"]) == (cause, description)
    assert channel.containers(run) == []


def test_without_a_command_the_bootstrap_is_run(init_binary: Path, python_image: str) -> None:
    run = uuid.uuid4().hex
    with channel.container(init_binary, python_image, run) as peer:
        peer.configure({"bootstrap": "#!/bin/sh\npwd\nexit 4\n"}, command=[])
        peer.start()
        frame, output = peer.until(EXITED)
        assert (frame.meta["description"], output) == ("exit status 4", b"/var/task\n")
    assert channel.containers(run) == []


def test_an_init_error_is_relayed_before_the_end(boot: Boot) -> None:
    peer = boot(
        """
print("why", flush=True)
headers = {"Lambda-Runtime-Function-Error-Type": "Runtime.ImportModuleError"}
status, _, _ = call("POST", "/init/error", b'{"errorMessage":"m"}', headers)
sys.exit(status == 202)
""",
        wait=False,
    )
    frame, output = peer.until(INIT_ERROR)
    assert frame.meta == {"generation": 1, "errorType": "Runtime.ImportModuleError"}
    assert (frame.payload, output) == (b'{"errorMessage":"m"}', b"why\n")
    assert peer.until(EXITED)[0].meta["description"] == "exit status 1"


def test_large_payloads_travel_both_ways(boot: Boot) -> None:
    peer = boot("serve(lambda event: event)")
    for size in (100_000, 6_000_000):
        event = "x" * size
        assert invoke(peer, event)[0] == event


def test_a_response_over_the_limit_is_refused_and_the_runtime_goes_on(boot: Boot) -> None:
    peer = boot(
        """
while True:
    _, headers, event = call("GET", "/invocation/next")
    path = "/invocation/" + headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
    status, _, body = call("POST", path, b"x" * json.loads(event))
    print(status, body.decode(), flush=True)
""",
        responseBytes=1000,
    )
    frame, _ = peer.invoke(b"1001")
    assert (frame.meta["outcome"], frame.payload) == ("tooLarge", b"")
    frame, output = peer.invoke(b"1000")
    assert (frame.meta["outcome"], len(frame.payload)) == ("response", 1000)
    assert output.startswith(
        b'413 {"errorMessage":"Exceeded maximum allowed payload size (1000 bytes).",'
    )


def test_a_lost_channel_ends_the_container(boot: Boot) -> None:
    peer = boot("serve(lambda event: event)")
    invoke(peer, None)
    peer.connection.close()
    assert peer.wait() == 0


@pytest.mark.parametrize(
    "data",
    [b"\x09" + bytes(11), b"\x04\x01" + bytes(10), b"\x81" + bytes(11), b"\x04" + b"\xff" * 11],
    ids=["unknown kind", "reserved bytes", "a kind of the init's", "a huge frame"],
)
def test_a_broken_frame_ends_the_container(boot: Boot, data: bytes) -> None:
    peer = boot("serve(lambda event: event)")
    peer.send_raw(data)
    assert peer.wait() == 1


def test_code_that_would_leave_its_directory_ends_the_container(
    init_binary: Path, python_image: str
) -> None:
    run = uuid.uuid4().hex
    with channel.container(init_binary, python_image, run) as peer:
        peer.configure({"../tmp/x": "x"}, ["python3"])
        assert peer.wait() == 1
    assert channel.containers(run) == []
