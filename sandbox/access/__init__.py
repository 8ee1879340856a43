"""Who calls: accounts, users, roles and their keys, and the signatures made with them.

`Authentication` is the door: a request in, a `Principal` out. `AccessStore` keeps what an
administrator has made, `Sessions` the short-lived keys that need no keeping.
"""

from __future__ import annotations

from sandbox.access.authentication import INSIDE, Authentication
from sandbox.access.principals import Principal, believed
from sandbox.access.sessions import Credentials, Sessions
from sandbox.access.store import AccessStore, Limits

__all__ = [
    "INSIDE",
    "AccessStore",
    "Authentication",
    "Credentials",
    "Limits",
    "Principal",
    "Sessions",
    "believed",
]
