"""The audit log on disk."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from sandbox.access import audit
from sandbox.access.audit import ALLOWED, DENIED, AuditLog, Entry, line


def entry(number: int = 0, decision: str = ALLOWED) -> Entry:
    return Entry(
        1_795_366_800.25,
        f"request-{number}",
        "arn:aws:iam::111111111111:user/ada",
        "111111111111",
        None,
        "192.0.2.7",
        "lambda:InvokeFunction",
        "arn:aws:lambda:us-east-1:111111111111:function:f",
        decision,
        "because",
        200 if decision == ALLOWED else 403,
    )


def lines(path: Path) -> list[Any]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_a_line_says_who_asked_for_what_and_what_came_of_it() -> None:
    assert json.loads(line(entry())) == {
        "time": "2026-11-22T17:00:00.250Z",
        "requestId": "request-0",
        "principal": "arn:aws:iam::111111111111:user/ada",
        "account": "111111111111",
        "source": "192.0.2.7",
        "action": "lambda:InvokeFunction",
        "resource": "arn:aws:lambda:us-east-1:111111111111:function:f",
        "decision": "allowed",
        "reason": "because",
        "status": 200,
    }


def test_a_denial_is_in_the_file_when_it_is_noted(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", 2**20)
    log.note(entry(1))
    log.note(entry(2, DENIED))
    assert [one["requestId"] for one in lines(tmp_path / "audit.log")] == ["request-1", "request-2"]
    log.close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    AuditLog(tmp_path / "audit.log", 2**20).close()
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


def test_closing_writes_what_waits_and_another_log_goes_on(tmp_path: Path) -> None:
    for number in range(3):
        log = AuditLog(tmp_path / "audit.log", 2**20)
        log.note(entry(number))
        log.close()
    assert [one["requestId"][-1] for one in lines(tmp_path / "audit.log")] == ["0", "1", "2"]


def test_it_keeps_within_its_bytes_and_loses_the_oldest(tmp_path: Path) -> None:
    size = len(line(entry()))
    log = AuditLog(tmp_path / "audit.log", 8 * size)
    for number in range(10, 50):
        log.note(entry(number, DENIED))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["audit.log", "audit.log.1"]
    assert sum(file.stat().st_size for file in files) <= 8 * size + 80
    assert lines(files[0])[-1]["requestId"] == "request-49"
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_what_comes_too_fast_is_counted_and_a_denial_is_never_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "WAITING", 2)
    held, began, append = threading.Event(), threading.Event(), audit._append

    def slow(*arguments: Any) -> None:
        began.set()
        held.wait()
        append(*arguments)

    monkeypatch.setattr(audit, "_append", slow)
    log = AuditLog(tmp_path / "audit.log", 2**20)
    log.note(entry(0))
    began.wait()
    for number in range(1, 6):
        log.note(entry(number))
    denied = threading.Thread(target=log.note, args=(entry(6, DENIED),))
    denied.start()
    held.set()
    denied.join()
    log.close()
    found = lines(tmp_path / "audit.log")
    assert {one.get("requestId", one.get("dropped")) for one in found} == {
        *("request-0", "request-1", "request-2", "request-6"),
        3,
    }


def test_a_disk_that_fails_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    log = AuditLog(tmp_path / "audit.log", 2**20)
    monkeypatch.setattr(audit, "_append", full)
    log.note(entry(1, DENIED))
    log.close()
    assert "1 entries of the audit log are lost: no space left" in caplog.text
