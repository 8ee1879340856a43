"""Versions and aliases: what code a name runs, in whose environment, and when that changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.support.functions import until
from tests.support.instance import Deploy, Function, Start, gone


def source(text: str) -> str:
    """A handler that tells its code, its version, its environment and its container."""
    return f"""
import socket, uuid
ENVIRONMENT = uuid.uuid4().hex
def handler(event, context):
    return [{text!r}, context.function_version, ENVIRONMENT, socket.gethostname()]
"""


def two_versions(deploy: Deploy) -> Function:
    function = deploy(source("one"))
    assert function.publish() == "1"
    function.update(source("two"))
    assert function.publish() == "2"
    function.update(source("three"))
    return function


def test_each_version_keeps_its_code_and_has_its_own_environment(deploy: Deploy) -> None:
    function = two_versions(deploy)
    environments = {}
    for _ in range(2):
        for qualifier, text in (("1", "one"), ("2", "two"), ("$LATEST", "three")):
            answer = function.invoke(qualifier=qualifier)
            assert answer.version == qualifier
            assert answer.document[:2] == [text, qualifier]
            environment = environments.setdefault(qualifier, answer.document[2])
            assert answer.document[2] == environment
    assert len(set(environments.values())) == 3


def test_an_alias_that_moves_sends_the_next_call_to_its_new_version(deploy: Deploy) -> None:
    function = two_versions(deploy)
    client = function.instance.client
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    for version, text in (("1", "one"), ("2", "two"), ("1", "one")):
        client.update_alias(FunctionName=function.name, Name="live", FunctionVersion=version)
        for _ in range(2):
            answer = function.invoke(qualifier="live")
            assert (answer.version, answer.document[0]) == (version, text)


def test_a_weighted_alias_reaches_both_of_its_versions(deploy: Deploy) -> None:
    function = two_versions(deploy)
    function.instance.client.create_alias(
        FunctionName=function.name,
        Name="live",
        FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}},
    )
    reached = {tuple(function.invoke(qualifier="live").document[:2]) for _ in range(60)}
    assert reached == {("one", "1"), ("two", "2")}


def test_an_alias_of_a_version_that_is_not_there_is_refused(deploy: Deploy) -> None:
    function = deploy(source("one"))
    with pytest.raises(ClientError, match="Function not found"):
        function.instance.client.create_alias(
            FunctionName=function.name, Name="live", FunctionVersion="7"
        )
    with pytest.raises(ClientError, match=f"Function not found: {function.arn}:live"):
        function.invoke(qualifier="live")


def test_updated_code_runs_as_soon_as_the_update_is_done(deploy: Deploy) -> None:
    function = deploy(source("0"))
    before = function.invoke().document
    for number in range(1, 6):
        function.update(source(str(number)))
        after = function.invoke().document
        assert after[0] == str(number)
        assert after[2] != before[2]
        gone(function.instance, {before[3]})
        before = after


def test_a_new_configuration_is_a_new_environment(deploy: Deploy) -> None:
    function = deploy(
        "import os\ndef handler(event, context):\n    return os.environ.get('GREETING')",
        Environment={"Variables": {"GREETING": "hello"}},
    )
    assert function.invoke().document == "hello"
    client = function.instance.client
    client.update_function_configuration(
        FunctionName=function.name, Environment={"Variables": {"GREETING": "good bye"}}
    )
    client.get_waiter("function_updated_v2").wait(
        FunctionName=function.name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500}
    )
    assert function.invoke().document == "good bye"


def test_a_call_on_old_code_finishes_while_the_code_is_replaced(deploy: Deploy) -> None:
    function = deploy("""
import time
def handler(event, context):
    print("begun", flush=True)
    time.sleep(event)
    return "old"
""")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(function.invoke, 1.5)
        function.await_log("begun")
        function.update("def handler(event, context):\n    return 'new'")
        assert function.invoke().document == "new"
        assert running.result().document == "old"


def test_deleting_a_function_ends_its_containers(start: Start) -> None:
    instance = start(spares=0)
    function = instance.deploy(source("one"))
    function.publish()
    other = instance.deploy(source("other"))
    hosts = {function.invoke(qualifier=name).document[3] for name in ("1", "$LATEST")}
    kept = other.invoke().document[3]
    assert instance.containers() == hosts | {kept}
    function.delete()
    until(lambda: instance.containers() == {kept})
    with pytest.raises(ClientError, match="Function not found"):
        function.invoke()
    assert other.invoke().document[3] == kept
