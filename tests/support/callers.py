"""Callers with keys of their own, for an API that verifies them."""

from __future__ import annotations

from typing import Any

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from sandbox.access.sessions import Credentials
from sandbox.access.store import AccessStore
from tests.support.api import REGION, Api, _Raw
from tests.support.urls import NOW

OWN, OTHER = "111111111111", "222222222222"


def open_the_clock(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are of the time that the API believes it is."""
    api.clock.advance(NOW.timestamp() - api.clock.wall())
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)


def store(api: Api) -> AccessStore:
    return api.authentication.store


def root(api: Api, account: str = OWN) -> tuple[str, str]:
    """Keys of an account's root user; the account is made."""
    accounts = store(api)
    if not accounts.known(account):
        accounts.create_account(f"team-{account}", account)
    key = accounts.create_key(account)
    return key.access_key, key.secret_key


def user(api: Api, *statements: dict[str, Any], account: str = OWN, name: str = "ada") -> Any:
    """Keys of a user who may do what statements say."""
    accounts = store(api)
    if not accounts.known(account):
        accounts.create_account(f"team-{account}", account)
    policy = {"Version": "2012-10-17", "Statement": [*statements] or [NOTHING]}
    key = accounts.create_key(account, name, policy)
    return key.access_key, key.secret_key


NOTHING = {"Effect": "Deny", "Action": "none:None", "Resource": "*"}


def allow(action: str | list[str], resource: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def session(api: Api, role: str, account: str = OWN) -> tuple[str, str, str]:
    """What a function with this role finds in its environment."""
    made: Credentials = api.authentication.sessions.issue(account, role, "f")
    variables = made.variables()
    return (
        variables["AWS_ACCESS_KEY_ID"],
        variables["AWS_SECRET_ACCESS_KEY"],
        variables["AWS_SESSION_TOKEN"],
    )


def client(api: Api, *keys: str, service: str = "lambda", region: str = REGION) -> Any:
    """A boto3 client of the app that signs with these keys."""
    made = _new(service, region, *keys)

    def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        body = request.body.read() if hasattr(request.body, "read") else request.body
        url = request.url.removeprefix("http://lambda.test")
        headers = {"Host": "lambda.test"} | {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        answer = api.client.open(
            url,
            method=request.method,
            data=body,
            headers=headers,
            environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
        )
        raw = _Raw(answer.get_data())
        answer.close()
        return AWSResponse(request.url, answer.status_code, dict(answer.headers), raw)

    made.meta.events.register(f"before-send.{service}.*", send)
    return made


_SESSION = boto3.session.Session()


def _new(service: str, region: str, key: str, secret: str, token: str | None = None) -> Any:
    return _SESSION.client(
        service,
        region_name=region,
        endpoint_url="http://lambda.test",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )
