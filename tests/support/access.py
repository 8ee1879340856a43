"""Callers for tests: an instance's secret, keys made with it, and requests signed by botocore."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from werkzeug.serving import make_server

from sandbox.access.authentication import Authentication
from sandbox.access.secret import InstanceSecret
from sandbox.access.sessions import Sessions
from sandbox.access.store import AccessStore
from sandbox.catalog.database import Database
from sandbox.clock import Clock, FakeClock
from sandbox.settings import Settings

_SESSION = botocore.session.get_session()
SECRET = InstanceSecret(bytes(range(32)))


def make_sessions(clock: Clock | None = None) -> Sessions:
    return Sessions(SECRET, clock or FakeClock())


def make_authentication(database: Database, clock: Clock, settings: Settings) -> Authentication:
    """As the control plane makes it, with a secret that tests know."""
    return Authentication(
        mode=settings.iam,
        store=AccessStore(database, SECRET, clock, settings.account),
        sessions=make_sessions(clock),
        secret=SECRET,
        clock=clock,
        own_account=settings.account,
    )


def environ_of(request: AWSRequest) -> dict[str, Any]:
    """WSGI's variables of a request as a server reads it off the wire."""
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    body = prepared.body or b""
    headers = {"Host": parts.netloc, "Content-Length": str(len(body))}
    headers |= {name: _text(value) for name, value in prepared.headers.items()}
    variables: dict[str, Any] = {
        "REQUEST_METHOD": prepared.method,
        "RAW_URI": f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/",
        "QUERY_STRING": parts.query,
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in headers.items():
        variable = name.upper().replace("-", "_")
        plain = variable in ("CONTENT_TYPE", "CONTENT_LENGTH")
        variables[variable if plain else f"HTTP_{variable}"] = value.strip()
    return variables


def _text(value: str | bytes) -> str:
    """As WSGI has it: a character for each byte."""
    return (value if isinstance(value, bytes) else value.encode()).decode("latin-1")


def client(service: str, url: str, keys: Credentials) -> Any:
    """botocore's client of a service, which asks once."""
    return _SESSION.create_client(
        service,
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
        config=Config(
            retries={"total_max_attempts": 1}, proxies={}, s3={"addressing_style": "path"}
        ),
    )


def sign(
    request: AWSRequest,
    credentials: Credentials,
    *,
    service: str = "lambda",
    region: str = "us-east-1",
    signer: type[SigV4Auth] | None = None,
    **options: Any,
) -> AWSRequest:
    """The request, signed by botocore."""
    signer = signer or (S3SigV4Auth if service == "s3" else SigV4Auth)
    signer(credentials, service, region, **options).add_auth(request)
    return request


@contextmanager
def served(app: Any) -> Iterator[str]:
    """A WSGI application behind a port of this process: its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
