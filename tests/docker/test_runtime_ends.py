"""How a runtime starts and ends under the real init, in real containers.

This is what `runtime/PROTOCOL.md` promises of it; its other promises are in `test_init`.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support import peer as channel
from tests.support.functions import until
from tests.support.peer import EXITED, INIT_ERROR, INITIALIZED, LOG, RESULT, Boot, invoke


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
    runtime = peer.pids()[1]
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
    assert len(peer.pids()) == 1


def test_orphans_are_reaped_while_the_runtime_lives(boot: Boot) -> None:
    peer = boot(
        """
import subprocess
def handler(event):
    for _ in range(20):
        subprocess.run(["sh", "-c", "true & true & exit 0"])
    return None
serve(handler)
""",
        freeze=False,  # an orphan that has not run yet would not end
    )
    for _ in range(30):  # 1,200 orphans, against a limit of 1,024 processes
        invoke(peer, None)
    until(lambda: len(peer.pids()) == 2)


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
    time.sleep(9 * (megabytes > 128))  # until it is noticed
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
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in peer.pids()]
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
