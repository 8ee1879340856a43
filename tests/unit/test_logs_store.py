"""The log store on a real disk, with a clock of the test's own."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.clock import FakeClock
from sandbox.errors import NotFound
from sandbox.logs import AlreadyExists, GroupKey, LogStore, Query
from sandbox.logs import store as store_module
from sandbox.names import FunctionKey

FUNCTION = FunctionKey("000000000000", "us-east-1", "hello")
GROUP = GroupKey.of(FUNCTION)
DAY = 24 * 60 * 60


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def open_store(tmp_path, clock):
    opened = []

    def open_one(max_bytes=2**20):
        opened.append(LogStore(tmp_path / "logs", clock, max_bytes))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def store(open_store):
    return open_store()


def messages(store, **query):
    return [event.message for event in store.events(GROUP, Query(**query)).events]


def files(tmp_path):
    return [path for path in (tmp_path / "logs").rglob("*") if path.is_file()]


def test_each_line_is_an_event_and_keeps_its_line_feed(store):
    store.stream(*GROUP, "s").write(b"one\ntwo\n\nfour\n", 5.0)
    page = store.events(GROUP, Query())
    assert [event.message for event in page.events] == ["one\n", "two\n", "\n", "four\n"]
    assert {event.timestamp for event in page.events} == {5000}
    assert {event.ingestion for event in page.events} == {1_000_000_000}
    assert {event.stream for event in page.events} == {"s"}
    assert not page.more


def test_a_line_in_pieces_has_the_time_of_its_first_byte(store):
    stream = store.stream(*GROUP, "s")
    stream.write(b"a", 1.0)
    stream.write(b"b", 2.0)
    stream.write(b"c\nd", 3.0)
    stream.write(b"e\n", 4.0)
    events = store.events(GROUP, Query()).events
    assert [(event.timestamp, event.message) for event in events] == [
        (1000, "abc\n"),
        (3000, "de\n"),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    data=st.binary(max_size=60).map(lambda data: data.replace(b"x", b"\n")),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_how_output_is_split_does_not_matter(store, data, cuts):
    group = GROUP._replace(name="/split")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    stream = store.stream(*group, "s")
    for begin, end in pairwise(edges):
        stream.write(data[begin:end], 1.0)
    stream.close()
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    expected = [line for line in lines if line]
    found = store.events(group, Query()).events if expected else []
    assert [event.data for event in found] == expected
    if expected:
        store.delete_group(group)


def test_an_event_may_hold_line_feeds(store):
    stream = store.stream(*GROUP, "s")
    stream.events([b"REPORT\t\nXRAY\t\n"], 1.0)
    assert messages(store) == ["REPORT\t\nXRAY\t\n"]


def test_an_event_ends_the_line_before_it(store):
    stream = store.stream(*GROUP, "s")
    stream.write(b"no line feed", 1.0)
    stream.events([b"END\n"], 2.0)
    stream.write(b"next\n", 3.0)
    assert messages(store) == ["no line feed", "END\n", "next\n"]


def test_closing_a_stream_keeps_its_last_line(store):
    stream = store.stream(*GROUP, "s")
    stream.write(b"last words", 1.0)
    stream.close()
    assert messages(store) == ["last words"]


def test_an_endless_line_is_cut_at_256_kib(store):
    stream = store.stream(*GROUP, "s")
    for _ in range(10):
        stream.write(b"x" * 60_000, 1.0)
    stream.write(b"\n", 2.0)
    sizes = [len(event.data) for event in store.events(GROUP, Query(max_bytes=2**30)).events]
    assert sizes == [2**18, 2**18, 600_001 - 2**19]


def test_a_line_over_256_kib_within_one_write_is_cut(store):
    store.stream(*GROUP, "s").write(b"x" * 300_000 + b"\n", 1.0)
    assert [len(text) for text in messages(store)] == [2**18, 300_001 - 2**18]


def test_invalid_utf8_is_replaced_and_nul_is_kept(store):
    store.stream(*GROUP, "s").write(b"\xff\xfe \x00 \xc3\xa9 \r over\n", 1.0)
    assert messages(store) == ["\ufffd\ufffd \x00 é \r over\n"]


def test_events_of_several_streams_come_in_the_order_of_time(store):
    first, second = store.stream(*GROUP, "a"), store.stream(*GROUP, "b")
    for at in range(10):
        first.write(b"a%d\n" % at, at)
        second.write(b"b%d\n" % at, at + 0.5)
    expected = [f"{name}{at}\n" for at in range(10) for name in "ab"]
    assert messages(store) == expected
    assert messages(store, reverse=True) == expected[::-1]
    assert messages(store, streams="b".__eq__) == [f"b{at}\n" for at in range(10)]
    assert messages(store, start=3000, end=4000) == ["a3\n", "b3\n"]
    assert messages(store, match=lambda text: "7" in text) == ["a7\n", "b7\n"]


def test_order_holds_across_segments(open_store):
    store = open_store(max_bytes=16 * 4096)
    names = ["a", "b", "c"]
    streams = [store.stream(*GROUP, name) for name in names]
    for at in range(300):
        for number, stream in enumerate(streams):
            stream.write(b"%-97d\n" % (at * 3 + number), at + (number * 7 % 5) / 5)
        if at % 20 == 19:
            store.flush()
    events = store.events(GROUP, Query()).events
    assert events == sorted(events)
    assert len({event.segment for event in events}) > 5
    backwards = store.events(GROUP, Query(reverse=True)).events
    assert backwards == events[::-1]


@pytest.mark.parametrize("reverse", [False, True])
def test_pages_join_without_gap_or_repetition(open_store, reverse):
    store = open_store(max_bytes=16 * 4096)
    for at in range(100):
        store.stream(*GROUP, f"s{at % 3}").write(b"%d\n" % at * 5, at // 10)
        store.flush()
    everything = store.events(GROUP, Query(reverse=reverse)).events
    joined, side = [], {}
    while True:
        page = store.events(GROUP, Query(limit=7, reverse=reverse, **side))
        joined += page.events
        if not page.more:
            break
        assert len(page.events) == 7
        side = {"before" if reverse else "after": page.events[-1].position}
    assert joined == everything
    assert len(joined) == 500


def test_a_page_is_bounded_in_bytes_but_never_empty(store):
    store.stream(*GROUP, "s").write((b"x" * 99 + b"\n") * 10, 1.0)
    assert len(messages(store, max_bytes=350)) == 3
    assert len(messages(store, max_bytes=1)) == 1


def test_logs_survive_a_restart(open_store, clock):
    store = open_store()
    stream = store.stream(*GROUP, "s")
    stream.write(b"before\n", clock.wall())
    store.create_group(GROUP._replace(name="/other"), {"owner": "me"})
    store.set_retention(GROUP, 3)
    store.close()
    stream.write(b"too late\n", clock.wall())
    again = open_store()
    again.stream(*GROUP, "s").write(b"after\n", clock.wall())
    assert messages(again) == ["before\n", "after\n"]
    names = {group.name: group for group in again.groups("000000000000", "us-east-1")}
    assert names["/other"].tags == {"owner": "me"}
    assert names[GROUP.name].retention_days == 3


def test_what_a_crash_left_half_written_is_removed(open_store, tmp_path):
    store = open_store()
    store.stream(*GROUP, "s").write(b"whole\n", 1.0)
    store.close()
    (segment,) = (path for path in files(tmp_path) if path.suffix == ".log")
    content = segment.read_bytes()
    segment.write_bytes(content + content[:40])
    (segment.parent.parent / "half-made").mkdir()
    again = open_store()
    again.stream(*GROUP, "s").write(b"next\n", 2.0)
    assert messages(again) == ["whole\n", "next\n"]
    assert not (segment.parent.parent / "half-made").exists()


def test_what_a_power_failure_spoilt_costs_no_more_than_itself(open_store, tmp_path):
    store = open_store()
    other = GROUP._replace(name="/other")
    store.stream(*GROUP, "s").write(b"one\n", 1.0)
    store.stream(*GROUP, "t").write(b"two\n", 2.0)
    store.stream(*other, "s").write(b"lost\n", 1.0)
    store.delete_stream(GROUP, "t")
    store.close()
    for path in files(tmp_path):
        if path.suffix == ".json" and (path.name != "group.json" or "other" in str(path)):
            path.write_bytes(b"\0" * path.stat().st_size)
        elif path.suffix == ".log":
            path.write_bytes(path.read_bytes() + b"\0" * 100)
    again = open_store()
    again.stream(*GROUP, "s").write(b"three\n", 3.0)
    assert messages(again) == ["one\n", "two\n", "three\n"]
    assert [group.name for group in again.groups(*GROUP[:2])] == [GROUP.name]


def test_a_batch_that_cannot_be_kept_stops_nothing(store, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("a bug")

    stream = store.stream(*GROUP, "s")
    with monkeypatch.context() as patch:
        patch.setattr(store, "_keep", broken)
        stream.write(b"lost\n", 1.0)
        store.flush()
    stream.write(b"kept\n", 2.0)
    assert messages(store) == ["kept\n"]
    assert "a batch of logs is lost" in caplog.text
    assert "a bug" in caplog.text


def test_a_group_is_bounded_by_dropping_its_oldest_events(open_store, tmp_path):
    store = open_store(max_bytes=100_000)
    stream = store.stream(*GROUP, "s")
    for number in range(3000):
        stream.write(b"%-99d\n" % number, number)
        if number % 50 == 0:
            store.flush()
    kept = [int(text) for text in messages(store, max_bytes=2**30)]
    assert kept == list(range(kept[0], 3000))
    assert 500 < len(kept) < 1000
    assert sum(path.stat().st_size for path in files(tmp_path)) < 105_000
    again = open_store(max_bytes=100_000)
    assert [int(text) for text in messages(again, max_bytes=2**30)] == kept


def test_a_flood_is_dropped_and_counted_in_the_log(open_store, monkeypatch):
    store = open_store(max_bytes=2**24)
    entered, goes_on = threading.Event(), threading.Event()
    keep = store._keep

    def stalled(*args):
        entered.set()
        assert goes_on.wait(10)
        return keep(*args)

    monkeypatch.setattr(store, "_keep", stalled)
    flooding, quiet = store.stream(*GROUP, "flood"), store.stream(*GROUP, "quiet")
    quiet.write(b"wakes the thread\n", 1.0)
    assert entered.wait(10)
    for _ in range(80):
        flooding.write(b"x" * 65_535 + b"\n", 2.0)
    quiet.write(b"still heard\n", 3.0)
    flooding.events([b"END\n"], 4.0)
    goes_on.set()
    events = store.events(GROUP, Query(max_bytes=2**30)).events
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


def test_a_flood_of_records_is_dropped_and_leaves_room_for_the_platform(open_store, monkeypatch):
    store = open_store(max_bytes=2**24)
    entered, goes_on = threading.Event(), threading.Event()
    keep = store._keep
    batches = []

    def stalled(items, dropped):
        batches.append(len(items))
        entered.set()
        assert goes_on.wait(10)
        return keep(items, dropped)

    monkeypatch.setattr(store, "_keep", stalled)
    flooding = store.stream(*GROUP, "flood")
    flooding.write(b"wakes the thread\n", 1.0)
    assert entered.wait(10)
    for _ in range(300):
        flooding.records([b"a\nb"] * 100, 2.0)
    flooding.events([b"END\n"], 4.0)
    goes_on.set()
    events = store.events(GROUP, Query(max_bytes=2**30, limit=100_000)).events
    kept = [event.message for event in events if event.message == "a\nb"]
    assert 5_000 < len(kept) < 8_000
    assert max(batches) < 10_000
    assert [event.message for event in events[-2:]] == [
        "END\n",
        f"fnbox: {3 * (30_000 - len(kept))} bytes of log dropped\n",
    ]


def test_many_floods_leave_room_for_a_quiet_stream(open_store, monkeypatch):
    store = open_store(max_bytes=2**24)
    monkeypatch.setattr(store_module, "TOTAL_BUFFER", 2**21)
    entered, goes_on = threading.Event(), threading.Event()
    keep = store._keep
    monkeypatch.setattr(
        store, "_keep", lambda *args: (entered.set(), goes_on.wait(10), keep(*args))[-1]
    )
    quiet = store.stream(*GROUP, "quiet")
    quiet.write(b"wakes the thread\n", 1.0)
    assert entered.wait(10)
    for number in range(8):
        flooding = store.stream(*GROUP, f"flood{number}")
        for _ in range(40):
            flooding.write(b"x" * 65_535 + b"\n", 2.0)
    assert store._held < 2**22
    quiet.write(b"still heard\n", 3.0)
    goes_on.set()
    assert messages(store, streams="quiet".__eq__) == ["wakes the thread\n", "still heard\n"]


def test_unfinished_lines_of_all_streams_are_bounded(store, monkeypatch):
    monkeypatch.setattr(store_module, "PARTIAL_BUFFER", 2**20)
    streams = [store.stream(*GROUP, str(number)) for number in range(20)]
    for stream in streams:
        stream.write(b"x" * 200_000, 1.0)
        store.flush()
    assert store._partials < 2**20 + 200_000
    for stream in streams:
        stream.close()
    store.flush()
    assert store._partials == 0


def test_a_failing_disk_is_reported_and_recovers(store, tmp_path, caplog):
    stream = store.stream(*GROUP, "s")
    stream.write(b"one\n", 1.0)
    store.flush()
    (segment,) = (path for path in files(tmp_path) if path.suffix == ".log")
    content = segment.read_bytes()
    segment.unlink()
    segment.mkdir()
    stream.write(b"lost\n", 2.0)
    store.flush()
    assert "logs cannot be kept, first for /aws/lambda/hello" in caplog.text
    segment.rmdir()
    segment.write_bytes(content)
    stream.write(b"two\n", 3.0)
    assert messages(store) == ["one\n", "two\n"]


def test_events_past_the_retention_are_not_shown_and_are_deleted(store, clock, tmp_path):
    stream = store.stream(*GROUP, "s")
    stream.write(b"old\n", clock.wall())
    store.flush()
    clock.advance(2 * DAY)
    stream.write(b"new\n", clock.wall())
    store.flush()
    store.set_retention(GROUP, 1)
    assert messages(store) == ["new\n"]
    store.set_retention(GROUP, None)
    assert messages(store) == ["old\n", "new\n"]
    clock.advance(2 * DAY)
    store.set_retention(GROUP, 1)
    assert [path.name for path in files(tmp_path)] == ["group.json"]
    stream.write(b"newest\n", clock.wall())
    assert messages(store) == ["newest\n"]


def test_a_deleted_group_is_gone_and_comes_back_with_the_next_line(store, tmp_path):
    stream = store.stream(*GROUP, "s")
    stream.write(b"one\n", 1.0)
    store.delete_group(GROUP)
    assert files(tmp_path) == []
    with pytest.raises(NotFound, match="The specified log group does not exist"):
        messages(store)
    stream.write(b"two\n", 2.0)
    assert messages(store) == ["two\n"]


def test_a_deleted_stream_is_gone_and_comes_back_with_the_next_line(open_store):
    store = open_store()
    deleted, other = store.stream(*GROUP, "deleted"), store.stream(*GROUP, "other")
    deleted.write(b"one\n", 1.0)
    other.write(b"two\n", 2.0)
    store.delete_stream(GROUP, "deleted")
    assert messages(store) == ["two\n"]
    with pytest.raises(NotFound, match="The specified log stream does not exist"):
        store.delete_stream(GROUP, "deleted")
    deleted.write(b"three\n", 3.0)
    assert messages(store) == ["two\n", "three\n"]
    store.close()
    assert messages(open_store()) == ["two\n", "three\n"]


def test_streams_are_summed_up(store):
    store.create_group(GROUP)
    store.create_stream(GROUP, "empty")
    stream = store.stream(*GROUP, "full")
    stream.write(b"one\n", 1.0)
    stream.write(b"two\n", 2.0)
    empty, full = store.streams(GROUP)
    assert empty == ("empty", 1_000_000_000, None, None, None)
    assert full == ("full", 1_000_000_000, 1000, 2000, 1_000_000_000)
    with pytest.raises(AlreadyExists):
        store.create_stream(GROUP, "full")
    with pytest.raises(AlreadyExists):
        store.create_group(GROUP)


def test_groups_belong_to_an_account_and_a_region(store):
    elsewhere = GROUP._replace(region="eu-west-1")
    store.stream(*GROUP, "s").write(b"here\n", 1.0)
    store.stream(*elsewhere, "s").write(b"there\n", 1.0)
    assert messages(store) == ["here\n"]
    assert [event.message for event in store.events(elsewhere, Query()).events] == ["there\n"]
    assert [group.name for group in store.groups("000000000000", "eu-west-1")] == [GROUP.name]


@pytest.mark.parametrize("name", [".", "..", "a/../../b", "/" * 512, "x" * 512, "é", "a b\n"])
def test_any_name_of_a_group_is_safe_on_disk(open_store, tmp_path, name):
    key = GroupKey("..", "../x", name)
    store = open_store()
    store.stream(*key, "s/../[$LATEST]").write(b"line\n", 1.0)
    store.close()
    inside = {path.relative_to(tmp_path / "logs").parts for path in files(tmp_path)}
    assert all(len(parts) == 4 and parts[:2] == ("%2E%2E", "%2E%2E%2Fx") for parts in inside)
    again = open_store()
    assert [group.name for group in again.groups("..", "../x")] == [name]
    assert [event.message for event in again.events(key, Query()).events] == ["line\n"]


def test_following_gives_what_is_there_and_what_comes(store):
    stream = store.stream(*GROUP, "s")
    stream.write(b"old\n", 1.0)
    stream.write(b"there\n", 2.0)
    follower = store.follow(GROUP, since=1500)
    assert next(follower).message == "there\n"
    stream.write(b"one\ntwo\n", 3.0)
    assert next(follower).message == "one\n"
    assert next(follower).message == "two\n"
    store.put_events(GROUP, "s", [(4000, b"put")])
    assert next(follower).message == "put"


def test_following_waits_for_a_group_that_does_not_exist_yet(store):
    follower = store.follow(GROUP)
    heard = []
    reader = threading.Thread(target=lambda: heard.append(next(follower)))
    reader.start()
    store.stream(*GROUP._replace(name="/other"), "s").write(b"not this\n", 1.0)
    store.stream(*GROUP, "s").write(b"this\n", 2.0)
    reader.join(10)
    assert [event.message for event in heard] == ["this\n"]


def test_following_goes_on_when_the_group_is_deleted_and_made_anew(store):
    stream = store.stream(*GROUP, "s")
    stream.write(b"a long line before\n", 1.0)
    follower = store.follow(GROUP)
    assert next(follower).message == "a long line before\n"
    store.delete_group(GROUP)
    stream.write(b"anew\n", 2.0)
    assert next(follower).message == "anew\n"


def test_following_tells_that_nothing_came(store):
    assert next(store.follow(GROUP, idle=0.001)) is None


def test_closing_the_store_ends_those_who_follow(store):
    heard = []
    store.stream(*GROUP, "s").write(b"first\n", 1.0)
    first_heard = threading.Event()

    def listen():
        for event in store.follow(GROUP):
            heard.append(event.message)
            first_heard.set()

    reader = threading.Thread(target=listen)
    reader.start()
    assert first_heard.wait(10)
    store.stream(*GROUP, "s").write(b"last\n", 2.0)
    store.close()
    reader.join(10)
    assert not reader.is_alive()
    assert heard == ["first\n", "last\n"]


def test_followers_hear_every_line_once_while_many_write(store):
    def write(name):
        stream = store.stream(*GROUP, name)
        for number in range(500):
            stream.write(b"%s %d\n" % (name.encode(), number), number)

    follower = store.follow(GROUP)
    writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for writer in writers:
        writer.start()
    heard = [next(follower).message for _ in range(2000)]
    for writer in writers:
        writer.join()
    assert sorted(heard) == sorted(f"{name} {number}\n" for name in "abcd" for number in range(500))
    for name in "abcd":
        mine = [int(text.split()[1]) for text in heard if text[0] == name]
        assert mine == list(range(500))


def test_ending_the_follows_wakes_those_that_wait_and_leaves_the_store_open(store):
    ended = threading.Event()

    def read():
        for _ in store.follow(GROUP):
            pass
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    store.end_follows()
    assert ended.wait(10)
    reader.join()
    store.stream(*GROUP, "s").write(b"still kept\n", 1.0)
    assert [event.message for event in store.events(GROUP, Query()).events] == ["still kept\n"]
