"""Instances of fnbox for tests: real control planes, each with a state directory of its own.

An instance is started as anybody would, `python -m sandbox serve`, and ended by SIGTERM;
its end proves that it left no container, socket or temporary directory. Functions are
created and called through boto3.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import fcntl
import http.client
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import boto3
from botocore.config import Config

from sandbox.engines.docker import INIT_IMAGE, INSTANCE_LABEL
from sandbox.settings import Settings
from tests.support.functions import until

ROOT = Path(__file__).parents[2]
AWS = str(Path(sys.executable).parent / "aws")
ROLE = "arn:aws:iam::000000000000:role/lambda-role"

_READY_SECONDS = 60
_END_SECONDS = 60
_SOON = {"Delay": 0.02, "MaxAttempts": 1000}
_LOG_LINES = 80
_LOG_SECONDS = 40

RUNNING: list[Instance] = []
"""What a test that fails shows the logs of."""


def package(files: Mapping[str, str | bytes] | str) -> bytes:
    """A deployment package of these files, or of one `handler.py`."""
    files = {"handler.py": files} if isinstance(files, str) else files
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def environment(**settings: object) -> dict[str, str]:
    """This process's variables, with these settings of fnbox and no others."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FNBOX_", "AWS_", "LAMBDA_"))
    }
    return kept | {
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "*",
        "FNBOX_DOCKER_HOST": Settings.load().docker_host,
        "FNBOX_RUNTIME_REGISTRY": "none",
        **{f"FNBOX_{name.upper()}": str(value) for name, value in settings.items()},
    }


def docker(*arguments: str, seconds: float = 60) -> str:
    """What a `docker` command prints."""
    variables = os.environ | {"DOCKER_HOST": Settings.load().docker_host}
    done = subprocess.run(
        ["docker", *arguments], env=variables, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def containers(instance: str) -> set[str]:
    """Ids, of 12 digits, of the containers of an instance, running or not."""
    label = f"label={INSTANCE_LABEL}={instance}"
    return set(docker("ps", "--all", "--quiet", "--filter", label).split())


def _messages(lines: Iterable[bytes]) -> Iterator[str]:
    deadline = time.monotonic() + _LOG_SECONDS
    for line in lines:
        # Empty ones come, now and then, as long as there is nothing new.
        if line.strip():
            yield json.loads(line)["message"]
        assert time.monotonic() < deadline, "what was waited for is not in the log"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Answer(NamedTuple):
    """What Invoke answered."""

    status: int
    body: bytes
    error: str | None
    version: str | None
    log: str
    """LogResult, decoded."""
    request_id: str

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Function:
    """A function of an instance."""

    def __init__(self, instance: Instance, name: str) -> None:
        self.instance = instance
        self.name = name

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:us-east-1:000000000000:function:{self.name}"

    def invoke(self, event: object = None, qualifier: str | None = None, **members: Any) -> Answer:
        """Invoke, with `event` as JSON; raises botocore's ClientError."""
        request = {
            "FunctionName": self.name,
            "Payload": json.dumps(event),
            "LogType": "Tail",
            **({"Qualifier": qualifier} if qualifier else {}),
            **members,
        }
        answer = self.instance.client.invoke(**request)
        with contextlib.closing(answer["Payload"]) as body:
            return Answer(
                answer["StatusCode"],
                body.read(),
                answer.get("FunctionError"),
                answer.get("ExecutedVersion"),
                base64.b64decode(answer.get("LogResult", "")).decode(errors="replace"),
                answer["ResponseMetadata"]["RequestId"],
            )

    def update(self, files: Mapping[str, str | bytes] | str) -> None:
        """Replace the code, and wait until that is done."""
        self.instance.client.update_function_code(FunctionName=self.name, ZipFile=package(files))
        self._updated()

    def configure(self, **members: Any) -> None:
        """Change the configuration, and wait until that is done."""
        self.instance.client.update_function_configuration(FunctionName=self.name, **members)
        self._updated()

    def _updated(self) -> None:
        waiter = self.instance.client.get_waiter("function_updated_v2")
        waiter.wait(FunctionName=self.name, WaiterConfig=_SOON)

    def publish(self) -> str:
        version: str = self.instance.client.publish_version(FunctionName=self.name)["Version"]
        return version

    def delete(self) -> None:
        self.instance.client.delete_function(FunctionName=self.name)

    @contextlib.contextmanager
    def follow(self) -> Iterator[Iterator[str]]:
        """The messages of the function's log, those to come too."""
        connection = http.client.HTTPConnection("127.0.0.1", self.instance.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", f"/_fnbox/logs/{self.name}?since=0&follow=1")
            with connection.getresponse() as response:
                yield _messages(response)

    def await_log(self, text: str) -> str:
        """The first message with `text` in it, once it is there."""
        with self.follow() as messages:
            return next(message for message in messages if text in message)

    def log(self) -> str:
        """Everything in the function's log."""
        connection = http.client.HTTPConnection("127.0.0.1", self.instance.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", f"/_fnbox/logs/{self.name}?since=0")
            lines = connection.getresponse().read().splitlines()
        return "".join(json.loads(line)["message"].rstrip("\n") + "\n" for line in lines if line)


class Instance:
    """A control plane: `start` it, as often as wanted on one state directory, and `stop` it."""

    def __init__(self, state_dir: Path, **settings: object) -> None:
        self.state_dir = state_dir
        self.port = free_port()
        self.log_path = state_dir.with_suffix(".log")
        self.functions: list[Function] = []
        self._environment = environment(state_dir=state_dir, port=self.port, **settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = self._client("test")

    def _client(self, access_key: str) -> Any:
        return boto3.session.Session().client(
            "lambda",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=access_key,
            aws_secret_access_key="test",
            config=Config(
                read_timeout=120,
                connect_timeout=5,
                proxies={},
                max_pool_connections=64,
                retries={"total_max_attempts": 1},
            ),
        )

    def of_account(self, account: str) -> Self:
        """The same instance, as callers of another account see it; its client is to be closed."""
        other = copy.copy(self)
        other.client, other.functions = self._client(account), []
        return other

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def id(self) -> str:
        return (self.state_dir / "instance").read_text().strip()

    @property
    def variables(self) -> dict[str, str]:
        """What points the command `fnbox`, and AWS clients, to this instance."""
        return self._environment | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def pid(self) -> int:
        """The gunicorn master's."""
        assert self._process is not None, "it has been started"
        return self._process.pid

    @property
    def worker(self) -> int | None:
        """The process that answers; None between two of them."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0]) if children else None

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "sandbox", *arguments]

    def fnbox(self, *words: str, given: Any = None) -> str:
        """What a command of the command line prints about this instance; `given`: its input."""
        done = subprocess.run(
            self.command(*words),
            env=self.variables,
            input=None if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> Self:
        """Return when calls are answered."""
        if given := os.environ.get("FNBOX_TEST_INIT"):
            self._bring_init(Path(given))
        reader, writer = os.pipe()
        with self.log_path.open("ab") as log, open(reader, "rb", buffering=0) as ready:
            self._process = subprocess.Popen(
                self.command("serve", "--ready-fd", str(writer)),
                cwd=self.log_path.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writer],
                start_new_session=True,
            )
            os.close(writer)
            RUNNING.append(self)
            readable, _, _ = select.select([ready], [], [], _READY_SECONDS)
            started = bool(readable) and ready.read(1) == b"1"
            assert started, f"it did not start:\n{self.tail()}"
        return self

    def _bring_init(self, binary: Path) -> None:
        """Have an init that was built for a test in place of the one in the image."""
        image = docker("inspect", "--format", "{{.Id}}", INIT_IMAGE).removeprefix("sha256:")
        place = self.state_dir / "init" / image[:16] / "init"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(binary, place)

    def terminate(self) -> None:
        """Ask it to end."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float = _END_SECONDS) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None, "it has been started"
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End master and worker as a power cut would."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        # A worker that is still in an fsync holds the lock and the port until that returns.
        with (self.state_dir / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        self._ended()

    def stop(self) -> None:
        """End it in order, if it runs, and prove that nothing is left of it."""
        self.client.close()
        process, started = self._process, self in RUNNING
        if process is None or not started:
            return
        try:
            if process.poll() is None:
                self.terminate()
            code = self.wait()
        finally:
            if process.poll() is None:
                self.kill()
            with contextlib.suppress(ValueError):
                self._ended()
        assert code == 0, f"it ended with {code}:\n{self.tail()}"
        assert self.containers() == set(), f"containers are left:\n{self.tail()}"
        assert self.leftovers() == [], f"sockets or directories are left:\n{self.tail()}"

    def leftovers(self) -> list[Path]:
        """What may exist only as long as an environment or a call does."""
        return [*(self.state_dir / "run").iterdir(), *(self.state_dir / "code/tmp").iterdir()]

    def containers(self) -> set[str]:
        return containers(self.id)

    def environments(self, state: str) -> int:
        """How many there are that are starting, busy, idle, spare or stopping."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/_fnbox/metrics")
            text = connection.getresponse().read().decode()
        (count,) = re.findall(rf'^fnbox_environments{{state="{state}"}} (\S+)$', text, re.MULTILINE)
        return int(float(count))

    def deploy(
        self, files: Mapping[str, str | bytes] | str, name: str | None = None, **members: Any
    ) -> Function:
        """Create a function, `handler.handler` on python3.13, and wait until it is Active.

        Members that are None are left out.
        """
        name = name or f"function-{len(self.functions)}"
        members = {
            "FunctionName": name,
            "Role": ROLE,
            "Runtime": "python3.13",
            "Handler": "handler.handler",
            "Code": {"ZipFile": package(files)},
            "Timeout": 30,
            **members,
        }
        self.client.create_function(
            **{member: value for member, value in members.items() if value is not None}
        )
        self.client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=_SOON)
        function = Function(self, name)
        self.functions.append(function)
        return function

    def tail(self) -> str:
        """The end of the control plane's own log."""
        return "\n".join(self.log_path.read_text().splitlines()[-_LOG_LINES:])

    def told(self) -> Iterator[tuple[str, str]]:
        """Titles and text of what there is to read when a test has failed."""
        yield f"control plane {self.state_dir.name}", self.tail()
        for function in self.functions[-3:]:
            try:
                text = function.log()
            except (OSError, http.client.HTTPException) as error:
                text = f"(it cannot be read: {error})"
            yield f"function {function.name}", "\n".join(text.splitlines()[-_LOG_LINES:])

    def _ended(self) -> None:
        RUNNING.remove(self)


Deploy = Callable[..., Function]
"""The fixture `deploy`, as Instance.deploy."""
Start = Callable[..., Instance]
"""The fixture `start`: a started instance with these settings."""


def gone(instance: Instance, containers_before: set[str], seconds: float = 30) -> None:
    """Wait until none of these containers exists."""
    until(lambda: not containers_before & instance.containers(), seconds)
