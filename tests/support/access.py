"""Callers for tests: an instance's secret, keys made with it, and requests signed by botocore."""

from __future__ import annotations

from sandbox.access.authentication import Authentication
from sandbox.access.secret import InstanceSecret
from sandbox.access.sessions import Sessions
from sandbox.access.store import AccessStore
from sandbox.catalog.database import Database
from sandbox.clock import Clock, FakeClock
from sandbox.settings import Settings

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
