"""Provisioned concurrency with real containers: ready before the first call, and kept so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.support.functions import until
from tests.support.instance import Deploy, Function, Start, docker

SOURCE = """
import os, socket, time, uuid
ENVIRONMENT = uuid.uuid4().hex
print("initializing", ENVIRONMENT, flush=True)
def handler(seconds, context):
    time.sleep(seconds or 0)
    kind = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
    return [kind, context.function_version, ENVIRONMENT, socket.gethostname()]
"""
PROVISIONED, ON_DEMAND = "provisioned-concurrency", "on-demand"


def put(function: Function, qualifier: str, count: int) -> dict[str, Any]:
    answer: dict[str, Any] = function.instance.client.put_provisioned_concurrency_config(
        FunctionName=function.name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )
    return answer


def get(function: Function, qualifier: str) -> dict[str, Any]:
    answer: dict[str, Any] = function.instance.client.get_provisioned_concurrency_config(
        FunctionName=function.name, Qualifier=qualifier
    )
    return answer


def settled(function: Function, qualifier: str) -> dict[str, Any]:
    """What Get answers once it is no longer IN_PROGRESS."""
    until(lambda: get(function, qualifier)["Status"] != "IN_PROGRESS", 30)
    return get(function, qualifier)


def ready(function: Function, qualifier: str, count: int) -> None:
    answer = settled(function, qualifier)
    assert answer["Status"] == "READY"
    assert answer["AllocatedProvisionedConcurrentExecutions"] == count
    assert answer["AvailableProvisionedConcurrentExecutions"] == count


def two_versions(function: Function) -> None:
    assert function.publish() == "1"
    function.update(SOURCE + "# another")
    assert function.publish() == "2"


def test_the_first_call_is_warm_and_its_log_says_why(deploy: Deploy) -> None:
    function = deploy(SOURCE)
    function.publish()
    answer = put(function, "1", 1)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["Status"] == "IN_PROGRESS"
    assert answer["RequestedProvisionedConcurrentExecutions"] == 1
    assert answer["AllocatedProvisionedConcurrentExecutions"] == 0
    ready(function, "1", 1)
    before = function.log()
    assert "INIT_REPORT Init Duration: " in before
    assert "\tPhase: init\tStatus: success\n" in before
    assert "START RequestId" not in before
    first = function.invoke(qualifier="1")
    kind, version, environment, _ = first.document
    assert (kind, version) == (PROVISIONED, "1")
    assert f"initializing {environment}\n" in before
    assert first.log.startswith("START RequestId: ")
    assert "Init Duration" not in first.log
    assert function.invoke(qualifier="1").document == first.document
    assert function.invoke().document[:2] == [ON_DEMAND, "$LATEST"]


def test_more_calls_than_are_provisioned_run_on_demand(deploy: Deploy) -> None:
    function = deploy(SOURCE)
    function.publish()
    put(function, "1", 2)
    ready(function, "1", 2)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(function.invoke, 8, "1") for _ in range(4)]
        kinds = sorted(call.result().document[0] for call in calls)
    assert kinds == [ON_DEMAND] * 2 + [PROVISIONED] * 2


def test_a_killed_environment_is_replaced_before_the_next_call(deploy: Deploy) -> None:
    function = deploy(SOURCE)
    function.publish()
    put(function, "1", 1)
    ready(function, "1", 1)
    dead = function.invoke(qualifier="1").document
    docker("kill", dead[3])
    until(lambda: function.log().count("Phase: init\tStatus: success") == 2, 30)
    ready(function, "1", 1)
    alive = function.invoke(qualifier="1")
    assert alive.document[0] == PROVISIONED
    assert alive.document[2] != dead[2]
    assert "Init Duration" not in alive.log


def test_an_environment_that_timed_out_is_replaced(deploy: Deploy) -> None:
    function = deploy(SOURCE, Timeout=3)
    function.publish()
    put(function, "1", 1)
    ready(function, "1", 1)
    first = function.invoke(qualifier="1").document
    assert function.invoke(9, "1").document["errorType"] == "Sandbox.Timedout"
    until(lambda: function.log().count("Phase: init\tStatus: success") == 2, 30)
    ready(function, "1", 1)
    second = function.invoke(qualifier="1")
    assert second.document[0] == PROVISIONED
    assert second.document[3] != first[3]
    assert "Init Duration" not in second.log


def test_an_alias_that_moves_takes_it_along_and_deletion_ends_it(start: Start) -> None:
    instance = start(spares=0)
    function = instance.deploy(SOURCE)
    two_versions(function)
    client = instance.client
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    put(function, "live", 2)
    ready(function, "live", 2)
    of_one = instance.containers()
    assert len(of_one) == 2
    assert function.invoke(qualifier="live").document[:2] == [PROVISIONED, "1"]
    client.update_alias(FunctionName=function.name, Name="live", FunctionVersion="2")
    ready(function, "live", 2)
    assert function.invoke(qualifier="live").document[:2] == [PROVISIONED, "2"]
    until(lambda: not of_one & instance.containers())
    assert len(instance.containers()) == 2
    client.delete_provisioned_concurrency_config(FunctionName=function.name, Qualifier="live")
    until(lambda: instance.containers() == set())
    assert function.invoke(qualifier="live").document[:2] == [ON_DEMAND, "2"]


def test_a_failing_initialization_is_told_and_a_better_version_helps(deploy: Deploy) -> None:
    function = deploy("raise RuntimeError('not today')")
    function.publish()
    function.update(SOURCE)
    function.publish()
    client = function.instance.client
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    put(function, "live", 1)
    answer = settled(function, "live")
    assert (answer["Status"], answer["StatusReason"]) == ("FAILED", "FUNCTION_ERROR_INIT_FAILURE")
    assert answer["AllocatedProvisionedConcurrentExecutions"] == 0
    assert "Phase: init\tStatus: error\tError Type: " in function.log()
    client.update_alias(FunctionName=function.name, Name="live", FunctionVersion="2")
    ready(function, "live", 1)


def test_a_burst_that_takes_all_room_leaves_provisioned_environments_warm(start: Start) -> None:
    instance = start(max_environments=3, spares=0)
    function, other = instance.deploy(SOURCE), instance.deploy(SOURCE)
    function.publish()
    put(function, "1", 1)
    ready(function, "1", 1)
    warm = function.invoke(qualifier="1").document
    with ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(other.invoke, 0.5) for _ in range(6)]
        assert {call.result().document[0] for call in calls} == {ON_DEMAND}
    assert function.invoke(qualifier="1").document == warm


def test_what_is_provisioned_is_there_again_after_a_restart(start: Start) -> None:
    instance = start(spares=0)
    function = instance.deploy(SOURCE)
    function.publish()
    put(function, "1", 2)
    ready(function, "1", 2)
    instance.kill()
    instance.start()
    ready(function, "1", 2)
    assert function.invoke(qualifier="1").document[0] == PROVISIONED
    until(lambda: len(instance.containers()) == 2)
    function.delete()
    until(lambda: instance.containers() == set())
