"""The promises of `runtime/PROTOCOL.md`, kept by the real init in real containers.

The runtime is a small Python program that speaks the Runtime API itself, so that each test
says exactly what its function does. A test states what it promises in its name; the
container that it ran in is gone when it ends, which the fixture proves. How a
runtime starts and ends is in `test_runtime_ends`.
"""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path

import pytest

from tests.support import peer as channel
from tests.support.functions import until
from tests.support.peer import (
    EXITED,
    FUNCTION_UID,
    INITIALIZED,
    LOG,
    RESULT,
    SEGMENT,
    Boot,
    Peer,
    invoke,
)


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
        until(lambda: set(_states(peer)) == {"T"}, 30)
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


def _states(peer: Peer) -> list[str]:
    """The state of each thread in the container but the init's."""
    return [
        task.read_text().rpartition(")")[2].split()[0]
        for pid in peer.pids()[1:]
        for task in Path(f"/proc/{pid}/task").glob("*/stat")
    ]


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
