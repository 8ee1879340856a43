"""Function URLs of real functions, as `requests`, browsers and bare sockets see them."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support import streaming
from tests.support.instance import Function, Instance, docker

MIB = 2**20
# Of what is written, so much may be in the sockets of a reader that does not read.
IN_SOCKETS = 24 * MIB

WEB = """
import base64, json, os, time
def handler(event, context):
    path = event["rawPath"]
    if path == "/text":
        return "plain"
    if path == "/fail":
        raise ValueError("boom")
    if path == "/exit":
        os._exit(3)
    if path == "/bad":
        return {"statusCode": "ok"}
    if path == "/body":
        return {
            "statusCode": 200,
            "headers": {"Content-Type": event["headers"]["content-type"]},
            "body": event.get("body", ""),
            "isBase64Encoded": event["isBase64Encoded"],
        }
    if path == "/login":
        cookies = [f"seen={len(event.get('cookies', []))}; Path=/", "user=ada"]
        return {"statusCode": 303, "headers": {"Location": "/home"}, "cookies": cookies}
    if path == "/slow":
        print("slow in", os.uname().nodename, flush=True)
        while not os.path.exists("/tmp/go"):
            time.sleep(0.01)
        print("slow is done", flush=True)
        return "slow"
    return {"event": event, "arn": context.invoked_function_arn, "id": context.aws_request_id}
"""

STREAMS = """
import json, os, time
CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
calls = 0
def handler(event, stream):
    global calls
    calls += 1
    head = {"statusCode": 203, "headers": {"Content-Type": "text/x-own"}, "cookies": ["a=1"]}
    stream.write(json.dumps(head).encode()[:10])
    stream.write(json.dumps(head).encode()[10:] + bytes(4))
    stream.write(bytes(4) + b"first")
    path, _, size = event["rawPath"].partition(":")
    if path == "/wait":
        while not os.path.exists("/tmp/go"):
            time.sleep(0.01)
    if path == "/break":
        raise ValueError("in the middle")
    written = 0
    while written < int(size or 0):
        stream.write(bytes(65536))
        written += 65536
        with open("/tmp/new", "w") as file:
            file.write(str(written))
        os.replace("/tmp/new", "/tmp/written")
    stream.write(b"last")
    print("call", calls, "wrote", written, flush=True)
"""


SETTINGS = {"spares": 0, "runtime_images": f"{streaming.RUNTIME}={streaming.IMAGE}"}
"""No spares: an instance's containers are those of functions."""


@pytest.fixture(scope="module")
def web(instance: Instance) -> Function:
    return instance.deploy(WEB)


@pytest.fixture(scope="module")
def url(web: Function) -> str:
    return created(web)


@pytest.fixture(scope="module")
def streams(instance: Instance) -> Function:
    code = {"ZipFile": streaming.package(STREAMS)}
    return instance.deploy("", Runtime=streaming.RUNTIME, Code=code, Timeout=120)


@pytest.fixture(scope="module")
def stream_url(streams: Function) -> str:
    return created(streams, InvokeMode="RESPONSE_STREAM")


def created(function: Function, **members: Any) -> str:
    """The FunctionUrl, without the slash at its end."""
    made = function.instance.client.create_function_url_config(
        **{"FunctionName": function.name, "AuthType": "NONE", **members}
    )
    return str(made["FunctionUrl"]).removesuffix("/")


def host_of(url: str) -> str:
    return f"{url.rpartition('/')[2]}.lambda-url.us-east-1.localhost"


def container(function: Function) -> str:
    name = f"name=fnbox-{function.name}-"
    found = docker("ps", "--quiet", "--filter", name).split()
    (identifier,) = function.instance.containers() & set(found)
    return identifier


def raw(instance: Instance, request: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    """What a bare socket gets for these bytes."""
    with socket.create_connection(("127.0.0.1", instance.port), timeout=60) as connection:
        connection.sendall(request)
        method = request.split(b" ", 1)[0].decode()
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return answer, answer.read()


def test_the_url_in_the_answer_is_one_that_works(url: str) -> None:
    answer = requests.get(f"{url}/p%20q?a=1&a=2", headers={"X-Own": "1"}, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.json()
    event = document["event"]
    assert (event["rawPath"], event["queryStringParameters"]) == ("/p%20q", {"a": "1,2"})
    assert event["headers"]["x-own"] == "1"
    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    assert document["id"] == answer.headers["x-amzn-RequestId"]
    assert document["id"] == event["requestContext"]["requestId"]
    assert requests.get(f"{url}/text", timeout=60).text == "plain"


def test_it_is_reached_by_its_host_even_at_the_path_of_invoke(
    instance: Instance, web: Function, url: str
) -> None:
    path = f"/2015-03-31/functions/{web.name}/invocations"
    answer = requests.post(
        f"{instance.url}{path}", data=b"x", headers={"Host": host_of(url)}, timeout=60
    )
    event = answer.json()["event"]
    assert event["rawPath"] == path
    assert event["requestContext"]["domainName"] == host_of(url)


def test_bodies_of_any_kind_come_back_as_they_were_sent(url: str) -> None:
    for kind, body in (
        ("text/plain", "zwölf €".encode()),
        ("application/json", b'{"a": [1, 2]}'),
        ("image/png", bytes(range(256)) * 1000),
        ("application/octet-stream", bytes(4 * MIB)),
    ):
        headers = {"Content-Type": kind}
        answer = requests.post(f"{url}/body", data=body, headers=headers, timeout=60)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
        assert answer.content == body
    sent = requests.put(f"{url}/body", files={"file": ("a.txt", b"content")}, timeout=60)
    assert b'name="file"' in sent.content


def test_cookies_and_redirects_are_a_browsers(url: str) -> None:
    with requests.Session() as session:
        answer = session.get(f"{url}/login", allow_redirects=False, timeout=60)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/home")
        assert session.cookies.get_dict() == {"seen": "0", "user": "ada"}
        again = session.get(f"{url}/login", allow_redirects=False, timeout=60)
        assert again.cookies["seen"] == "2"


def test_a_bare_socket_gets_plain_http(instance: Instance, url: str) -> None:
    host = host_of(url).encode()
    answer, body = raw(
        instance,
        b"PURGE /a//%%2e%%2E/b?x=%%2F&y HTTP/1.1\r\nHost: %s\r\nX-Two: 1\r\nX-Two: 2\r\n"
        b"Cookie: a=1; b=2\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" % host,
    )
    event = json.loads(body)["event"]
    assert (answer.status, event["rawPath"]) == (200, "/a//%2e%2E/b")
    assert event["rawQueryString"] == "x=%2F&y"
    assert event["requestContext"]["http"]["method"] == "PURGE"
    assert (event["body"], event["cookies"]) == ("abcde", ["a=1", "b=2"])
    assert event["headers"]["x-two"] == "1,2"
    assert event["headers"]["content-length"] == "5"
    assert "transfer-encoding" not in event["headers"]
    answer, body = raw(instance, b"HEAD /text HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
    assert (answer.status, answer.getheader("Content-Length"), body) == (200, "5", b"")
    refused, body = raw(
        instance, b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 6291457\r\n\r\n" % host
    )
    assert (refused.status, b"Request must be smaller than" in body) == (413, True)


def test_a_function_that_fails_or_answers_nonsense_is_502(url: str) -> None:
    for path in ("/fail", "/exit", "/bad"):
        answer = requests.get(url + path, timeout=60)
        assert (answer.status_code, answer.text) == (502, "Internal Server Error")
        assert answer.headers["Content-Type"] == "application/json"
    assert requests.get(f"{url}/text", timeout=60).text == "plain"


def test_the_url_of_an_alias_follows_it(web: Function) -> None:
    client = web.instance.client
    first = web.publish()
    client.create_alias(FunctionName=web.name, Name="live", FunctionVersion=first)
    alias = created(web, Qualifier="live")
    assert requests.get(alias, timeout=60).json()["arn"] == f"{web.arn}:live"
    web.update("def handler(event, context):\n    return context.function_version\n")
    second = web.publish()
    client.update_alias(FunctionName=web.name, Name="live", FunctionVersion=second)
    assert requests.get(alias, timeout=60).text == second
    client.delete_alias(FunctionName=web.name, Name="live")
    gone = requests.get(alias, timeout=60)
    assert (gone.status_code, gone.json()["Message"].partition(".")[0]) == (403, "Forbidden")
    web.update(WEB)


def test_reserved_concurrency_of_zero_is_429(web: Function, url: str) -> None:
    client = web.instance.client
    client.put_function_concurrency(FunctionName=web.name, ReservedConcurrentExecutions=0)
    answer = requests.get(url, timeout=60)
    client.delete_function_concurrency(FunctionName=web.name)
    assert (answer.status_code, answer.json()["message"]) == (429, "Rate Exceeded.")


def test_a_client_that_leaves_does_not_end_the_call(
    instance: Instance, web: Function, url: str
) -> None:
    with socket.create_connection(("127.0.0.1", instance.port)) as leaving:
        leaving.sendall(b"GET /slow HTTP/1.1\r\nHost: %s\r\n\r\n" % host_of(url).encode())
        host = web.await_log("slow in ").split()[-1]
        assert requests.get(f"{url}/text", timeout=60).text == "plain"
    docker("exec", "--detach", host, "touch", "/tmp/go")
    assert web.await_log("slow is done")


def test_a_signed_call_is_let_in(web: Function) -> None:
    web.publish()
    web.instance.client.create_alias(FunctionName=web.name, Name="iam", FunctionVersion="$LATEST")
    address = created(web, Qualifier="iam", AuthType="AWS_IAM")
    request = AWSRequest("POST", f"{address}/x", data=b"{}")
    assert requests.post(request.url, data=b"{}", timeout=60).status_code == 403
    for account, status in (("000000000000", 200), ("111111111111", 403)):
        fresh = AWSRequest("POST", f"{address}/x", data=b"{}")
        SigV4Auth(Credentials(account, "secret"), "lambda", "us-east-1").add_auth(fresh)
        answer = requests.post(
            fresh.url, data=b"{}", headers=dict(fresh.headers.items()), timeout=60
        )
        assert answer.status_code == status
        if status == 200:
            context = answer.json()["event"]["requestContext"]
            assert context["authorizer"]["iam"]["accessKey"] == account


# streams


def opened(function: Function, url: str, path: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", function.instance.port, timeout=60)
    connection.request("GET", path, headers={"Host": host_of(url)})
    return connection


def test_the_prelude_and_the_first_bytes_are_there_while_the_function_waits(
    streams: Function, stream_url: str
) -> None:
    with closing(opened(streams, stream_url, "/wait")) as connection:
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Type")) == (203, "text/x-own")
        assert answer.getheader("Set-Cookie") == "a=1"
        assert answer.getheader("Transfer-Encoding") == "chunked"
        assert answer.read(5) == b"first"
        docker("exec", "--detach", container(streams), "touch", "/tmp/go")
        assert answer.read() == b"last"


def test_a_stream_that_breaks_off_is_no_whole_answer(streams: Function, stream_url: str) -> None:
    with closing(opened(streams, stream_url, "/break")) as connection:
        answer = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
        assert caught.value.partial == b"first"


def test_a_slow_reader_makes_the_function_wait(
    instance: Instance, streams: Function, stream_url: str, web: Function
) -> None:
    size = 64 * MIB
    with closing(opened(streams, stream_url, f"/write:{size}")) as connection:
        answer = connection.getresponse()
        assert answer.read(5) == b"first"
        for number in range(200):  # all other calls go on; time enough to write it all
            assert web.invoke({"rawPath": str(number)}).status == 200
        written = int(docker("exec", container(streams), "cat", "/tmp/written"))
        assert written < IN_SOCKETS
        assert len(answer.read()) == size + len("last")


def test_a_reader_that_leaves_does_not_stop_the_function(
    streams: Function, stream_url: str
) -> None:
    size = 48 * MIB
    with closing(opened(streams, stream_url, f"/write:{size}")) as connection:
        assert connection.getresponse().read(5) == b"first"
    assert streams.await_log(f"wrote {size}")


def test_a_function_that_does_not_stream_answers_a_streaming_url_whole(
    instance: Instance,
) -> None:
    function = instance.deploy("def handler(event, context):\n    return {'statusCode': 404}\n")
    answer = requests.get(created(function, InvokeMode="RESPONSE_STREAM"), timeout=60)
    assert (answer.status_code, answer.json()) == (200, {"statusCode": 404})
    assert answer.headers["Content-Type"] == "application/json"


def test_urls_are_where_they_were_after_a_restart(tmp_path: Path) -> None:
    own = Instance(tmp_path / "state", url_domain="localhost")
    try:
        function = own.start().deploy(WEB)
        url = created(function)
        assert url == f"http://{url[7:39]}.lambda-url.us-east-1.localhost:{own.port}"
        host = url.removeprefix("http://")
        own.stop()
        own.start()
        answer = requests.get(f"{own.url}/text", headers={"Host": host}, timeout=60)
        assert answer.text == "plain"
    finally:
        own.stop()
