"""Clients of other AWS services, each at the endpoint that is configured for it, and nowhere else.

Nothing leaves for AWS by default. Requests are signed with the account's number as access key, by
which emulators tell accounts apart, and those to fnbox itself with keys of the account. Clients are
made when they are first needed, and kept: to make one takes a tenth of a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.access.sessions import Credentials
from sandbox.errors import FnboxError

_CONNECT_SECONDS = 5
_READ_SECONDS = 30


class NoEndpoint(FnboxError):
    """Nobody said where a service is; AWS itself is never asked."""


class AwsClients:
    """Clients by service, region and account. Safe to be used by many threads."""

    def __init__(
        self,
        endpoints: Mapping[str, str],
        own_url: str = "",
        own_keys: Callable[[str], Credentials] | None = None,
    ) -> None:
        """`endpoints` are URLs by service: `sqs`, `sns`, `events`, `s3`; `own_keys` gives keys of
        an account for those that are `own_url`."""
        self._endpoints = endpoints
        self._own_url = own_url
        self._own_keys = own_keys
        self._made: dict[tuple[str, str, str], Any] = {}
        self._making = threading.Lock()

    def get(self, service: str, region: str, account: str) -> Any:
        """A botocore client. Raises NoEndpoint."""
        name = (service, region, account)
        with self._making:
            if name not in self._made:
                self._made[name] = self._new(*name)
            return self._made[name]

    def _new(self, service: str, region: str, account: str) -> Any:
        endpoint = self._endpoints.get(service)
        if endpoint is None:
            raise NoEndpoint(
                f"no endpoint is known for {service}: run `fnbox up --aws`, or set "
                f"FNBOX_ENDPOINTS={service}=http://…"
            )
        keys: tuple[str, str, str | None] = account, "fnbox", None
        if self._own_keys is not None and endpoint == self._own_url:
            keys = self._own_keys(account)[:3]
        # Not above: it would delay the start of the control plane by a tenth of a second.
        import botocore.session
        from botocore.config import Config

        return botocore.session.get_session().create_client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            aws_session_token=keys[2],
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                # who asks knows better when to ask again
                retries={"total_max_attempts": 1},
                # names of buckets are no host names here
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
