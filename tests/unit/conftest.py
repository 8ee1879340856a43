"""What tests share: threads; databases; a catalog, a queue with its outbox and dispatcher, stores
of packages and of logs, all new and on a held clock; and an API over a new catalog."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog, CodeStore
from sandbox.catalog import database as database_module
from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.logs import LogStore
from sandbox.metrics import Metrics
from sandbox.names import LATEST
from sandbox.queue import Dispatcher, EventQueue, Outbox
from tests.support.api import Api, open_api
from tests.support.catalog import KEY, REQUEST
from tests.support.events import Policies, Runner

_REAL = (Database.at, database_module.PRAGMAS)


@pytest.fixture(scope="session", autouse=True)
def _quick_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """New databases are copies of one, and nothing waits for the disk: either would take longer
    than most tests do."""
    opened, pragmas = _REAL
    template = tmp_path_factory.mktemp("template") / "db"
    opened(template).close()

    def at(path: Path) -> Database:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(template, path)
        return opened(path)

    unsafe = tuple(one.replace("synchronous=FULL", "synchronous=OFF") for one in pragmas)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "at", at)
        patch.setattr(database_module, "PRAGMAS", unsafe)
        yield


@pytest.fixture
def real_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the database itself."""
    monkeypatch.setattr(Database, "at", _REAL[0])
    monkeypatch.setattr(database_module, "PRAGMAS", _REAL[1])


@pytest.fixture
def unconnected() -> Iterator[None]:
    """For tests without an engine, which ignore PytestUnraisableExceptionWarning too: a socket
    that it could not connect, the Docker SDK leaves to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as executor:
        yield executor


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.at(tmp_path / "db")
    yield database
    database.close()


@pytest.fixture
def queue(database: Database, clock: FakeClock) -> EventQueue:
    return EventQueue(database, clock)


@pytest.fixture
def outbox(database: Database, clock: FakeClock) -> Outbox:
    return Outbox(database, clock)


@pytest.fixture
def policies() -> Policies:
    return Policies()


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def dispatch(
    queue: EventQueue, outbox: Outbox, runner: Runner, policies: Policies, clock: FakeClock
) -> Iterator[Callable[..., Dispatcher]]:
    made: list[Dispatcher] = []

    def start(**options: float) -> Dispatcher:
        made.append(
            Dispatcher(queue, outbox, runner, policies, clock, Metrics(), **options)  # type: ignore[arg-type]
        )
        made[-1].start()
        return made[-1]

    yield start
    runner.gate.set()
    for one in made:
        assert one.close(10)


@pytest.fixture
def packages(tmp_path: Path, clock: FakeClock) -> CodeStore:
    return CodeStore(tmp_path / "code", clock)


@pytest.fixture
def open_logs(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., LogStore]]:
    opened: list[LogStore] = []

    def open_one(max_bytes: int = 2**20) -> LogStore:
        opened.append(LogStore(tmp_path / "logs", clock, max_bytes))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def logs(open_logs: Callable[..., LogStore]) -> LogStore:
    return open_logs()


@pytest.fixture
def draws() -> list[float]:
    """What the catalog's random numbers will be, from the end."""
    return []


@pytest.fixture
def catalog(tmp_path: Path, clock: FakeClock, draws: list[float]) -> Iterator[Catalog]:
    catalog = Catalog.open(tmp_path, clock=clock, random=lambda: draws.pop())
    yield catalog
    catalog.close()


@pytest.fixture
def ready(catalog: Catalog) -> Catalog:
    """With an Active function `f`."""
    catalog.create_function(KEY, REQUEST)
    catalog.activate(KEY, LATEST)
    return catalog


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def client(api: Api) -> Any:
    return api.boto()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API that the tests of a module share."""
    opened = open_api(tmp_path_factory.mktemp("state"))
    yield opened
    opened.close()


@pytest.fixture
def echo(opened: Api) -> Api:
    """It, for calls alone, which change nothing but what the service remembers."""
    opened.service.reset()
    return opened
