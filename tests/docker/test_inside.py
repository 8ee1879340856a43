"""A function reaches fnbox from inside its container, without a network."""

from __future__ import annotations

import socket
import threading

from tests.support.functions import until
from tests.support.instance import Answer, Deploy, Instance, Start

CALLS = """
import boto3, json, os, urllib.request
def handler(event, context):
    name, *arguments = event
    if name == "invoke":
        answer = boto3.client("lambda").invoke(FunctionName=arguments[0], Payload=arguments[1])
        return json.loads(answer["Payload"].read())
    if name == "groups":
        found = boto3.client("logs").describe_log_groups()["logGroups"]
        return [group["logGroupName"] for group in found]
    if name == "variable":
        return os.environ.get(arguments[0])
    if name == "interfaces":
        return os.listdir("/sys/class/net")
    if name == "size":
        return len(arguments[0])
"""

SIZES = """
import boto3, json
client = boto3.client("lambda")
def handler(event, context):
    text = "x" * event
    answer = client.invoke(FunctionName=context.function_name + "-echo", Payload=json.dumps(text))
    return len(json.loads(answer["Payload"].read()))
"""

ECHO = "def handler(event, context): return event"

LATE = """
import boto3, json, os, time
client = boto3.client("lambda")
def handler(event, context):
    print("called", flush=True)
    found = []
    for n in range(3):
        time.sleep(0.7)
        answer = client.invoke(FunctionName=os.environ["OTHER"], Payload=json.dumps({"n": n}))
        found.append(json.loads(answer["Payload"].read()))
    return found
"""

SERVICES = """
import boto3
client = boto3.client("s3")
def handler(event, context):
    client.create_bucket(Bucket="own")
    client.put_object(Bucket="own", Key="key", Body=b"what was put")
    return client.get_object(Bucket="own", Key="key")["Body"].read().decode()
"""

MANY = """
import http.client, os, socket, threading
HOST = ("127.0.0.1", 4566)
def handler(event, context):
    kept = [socket.create_connection(HOST) for _ in range(event)]
    for one in kept[:32]:
        one.close()  # else none of the others would ever be answered
    connection = http.client.HTTPConnection(*HOST)
    connection.request("GET", "/_fnbox/health")
    return connection.getresponse().status
"""


def test_a_function_calls_fnbox_without_a_network(deploy: Deploy, instance: Instance) -> None:
    policy = {"Statement": [{"Effect": "Allow", "Action": ["lambda:*", "logs:*"], "Resource": "*"}]}
    instance.fnbox("roles", "put", "lambda-role", "--policy", "-", given=policy)
    function = deploy(CALLS, MemorySize=512)
    echo = deploy(ECHO)
    assert function.invoke(["interfaces"]).document == ["lo"]
    assert function.invoke(["invoke", echo.name, '{"a": 1}']).document == {"a": 1}
    assert f"/aws/lambda/{function.name}" in function.invoke(["groups"]).document
    instance.fnbox("roles", "delete", "lambda-role")


def test_a_variable_of_the_functions_own_says_where_it_calls(deploy: Deploy) -> None:
    own = {"Variables": {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}}
    function = deploy(CALLS, Environment=own)
    assert function.invoke(["variable", "AWS_ENDPOINT_URL"]).document == "http://127.0.0.1:1"


def test_bodies_of_any_size_go_through(deploy: Deploy) -> None:
    deploy(ECHO, name="sizes-echo", MemorySize=1024)
    function = deploy(SIZES, name="sizes", MemorySize=1024)
    for size in (0, 1, 16_384, 100_000, 6_000_000):
        assert function.invoke(size).document == size


def test_who_opens_more_connections_than_there_may_be_waits_and_harms_nobody(
    deploy: Deploy,
) -> None:
    function = deploy(MANY)
    assert function.invoke(40).document == 200


def test_the_way_back_can_be_closed(start: Start) -> None:
    instance = start(function_api=False)
    function = instance.deploy(CALLS)
    assert function.invoke(["variable", "AWS_ENDPOINT_URL"]).document is None


def test_a_call_that_was_let_in_may_still_call_at_the_end(start: Start) -> None:
    instance = start()
    echo = instance.deploy(ECHO)
    function = instance.deploy(LATE, Environment={"Variables": {"OTHER": echo.name}})
    answers: list[Answer] = []
    call = threading.Thread(target=lambda: answers.append(function.invoke()))
    call.start()
    function.await_log("called")
    instance.terminate()
    until(lambda: refuses(instance))
    assert instance.wait() == 0
    call.join()
    assert answers[0].document == [{"n": n} for n in range(3)]


def refuses(instance: Instance) -> bool:
    """Whether it takes no more calls from outside."""
    try:
        socket.create_connection(("127.0.0.1", instance.port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_other_services_are_there_too(start: Start) -> None:
    function = start(aws=True, spares=0).deploy(SERVICES)
    assert function.invoke().document == "what was put"
