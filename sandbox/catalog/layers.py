"""Layers: packages that functions find at /opt, in numbered versions that never change.

As in the catalog of functions, readers see a snapshot in memory, and a change is on disk before
anybody sees it. A function keeps what it uses: a version that is deleted is gone for new functions
alone. Source: the Lambda API reference, PublishLayerVersion and its siblings.
"""

from __future__ import annotations

import base64
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_

from sandbox.catalog import policies, tables
from sandbox.catalog.code_store import CodeStore, recount
from sandbox.catalog.database import Database
from sandbox.catalog.documents import timestamp
from sandbox.catalog.package import UNZIPPED_LIMIT, zipped_limit
from sandbox.catalog.policies import Policy, Statement
from sandbox.catalog.records import Code
from sandbox.catalog.room import Room, Size, bytes_of
from sandbox.clock import Clock
from sandbox.errors import CallerError, NotFound, PreconditionFailed

LAYER_LIMIT = 5

_ARN = re.compile(
    r"arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):layer:"
    r"(?P<name>[a-zA-Z0-9-_]+)(?::(?P<version>\d+))?"
)
_GIVEN = ("CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo")


class LayerKey(NamedTuple):
    """What identifies a layer: names are unique within an account and a region."""

    account: str
    region: str
    name: str

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:layer:{self.name}"


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """A package, and what was said of it when it was published."""

    key: LayerKey
    number: int
    document: Mapping[str, Any]
    """Description, CreatedDate, and those of CompatibleRuntimes, CompatibleArchitectures and
    LicenseInfo that were given, as Lambda answers them."""
    code: Code
    policy: Policy = field(default_factory=Policy)

    @property
    def arn(self) -> str:
        return f"{self.key.arn}:{self.number}"

    @property
    def listed(self) -> dict[str, Any]:
        """The LayerVersionsListItem document."""
        return {"LayerVersionArn": self.arn, "Version": self.number, **self.document}

    @property
    def content(self) -> dict[str, Any]:
        """The LayerVersionContentOutput document, but for its Location."""
        digest = base64.b64encode(bytes.fromhex(self.code.sha256)).decode()
        return {"CodeSha256": digest, "CodeSize": self.code.size}

    def suits(self, runtime: str | None, architecture: str | None) -> bool:
        """Whether it was published for these; None: for whatever."""
        runtimes = self.document.get("CompatibleRuntimes", ())
        architectures = self.document.get("CompatibleArchitectures", ())
        return (runtime is None or runtime in runtimes) and (
            architecture is None or architecture in architectures
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """A name and its versions, of which some may be deleted."""

    key: LayerKey
    last_version: int
    """The highest number ever published under this name; numbers are not used twice."""
    versions: Mapping[int, LayerVersion]
    """The newest first."""


class Layers:
    """Layers by account, region and name. Safe to be used by many threads."""

    def __init__(
        self,
        database: Database,
        code: CodeStore,
        clock: Clock,
        packages: Counter[str],
        room: Room,
        writing: threading.Lock,
    ) -> None:
        """`packages` counts, by SHA-256, what the catalog uses, `room` adds up what accounts have;
        `writing` is held to change them."""
        self._database = database
        self._code = code
        self._clock = clock
        self._packages = packages
        self._room = room
        self._writing = writing
        self._layers = database.transaction(_load)
        for layer in self._layers.values():
            packages.update(_packages(layer))
            room.add(*layer.key[:2], _size(layer))

    # reading

    def layers(self, account: str, region: str) -> list[Layer]:
        """Those that have a version, sorted by name."""
        return [
            layer
            for key, layer in sorted(self._layers.items())
            if key[:2] == (account, region) and layer.versions
        ]

    def layer(self, key: LayerKey) -> Layer:
        """One without versions when there is none."""
        return self._layers.get(key) or Layer(key, 0, {})

    def version(self, key: LayerKey, number: int) -> LayerVersion:
        """Raises NotFound, CallerError for a number below 1."""
        _check_number(number)
        found = self.layer(key).versions.get(number)
        if found is None:
            raise NotFound("The resource you requested does not exist.")
        return found

    def resolve(self, region: str, arns: Sequence[str]) -> list[LayerVersion]:
        """What a function in `region` would find at /opt; raises CallerError as Lambda does."""
        if len(arns) > LAYER_LIMIT:
            raise CallerError(f"Cannot reference more than {LAYER_LIMIT} layers.")
        found: dict[LayerKey, LayerVersion] = {}
        for arn in arns:
            match = _ARN.fullmatch(arn)
            if match and match["region"] != region:
                raise CallerError(
                    "Layers are not in the same region as the function. "
                    f"Layers are expected to be in region {region}."
                )
            key = LayerKey(match["account"], region, match["name"]) if match else None
            number = _number(match["version"] or "") if match else 0
            version = self.layer(key).versions.get(number) if key else None
            # one that is deleted at this moment must not lose its package before it is used
            if key is None or version is None or not self._code.touch(version.code):
                raise CallerError(f"Layer version {arn} does not exist.")
            if key in found:
                raise CallerError(
                    "Two different versions of the same layer are not allowed to be referenced in "
                    f"the same function. {found[key].arn} and {version.arn} are versions of the "
                    "same layer."
                )
            found[key] = version
        return list(found.values())

    # changing

    def publish(self, key: LayerKey, request: Mapping[str, Any]) -> LayerVersion:
        """PublishLayerVersion. Content carries ZipFile (bytes; from S3 when S3Bucket is there).

        Raises CallerError or RequestTooLarge for a package that cannot be used.
        """
        content = request["Content"]
        code = self._code.put_zip(content["ZipFile"], zipped_limit(content))
        document = {
            "Description": request.get("Description", ""),
            "CreatedDate": timestamp(self._clock.wall()),
            **{member: request[member] for member in _GIVEN if request.get(member)},
        }

        def publish(layer: Layer) -> Layer:
            number = layer.last_version + 1
            version = LayerVersion(key, number, document, code)
            return Layer(key, number, {number: version, **layer.versions})

        layer = self._change(key, publish)
        return layer.versions[layer.last_version]

    def delete(self, key: LayerKey, number: int) -> None:
        """DeleteLayerVersion; one that is not there is fine. CallerError for a number below 1."""
        _check_number(number)

        def delete(layer: Layer) -> Layer:
            left = {n: version for n, version in layer.versions.items() if n != number}
            return replace(layer, versions=left) if len(left) < len(layer.versions) else layer

        self._change(key, delete)

    def add_permission(
        self, key: LayerKey, number: int, request: Mapping[str, Any]
    ) -> tuple[Statement, str]:
        """AddLayerVersionPermission: the statement, and the policy's new revision.

        Raises NotFound, Conflict, PreconditionFailed, PolicyTooLong.
        """
        organization = request.get("OrganizationId")
        statement = policies.statement(
            request["StatementId"],
            principal=_principal(request["Principal"]),
            action=request["Action"],
            resource=f"{key.arn}:{number}",
            condition=organization and {"StringEquals": {"aws:PrincipalOrgID": organization}},
        )
        changed = self._change_policy(
            key, number, request, lambda policy: policies.added(policy, statement)
        )
        return statement, changed.revision_id

    def remove_permission(self, key: LayerKey, number: int, request: Mapping[str, Any]) -> None:
        """RemoveLayerVersionPermission. Raises NotFound, PreconditionFailed."""
        sid = request["StatementId"]
        self._change_policy(key, number, request, lambda policy: policies.removed(policy, sid))

    def policy(self, key: LayerKey, number: int) -> Policy:
        """What GetLayerVersionPolicy tells. Raises NotFound."""
        return policies.existing(self._existing(key, number).policy)

    def _existing(self, key: LayerKey, number: int) -> LayerVersion:
        """For those operations that say which version they did not find."""
        _check_number(number)
        found = self.layer(key).versions.get(number)
        if found is None:
            raise NotFound(f"Layer version {key.arn}:{number} does not exist.")
        return found

    def _change_policy(
        self,
        key: LayerKey,
        number: int,
        request: Mapping[str, Any],
        change: Callable[[Policy], Policy],
    ) -> Policy:
        def update(layer: Layer) -> Layer:
            version = self._existing(key, number)
            if request.get("RevisionId") not in (None, version.policy.revision_id):
                raise PreconditionFailed(
                    "The Revision Id provided does not match the latest Revision Id. Call the "
                    "GetLayerPolicy API to retrieve the latest Revision Id"
                )
            changed = replace(version, policy=change(version.policy))
            return replace(layer, versions={**layer.versions, number: changed})

        return self._change(key, update).versions[number].policy

    def _change(self, key: LayerKey, change: Callable[[Layer], Layer]) -> Layer:
        """Replace a layer by what `change` makes of it, durably."""
        with self._writing:
            old = self.layer(key)
            new = change(old)
            if new is old:
                return new
            growth = _size(old).grown_to(_size(new))
            self._room.check(key.account, growth)
            self._database.transaction(partial(_save, old=old, new=new))
            self._layers = {**self._layers, key: new}
            self._room.add(key.account, key.region, growth)
            dropped = recount(self._packages, _packages(old), _packages(new))
        if dropped:
            self._code.collect(self._packages)
        return new


def _packages(layer: Layer) -> Counter[str]:
    return Counter(version.code.sha256 for version in layer.versions.values())


def _size(layer: Layer) -> Size:
    return Size(0, bytes_of(version.code for version in layer.versions.values()))


def parse_layer(text: str, *, account: str, region: str) -> LayerKey:
    """Read a `LayerName`: a name, which is the caller's, or an ARN.

    Raises NotFound for another region. A text the model's pattern would refuse never gets here.
    """
    match = _ARN.fullmatch(text)
    if match is None:
        return LayerKey(account, region, text)
    return _named(match, region)


def parse_layer_version(arn: str, *, region: str) -> tuple[LayerKey, int]:
    """Read the ARN of a layer's version. Raises NotFound, also for another region."""
    match = _ARN.fullmatch(arn)
    if match is None or match["version"] is None:
        raise NotFound("The resource you requested does not exist.")
    return _named(match, region), _number(match["version"])


def check_size(code: Code | None, layers: Code | None) -> None:
    """Raise CallerError when a function's code and layers are more than it may unpack."""
    if code is None or layers is None:
        return
    size = code.unpacked_size + layers.unpacked_size
    if size > UNZIPPED_LIMIT:
        raise CallerError(
            f"Function code combined with layers exceeds the maximum allowed size of "
            f"{UNZIPPED_LIMIT} bytes. The actual size is {size} bytes."
        )


def _named(match: re.Match[str], region: str) -> LayerKey:
    if match["region"] != region:
        raise NotFound("The resource you requested does not exist.")
    return LayerKey(match["account"], region, match["name"])


def _number(text: str) -> int:
    """0, which no version has, for more digits than the number of any has."""
    return int(text) if 0 < len(text) < 10 else 0


def _check_number(number: int) -> None:
    if number < 1:
        raise CallerError("Layer Version Cannot be less than 1")


def _principal(given: str) -> str | Mapping[str, str]:
    if given == "*":
        return given
    return {"AWS": given if given.startswith("arn:") else f"arn:aws:iam::{given}:root"}


def _load(connection: Connection) -> dict[LayerKey, Layer]:
    versions: dict[LayerKey, dict[int, LayerVersion]] = {}
    newest_first = tables.layer_versions.select().order_by(tables.layer_versions.c.version.desc())
    for *of, number, document, sha256, size, unpacked, policy in connection.execute(newest_first):
        key = LayerKey(*of)
        versions.setdefault(key, {})[number] = LayerVersion(
            key, number, document, Code(sha256, size, unpacked), Policy(**policy)
        )
    return {
        (key := LayerKey(*of)): Layer(key, last_version, versions.get(key, {}))
        for *of, last_version in connection.execute(tables.layers.select())
    }


def _save(connection: Connection, *, old: Layer, new: Layer) -> None:
    """Records are never changed in place: those that are the same object need no writing."""
    key = new.key._asdict()
    names, rows = tables.layers, tables.layer_versions
    if not old.last_version:
        connection.execute(names.insert(), {**key, "last_version": new.last_version})
    elif old.last_version != new.last_version:
        of_layer = and_(*(names.c[column] == value for column, value in key.items()))
        connection.execute(names.update().where(of_layer), {"last_version": new.last_version})
    of_layer = and_(*(rows.c[column] == value for column, value in key.items()))
    for number in {**old.versions, **new.versions}:
        before, after = old.versions.get(number), new.versions.get(number)
        if before is after:
            continue
        if before is not None:
            connection.execute(rows.delete().where(of_layer, rows.c.version == number))
        if after is not None:
            connection.execute(rows.insert(), _row(after))


def _row(version: LayerVersion) -> dict[str, Any]:
    policy = version.policy
    return {
        **version.key._asdict(),
        "version": version.number,
        "document": version.document,
        "code_sha256": version.code.sha256,
        "code_size": version.code.size,
        "unpacked_size": version.code.unpacked_size,
        "policy": {"statements": policy.statements, "revision_id": policy.revision_id},
    }
