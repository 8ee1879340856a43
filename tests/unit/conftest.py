"""What tests share: threads; and a queue and an outbox in a new database, on a held clock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.queue import EventQueue, Outbox


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
