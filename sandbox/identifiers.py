"""Random identifiers, cheap enough for each call: the kernel is asked for many at once."""

from __future__ import annotations

import os
from collections import deque

_BATCH = 64
_DIGITS = 40
_VARIANTS = str.maketrans("0123456789abcdef", "89ab89ab89ab89ab")

_ready: deque[str] = deque()
"""Hexadecimal digits that nobody has had; threads take them without a lock."""


def random_hex() -> str:
    """40 digits: 160 bits."""
    try:
        return _ready.pop()
    except IndexError:
        digits = os.urandom(_BATCH * _DIGITS // 2).hex()
        _ready.extend(digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS))
        return os.urandom(_DIGITS // 2).hex()


def new_uuid() -> str:
    """A UUID of version 4."""
    digits = random_hex()
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}"
        f"-{digits[15].translate(_VARIANTS)}{digits[16:19]}-{digits[19:31]}"
    )
