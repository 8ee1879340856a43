"""Logs within their bounds: what is dropped, of which group and of which stream."""

from __future__ import annotations

import threading

from sandbox.logs import Query
from sandbox.logs import store as store_module
from tests.support.logs import GROUP, files, messages


def test_a_group_is_bounded_by_dropping_its_oldest_events(open_logs, tmp_path):
    logs = open_logs(max_bytes=100_000)
    stream = logs.stream(*GROUP, "s")
    for number in range(3000):
        stream.write(b"%-99d\n" % number, number)
        if number % 50 == 0:
            logs.flush()
    kept = [int(text) for text in messages(logs, max_bytes=2**30)]
    assert kept == list(range(kept[0], 3000))
    assert 500 < len(kept) < 1000
    assert sum(path.stat().st_size for path in files(tmp_path)) < 105_000
    again = open_logs(max_bytes=100_000)
    assert [int(text) for text in messages(again, max_bytes=2**30)] == kept


def test_a_flood_is_dropped_and_counted_in_the_log(open_logs, monkeypatch):
    logs = open_logs(max_bytes=2**24)
    entered, goes_on = threading.Event(), threading.Event()
    keep = logs._keep

    def stalled(*args):
        entered.set()
        assert goes_on.wait(10)
        return keep(*args)

    monkeypatch.setattr(logs, "_keep", stalled)
    flooding, quiet = logs.stream(*GROUP, "flood"), logs.stream(*GROUP, "quiet")
    quiet.write(b"wakes the thread\n", 1.0)
    assert entered.wait(10)
    for _ in range(80):
        flooding.write(b"x" * 65_535 + b"\n", 2.0)
    quiet.write(b"still heard\n", 3.0)
    flooding.events([b"END\n"], 4.0)
    goes_on.set()
    events = logs.events(GROUP, Query(max_bytes=2**30)).events
    flood = [event for event in events if event.stream == "flood"]
    kept = sum(len(event.data) for event in flood if event.message[0] == "x")
    assert 2**20 * 0.9 < kept <= 2**20
    assert [event.message for event in flood if event.message[0] != "x"] == [
        "END\n",
        f"fnbox: {80 * 65_536 - kept} bytes of log dropped\n",
    ]
    assert [e.message for e in events if e.stream == "quiet"] == [
        "wakes the thread\n",
        "still heard\n",
    ]


def test_a_flood_of_records_is_dropped_and_leaves_room_for_the_platform(open_logs, monkeypatch):
    logs = open_logs(max_bytes=2**24)
    entered, goes_on = threading.Event(), threading.Event()
    keep = logs._keep
    batches = []

    def stalled(items, dropped):
        batches.append(len(items))
        entered.set()
        assert goes_on.wait(10)
        return keep(items, dropped)

    monkeypatch.setattr(logs, "_keep", stalled)
    flooding = logs.stream(*GROUP, "flood")
    flooding.write(b"wakes the thread\n", 1.0)
    assert entered.wait(10)
    for _ in range(300):
        flooding.records([b"a\nb"] * 100, 2.0)
    flooding.events([b"END\n"], 4.0)
    goes_on.set()
    events = logs.events(GROUP, Query(max_bytes=2**30, limit=100_000)).events
    kept = [event.message for event in events if event.message == "a\nb"]
    assert 5_000 < len(kept) < 8_000
    assert max(batches) < 10_000
    assert [event.message for event in events[-2:]] == [
        "END\n",
        f"fnbox: {3 * (30_000 - len(kept))} bytes of log dropped\n",
    ]


def test_many_floods_leave_room_for_a_quiet_stream(open_logs, monkeypatch):
    logs = open_logs(max_bytes=2**24)
    monkeypatch.setattr(store_module, "TOTAL_BUFFER", 2**21)
    entered, goes_on = threading.Event(), threading.Event()
    keep = logs._keep
    monkeypatch.setattr(
        logs, "_keep", lambda *args: (entered.set(), goes_on.wait(10), keep(*args))[-1]
    )
    quiet = logs.stream(*GROUP, "quiet")
    quiet.write(b"wakes the thread\n", 1.0)
    assert entered.wait(10)
    for number in range(8):
        flooding = logs.stream(*GROUP, f"flood{number}")
        for _ in range(40):
            flooding.write(b"x" * 65_535 + b"\n", 2.0)
    assert logs._held < 2**22
    quiet.write(b"still heard\n", 3.0)
    goes_on.set()
    assert messages(logs, streams="quiet".__eq__) == ["wakes the thread\n", "still heard\n"]


def test_unfinished_lines_of_all_streams_are_bounded(logs, monkeypatch):
    monkeypatch.setattr(store_module, "PARTIAL_BUFFER", 2**20)
    streams = [logs.stream(*GROUP, str(number)) for number in range(20)]
    for stream in streams:
        stream.write(b"x" * 200_000, 1.0)
        logs.flush()
    assert logs._partials < 2**20 + 200_000
    for stream in streams:
        stream.close()
    logs.flush()
    assert logs._partials == 0
