from __future__ import annotations

from sandbox.clock import SystemClock
from sandbox.environments.channel import Frame, FrameKind
from sandbox.environments.log import UNFINISHED_BYTES, EnvironmentLog
from sandbox.logs.formats import log_format
from tests.support.functions import make_version


class Events:
    """A log stream that keeps what it is given, piece by piece."""

    name = "stream"

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def write(self, data: bytes, at: float) -> None:
        self.kept.append(data)

    def records(self, records: list[bytes], at: float) -> None:
        self.kept += records

    events = records

    def close(self) -> None:
        self.kept.append(b"closed")


def made(**logging: str) -> tuple[EnvironmentLog, list[bytes]]:
    events = Events()
    version = make_version(LoggingConfig=logging)
    return EnvironmentLog(events, log_format(version, "stream"), SystemClock()), events.kept


def printed(data: bytes) -> Frame:
    return Frame(FrameKind.LOG, {}, data)


def lines(data: bytes) -> Frame:
    return Frame(FrameKind.LOG, {"holds": "lines"}, data)


def records(*events: bytes) -> Frame:
    meta = {"holds": "events", "sizes": [len(event) for event in events]}
    return Frame(FrameKind.LOG, meta, b"".join(events))


def test_a_line_that_comes_in_pieces_is_written_when_it_ends() -> None:
    log, kept = made()
    for piece in (b"a", b"b", b"\nc\nd", b"\n"):
        log.output(printed(piece))
    assert kept == [b"ab\nc\n", b"d\n"]
    assert log.end() == b"ab\nc\nd\n"


def test_a_record_does_not_break_a_line_that_is_still_being_printed() -> None:
    log, kept = made()
    for frame in (printed(b"x"), lines(b"one\n"), records(b"two\nthree", b"four"), printed(b"\n")):
        log.output(frame)
    assert kept == [b"one\n", b"two\nthree", b"four", b"x\n"]
    assert log.end() == b"one\ntwo\nthreefourx\n"


def test_an_event_of_the_platform_ends_an_unfinished_line() -> None:
    log, kept = made()
    log.output(printed(b"x"))
    log.event(b"", b"END\n", b"REPORT\n")
    log.output(printed(b"y"))
    log.close()
    assert kept == [b"x", b"END\n", b"REPORT\n", b"y", b"closed"]
    assert log.end() == b"xEND\nREPORT\ny"


def test_in_json_an_unfinished_line_is_ended_before_an_event() -> None:
    log, kept = made(LogFormat="JSON")
    log.output(printed(b"x"))
    log.event(b"{}\n")
    log.output(records(b'{"level":"INFO"}'))
    assert kept == [b"x\n", b"{}\n", b'{"level":"INFO"}\n']


def test_of_an_endless_line_little_is_held() -> None:
    log, kept = made()
    for _ in range(100):
        log.output(printed(b"x" * 10_000))
        assert sum(map(len, kept)) >= len(kept) * UNFINISHED_BYTES
    log.close()
    assert b"".join(kept) == b"x" * 1_000_000 + b"closed"


def test_a_new_tail_begins_empty_and_has_what_came_unfinished_before() -> None:
    log, _ = made()
    log.output(printed(b"before\nhalf"))
    log.begin_tail()
    log.output(printed(b" and half\n"))
    assert log.end() == b"half and half\n"


def test_lines_below_the_level_are_in_neither_the_log_nor_the_tail() -> None:
    log, kept = made(LogFormat="JSON", ApplicationLogLevel="ERROR")
    wanted = b'{"timestamp":"2026-02-11T10:00:00Z","level":"ERROR"}\n'
    unwanted = wanted.replace(b"ERROR", b"INFO")
    log.output(printed(unwanted + wanted))
    log.output(lines(unwanted))
    log.output(records(unwanted, wanted[:-1]))
    assert kept == [wanted, wanted]
    assert log.end() == 2 * wanted
