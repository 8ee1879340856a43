"""Following a log group: what is there, and what comes."""

from __future__ import annotations

import threading

from sandbox.logs import Query
from tests.support.logs import GROUP


def test_following_gives_what_is_there_and_what_comes(logs):
    stream = logs.stream(*GROUP, "s")
    stream.write(b"old\n", 1.0)
    stream.write(b"there\n", 2.0)
    follower = logs.follow(GROUP, since=1500)
    assert next(follower).message == "there\n"
    stream.write(b"one\ntwo\n", 3.0)
    assert next(follower).message == "one\n"
    assert next(follower).message == "two\n"
    logs.put_events(GROUP, "s", [(4000, b"put")])
    assert next(follower).message == "put"


def test_following_waits_for_a_group_that_does_not_exist_yet(logs):
    follower = logs.follow(GROUP)
    heard = []
    reader = threading.Thread(target=lambda: heard.append(next(follower)))
    reader.start()
    logs.stream(*GROUP._replace(name="/other"), "s").write(b"not this\n", 1.0)
    logs.stream(*GROUP, "s").write(b"this\n", 2.0)
    reader.join(10)
    assert [event.message for event in heard] == ["this\n"]


def test_following_goes_on_when_the_group_is_deleted_and_made_anew(logs):
    stream = logs.stream(*GROUP, "s")
    stream.write(b"a long line before\n", 1.0)
    follower = logs.follow(GROUP)
    assert next(follower).message == "a long line before\n"
    logs.delete_group(GROUP)
    stream.write(b"anew\n", 2.0)
    assert next(follower).message == "anew\n"


def test_following_tells_that_nothing_came(logs):
    assert next(logs.follow(GROUP, idle=0.001)) is None


def test_closing_the_store_ends_those_who_follow(logs):
    heard = []
    logs.stream(*GROUP, "s").write(b"first\n", 1.0)
    first_heard = threading.Event()

    def listen():
        for event in logs.follow(GROUP):
            heard.append(event.message)
            first_heard.set()

    reader = threading.Thread(target=listen)
    reader.start()
    assert first_heard.wait(10)
    logs.stream(*GROUP, "s").write(b"last\n", 2.0)
    logs.close()
    reader.join(10)
    assert not reader.is_alive()
    assert heard == ["first\n", "last\n"]


def test_followers_hear_every_line_once_while_many_write(logs):
    def write(name):
        stream = logs.stream(*GROUP, name)
        for number in range(500):
            stream.write(b"%s %d\n" % (name.encode(), number), number)

    follower = logs.follow(GROUP)
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


def test_ending_the_follows_wakes_those_that_wait_and_leaves_the_store_open(logs):
    ended = threading.Event()

    def read():
        for _ in logs.follow(GROUP):
            pass
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    logs.end_follows()
    assert ended.wait(10)
    reader.join()
    logs.stream(*GROUP, "s").write(b"still kept\n", 1.0)
    assert [event.message for event in logs.events(GROUP, Query()).events] == ["still kept\n"]
