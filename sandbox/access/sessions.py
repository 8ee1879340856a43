"""Short-lived keys, above all those that execution environments find in their variables.

Context: an environment must be able to use its keys for as long as it runs, also after the control
plane has been restarted, and a request must be verified without asking a database.
Choice: nothing is stored. A session token says whose it is and until when, under a MAC made with
the instance's secret, and key and secret are derived from the token. What the role behind it may
do is looked up when the key is used, so that a changed policy holds at once. An environment gets
keys for 36 hours and is replaced after 12, at the end of a call or while it is idle.
Cost: one session cannot be ended by itself; a role, or an account, that is deleted ends all of its.
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from functools import lru_cache
from typing import NamedTuple

from sandbox.access import key_ids
from sandbox.access.errors import ExpiredToken, UnrecognizedClient
from sandbox.access.secret import InstanceSecret
from sandbox.clock import Clock

ENVIRONMENT_SECONDS = 36 * 3600
"""For which the keys of an environment are valid."""
RENEWAL_SECONDS = 12 * 3600
"""After which another environment takes its place."""

_MAC_BYTES = 20
_KNOWN = 4096
"""Tokens that have been read are not read again: those of all environments there may be."""


class Credentials(NamedTuple):
    """A set of keys as AWS clients take it."""

    access_key: str
    secret_key: str
    session_token: str
    expires_at: float
    """In seconds since the epoch."""

    def variables(self) -> dict[str, str]:
        """As clients look for it in the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.session_token,
        }


class Session(NamedTuple):
    """What a valid token says, and the secret of its key."""

    account: str
    role: str | None
    """The role's name; None: the account's root user."""
    name: str
    secret_key: str


class Sessions:
    """Makes and reads sessions of one instance."""

    def __init__(self, secret: InstanceSecret, clock: Clock) -> None:
        self._secret = secret
        self._mac_key = secret.derived("session tokens")
        self._clock = clock
        self._known = lru_cache(_KNOWN)(self._decode)

    def issue(
        self, account: str, role: str | None, name: str, seconds: float = ENVIRONMENT_SECONDS
    ) -> Credentials:
        """Keys of a role of an account, or of its root user."""
        expires_at = int(self._clock.wall() + seconds)
        body = json.dumps(
            [account, role, name, expires_at, secrets.token_hex(4)], separators=(",", ":")
        ).encode()
        mac = self._mac(body)
        token = urlsafe_b64encode(mac + body).decode()
        access_key = self._access_key(account, mac)
        return Credentials(
            access_key, self._secret.secret_key(access_key, token), token, float(expires_at)
        )

    def read(self, access_key: str, token: str) -> Session:
        """What a token stands for. Raises UnrecognizedClient for one that this instance has not
        made, or not for this key, ExpiredToken for one whose time is over."""
        session, expires_at = self._known(access_key, token)
        if self._clock.wall() >= expires_at:
            raise ExpiredToken
        return session

    def _decode(self, access_key: str, token: str) -> tuple[Session, float]:
        """And when it expires."""
        try:
            content = urlsafe_b64decode(token.encode("latin-1", "replace"))
        except Error as error:
            raise UnrecognizedClient from error
        if urlsafe_b64encode(content).decode() != token:
            raise UnrecognizedClient  # the decoder also takes other spellings of the same bytes
        mac, body = content[:_MAC_BYTES], content[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            raise UnrecognizedClient
        account, role, name, expires_at, _ = json.loads(body)
        if access_key != self._access_key(account, mac):
            raise UnrecognizedClient
        secret_key = self._secret.secret_key(access_key, token)
        return Session(account, role, name, secret_key), expires_at

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._mac_key, body, "sha256")[:_MAC_BYTES]

    @staticmethod
    def _access_key(account: str, mac: bytes) -> str:
        return key_ids.new_id(key_ids.SESSION, account, int.from_bytes(mac[:2], "big"))


def role_name(arn: str) -> str:
    """The name of a role, without its path, from its ARN."""
    return arn.rpartition("/")[2]
