"""The log store on a real disk, with a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.errors import NotFound
from sandbox.logs import AlreadyExists, GroupKey, Query
from tests.support.logs import GROUP, files, messages

DAY = 24 * 60 * 60


def test_each_line_is_an_event_and_keeps_its_line_feed(logs):
    logs.stream(*GROUP, "s").write(b"one\ntwo\n\nfour\n", 5.0)
    page = logs.events(GROUP, Query())
    assert [event.message for event in page.events] == ["one\n", "two\n", "\n", "four\n"]
    assert {event.timestamp for event in page.events} == {5000}
    assert {event.ingestion for event in page.events} == {1_000_000_000}
    assert {event.stream for event in page.events} == {"s"}
    assert not page.more


def test_a_line_in_pieces_has_the_time_of_its_first_byte(logs):
    stream = logs.stream(*GROUP, "s")
    stream.write(b"a", 1.0)
    stream.write(b"b", 2.0)
    stream.write(b"c\nd", 3.0)
    stream.write(b"e\n", 4.0)
    events = logs.events(GROUP, Query()).events
    assert [(event.timestamp, event.message) for event in events] == [
        (1000, "abc\n"),
        (3000, "de\n"),
    ]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=40,
)
@given(
    data=st.binary(max_size=60).map(lambda data: data.replace(b"x", b"\n")),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_how_output_is_split_does_not_matter(logs, data, cuts):
    group = GROUP._replace(name="/split")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    stream = logs.stream(*group, "s")
    for begin, end in pairwise(edges):
        stream.write(data[begin:end], 1.0)
    stream.close()
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    expected = [line for line in lines if line]
    found = logs.events(group, Query()).events if expected else []
    assert [event.data for event in found] == expected
    if expected:
        logs.delete_group(group)


def test_an_event_may_hold_line_feeds(logs):
    stream = logs.stream(*GROUP, "s")
    stream.events([b"REPORT\t\nXRAY\t\n"], 1.0)
    assert messages(logs) == ["REPORT\t\nXRAY\t\n"]


def test_an_event_ends_the_line_before_it(logs):
    stream = logs.stream(*GROUP, "s")
    stream.write(b"no line feed", 1.0)
    stream.events([b"END\n"], 2.0)
    stream.write(b"next\n", 3.0)
    assert messages(logs) == ["no line feed", "END\n", "next\n"]


def test_closing_a_stream_keeps_its_last_line(logs):
    stream = logs.stream(*GROUP, "s")
    stream.write(b"last words", 1.0)
    stream.close()
    assert messages(logs) == ["last words"]


def test_an_endless_line_is_cut_at_256_kib(logs):
    stream = logs.stream(*GROUP, "s")
    for _ in range(10):
        stream.write(b"x" * 60_000, 1.0)
    stream.write(b"\n", 2.0)
    sizes = [len(event.data) for event in logs.events(GROUP, Query(max_bytes=2**30)).events]
    assert sizes == [2**18, 2**18, 600_001 - 2**19]


def test_a_line_over_256_kib_within_one_write_is_cut(logs):
    logs.stream(*GROUP, "s").write(b"x" * 300_000 + b"\n", 1.0)
    assert [len(text) for text in messages(logs)] == [2**18, 300_001 - 2**18]


def test_invalid_utf8_is_replaced_and_nul_is_kept(logs):
    logs.stream(*GROUP, "s").write(b"\xff\xfe \x00 \xc3\xa9 \r over\n", 1.0)
    assert messages(logs) == ["\ufffd\ufffd \x00 é \r over\n"]


def test_events_of_several_streams_come_in_the_order_of_time(logs):
    first, second = logs.stream(*GROUP, "a"), logs.stream(*GROUP, "b")
    for at in range(10):
        first.write(b"a%d\n" % at, at)
        second.write(b"b%d\n" % at, at + 0.5)
    expected = [f"{name}{at}\n" for at in range(10) for name in "ab"]
    assert messages(logs) == expected
    assert messages(logs, reverse=True) == expected[::-1]
    assert messages(logs, streams="b".__eq__) == [f"b{at}\n" for at in range(10)]
    assert messages(logs, start=3000, end=4000) == ["a3\n", "b3\n"]
    assert messages(logs, match=lambda text: "7" in text) == ["a7\n", "b7\n"]


def test_order_holds_across_segments(open_logs):
    logs = open_logs(max_bytes=16 * 4096)
    names = ["a", "b", "c"]
    streams = [logs.stream(*GROUP, name) for name in names]
    for at in range(300):
        for number, stream in enumerate(streams):
            stream.write(b"%-97d\n" % (at * 3 + number), at + (number * 7 % 5) / 5)
        if at % 20 == 19:
            logs.flush()
    events = logs.events(GROUP, Query()).events
    assert events == sorted(events)
    assert len({event.segment for event in events}) > 5
    backwards = logs.events(GROUP, Query(reverse=True)).events
    assert backwards == events[::-1]


@pytest.mark.parametrize("reverse", [False, True])
def test_pages_join_without_gap_or_repetition(open_logs, reverse):
    logs = open_logs(max_bytes=16 * 4096)
    for at in range(100):
        logs.stream(*GROUP, f"s{at % 3}").write(b"%d\n" % at * 5, at // 10)
        logs.flush()
    everything = logs.events(GROUP, Query(reverse=reverse)).events
    joined, side = [], {}
    while True:
        page = logs.events(GROUP, Query(limit=7, reverse=reverse, **side))
        joined += page.events
        if not page.more:
            break
        assert len(page.events) == 7
        side = {"before" if reverse else "after": page.events[-1].position}
    assert joined == everything
    assert len(joined) == 500


def test_a_page_is_bounded_in_bytes_but_never_empty(logs):
    logs.stream(*GROUP, "s").write((b"x" * 99 + b"\n") * 10, 1.0)
    assert len(messages(logs, max_bytes=350)) == 3
    assert len(messages(logs, max_bytes=1)) == 1


def test_logs_survive_a_restart(open_logs, clock):
    logs = open_logs()
    stream = logs.stream(*GROUP, "s")
    stream.write(b"before\n", clock.wall())
    logs.create_group(GROUP._replace(name="/other"), {"owner": "me"})
    logs.set_retention(GROUP, 3)
    logs.close()
    stream.write(b"too late\n", clock.wall())
    again = open_logs()
    again.stream(*GROUP, "s").write(b"after\n", clock.wall())
    assert messages(again) == ["before\n", "after\n"]
    names = {group.name: group for group in again.groups("000000000000", "us-east-1")}
    assert names["/other"].tags == {"owner": "me"}
    assert names[GROUP.name].retention_days == 3


def test_what_a_crash_left_half_written_is_removed(open_logs, tmp_path):
    logs = open_logs()
    logs.stream(*GROUP, "s").write(b"whole\n", 1.0)
    logs.close()
    (segment,) = (path for path in files(tmp_path) if path.suffix == ".log")
    content = segment.read_bytes()
    segment.write_bytes(content + content[:40])
    (segment.parent.parent / "half-made").mkdir()
    again = open_logs()
    again.stream(*GROUP, "s").write(b"next\n", 2.0)
    assert messages(again) == ["whole\n", "next\n"]
    assert not (segment.parent.parent / "half-made").exists()


def test_what_a_power_failure_spoilt_costs_no_more_than_itself(open_logs, tmp_path):
    logs = open_logs()
    other = GROUP._replace(name="/other")
    logs.stream(*GROUP, "s").write(b"one\n", 1.0)
    logs.stream(*GROUP, "t").write(b"two\n", 2.0)
    logs.stream(*other, "s").write(b"lost\n", 1.0)
    logs.delete_stream(GROUP, "t")
    logs.close()
    for path in files(tmp_path):
        if path.suffix == ".json" and (path.name != "group.json" or "other" in str(path)):
            path.write_bytes(b"\0" * path.stat().st_size)
        elif path.suffix == ".log":
            path.write_bytes(path.read_bytes() + b"\0" * 100)
    again = open_logs()
    again.stream(*GROUP, "s").write(b"three\n", 3.0)
    assert messages(again) == ["one\n", "two\n", "three\n"]
    assert [group.name for group in again.groups(*GROUP[:2])] == [GROUP.name]


def test_a_batch_that_cannot_be_kept_stops_nothing(logs, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("a bug")

    stream = logs.stream(*GROUP, "s")
    with monkeypatch.context() as patch:
        patch.setattr(logs, "_keep", broken)
        stream.write(b"lost\n", 1.0)
        logs.flush()
    stream.write(b"kept\n", 2.0)
    assert messages(logs) == ["kept\n"]
    assert "a batch of logs is lost" in caplog.text
    assert "a bug" in caplog.text


def test_a_failing_disk_is_reported_and_recovers(logs, tmp_path, caplog):
    stream = logs.stream(*GROUP, "s")
    stream.write(b"one\n", 1.0)
    logs.flush()
    (segment,) = (path for path in files(tmp_path) if path.suffix == ".log")
    content = segment.read_bytes()
    segment.unlink()
    segment.mkdir()
    stream.write(b"lost\n", 2.0)
    logs.flush()
    assert "logs cannot be kept, first for /aws/lambda/hello" in caplog.text
    segment.rmdir()
    segment.write_bytes(content)
    stream.write(b"two\n", 3.0)
    assert messages(logs) == ["one\n", "two\n"]


def test_events_past_the_retention_are_not_shown_and_are_deleted(logs, clock, tmp_path):
    stream = logs.stream(*GROUP, "s")
    stream.write(b"old\n", clock.wall())
    logs.flush()
    clock.advance(2 * DAY)
    stream.write(b"new\n", clock.wall())
    logs.flush()
    logs.set_retention(GROUP, 1)
    assert messages(logs) == ["new\n"]
    logs.set_retention(GROUP, None)
    assert messages(logs) == ["old\n", "new\n"]
    clock.advance(2 * DAY)
    logs.set_retention(GROUP, 1)
    assert [path.name for path in files(tmp_path)] == ["group.json"]
    stream.write(b"newest\n", clock.wall())
    assert messages(logs) == ["newest\n"]


def test_a_deleted_group_is_gone_and_comes_back_with_the_next_line(logs, tmp_path):
    stream = logs.stream(*GROUP, "s")
    stream.write(b"one\n", 1.0)
    logs.delete_group(GROUP)
    assert files(tmp_path) == []
    with pytest.raises(NotFound, match="The specified log group does not exist"):
        messages(logs)
    stream.write(b"two\n", 2.0)
    assert messages(logs) == ["two\n"]


def test_a_deleted_stream_is_gone_and_comes_back_with_the_next_line(open_logs):
    logs = open_logs()
    deleted, other = logs.stream(*GROUP, "deleted"), logs.stream(*GROUP, "other")
    deleted.write(b"one\n", 1.0)
    other.write(b"two\n", 2.0)
    logs.delete_stream(GROUP, "deleted")
    assert messages(logs) == ["two\n"]
    with pytest.raises(NotFound, match="The specified log stream does not exist"):
        logs.delete_stream(GROUP, "deleted")
    deleted.write(b"three\n", 3.0)
    assert messages(logs) == ["two\n", "three\n"]
    logs.close()
    assert messages(open_logs()) == ["two\n", "three\n"]


def test_streams_are_summed_up(logs):
    logs.create_group(GROUP)
    logs.create_stream(GROUP, "empty")
    stream = logs.stream(*GROUP, "full")
    stream.write(b"one\n", 1.0)
    stream.write(b"two\n", 2.0)
    empty, full = logs.streams(GROUP)
    assert empty == ("empty", 1_000_000_000, None, None, None)
    assert full == ("full", 1_000_000_000, 1000, 2000, 1_000_000_000)
    with pytest.raises(AlreadyExists):
        logs.create_stream(GROUP, "full")
    with pytest.raises(AlreadyExists):
        logs.create_group(GROUP)


def test_groups_belong_to_an_account_and_a_region(logs):
    elsewhere = GROUP._replace(region="eu-west-1")
    logs.stream(*GROUP, "s").write(b"here\n", 1.0)
    logs.stream(*elsewhere, "s").write(b"there\n", 1.0)
    assert messages(logs) == ["here\n"]
    assert [event.message for event in logs.events(elsewhere, Query()).events] == ["there\n"]
    assert [group.name for group in logs.groups("000000000000", "eu-west-1")] == [GROUP.name]


@pytest.mark.parametrize("name", [".", "..", "a/../../b", "/" * 512, "x" * 512, "é", "a b\n"])
def test_any_name_of_a_group_is_safe_on_disk(open_logs, tmp_path, name):
    key = GroupKey("..", "../x", name)
    logs = open_logs()
    logs.stream(*key, "s/../[$LATEST]").write(b"line\n", 1.0)
    logs.close()
    inside = {path.relative_to(tmp_path / "logs").parts for path in files(tmp_path)}
    assert all(len(parts) == 4 and parts[:2] == ("%2E%2E", "%2E%2E%2Fx") for parts in inside)
    again = open_logs()
    assert [group.name for group in again.groups("..", "../x")] == [name]
    assert [event.message for event in again.events(key, Query()).events] == ["line\n"]
