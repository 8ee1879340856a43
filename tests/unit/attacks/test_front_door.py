"""No web page of a stranger gets in: neither by a name of its own nor across sites.

Everything is asked over a socket, of the worker that serves: a plain Invoke at its own loop, and
the rest at gunicorn and Flask.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping

import pytest
from click.testing import CliRunner

from sandbox.api.front_door import FrontDoor
from sandbox.cli.main import cli
from sandbox.cli.options import as_options
from sandbox.errors import StartupError
from sandbox.http.worker import InvokeWorker
from sandbox.settings import Settings
from sandbox.setup import exposure
from tests.support.api import AUTHORIZATION, Api, open_api
from tests.support.worker import ask

INVOKE = "POST /2015-03-31/functions/f/invocations"
SIGNED = {"Authorization": AUTHORIZATION}
EVIL = "http://evil.example"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    opened = open_api(
        tmp_path_factory.mktemp("state"),
        allowed_hosts=("lambda.test", "fnbox", "*.allowed.test"),
        allowed_origins=("https://app.test",),
    )
    opened.create("f")
    yield opened
    opened.close()


def sent(
    line: str = INVOKE,
    host: str = "127.0.0.1:4566",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"{}",
) -> bytes:
    fields = {"Host": host, **(headers or {}), "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body


def answer(door: InvokeWorker, request: bytes) -> tuple[int, str]:
    """Status, and the text of an error."""
    head, _, body = ask(door, request).partition(b"\r\n\r\n")
    status = int(head[9:12])
    if status < 400:
        return status, ""
    assert b"Content-Type: application/json" in head
    document = json.loads(body)
    return status, document.get("message") or document["Message"]


OWN_HOSTS = [
    *(
        "localhost",
        "LOCALHOST:4566",
        "localhost.:4566",
        "127.0.0.1:4566",
        "127.1.2.3",
        "[::1]:4566",
    ),
    *("172.17.0.1:4566", "192.168.1.5:4566", "[fe80::1]:4566", "host.docker.internal:4566"),
    *("lambda.localhost", "s3.us-east-1.localhost.localstack.cloud:4566", socket.gethostname()),
    *("lambda.us-east-1.amazonaws.com", "lambda.cn-north-1.amazonaws.com.cn", "fnbox:4566"),
    "a.allowed.test:4566",
]
OTHER_HOSTS = [
    *("evil.example", "evil.example:4566", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("127.0.0.1.nip.io:4566", "notlocalhost", "allowed.test", "fnbox.evil.example"),
    *("amazonaws.com.evil.example", "evilamazonaws.com", "0x7f.1", "2130706433", "127.1"),
]
NO_HOSTS = [
    "",
    "a b",
    "localhost:port",
    "localhost:4566:4566",
    "user@localhost",
    "localhost/..",
    ":80",
]


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_this_machines_names_and_any_address_are_answered(door: InvokeWorker, host: str) -> None:
    twice = ask(door, sent(host=host) * 2 + sent("GET /_fnbox/health", host=host, body=b""))
    assert twice.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("line", [INVOKE, "GET /_fnbox/health", "GET /2015-03-31/functions/"])
@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_a_rebound_name_is_refused_and_told_which_setting_allows_it(
    api: Api, door: InvokeWorker, host: str, line: str
) -> None:
    for headers in ({}, SIGNED):  # a rebound page may sign: it is of the same origin
        status, text = answer(door, sent(line, host, headers))
        assert status == 403
        assert "FNBOX_ALLOWED_HOSTS" in text
        assert host.rpartition(":")[0] in text
    assert api.service.invoked == []


@pytest.mark.parametrize("host", NO_HOSTS)
def test_a_host_that_is_none_is_a_bad_request(api: Api, door: InvokeWorker, host: str) -> None:
    assert answer(door, sent(host=host))[0] == 400
    assert api.service.invoked == []


def test_a_request_without_a_host_is_a_bad_request_but_of_http_1_0(door: InvokeWorker) -> None:
    lines = f"{INVOKE} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}"
    assert answer(door, lines.encode())[0] == 400
    assert answer(door, lines.replace("/1.1", "/1.0").encode())[0] == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://127.0.0.1:4566", 200),
        ("HTTP://127.0.0.1:4566", 200),
        ("http://evil.example", 400),
        ("http://127.0.0.1:80", 400),
        ("http://a@127.0.0.1:4566", 400),
        ("ftp://127.0.0.1:4566", 400),
    ],
)
def test_a_target_with_a_host_has_the_hosts(door: InvokeWorker, target: str, status: int) -> None:
    line = INVOKE.replace(" /", f" {target}/")
    assert answer(door, sent(line))[0] == status


def test_only_so_many_hosts_are_remembered() -> None:
    front = FrontDoor(Settings())
    for number in range(3000):
        front.check_host({"HTTP_HOST": f"n{number}.localhost"})
    assert front.knows({"HTTP_HOST": "n2999.localhost"})
    assert len(front._known) <= 1000


PAGES = {
    "fetch or form": {"Origin": EVIL, "Content-Type": "text/plain"},
    "form, as browsers mark it": {
        "Origin": EVIL,
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Content-Type": "application/x-www-form-urlencoded",
    },
    "beacon": {"Origin": EVIL, "Sec-Fetch-Mode": "no-cors", "Content-Type": "text/plain;x"},
    "frame in a sandbox": {"Origin": "null"},
    "file": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "image": {"Sec-Fetch-Site": "cross-site", "Referer": f"{EVIL}/page"},
    "image that hides its page": {"Sec-Fetch-Site": "cross-site"},
    "link": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "function by host": {"Origin": "http://abc.lambda-url.us-east-1.localhost:4566"},
    "function's image": {
        "Referer": "http://abc.lambda-url.us-east-1.localhost:4566/",
        "Sec-Fetch-Site": "same-site",
    },
    "function by path, in its sandbox": {
        "Referer": "http://127.0.0.1:4566/_fnbox/urls/abc/",
        "Sec-Fetch-Site": "cross-site",
    },
    "function by path, by another name": {
        "Referer": "http://localhost:4566/",
        "Sec-Fetch-Site": "cross-site",
    },
    "name that looks like it": {"Origin": "http://localhost.evil.example"},
    "user that looks like it": {"Origin": "http://localhost@evil.example"},
    "container": {"Origin": "http://172.17.0.3"},
    "extension": {"Origin": "chrome-extension://abcdef"},
    "allowed name, other scheme": {"Origin": "http://app.test"},
}
LINES = {
    "invoke": INVOKE,
    "stream": "POST /2021-11-15/functions/f/response-streaming-invocations",
    "delete": "DELETE /2015-03-31/functions/f",
    "logs": "POST /",
    "events": "POST /_fnbox/events/retry",
    "another service": "POST /?Action=DeleteQueue&Version=2012-11-05",
    "metrics": "GET /_fnbox/metrics",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_of_another_site_is_refused(
    api: Api, door: InvokeWorker, page: Mapping[str, str], line: str
) -> None:
    head, _, body = ask(door, sent(line, headers=page)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"FNBOX_ALLOWED_ORIGINS" in body
    assert api.service.invoked == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_preflight_of_another_site_is_told_nothing(
    door: InvokeWorker, page: Mapping[str, str]
) -> None:
    asked = {**page, "Access-Control-Request-Method": "PUT"}
    asked["Access-Control-Request-Headers"] = "authorization"
    head, _, _ = ask(door, sent("OPTIONS /bucket/key", headers=asked)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b"access-control-" not in head.lower()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        SIGNED,
        {"User-Agent": "curl/8", "Referer": EVIL},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-origin", "Referer": "http://127.0.0.1:4566/"},
        {"Sec-Fetch-Site": "same-site", "Referer": "http://127.0.0.1:3000/"},
        {"Origin": "http://127.0.0.1:4566"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://[::1]:3000"},
        {"Origin": "https://app.test"},
        {"Sec-Fetch-Site": "cross-site", "Referer": "https://app.test/page?query"},
        {"Origin": EVIL, **SIGNED},
        {"Sec-Fetch-Site": "cross-site", **SIGNED},
    ],
    ids=str,
)
def test_who_is_no_page_or_an_own_or_allowed_one_or_signs_is_let_in(
    api: Api, door: InvokeWorker, headers: Mapping[str, str]
) -> None:
    assert answer(door, sent(headers=headers)) == (200, "")
    assert len(api.service.invoked) == 1


def test_another_services_clients_are_refused_in_their_own_words(door: InvokeWorker) -> None:
    request = sent("GET /bucket?X-Amz-Credential=a/20260101/us-east-1/s3/aws4_request", "evil.test")
    head, _, body = ask(door, request).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b"<Error><Code>AccessDenied</Code>" in body
    assert b"FNBOX_ALLOWED_HOSTS" in body


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    """The id of f's function URL."""
    client = api.boto()
    made = client.create_function_url_config(FunctionName="f", AuthType="NONE")["FunctionUrl"]
    yield made.rstrip("/").rpartition("/")[2]
    client.delete_function_url_config(FunctionName="f")


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_function_url_is_for_any_page(
    door: InvokeWorker, url: str, page: Mapping[str, str]
) -> None:
    """By path, and by host whatever domain was pointed here."""
    for line, host in (
        (f"GET /_fnbox/urls/{url}/", "localhost:4566"),
        ("GET /", f"{url}.lambda-url.us-east-1.localhost:4566"),
        ("GET /", f"{url}.lambda-url.us-east-1.example.org"),
    ):
        assert answer(door, sent(line, host, page, b""))[0] == 200


def test_a_function_urls_host_leads_to_nothing_but_its_function(
    api: Api, door: InvokeWorker, url: str
) -> None:
    host = f"{url}.LAMBDA-URL.us-east-1.evil.example"
    assert answer(door, sent("DELETE /2015-03-31/functions/f", host))[0] == 200
    assert json.loads(api.service.invoked[0].payload)["rawPath"] == "/2015-03-31/functions/f"
    assert answer(door, sent(f"GET /_fnbox/urls/{url}/", "evil.example"))[0] == 403


def test_a_page_that_has_the_apis_address_is_put_into_a_sandbox(
    door: InvokeWorker, url: str
) -> None:
    """Else its scripts could do with fnbox what they like, being of the same origin."""
    by_path = ask(door, sent(f"GET /_fnbox/urls/{url}/", body=b""))
    by_host = ask(door, sent("GET /", f"{url}.lambda-url.us-east-1.localhost", body=b""))
    policy = b"\r\nContent-Security-Policy: sandbox "
    assert policy in by_path
    assert b"allow-same-origin" not in by_path
    assert policy not in by_host


# Where it listens.


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_an_address_of_this_machine_alone_needs_no_word(host: str) -> None:
    assert exposure.check(Settings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "172.17.0.1", "example.test"])
def test_another_address_needs_enforcement_or_a_word_and_a_warning(host: str) -> None:
    with pytest.raises(StartupError, match=r"FNBOX_IAM=enforce.*--insecure, FNBOX_INSECURE=true"):
        exposure.check(Settings(host=host))
    assert exposure.check(Settings(host=host, iam="enforce")) is None
    warning = exposure.check(Settings(host=host, insecure=True))
    assert warning is not None
    assert "can run code" in warning


@pytest.mark.parametrize("command", ["up", "serve"])
def test_both_commands_that_start_fnbox_refuse_it_before_anything_else(command: str) -> None:
    done = CliRunner().invoke(cli, [command, "--host", "0.0.0.0", "--state-dir", "/nowhere"])
    assert isinstance(done.exception, StartupError)
    assert "FNBOX_IAM=enforce" in str(done.exception)


def test_the_word_is_passed_on_to_the_process_that_serves() -> None:
    assert "--insecure" in as_options(Settings(insecure=True))
    assert "--insecure" not in as_options(Settings())
