"""Functions with a URL: an API with one, its requests, and signatures as clients make them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.test import TestResponse

from tests.support.api import Api, as_sent, open_api

# The clock of `open_api` would have requests of 1970, which the signer does not make.
NOW = datetime(2026, 11, 22, 17, 0, 0, 250_000, UTC)


class UrlApi:
    """An API with a function `f`, an alias `live`, and a URL of one of them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.api: Api = open_api(folder, **settings)
        self.api.clock.advance(NOW.timestamp() - self.api.clock.wall())
        self.boto = self.api.boto()
        self.api.create(Publish=True)
        self.boto.create_alias(FunctionName="f", Name="live", FunctionVersion="1")

    def url(self, qualifier: str | None = None, auth: str = "NONE", **members: Any) -> str:
        """A new URL's id."""
        named = {"Qualifier": qualifier} if qualifier else {}
        made = self.boto.create_function_url_config(
            FunctionName="f", AuthType=auth, **named, **members
        )
        return str(made["FunctionUrl"].split("/")[-2])

    def send(
        self,
        url_id: str,
        target: str = "/",
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        **environ: str,
    ) -> TestResponse:
        """A request with this target, as it is sent, by the URL's host."""
        host = f"{url_id}.lambda-url.us-east-1.localhost:4566"
        overrides = {**as_sent(target), "REMOTE_ADDR": "203.0.113.7", **environ}
        return self.api.client.open(
            "/",
            method=method,
            data=body,
            headers={"Host": host, **(headers or {})},
            environ_overrides=overrides,
        )

    def event(self) -> Any:
        """The invocation of the last request."""
        return self.api.service.invoked[-1]


def signed(
    url: str,
    method: str = "GET",
    body: bytes = b"",
    *,
    access_key: str = "test",
    region: str = "us-east-1",
    service: str = "lambda",
    **headers: str,
) -> dict[str, str]:
    """The headers of a request, as botocore signs it now."""
    request = AWSRequest(method, url, data=body, headers=headers)
    SigV4Auth(Credentials(access_key, "secret"), service, region).add_auth(request)
    return dict(request.headers.items())
