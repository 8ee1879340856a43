"""What hangs on a qualifier of a function: its policy, its URL, its runtime management; and its
event invoke configuration, of which `event_configs` has the rules.

Immutable values, each kept under the version or alias that it was given to; what was given to
the function itself is kept under `$LATEST`. They end with what they hang on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sandbox.names import LATEST, FunctionKey

if TYPE_CHECKING:
    from sandbox.catalog.records import Function

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may do what with a function, version or alias: a resource-based policy."""

    key: FunctionKey
    qualifier: str
    document: Mapping[str, Any]
    """In IAM's language; its Statement is a list, and never empty."""
    revision_id: str

    @property
    def statements(self) -> list[dict[str, Any]]:
        """In the order in which they were added."""
        return list(self.document["Statement"])

    @property
    def text(self) -> str:
        """The document as Lambda answers it."""
        return json.dumps(self.document, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class FunctionUrl:
    """An HTTP address at which a function, or one of its aliases, answers."""

    key: FunctionKey
    qualifier: str
    """An alias, or `$LATEST` when none was named."""
    url_id: str
    """What the address begins with: 32 lower-case letters and digits."""
    auth_type: str
    """`NONE` or `AWS_IAM`."""
    cors: Mapping[str, Any]
    """As it was given; empty: there is none, and what the function answers is left as it is."""
    invoke_mode: str | None
    """`BUFFERED`, `RESPONSE_STREAM`, or None where nobody has said."""
    created_at: float
    modified_at: float
    """Seconds since the Unix epoch."""

    @property
    def arn(self) -> str:
        """Qualified for an alias alone: what is invoked, and what a policy is about."""
        return self.key.qualified(named(self.qualifier))

    @property
    def streams(self) -> bool:
        return self.invoke_mode == "RESPONSE_STREAM"

    @property
    def document(self) -> dict[str, Any]:
        """The FunctionUrlConfig document, but for the FunctionUrl: that depends on who asks."""
        document: dict[str, Any] = {
            "FunctionArn": self.arn,
            "AuthType": self.auth_type,
            "CreationTime": _timestamp(self.created_at),
            "LastModifiedTime": _timestamp(self.modified_at),
            "InvokeMode": self.invoke_mode or "BUFFERED",
        }
        return document | ({"Cors": dict(self.cors)} if self.cors else {})


@dataclass(frozen=True, slots=True)
class RuntimeManagement:
    """When a version gets a newer runtime."""

    key: FunctionKey
    qualifier: str
    """`$LATEST` or a version."""
    update_on: str
    """`Auto`, `FunctionUpdate` or `Manual`."""
    runtime_version_arn: str | None
    """Given with `Manual`, and with nothing else."""


def without(function: Function, qualifier: str) -> Function:
    """The function without anything that hangs on a qualifier."""
    return replace(
        function,
        event_configs=removed(function.event_configs, qualifier),
        policies=removed(function.policies, qualifier),
        urls=removed(function.urls, qualifier),
        runtime_management=removed(function.runtime_management, qualifier),
    )


def removed(attached: Mapping[str, T], qualifier: str) -> dict[str, T]:
    """What is attached to all other qualifiers."""
    return {name: one for name, one in attached.items() if name != qualifier}


def added(attached: Mapping[str, T], qualifier: str, one: T) -> dict[str, T]:
    """With `one` attached to a qualifier, in place of what was."""
    return dict(sorted({**attached, qualifier: one}.items()))


def named(qualifier: str) -> str | None:
    """The qualifier as a caller has to say it: none for what hangs on the function itself."""
    return None if qualifier == LATEST else qualifier


def _timestamp(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
