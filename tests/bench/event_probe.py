"""What the measures of events share: an fnbox that can be killed, and a function that tells of
each run.

The function is on Docker's default bridge and reports its request id over TCP, and it waits for
the report to be taken before it returns: what has run is known, whatever is killed next.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docker import APIClient

from sandbox.settings import Settings
from sandbox.setup.deploy import Code, deploy, lambda_client

FUNCTION = "tells-of-each-run"
_PATH = f"/2015-03-31/functions/{FUNCTION}/invocations"
_READY_SECONDS = 60.0
_ID_BYTES = 36

_SOURCE = """
import socket

connection = socket.create_connection(({host!r}, {port}))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

def handler(event, context):
    connection.sendall(context.aws_request_id.encode())
    connection.recv(1)
"""


class Reports:
    """Takes what functions report: the times of each request id's runs."""

    def __init__(self, host: str) -> None:
        self.runs: dict[str, list[float]] = defaultdict(list)
        self._holding = False
        self._held: list[socket.socket] = []
        self._listener = socket.create_server((host, 0), backlog=256)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    @contextmanager
    def holding(self) -> Iterator[list[socket.socket]]:
        """Let nobody who reports go on until the block ends; gives those that wait."""
        self._holding = True
        try:
            yield self._held
        finally:
            self._holding = False
            for connection in self._held:
                with suppress(OSError):  # its environment may have gone
                    connection.send(b".")
            self._held = []

    def _take(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                    continue
                connection: socket.socket = key.fileobj  # type: ignore[assignment]
                try:
                    report = connection.recv(_ID_BYTES)
                    if report:
                        self.runs[report.decode()].append(time.perf_counter())
                        if self._holding:
                            self._held.append(connection)
                        else:
                            connection.send(b".")
                        continue
                except ConnectionError:
                    pass
                self._selector.unregister(connection)
                connection.close()


class Probed:
    """An fnbox that may be killed and started again on the same state."""

    def __init__(self, folder: Path, **settings: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        self.settings = Settings(port=port, state_dir=folder)
        # what it spawns goes on for a moment when it is killed: none of it holds a pipe of ours
        self._environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith("FNBOX_")},
            "FNBOX_CONFIG": os.devnull,
            "FNBOX_PORT": str(port),
            "FNBOX_STATE_DIR": str(folder),
            "FNBOX_NETWORK": "bridge",
            **{f"FNBOX_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once calls are answered."""
        reader, writer = os.pipe()
        log = self.settings.state_dir / "control-plane.log"
        with open(reader, "rb", buffering=0) as ready, log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox", "serve", "--ready-fd", str(writer)],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[writer],
                start_new_session=True,
            )
            os.close(writer)
            if not ready.read(1):
                raise RuntimeError(f"fnbox did not come up: {log.read_text()}")

    def deploy(self, reports: Reports) -> None:
        host, port = reports.address
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("app.py", _SOURCE.format(host=host, port=port))
        configuration = {"Runtime": "python3.13", "Handler": "app.handler", "Timeout": 900}
        client = lambda_client(self.settings)
        deploy(client, FUNCTION, Code(package.getvalue(), None), configuration)
        client.close()

    def kill(self) -> None:
        """SIGKILL, to the master and its worker, as when a machine loses power."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=60)

    def metric(self, name: str) -> float:
        connection = self.connection()
        connection.request("GET", "/_fnbox/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def worker(self) -> Path:
        """What the kernel tells of the process that answers."""
        assert self._process is not None
        master = self._process.pid
        workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return Path("/proc", workers[0])

    def cpu_seconds(self) -> float:
        """CPU time that the worker has taken, in all its threads."""
        return cpu_seconds(self.worker())

    def memory_mib(self) -> float:
        """What the worker holds: Python's own, and the database's caches."""
        status = (self.worker() / "status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmRSS" in line)


def cpu_seconds(process: Path) -> float:
    """CPU time that a process has taken, in all its threads."""
    user, system = (process / "stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def put_event(connection: http.client.HTTPConnection) -> str:
    """The request id of an event that was accepted."""
    connection.request("POST", _PATH, b"{}", {"X-Amz-Invocation-Type": "Event"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 202:
        raise RuntimeError(f"an event was answered with {answer.status}")
    return answer.headers["x-amzn-RequestId"]


def bridge_address(engine: APIClient) -> str:
    """The host's, on Docker's default bridge."""
    config = engine.inspect_network("bridge")["IPAM"]["Config"][0]
    # the daemon that was never told one takes the first
    return str(config.get("Gateway") or ipaddress.ip_network(config["Subnet"])[1])


@contextmanager
def probed(folder: Path, **settings: object) -> Iterator[tuple[Probed, Reports]]:
    """An fnbox with the function deployed; it is stopped in the end."""
    engine = APIClient(base_url=Settings().docker_host)
    reports = Reports(bridge_address(engine))
    engine.close()
    instance = Probed(folder, **settings)
    try:
        instance.start()
        instance.deploy(reports)
        yield instance, reports
    finally:
        instance.stop()
