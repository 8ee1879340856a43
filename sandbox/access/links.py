"""Links that let in whoever has them, for a while: the Location of a function's code.

A link's path is signed with a key that the process makes for itself, as a presigned URL of S3 is
with its maker's. Source: the Lambda API reference, FunctionCodeLocation, valid for ten minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import parse_qs

from sandbox.clock import Clock

SECONDS = 600


class Links:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def signed(self, path: str) -> str:
        """The path with what makes it a link."""
        until = str(int(self._clock.wall()) + SECONDS)
        return f"{path}?Expires={until}&Signature={self._signature(path, until)}"

    def lets_in(self, path: str, query: str) -> bool:
        """Whether a request is for a link that was made here, and still holds."""
        given = parse_qs(query)
        until, signature = given.get("Expires", [""])[0], given.get("Signature", [""])[0]
        expected = self._signature(path, until)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            return False
        return int(until) >= self._clock.wall()

    def _signature(self, path: str, until: str) -> str:
        return hmac.new(self._key, f"{path}\n{until}".encode(), hashlib.sha256).hexdigest()
