"""The frames in `runtime/golden/`, which the init's Go tests read as well.

The decoder here is the frame layout of `runtime/PROTOCOL.md` written out once more.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "runtime" / "golden" / "frames.json").read_text("utf-8")
)
KINDS = {1, 2, 3, 4, 5, 6, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138}


class BrokenFrame(Exception):
    pass


def decode(data: bytes) -> tuple[int, str, bytes] | None:
    """Kind, meta and payload of a frame; None when more bytes are needed."""
    if len(data) < 12:
        return None
    kind, zero, meta_size, payload_size = struct.unpack(">B3sII", data[:12])
    if kind not in KINDS or any(zero) or meta_size > 1 << 20 or payload_size > 1 << 28:
        raise BrokenFrame
    if len(data) < 12 + meta_size + payload_size:
        return None
    return kind, data[12 : 12 + meta_size].decode(), data[12 + meta_size :]


@pytest.mark.parametrize("frame", GOLDEN["frames"], ids=lambda frame: frame["name"])
def test_a_golden_frame_holds_what_its_description_says(frame: dict[str, Any]) -> None:
    meta, payload = frame["meta"], bytes.fromhex(frame["payload"])
    assert decode(bytes.fromhex(frame["frame"])) == (frame["kind"], meta, payload)
    assert isinstance(json.loads(meta or "{}"), dict)


@pytest.mark.parametrize("frame", GOLDEN["refused"], ids=lambda frame: frame["why"])
def test_bytes_that_are_no_frame_are_refused(frame: dict[str, str]) -> None:
    with pytest.raises(BrokenFrame):
        decode(bytes.fromhex(frame["frame"]))


@pytest.mark.parametrize("frame", GOLDEN["cut"], ids=lambda frame: frame["why"])
def test_a_frame_that_is_cut_short_is_not_taken_for_one(frame: dict[str, str]) -> None:
    assert decode(bytes.fromhex(frame["frame"])) is None


def test_there_is_a_golden_frame_of_every_kind() -> None:
    assert {frame["kind"] for frame in GOLDEN["frames"]} == KINDS
