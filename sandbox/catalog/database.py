"""The database: one connection, one writer, transactions that are on disk when they return.

All access goes through `Database.transaction`. A native thread runs what is asked of it in the
order of asking, several to one commit when several wait, so that many callers share one wait
for the disk and no caller holds up the event loop. Nothing else opens the database: what is read
often is kept in memory by those who own it.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from sandbox.catalog.tables import metadata
from sandbox.errors import StartupError, StorageError
from sandbox.threads import run_native

T = TypeVar("T")
Work = Callable[[Connection], Any]

HEAD = "0008"
"""The newest migration; a test keeps it so."""

PRAGMAS = ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
"""Of every connection to SQLite."""

_BATCH = 256
_MIGRATIONS = Path(__file__).with_name("migrations")


class Database:
    """A SQLite file, or a PostgreSQL database by URL, migrated to what this code expects."""

    def __init__(self, url: str | URL) -> None:
        """Raises StartupError when the database cannot be opened or is newer than this code."""
        self._engine = _engine(url)
        self._inbox: queue.SimpleQueue[tuple[Work, Future[Any]] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        try:
            # in this thread: it imports, and an import takes locks that greenlets share
            _migrate(self._engine)
        except SQLAlchemyError as error:
            self._engine.dispose()
            what = f"the database {self._engine.url!r} cannot be used: {_reason(error)}"
            raise StartupError(what) from error
        except StartupError:
            self._engine.dispose()
            raise
        self._writer = threading.Thread(target=self._write, name="database", daemon=True)
        self._writer.start()

    @classmethod
    def at(cls, path: Path) -> Database:
        """The SQLite file at `path`, made when it is not there; only its owner may read it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        return cls(URL.create("sqlite", database=str(path)))

    def transaction(self, work: Callable[[Connection], T]) -> T:
        """What `work(connection)` returns, once its effects are on disk, or what it raises.

        `work` runs in another thread and may run twice: it must touch nothing but the connection
        and values that nobody changes meanwhile. Raises StorageError when the database fails, or
        is closed.
        """
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise StorageError("the database is closed")
            self._inbox.put((work, future))
        try:
            return future.result()
        finally:
            del future  # what it raises holds this frame

    def close(self) -> None:
        """Wait for what was asked for, then close the connection. May be called twice."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._inbox.put(None)
        self._writer.join()
        run_native(self._engine.dispose)

    def _write(self) -> None:
        while (first := self._inbox.get()) is not None:
            batch = [first, *self._waiting()]
            outcomes = run_native(_commit, self._engine, [work for work, _ in batch])
            for (_, future), (result, error) in zip(batch, outcomes, strict=True):
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

    def _waiting(self) -> list[tuple[Work, Future[Any]]]:
        batch: list[tuple[Work, Future[Any]]] = []
        while len(batch) < _BATCH:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
            if item is None:  # closing: the loop must meet it again
                self._inbox.put(None)
                break
            batch.append(item)
        return batch


def _commit(engine: Engine, batch: Sequence[Work]) -> list[tuple[Any, BaseException | None]]:
    """Run all in one transaction; when one fails, each alone, so that only its caller learns."""
    try:
        with engine.begin() as connection:
            return [(work(connection), None) for work in batch]
    except Exception as error:  # noqa: BLE001 - it goes to the caller who waits for it
        if len(batch) == 1:
            return [(None, _translated(error))]
    return [outcome for work in batch for outcome in _commit(engine, [work])]


def _translated(error: Exception) -> Exception:
    if not isinstance(error, SQLAlchemyError):
        return error
    failure = StorageError(f"the database failed: {_reason(error)}")
    failure.__cause__ = error
    return failure


def _reason(error: SQLAlchemyError) -> str:
    """The driver's own words, without the statement and its parameters."""
    return str(error.orig if isinstance(error, DBAPIError) else error)


def _engine(url: str | URL) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(
            parsed, poolclass=StaticPool, pool_pre_ping=True, json_deserializer=_document
        )
    # one connection is used by one native thread at a time, not always by the same
    arguments = {"check_same_thread": False, "isolation_level": None}
    engine = create_engine(
        parsed, poolclass=StaticPool, connect_args=arguments, json_deserializer=_document
    )

    def set_up(connection: Any, _: object) -> None:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", set_up)
    # the driver's own notion of transactions leaves DDL out of them
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _document(text: str | bytes) -> Any:
    """A JSON document. msgspec reads it in a third of the time, and its members' names, which are
    the same in every document, are then in memory once; it lacks half surrogates and NaN."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return json.loads(text)


def _migrate(engine: Engine) -> None:
    with engine.begin() as connection:
        existing = inspect(connection).get_table_names()
        if not existing:
            _create(connection)
        elif _found(connection) != HEAD:
            _upgrade(connection)


def _found(connection: Connection) -> str | None:
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _create(connection: Connection) -> None:
    """What all migrations together make, without their history: a test compares the two."""
    metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def _upgrade(connection: Connection) -> None:
    # imported here since it takes longer than all the rest of opening a database
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    scripts = ScriptDirectory(str(_MIGRATIONS), version_locations=[str(_MIGRATIONS)])
    steps = EnvironmentContext(
        Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs("head", revision)
    )
    steps.configure(connection=connection)
    try:
        steps.run_migrations()
    except CommandError as error:
        raise StartupError(f"the database is of a newer fnbox: {error}") from error
