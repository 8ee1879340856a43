from __future__ import annotations

import socket
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.environments.channel import Channel, Decoder, Frame, FrameKind, encode_head
from sandbox.errors import EnvironmentFailed

METAS = st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=3)
SIZES = st.one_of(st.integers(0, 200), st.integers(65_000, 200_000))
FRAMES = st.tuples(st.sampled_from(FrameKind), METAS, SIZES)


def decode(data: bytes, steps: list[int]) -> list[Frame]:
    """Feed a decoder in pieces of the given sizes."""
    decoder, frames, at = Decoder(), [], 0
    while at < len(data):
        step = steps[len(frames) % len(steps)] if steps else len(data)
        buffer = decoder.buffer()
        piece = data[at : at + min(step, len(buffer))]
        buffer[: len(piece)] = piece
        at += len(piece)
        frames += list(decoder.advance(len(piece)))
    return frames


@settings(deadline=None)
@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(7, 100_000), max_size=5))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(
    shapes: list[tuple[FrameKind, dict[str, str], int]], steps: list[int]
) -> None:
    frames = [Frame(kind, meta, bytes([kind]) * size) for kind, meta, size in shapes]
    data = b"".join(encode_head(frame) + bytes(frame.payload) for frame in frames)
    decoded = decode(data, steps)
    assert [(kind, meta, bytes(payload)) for kind, meta, payload in decoded] == frames


def test_a_payload_that_was_handed_out_is_not_overwritten_by_the_next() -> None:
    first, second = Frame(FrameKind.RESULT, {}, b"a" * 70_000), Frame(FrameKind.LOG, {}, b"b" * 9)
    data = b"".join(encode_head(frame) + bytes(frame.payload) for frame in [first, second] * 3)
    payloads = [bytes(frame.payload) for frame in decode(data, [])]
    assert payloads == [b"a" * 70_000, b"b" * 9] * 3


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">B3xII", 77, 0, 0),
        struct.pack(">B3xII", FrameKind.LOG, 2**20 + 1, 0),
        struct.pack(">B3xII", FrameKind.LOG, 0, 2**28 + 1),
        struct.pack(">B3xII", FrameKind.LOG, 3, 0) + b"{x}",
    ],
)
def test_what_the_protocol_does_not_allow_is_an_error(data: bytes) -> None:
    with pytest.raises(EnvironmentFailed):
        decode(data, [])


def test_two_threads_do_not_mix_their_frames() -> None:
    ours, theirs = socket.socketpair()
    channel, peer = Channel(ours), Channel(theirs)
    payloads = [bytes([number]) * 100_000 for number in range(8)]
    threads = [
        threading.Thread(target=channel.send, args=(Frame(FrameKind.INVOKE, {}, payload),))
        for payload in payloads
    ]
    for thread in threads:
        thread.start()
    frames = peer.frames()
    assert {bytes(next(frames).payload) for _ in payloads} == set(payloads)
    for thread in threads:
        thread.join()
    channel.close()
    assert list(frames) == []
    peer.close()


def test_a_closed_channel_says_that_the_environment_is_gone() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    channel = Channel(ours)
    with pytest.raises(EnvironmentFailed, match="the environment is gone"):
        channel.send(Frame(FrameKind.KILL), Frame(FrameKind.INVOKE, {}, bytes(200_000)))
    channel.close()
