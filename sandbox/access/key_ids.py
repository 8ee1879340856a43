"""Access key ids: whose account a key is of can be read from the key itself.

The layout is AWS's: behind `AKIA` or `ASIA` 80 bits in base 32, of which the second to the 41st
are the account's number. The last 24 are a checksum here, by which keys that fnbox made are told
from all others, so that no other key ever changes whose functions are meant. Pure functions.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from hashlib import sha256

LASTING = "AKIA"
SESSION = "ASIA"
"""How the ids of short-lived keys begin."""
NONCES = 2**15

_LENGTH = 20


def new_id(prefix: str, account: str, nonce: int) -> str:
    """The id of an account's key; `nonce`, below NONCES, tells it from others of that account."""
    head = ((1 << 55) | (int(account) << 15) | (nonce % NONCES)).to_bytes(7, "big")
    return prefix + b32encode(head + _check(head)).decode()


def account_of(access_key: str) -> str | None:
    """The account of a key that fnbox made; None of any other."""
    if len(access_key) != _LENGTH or not access_key.startswith((LASTING, SESSION)):
        return None
    try:
        content = b32decode(access_key[4:])
    except ValueError:
        return None
    head, check = content[:7], content[7:]
    if check != _check(head):
        return None
    account = (int.from_bytes(head, "big") >> 15) & (2**40 - 1)
    return f"{account:012d}" if account < 10**12 else None


def _check(head: bytes) -> bytes:
    return sha256(b"fnbox" + head).digest()[:3]
