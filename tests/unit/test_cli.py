"""The command `fnbox`, as a shell sees it: streams and exit status, against a scripted API."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sandbox.cli import main as cli_main


class Seen(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Api(ThreadingHTTPServer):
    """Answers what a test scripted for (method, path without query); else 404 as Lambda does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[Seen] = []
        self.answers: dict[tuple[str, str], list[tuple[int, dict[str, str], bytes]]] = {}

    def script(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any],
        status: int = 200,
        **headers: str,
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.setdefault((method, path), []).append((status, named, content))


class _Handler(BaseHTTPRequestHandler):
    server: Api
    _missing = (
        404,
        {"x-amzn-ErrorType": "ResourceNotFoundException"},
        b'{"Message": "Function not found: f"}',
    )

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.server.seen.append(Seen(self.command, self.path, dict(self.headers), body))
        scripted = self.server.answers.get((self.command, path), [self._missing])
        status, headers, content = scripted.pop(0) if len(scripted) > 1 else scripted[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    with Api() as server:
        monkeypatch.setenv("FNBOX_PORT", str(server.server_port))
        monkeypatch.setenv("FNBOX_STATE_DIR", str(tmp_path / "state"))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def fnbox(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["fnbox", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli_main.main()
        out, err = capfd.readouterr()
        return Result(int(ended.value.code or 0), out, err)

    return call


INVOKE = "/2015-03-31/functions/f/invocations"
FUNCTION = "/2015-03-31/functions/f/configuration"


def test_a_result_goes_to_stdout_and_the_log_to_stderr(api: Api, fnbox: Any) -> None:
    log = base64.b64encode(b"REPORT\n").decode()
    api.script("POST", INVOKE, b'{"a":1}', X_Amz_Log_Result=log)
    assert fnbox("invoke", "f", "--payload", '{"x":2}', "--log") == (0, '{"a":1}\n', "REPORT\n\n")
    (request,) = api.seen
    assert request.body == b'{"x":2}'
    assert request.headers["X-Amz-Log-Type"] == "Tail"
    assert request.headers["X-Amz-Invocation-Type"] == "RequestResponse"


def test_a_function_that_failed_is_status_1_with_its_payload_on_stdout(
    api: Api, fnbox: Any
) -> None:
    api.script("POST", INVOKE, b'{"errorType":"E"}', X_Amz_Function_Error="Unhandled")
    status, out, err = fnbox("invoke", "f")
    assert (status, out) == (1, '{"errorType":"E"}\n')
    assert err == "fnbox: the function failed (Unhandled)\n"


def test_an_event_is_queued_for_the_version_that_was_named(
    api: Api, fnbox: Any, tmp_path: Path
) -> None:
    api.script("POST", INVOKE, b"", 202)
    payload = tmp_path / "event.json"
    payload.write_bytes(b"[1]")
    call = fnbox("invoke", "f", "--event", "--qualifier", "live", "--payload", f"@{payload}")
    assert call == (0, "", "")
    assert api.seen[0].path == f"{INVOKE}?Qualifier=live"
    assert api.seen[0].headers["X-Amz-Invocation-Type"] == "Event"
    assert api.seen[0].body == b"[1]"


def test_an_error_of_the_api_is_one_line_and_status_1(api: Api, fnbox: Any) -> None:
    call = fnbox("invoke", "f")
    assert call == (1, "", "fnbox: ResourceNotFoundException: Function not found: f\n")


@pytest.mark.parametrize("command", [["invoke", "f"], ["logs", "f"], ["events", "list"]])
def test_where_nothing_answers_the_user_is_told_to_start_it(fnbox: Any, command: list[str]) -> None:
    status, out, err = fnbox(*command, "--port", "1")
    assert (status, out) == (1, "")
    assert err == "fnbox: nothing answers at http://127.0.0.1:1: run `fnbox up`\n"


@pytest.mark.parametrize(
    "command",
    [
        ["invoke"],
        ["nonesuch"],
        ["invoke", "f", "--payload", "@/nonesuch"],
        ["deploy"],
        ["deploy", "--image", "x"],
        ["deploy", ".", "--env", "NAME"],
        ["logs", "f", "--since", "yesterday"],
        ["events", "retry"],
        ["events", "purge", "1", "--all"],
        ["up", "--port", "0"],
    ],
)
def test_a_command_that_is_not_understood_is_status_2(fnbox: Any, command: list[str]) -> None:
    status, out, err = fnbox(*command)
    assert (status, out) == (2, "")
    assert "Error: " in err


def test_a_setting_that_is_wrong_is_one_line(fnbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FNBOX_GRACE", "long")
    status, _, err = fnbox("status")
    assert status == 1
    assert err.startswith("fnbox: FNBOX_GRACE='long' cannot be used")
    assert err.count("\n") == 1


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "app.py").write_text("def run(event, context): pass\n")
    return folder


def test_deploy_creates_a_function_that_is_not_there(api: Api, fnbox: Any, code: Path) -> None:
    active = {"FunctionName": "f", "State": "Active", "LastUpdateStatus": "Successful"}
    api.script("GET", FUNCTION, _Handler._missing[2], 404, **_Handler._missing[1])
    api.script("GET", FUNCTION, active)
    api.script("GET", "/2015-03-31/functions/f", {"Configuration": active})
    api.script("POST", "/2015-03-31/functions", active, 201)
    status, out, err = fnbox("deploy", str(code), "--handler", "app.run", "--env", "A1=b=c")
    assert (status, err) == (0, "")
    assert json.loads(out) == active
    created = json.loads(next(seen.body for seen in api.seen if seen.method == "POST"))
    assert created["FunctionName"] == "f"
    assert created["Runtime"] == "python3.13"
    assert created["Environment"] == {"Variables": {"A1": "b=c"}}
    assert base64.b64decode(created["Code"]["ZipFile"])[:2] == b"PK"


def test_deploy_updates_only_what_differs(api: Api, fnbox: Any, code: Path) -> None:
    current = {
        "FunctionName": "f",
        "Handler": "app.run",
        "Timeout": 3,
        "CodeSha256": "another",
        "LastUpdateStatus": "Successful",
    }
    api.script("GET", FUNCTION, current)
    api.script("GET", "/2015-03-31/functions/f", {"Configuration": current})
    api.script("PUT", FUNCTION, current)
    api.script("PUT", "/2015-03-31/functions/f/code", current)
    assert fnbox("deploy", str(code), "--handler", "app.run", "--timeout", "9").status == 0
    puts = [json.loads(seen.body) for seen in api.seen if seen.method == "PUT"]
    assert puts[0] == {"Timeout": 9}
    assert list(puts[1]) == ["ZipFile"]


LOG = (
    b'{"timestamp": 1, "stream": "s", "message": "one\\rtwo\\n"}\n'
    b"\n"
    b'{"timestamp": 2, "stream": "s", "message": "three"}\n'
)


def test_logs_are_shown_as_they_were_written(api: Api, fnbox: Any) -> None:
    api.script("GET", "/_fnbox/logs/f", LOG)
    assert fnbox("logs", "f", "-f", "--since", "1h") == (0, "one\ntwo\nthree\n", "")
    assert api.seen[0].path.endswith("&follow=1")


def test_logs_can_be_had_as_json(api: Api, fnbox: Any) -> None:
    api.script("GET", "/_fnbox/logs/f", LOG)
    lines = fnbox("logs", "f", "--json").out.splitlines()
    assert [json.loads(line)["timestamp"] for line in lines] == [1, 2]


def test_dead_events_are_listed_a_line_each_over_pages(
    api: Api, fnbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.cli.events._PAGE", 2)
    for numbers in ([1, 2], [3]):
        api.script("GET", "/_fnbox/events", {"events": [{"id": number} for number in numbers]})
    assert fnbox("events", "list", "--function", "f") == (
        0,
        '{"id": 1}\n{"id": 2}\n{"id": 3}\n',
        "",
    )
    assert [seen.path.partition("?")[2] for seen in api.seen] == [
        "function=f&after=0&limit=2",
        "function=f&after=2&limit=2",
    ]


def test_dead_events_are_shown_retried_and_purged(api: Api, fnbox: Any) -> None:
    api.script("GET", "/_fnbox/events/7", {"id": 7, "payload": "{}"})
    api.script("POST", "/_fnbox/events/7/retry", {"retried": 1})
    api.script("POST", "/_fnbox/events/retry", {"retried": 3})
    api.script("DELETE", "/_fnbox/events", {"purged": 2})
    assert json.loads(fnbox("events", "show", "7").out) == {"id": 7, "payload": "{}"}
    assert fnbox("events", "retry", "7") == (0, "", "1 event\n")
    assert fnbox("events", "retry", "--all") == (0, "", "3 events\n")
    assert fnbox("events", "purge", "--function", "f") == (0, "", "2 events\n")
    assert api.seen[-1].path == "/_fnbox/events?function=f"


def test_a_dead_event_that_is_not_there_is_one_line_and_status_1(api: Api, fnbox: Any) -> None:
    api.script("GET", "/_fnbox/events/9", {"message": "There is no dead event 9."}, 404)
    assert fnbox("events", "show", "9") == (1, "", "fnbox: There is no dead event 9.\n")


def test_status_tells_whether_it_runs_in_its_exit_status_and_in_json(api: Api, fnbox: Any) -> None:
    api.script("GET", "/_fnbox/health", {"status": "running"})
    status, out, _ = fnbox("status")
    assert (status, json.loads(out)["running"]) == (0, True)
    status, out, _ = fnbox("status", "--port", "1")
    assert (status, json.loads(out)["running"]) == (1, False)


def test_env_prints_what_a_shell_can_evaluate(fnbox: Any) -> None:
    status, out, err = fnbox("env", "--port", "4999")
    assert (status, err) == (0, "")
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:4999\n" in out
    assert "export AWS_DEFAULT_REGION=us-east-1\n" in out


def test_env_loads_neither_an_sdk_nor_the_docker_client() -> None:
    script = (
        "import sys; from sandbox.cli.main import main; sys.argv[1:] = ['env']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"botocore", "docker", "requests", "flask", "gevent"} & set(done.stderr.split())
