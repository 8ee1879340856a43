"""The database: migrations, transactions, crashes, and the event loop that must not wait for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError

from sandbox.catalog import Catalog, database, tables
from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.errors import StartupError, StorageError
from sandbox.names import FunctionKey

pytestmark = pytest.mark.usefixtures("real_databases")

KEY = FunctionKey("000000000000", "us-east-1", "f")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Database]:
    opened = Database.at(tmp_path / "state" / "fnbox.db")
    yield opened
    opened.close()


def note(name: str) -> dict[str, object]:
    return {"account": "1", "region": "r", "name": name, "last_version": 1}


def names(connection: Connection) -> set[str]:
    return set(connection.scalars(select(tables.used_versions.c.name)))


def test_the_migrations_make_the_tables_that_a_new_database_has(tmp_path: Path) -> None:
    engine = database._engine(f"sqlite:///{tmp_path / 'migrated'}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what alembic imports here is none of ours
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext
    with engine.begin() as connection:
        database._upgrade(connection)
        assert database._found(connection) == database.HEAD
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    engine.dispose()
    assert differences == []


def test_the_newest_migration_is_the_one_that_the_code_names(opened: Database) -> None:
    newest = max(path.name for path in database._MIGRATIONS.glob("v*.py"))
    assert newest.startswith(f"v{database.HEAD}_")
    version = text("SELECT version_num FROM alembic_version")
    assert opened.transaction(lambda connection: connection.scalar(version)) == database.HEAD


def test_an_existing_database_is_opened_without_alembic(tmp_path: Path) -> None:
    Database.at(tmp_path / "db").close()
    script = """
        import sys
        from pathlib import Path
        from sandbox.catalog.database import Database
        Database.at(Path(sys.argv[1])).close()
        assert not any(name.startswith("alembic") for name in sys.modules)
    """
    run(script, tmp_path / "db")


def test_a_database_of_a_newer_fnbox_is_refused(tmp_path: Path) -> None:
    opened = Database.at(tmp_path / "db")
    newer = text("UPDATE alembic_version SET version_num = '9999'")
    opened.transaction(lambda connection: connection.execute(newer).close())
    opened.close()
    with pytest.raises(StartupError, match="newer fnbox"):
        Database.at(tmp_path / "db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("this is no database, whatever its name says\n" * 100)
    with pytest.raises(StartupError) as refusal:
        Database.at(tmp_path / "db")
    assert str(refusal.value) == (
        f"the database sqlite:///{tmp_path}/db cannot be used: file is not a database"
    )


def test_a_path_may_hold_what_means_something_in_a_url(tmp_path: Path) -> None:
    Database.at(tmp_path / "a?b=c%20#d" / "db").close()
    assert (tmp_path / "a?b=c%20#d" / "db").stat().st_size > 0


def test_only_its_owner_may_read_it(opened: Database, tmp_path: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert modes == {0o600}


def test_sqlite_waits_for_the_disk_and_checks_references(opened: Database) -> None:
    def pragmas(connection: Connection) -> list[object]:
        found = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.scalar(text(f"PRAGMA {name}")) for name in found]

    assert opened.transaction(pragmas) == ["wal", 2, 1]


def test_a_failure_is_its_own_callers_alone(opened: Database) -> None:
    gate = threading.Event()
    blocker = threading.Thread(target=opened.transaction, args=(lambda _: gate.wait(),))
    blocker.start()
    outcomes: dict[str, str] = {}

    def write(name: str, fail: bool) -> None:
        def work(connection: Connection) -> None:
            connection.execute(tables.used_versions.insert(), note(name))
            if fail:
                raise ValueError(name)

        try:
            opened.transaction(work)
            outcomes[name] = "written"
        except ValueError as error:
            outcomes[name] = f"failed {error}"

    # all of these wait for the blocker, and so are in one batch
    threads = [threading.Thread(target=write, args=(f"n{i}", i == 3)) for i in range(6)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in [blocker, *threads]:
        thread.join()
    good = {"n0", "n1", "n2", "n4", "n5"}
    assert outcomes == {**dict.fromkeys(good, "written"), "n3": "failed n3"}
    assert opened.transaction(names) == good


def test_the_databases_own_errors_are_translated(opened: Database) -> None:
    row = {**note("orphan"), "alias": "a", "function_version": "1", "description": ""}
    row = {key: value for key, value in row.items() if key != "last_version"}
    insert = tables.aliases.insert().values(weights={}, revision_id="r", **row)
    with pytest.raises(StorageError) as failure:
        opened.transaction(lambda connection: connection.execute(insert))
    assert isinstance(failure.value.__cause__, IntegrityError)


def test_a_closed_database_refuses(opened: Database) -> None:
    opened.close()
    opened.close()
    with pytest.raises(StorageError, match="closed"):
        opened.transaction(names)


def test_what_was_asked_for_before_closing_is_done(opened: Database, tmp_path: Path) -> None:
    began, gate = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        began.set()
        gate.wait()
        connection.execute(tables.used_versions.insert(), note("n"))

    blocker = threading.Thread(target=opened.transaction, args=(work,))
    blocker.start()
    assert began.wait(10)
    closer = threading.Thread(target=opened.close)
    closer.start()
    gate.set()
    blocker.join()
    closer.join()
    again = Database.at(tmp_path / "state" / "fnbox.db")
    assert again.transaction(names) == {"n"}
    again.close()


def run(script: str, *arguments: object) -> str:
    """Run a script in a process of its own; its output."""
    command = [sys.executable, "-W", "error", "-c", dedent(script), *map(str, arguments)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


UPDATES = """
    import sys
    from pathlib import Path
    from sandbox.catalog import Catalog
    from sandbox.clock import SystemClock
    from sandbox.names import LATEST, FunctionKey, FunctionReference

    catalog = Catalog.open(Path(sys.argv[1]), clock=SystemClock())
    key = FunctionKey("000000000000", "us-east-1", "f")
    for number in range(int(sys.argv[2]), 1_000_000):
        catalog.activate(key, LATEST)
        text = str(number)
        variables = {"Variables": {"N": text}}
        catalog.update_configuration(key, {"Description": text, "Environment": variables})
        catalog.activate(key, LATEST)
        catalog.tag(FunctionReference(key, None), {"n": text})
        catalog.publish_version(key, {"Description": text})
        print(number, flush=True)
"""


def test_a_kill_during_updates_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    request = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    catalog.create_function(KEY, request)
    catalog.close()
    acknowledged = 0
    for kill_after in (1, 4, 2):
        command = [sys.executable, "-c", dedent(UPDATES), str(tmp_path), str(acknowledged + 1)]
        root = Path(__file__).parents[2]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(kill_after):
                acknowledged = int(process.stdout.readline())
            process.kill()
            rest = process.stdout.read().splitlines()
        acknowledged = int(rest[-1]) if rest else acknowledged
        catalog = Catalog.open(tmp_path, clock=FakeClock())
        function = catalog.function(KEY)
        catalog.close()
        latest = function.latest
        number = int(latest.configuration["Description"])
        assert number in (acknowledged, acknowledged + 1)
        assert latest.variables == {"N": str(number)}
        assert int(function.tags["n"]) in (acknowledged, number)
        assert function.last_version == len(function.versions) - 1
        newest = function.versions[str(function.last_version)].configuration["Description"]
        assert int(newest) in (acknowledged, number)


def test_the_event_loop_runs_on_while_the_disk_is_waited_for(tmp_path: Path) -> None:
    script = """
        from gevent import monkey
        monkey.patch_all()
        import gevent.hub
        # a native thread that waits for a lock of greenlets starts a loop of its own
        loop, run, strays = gevent.get_hub(), gevent.hub.Hub.run, []
        gevent.hub.Hub.run = lambda hub: (hub is loop or strays.append(hub), run(hub))[1]
        import io, os, sys, threading, zipfile
        from pathlib import Path
        from sandbox.catalog import Catalog, package
        from sandbox.clock import SystemClock
        from sandbox.invocation import Invocation
        from sandbox.names import LATEST, FunctionKey, FunctionReference
        from sandbox.queue import EventQueue

        catalog = Catalog.open(Path(sys.argv[1]), clock=SystemClock())
        queue = EventQueue(catalog.database, SystemClock())

        def key(number):
            return FunctionKey("000000000000", "us-east-1", f"f{number}")

        def zipped(number):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr("app.py", f"x = {number}")
            return buffer.getvalue()

        def work(number):
            request = {"Role": "r", "Runtime": "python3.13", "Handler": "a.b"}
            request["Code"] = {"ZipFile": zipped(number % 5)}
            catalog.create_function(key(number), request)
            catalog.activate(key(number), LATEST)
            for _ in range(5):
                reference = FunctionReference(key(number), None)
                assert catalog.resolve(reference).state == "Active"
                queue.put(Invocation(reference, b"{}"))

        def in_threads(*works):
            threads = [threading.Thread(target=work) for work in works]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        in_threads(*(lambda number=number: work(number) for number in range(20)))
        assert len(catalog.functions("000000000000", "us-east-1")) == 20
        assert sum(len(queue.lease(key(n), 100)[0]) for n in range(20)) == 100

        # Each of these waits, in native code, for a byte that only another greenlet will write:
        # were the loop to wait for them, nobody ever would.
        reader, writer = os.pipe()
        in_threads(
            lambda: catalog.database.transaction(lambda connection: os.read(reader, 1)),
            lambda: os.write(writer, b"x"),
        )
        unpack = package.unpack

        def slow(*arguments):
            os.read(reader, 1)
            unpack(*arguments)

        package.unpack = slow
        in_threads(
            lambda: catalog.code.put_zip(zipped("slow")),
            lambda: os.write(writer, b"x"),
        )
        catalog.close()
        assert not strays
        print("done")
    """
    assert run(script, tmp_path) == "done\n"


def test_rows_go_with_their_function(opened: Database) -> None:
    def counted(connection: Connection) -> int | None:
        key = KEY._asdict()
        row = {"tags": {}, "last_version": 0, **key}
        connection.execute(tables.functions.insert(), row)
        version = {"version": "1", "configuration": {}, "revision": "r", **key}
        connection.execute(tables.versions.insert(), version)
        connection.execute(tables.functions.delete())
        return connection.scalar(select(func.count()).select_from(tables.versions))

    assert opened.transaction(counted) == 0


def test_a_document_may_hold_what_a_strict_parser_refuses(opened: Database) -> None:
    document = {"half": "\ud800", "none": float("inf"), "large": 2**80, "text": "\u00e9\u2028"}
    key = KEY._asdict()

    def write(connection: Connection) -> None:
        row = {"tags": document, "last_version": 0}
        connection.execute(tables.functions.insert(), {**key, **row})

    opened.transaction(write)
    read = opened.transaction(lambda connection: connection.scalar(select(tables.functions.c.tags)))
    assert read == document
