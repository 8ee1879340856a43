"""Functions that fail: what their callers are told, and that the next call works."""

from __future__ import annotations

import pytest

from tests.support.instance import Deploy

FAILING = """
import ctypes, json, os, signal, sys, time

def exit_quietly(): sys.exit()
def exit_with_a_status(): os._exit(3)
def fault(): os.kill(os.getpid(), signal.SIGSEGV)
def abort(): ctypes.CDLL(None).abort()
def take_memory():
    held = bytearray(512 << 20)
    time.sleep(20)  # until it is noticed
    return len(held)
def answer_a_set(): return {1, 2}
def answer_too_much(): return "x" * (6_291_556 - 1)
def answer_the_most(): return "x" * (6_291_556 - 2)
def raise_one(): raise KeyError("missing")

def handler(event, context):
    print("last words", flush=True)
    return globals()[event]() if event else "well"
"""

RESPONSE_LIMIT = "maximum allowed payload size (6291556 bytes)."


@pytest.mark.parametrize(
    ("what", "error_type", "message", "ended"),
    [
        ("exit_quietly", "Runtime.ExitError", "Runtime exited without providing a reason", True),
        ("exit_with_a_status", "Runtime.ExitError", "exited with error: exit status 3", True),
        ("fault", "Runtime.ExitError", "exited with error: signal: segmentation fault", True),
        ("abort", "Runtime.ExitError", "exited with error: signal: aborted", True),
        ("take_memory", "Runtime.OutOfMemory", "exited with error: signal: killed", True),
        ("answer_too_much", "Function.ResponseSizeTooLarge", RESPONSE_LIMIT, True),
        ("answer_a_set", "Runtime.MarshalError", "Unable to marshal response: Object of", False),
        ("raise_one", "KeyError", "'missing'", False),
    ],
)
def test_a_failing_invocation_says_why_and_the_next_one_works(
    deploy: Deploy, what: str, error_type: str, message: str, ended: bool
) -> None:
    function = deploy(FAILING)
    for _ in range(2):
        assert function.invoke("").document == "well"
        answer = function.invoke(what)
        assert (answer.status, answer.error, answer.version) == (200, "Unhandled", "$LATEST")
        assert answer.document["errorType"] == error_type
        assert message in answer.document["errorMessage"]
        begin, *output, end, report = answer.log.splitlines()
        assert begin.startswith(f"START RequestId: {answer.request_id}")
        assert output[0] == "last words"
        # On the last line of a traceback, which ends without a line feed.
        assert end.endswith(f"END RequestId: {answer.request_id}")
        # The platform ended it, or the runtime reported it.
        assert (f"Status: error\tError Type: {error_type}" in report) == ended
    assert function.invoke("").document == "well"


def test_the_largest_response_is_answered(deploy: Deploy) -> None:
    answer = deploy(FAILING).invoke("answer_the_most")
    assert (answer.error, len(answer.body)) == (None, 6_291_556)


def test_the_platforms_error_has_the_members_and_order_of_lambda(deploy: Deploy) -> None:
    answer = deploy(FAILING).invoke("exit_with_a_status")
    message = f"RequestId: {answer.request_id} Error: Runtime exited with error: exit status 3"
    expected = f'{{"errorType":"Runtime.ExitError","errorMessage":"{message}"}}'
    assert answer.body == expected.encode()


@pytest.mark.parametrize(
    ("source", "handler", "error_type", "message"),
    [
        (
            "import nothing_like_it",
            "handler.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'handler': No module named 'nothing_like_it'",
        ),
        (
            "",
            "absent.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'absent': No module named 'absent'",
        ),
        (
            "",
            "handler.absent",
            "Runtime.HandlerNotFound",
            "Handler 'absent' missing on module 'handler'",
        ),
        (
            "def handler(:",
            "handler.handler",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'handler': ",
        ),
        ("raise ValueError('at once')", "handler.handler", "ValueError", "at once"),
        (
            "import os; os._exit(4)",
            "handler.handler",
            "Runtime.ExitError",
            "Runtime exited with error: exit status 4",
        ),
    ],
)
def test_code_that_cannot_be_initialized_says_why_each_time(
    deploy: Deploy, source: str, handler: str, error_type: str, message: str
) -> None:
    function = deploy(source, Handler=handler)
    for _ in range(2):
        answer = function.invoke()
        assert (answer.status, answer.error) == (200, "Unhandled")
        assert answer.document["errorType"] == error_type
        assert message in answer.document["errorMessage"]
        assert "INIT_REPORT Init Duration: " in answer.log
        assert "Status: error" in answer.log.splitlines()[-1]
    function.update("def handler(event, context):\n    return 'well'")
    if handler == "handler.handler":
        assert function.invoke().document == "well"


def test_output_is_kept_whatever_its_bytes_are(deploy: Deploy) -> None:
    function = deploy("""
import os
def handler(event, context):
    os.write(1, b"\\xff\\xfe \\x00 no text\\n")
    os.write(2, b"no line end")
""")
    answer = function.invoke()
    assert answer.error is None
    assert "no text" in function.await_log("no text")
    assert "no line end" in function.await_log("no line end")
    assert function.invoke().error is None
