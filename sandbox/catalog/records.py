"""What the catalog holds, as immutable values.

A change makes new records; whoever holds an old one goes on seeing the old state whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sandbox.catalog.attachments import (
    FunctionUrl,
    Policy,
    ProvisionedConcurrency,
    RuntimeManagement,
)
from sandbox.names import LATEST, LATEST_PUBLISHED, FunctionKey

_UNNUMBERED = {LATEST: -1, LATEST_PUBLISHED: 0}


def version_order(version: str) -> int:
    """Sorts `$LATEST` first, then `$LATEST.PUBLISHED`, then the others by number."""
    return _UNNUMBERED[version] if version in _UNNUMBERED else int(version)


@dataclass(frozen=True, slots=True)
class Code:
    """A deployment package, named by its content."""

    sha256: str
    """Of the zip, in hexadecimal."""
    size: int
    """Bytes of the zip."""
    unpacked_size: int
    """Bytes of the files in it."""


@dataclass(frozen=True)
class Version:
    """A function's code and configuration: a published one, or `$LATEST` as it now is."""

    key: FunctionKey
    version: str
    """`$LATEST`, `$LATEST.PUBLISHED`, or a number as text."""
    configuration: Mapping[str, Any]
    """The FunctionConfiguration document as Lambda answers it when no qualifier is given."""
    revision: str
    """Changes with every update of code or configuration, and is shared by no two versions: an
    environment that was started from another revision must not serve this one. Unlike the
    document's RevisionId it stays the same when an update settles."""
    code: Code | None = None
    """None for a container image."""
    image_uri: str | None = None
    """As the caller named it; None for a zip."""
    image_id: str | None = None
    """What `image_uri` stood for at the update: `name@sha256:…` of an image that a registry has,
    else the engine's id, `sha256:…`; None when unknown."""
    layers: Code | None = None
    """What is at /opt: the one layer, or the tree that `CodeStore.merge` made of several."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Members of GetFunction's Code that say where the package is from, as SourceKMSKeyArn."""

    @cached_property
    def arn(self) -> str:
        """Always qualified, with `:$LATEST` too."""
        return self.key.qualified(self.version)

    @cached_property
    def package_type(self) -> str:
        """`Zip` or `Image`."""
        return str(self.configuration["PackageType"])

    @cached_property
    def runtime(self) -> str | None:
        return self.configuration.get("Runtime")

    @cached_property
    def handler(self) -> str | None:
        return self.configuration.get("Handler")

    @cached_property
    def timeout(self) -> int:
        """Seconds."""
        return int(self.configuration["Timeout"])

    @cached_property
    def memory_size(self) -> int:
        """MiB."""
        return int(self.configuration["MemorySize"])

    @cached_property
    def ephemeral_storage(self) -> int:
        """MiB of /tmp."""
        return int(self.configuration["EphemeralStorage"]["Size"])

    @cached_property
    def active_tracing(self) -> bool:
        """Whether calls are sampled of which the caller has not decided it."""
        tracing = self.configuration.get("TracingConfig") or {}
        return bool(tracing.get("Mode") == "Active")

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The environment variables that the user set."""
        return dict(self.configuration.get("Environment", {}).get("Variables", {}))

    @cached_property
    def tenant_isolation(self) -> bool:
        """Whether every call is some tenant's, and no two tenants share an environment."""
        return bool(self.configuration.get("TenancyConfig"))

    @cached_property
    def state(self) -> str:
        """`Pending`, `Active` or `Failed`."""
        return str(self.configuration["State"])

    @property
    def settled(self) -> bool:
        """Whether nothing of it waits for `Catalog.activate`. Not kept: at the start every
        version of all functions is asked."""
        document = self.configuration
        return document["State"] != "Pending" and document.get("LastUpdateStatus") != "InProgress"

    def described(self, qualifier: str | None) -> dict[str, Any]:
        """The document with the FunctionArn that a caller sees who asked for `qualifier`."""
        if qualifier is None:
            return dict(self.configuration)
        return {**self.configuration, "FunctionArn": self.key.qualified(qualifier)}


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for a version, or for two of them by weight."""

    key: FunctionKey
    name: str
    function_version: str
    description: str
    weights: Mapping[str, float]
    """Share of the calls, 0 to 1, that go to another version; empty without routing."""
    revision_id: str

    @property
    def document(self) -> dict[str, Any]:
        """The AliasConfiguration document as Lambda answers it."""
        document: dict[str, Any] = {
            "AliasArn": self.key.qualified(self.name),
            "Name": self.name,
            "FunctionVersion": self.function_version,
            "Description": self.description,
            "RevisionId": self.revision_id,
        }
        if self.weights:
            document["RoutingConfig"] = {"AdditionalVersionWeights": dict(self.weights)}
        return document

    def pick(self, draw: float) -> str:
        """The version that a call goes to, for `draw` uniform in [0, 1)."""
        for version, weight in self.weights.items():
            if draw < weight:
                return version
            draw -= weight
        return self.function_version


@dataclass(frozen=True, slots=True)
class EventInvokeConfig:
    """How the events of a qualifier are tried again, and who is told of their end."""

    key: FunctionKey
    qualifier: str
    """`$LATEST`, a version or an alias: as a caller names it, not what it resolves to."""
    last_modified: float
    """Seconds since the Unix epoch."""
    maximum_retry_attempts: int | None = None
    maximum_event_age: int | None = None
    """Seconds."""
    on_success: str | None = None
    """An ARN."""
    on_failure: str | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The FunctionEventInvokeConfig document as Lambda answers it."""
        limits = {
            "MaximumRetryAttempts": self.maximum_retry_attempts,
            "MaximumEventAgeInSeconds": self.maximum_event_age,
        }
        return {
            "LastModified": round(self.last_modified, 3),
            "FunctionArn": self.key.qualified(self.qualifier),
            **{member: value for member, value in limits.items() if value is not None},
            "DestinationConfig": {
                "OnSuccess": {"Destination": self.on_success} if self.on_success else {},
                "OnFailure": {"Destination": self.on_failure} if self.on_failure else {},
            },
        }


@dataclass(frozen=True, slots=True)
class Function:
    """A function with all that hangs on its name."""

    key: FunctionKey
    versions: Mapping[str, Version]
    """In their `version_order`."""
    aliases: Mapping[str, Alias]
    """Sorted by name."""
    tags: Mapping[str, str]
    last_version: int = 0
    """The highest number ever published under this name; numbers are not used twice."""
    reserved_concurrency: int | None = None
    event_configs: Mapping[str, EventInvokeConfig] = field(default_factory=dict)
    """By qualifier, sorted."""
    provisioned: Mapping[str, ProvisionedConcurrency] = field(default_factory=dict)
    """By qualifier, sorted."""
    recursive_loop: str = "Terminate"
    """What becomes of calls in which it has called itself too often: `Terminate` or `Allow`."""
    policies: Mapping[str, Policy] = field(default_factory=dict)
    urls: Mapping[str, FunctionUrl] = field(default_factory=dict)
    runtime_management: Mapping[str, RuntimeManagement] = field(default_factory=dict)
    """What hangs on a qualifier: by it, `$LATEST` for the function itself; sorted."""
    former: Version | None = None
    """`$LATEST` as calls still see it while an update is in progress, else None. It is not
    kept over a restart: then calls see the update at once."""

    @property
    def latest(self) -> Version:
        return self.versions[LATEST]

    @property
    def serving(self) -> Version:
        """What an unqualified call runs."""
        return self.former or self.latest

    @property
    def unsettled(self) -> tuple[str, ...]:
        """The versions that wait for `Catalog.activate`."""
        return tuple(name for name, version in self.versions.items() if not version.settled)
