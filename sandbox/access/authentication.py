"""Who sent a request: the door of every API here.

By `FNBOX_IAM`. `off`: whoever says an access key is believed, and nothing is verified. `audit`:
signatures are verified, and who fails is believed all the same, as `unverified`, with what was
wrong. `enforce`: who fails is refused. **A request that came from within a function's container is
verified in every mode**, and counts for the account of its key alone; with `off` only keys will do
that fnbox has made for functions, whose roles may do what `fnbox roles` says; where it says nothing
of one, UNDESCRIBED_ROLE is what it may, unless the mode is `enforce`: then nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sandbox.access import key_ids, sigv4
from sandbox.access.errors import AuthenticationError, UnrecognizedClient
from sandbox.access.principals import Principal, believed, root_arn
from sandbox.errors import to_keep
from sandbox.http.wire import INSIDE, request_target
from sandbox.threads import run_native

if TYPE_CHECKING:
    from sandbox.access.secret import InstanceSecret
    from sandbox.access.sessions import Sessions
    from sandbox.access.store import AccessStore
    from sandbox.clock import Clock

UNDESCRIBED_ROLE: tuple[Mapping[str, Any], ...] = (
    {
        "Statement": [
            {"Effect": "Allow", "Action": "lambda:InvokeFunction*", "Resource": "*"},
            {
                "Effect": "Allow",
                "NotAction": ["lambda:*", "logs:*", "xray:*", "fnbox:*"],
                "Resource": "*",
            },
        ]
    },
)
"""Call functions, and use other services; neither change nor read what makes up functions."""

LARGE = 64 * 1024
"""Bytes that are hashed off the event loop."""

_BEARER = "Bearer "
_EMPTY = hashlib.sha256(b"").hexdigest()

Environ = Mapping[str, Any]
Hashed = Callable[[sigv4.Signed], str]
"""The hash of a body, in hexadecimal or as S3 says it."""


class Authentication:
    """Tells who sent a request."""

    def __init__(
        self,
        *,
        mode: str,
        store: AccessStore,
        sessions: Sessions,
        secret: InstanceSecret,
        clock: Clock,
        own_account: str,
    ) -> None:
        """`mode` is `off`, `audit` or `enforce`."""
        self.mode = mode
        self.verifies = mode != "off"
        """Whether requests from outside are verified."""
        self.store = store
        self.sessions = sessions
        self._token = f"{_BEARER}{secret.administrator_token}".encode()
        self._clock = clock
        self._own_account = own_account

    def needed(self, environ: Environ) -> bool:
        """Whether `authenticate` would do more than believe a request."""
        return self.verifies or INSIDE in environ

    def authenticate(
        self, environ: Environ, body: bytes, service: str, believed_account: str
    ) -> Principal:
        """Who sent a request to `service`, as requests are signed for it, with this whole body.

        `believed_account` is whom the request says to be of. Raises AuthenticationError.
        """
        return self._principal(environ, service, believed_account, lambda _: digest(body))

    def authenticate_head(self, environ: Environ, service: str, believed_account: str) -> Principal:
        """The same before the body has come: it counts as what the request says it is.

        For what passes bodies on and checks the hash of those that have one: see
        `sigv4.is_hash`. A request that does not name one has no body.
        """
        return self._principal(
            environ, service, believed_account, lambda signed: signed.payload or _EMPTY
        )

    def is_administrator(self, environ: Environ) -> bool:
        """Whether a request brings the instance's administrator's token."""
        given: str = environ.get("HTTP_AUTHORIZATION", "")
        if not given.startswith(_BEARER):
            return False
        return hmac.compare_digest(given.encode("latin-1", "replace"), self._token)

    def administrator(self) -> Principal:
        return Principal(self._own_account, root_arn(self._own_account), "administrator")

    def _principal(
        self, environ: Environ, service: str, believed_account: str, hashed: Hashed
    ) -> Principal:
        if not self.needed(environ):
            return believed(believed_account)
        try:
            return self._verified(environ, service, hashed)
        except AuthenticationError as error:
            if INSIDE in environ or self.mode == "enforce":
                raise
            return replace(believed(believed_account), failure=to_keep(error))

    def _verified(self, environ: Environ, service: str, hashed: Hashed) -> Principal:
        signed = sigv4.read(environ)
        sigv4.check_scope(signed, service)
        principal, secret = self._owner(signed.access_key, signed.token)
        sigv4.check_time(signed, self._clock.wall())
        payload = sigv4.body_hash(signed, hashed(signed))
        sigv4.check_signature(signed, environ, request_target(environ)[0], payload, secret)
        return principal

    def _owner(self, access_key: str, token: str | None) -> tuple[Principal, str]:
        """Whose a key is, and its secret. Raises UnrecognizedClient, ExpiredToken."""
        if access_key.startswith(key_ids.SESSION):
            return self._session(access_key, token)
        key = self.store.key(access_key) if self.verifies else None
        # a key that lasts has no session
        if key is None or not key.active or token:
            raise UnrecognizedClient
        user = key.user_name
        if user is None:
            found = Principal(key.account, root_arn(key.account), "account", access_key)
        else:
            arn = f"arn:aws:iam::{key.account}:user/{user}"
            policies = self.store.policies(key.account, "user", user)
            found = Principal(key.account, arn, "user", access_key, policies)
        return found, key.secret_key

    def _session(self, access_key: str, token: str | None) -> tuple[Principal, str]:
        if not token:
            raise UnrecognizedClient
        session = self.sessions.read(access_key, token)
        account, role = session.account, session.role
        if self.verifies and not self.store.known(account):
            raise UnrecognizedClient
        if role is None:
            found = Principal(account, root_arn(account), "account", access_key)
        else:
            arn = f"arn:aws:sts::{account}:assumed-role/{role}/{session.name}"
            policies = self.store.policies(account, "role", role)
            if not policies and self.mode != "enforce":
                policies = UNDESCRIBED_ROLE
            found = Principal(account, arn, "role", access_key, policies)
        return found, session.secret_key


def digest(body: bytes) -> str:
    """SHA-256 in hexadecimal, large bodies' off the event loop."""
    if not body:
        return _EMPTY
    return run_native(_digest, body) if len(body) > LARGE else _digest(body)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
