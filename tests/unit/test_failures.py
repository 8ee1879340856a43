from __future__ import annotations

import json

import pytest

from sandbox.environments import failures


@pytest.mark.parametrize(
    ("exited", "error_type", "text"),
    [
        (
            {"cause": "exit", "description": ""},
            "Runtime.ExitError",
            "Runtime exited without providing a reason",
        ),
        (
            {"cause": "exit", "description": "exit status 127"},
            "Runtime.ExitError",
            "Runtime exited with error: exit status 127",
        ),
        (
            {"cause": "exit", "description": "signal: segmentation fault"},
            "Runtime.ExitError",
            "Runtime exited with error: signal: segmentation fault",
        ),
        (
            {"cause": "outOfMemory", "description": "signal: killed"},
            "Runtime.OutOfMemory",
            "Runtime exited with error: signal: killed",
        ),
        (
            {
                "cause": "invalidEntrypoint",
                "description": "fork/exec /x: no such file or directory",
            },
            "Runtime.InvalidEntrypoint",
            "fork/exec /x: no such file or directory",
        ),
        (
            {"cause": "invalidWorkingDir", "description": "chdir /nowhere"},
            "Runtime.InvalidWorkingDir",
            "chdir /nowhere",
        ),
    ],
)
def test_the_end_of_a_runtime_is_told_in_the_words_of_lambda(
    exited: dict[str, str], error_type: str, text: str
) -> None:
    failure = failures.of_exit(exited)
    assert failure == (error_type, text)
    expected = f'{{"errorType":"{error_type}","errorMessage":"RequestId: id-1 Error: {text}"}}'
    assert failure.document("id-1").decode() == expected


def test_a_timeout_prints_its_seconds_with_two_decimals() -> None:
    document = json.loads(failures.of_timeout(3).document("id-1"))
    assert document == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-1 Error: Task timed out after 3.00 seconds",
    }


def test_a_response_over_the_limit_names_the_limit() -> None:
    assert failures.response_too_large(6291556).decode() == (
        '{"errorMessage":"Response payload size exceeded maximum allowed payload size '
        '(6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}'
    )


@pytest.mark.parametrize(
    ("sent", "during_init", "expected"),
    [
        ("Runtime.ImportModuleError", True, "Runtime.ImportModuleError"),
        ("Function.Boom", False, "Function.Boom"),
        ("ValueError", False, "Function.Unknown"),
        ("Runtime.x<script>", True, "Runtime.Unknown"),
        (None, True, "Runtime.Unknown"),
    ],
)
def test_an_error_type_of_free_form_is_not_passed_on(
    sent: str | None, during_init: bool, expected: str
) -> None:
    assert failures.reported_type(sent, during_init=during_init) == expected
