"""Who calls, as a value: what every decision about a request is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sandbox.errors import CallerError

Kind = Literal["account", "user", "role", "anonymous", "unverified", "administrator"]

Policy = Mapping[str, Any]
"""An identity policy: a document in IAM's language, without Principal."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An identity of an account."""

    account: str
    """12 digits; of somebody anonymous, none."""
    arn: str
    """`arn:aws:iam::A:root`, `arn:aws:iam::A:user/NAME`, or
    `arn:aws:sts::A:assumed-role/ROLE/SESSION`; of somebody anonymous, `*`."""
    kind: Kind
    """`account`: its root user, who may do all in it. `administrator`: the instance's, who may do
    all. `unverified`: believed to be who it says it is."""
    access_key: str | None = None
    """That the request was signed with."""
    policies: tuple[Policy, ...] = ()
    """What the identity may do; an account's root user needs none."""
    failure: CallerError | None = None
    """Why one is unverified that was to be verified: of `audit` alone."""


ANONYMOUS = Principal("", "*", "anonymous")
"""Who has not said who it is, where that is allowed."""


def root_arn(account: str) -> str:
    return f"arn:aws:iam::{account}:root"


@lru_cache(1024)
def believed(account: str) -> Principal:
    """Who says it is of an account, where nothing is verified."""
    return Principal(account, root_arn(account), "unverified")
