"""Every language does the same ten things, in real containers of its own image.

The images are built when they are missing: on a fresh machine that takes most of the time.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping

import pytest

from tests.support.images import by_runtime, compiled, ensure
from tests.support.instance import Function, Instance
from tests.support.languages import LANGUAGES, Language

# One of each family; the rest differ by the interpreter's version.
_QUICK = ("python3.13", "nodejs24.x", "ruby3.3", "java21", "provided.al2023", "provided.al2")
_LIMIT = 6_291_556


@pytest.fixture(scope="module", params=by_runtime(LANGUAGES, _QUICK))
def language(request: pytest.FixtureRequest) -> Language:
    chosen: Language = request.param
    ensure(chosen.runtime)
    return chosen


@pytest.fixture(scope="module")
def function(
    language: Language, instance: Instance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    files: Mapping[str, str | bytes] = language.files
    if language.compiled:
        files = compiled(language.files, tmp_path_factory.mktemp("compiled"))
    made = instance.deploy(
        files, Runtime=language.runtime, Handler=language.handler, MemorySize=256
    )
    yield made
    made.delete()


def test_an_event_comes_back(function: Function) -> None:
    event = {"do": "echo", "a": [1, 2.5, True, None], "b": {"c": "text"}}
    answer = function.invoke(event)
    assert (answer.error, answer.document) == (None, event)


def test_every_character_survives(function: Function) -> None:
    event = {"do": "echo", "text": 'é ñ 漢字 😀 \u0000 " \\ \n'}
    body = json.dumps(event, ensure_ascii=False).encode()
    assert function.invoke(Payload=body).document == event


def test_an_exception_is_told(function: Function, language: Language) -> None:
    answer = function.invoke({"do": "raise"})
    assert answer.error == "Unhandled"
    assert answer.document["errorType"] == language.error_type
    assert answer.document["errorMessage"] == "boom é"
    assert function.invoke({"do": "echo"}).document == {"do": "echo"}


def test_a_function_that_takes_too_long_is_ended(function: Function) -> None:
    function.configure(Timeout=1)
    answer = function.invoke({"do": "sleep"})
    assert answer.document == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {answer.request_id} Error: Task timed out after 1.00 seconds",
    }
    function.configure(Timeout=30)


def test_a_runtime_that_exits_is_told_and_starts_again(function: Function) -> None:
    answer = function.invoke({"do": "exit"})
    assert answer.document == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer.request_id} "
        "Error: Runtime exited with error: exit status 7",
    }
    assert function.invoke({"do": "echo"}).document == {"do": "echo"}


def test_memory_runs_out(function: Function, language: Language) -> None:
    answer = function.invoke({"do": "fill"})
    assert answer.error == "Unhandled"
    assert answer.document["errorType"] == language.memory_error
    assert function.invoke({"do": "echo"}).document == {"do": "echo"}


def test_what_it_prints_is_in_its_log(function: Function) -> None:
    lines = function.invoke({"do": "print"}).log.splitlines()
    told = [line for line in lines if line.endswith(("first line é", "second line"))]
    assert len(told) == 2
    assert lines.index(told[0]) < lines.index(told[1])


def test_the_context_is_whole(function: Function) -> None:
    client = base64.b64encode(b'{"custom":{"k":"v"}}').decode()
    answer = function.invoke({"do": "context"}, ClientContext=client)
    context = answer.document
    assert 0 < context.pop("remaining") <= 30_000
    assert "[$LATEST]" in context.pop("stream")
    assert context == {
        "request_id": answer.request_id,
        "arn": function.arn,
        "name": function.name,
        "version": "$LATEST",
        "memory": 256,
        "group": f"/aws/lambda/{function.name}",
        "client": {"k": "v"},
    }


def test_a_response_may_have_6_mb_and_no_more(function: Function) -> None:
    answer = function.invoke({"do": "large", "size": _LIMIT - 2})
    assert (answer.error, len(answer.body)) == (None, _LIMIT)
    answer = function.invoke({"do": "large", "size": _LIMIT - 1})
    assert answer.document["errorType"] == "Function.ResponseSizeTooLarge"
    assert function.invoke({"do": "echo"}).document == {"do": "echo"}


def test_an_event_may_have_6_mb(function: Function) -> None:
    body = b'{"do":"echo","text":"' + b"x" * (6_291_456 - 23) + b'"}'
    answer = function.invoke(Payload=body)
    assert len(answer.document["text"]) == 6_291_456 - 23
