"""What is deployed: functions, their versions, aliases and code.

Readers see a snapshot in memory: whole, immutable, without locks or the database. A change makes
new records, commits them in one transaction and then swaps the snapshot: what was acknowledged is
there after a crash, and nobody sees half of it. Requests are dicts of the API's members that have
been checked for all that can be checked without looking here; errors carry Lambda's texts.
Source: the Lambda API reference and observed answers.
"""

from __future__ import annotations

import random as _random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sandbox.catalog import attachments, documents, provisioned, publication, routing, storage
from sandbox.catalog.attachments import FunctionUrl
from sandbox.catalog.choices import tagged
from sandbox.catalog.code_store import CodeStore, recount
from sandbox.catalog.database import Database
from sandbox.catalog.layers import Layers, check_size
from sandbox.catalog.package import zipped_limit
from sandbox.catalog.preconditions import (
    check_revision,
    existing,
    not_found,
    refuse_busy,
    refuse_existing,
    updatable,
)
from sandbox.catalog.records import Alias, Code, Function, Version
from sandbox.catalog.reservations import kept, reserving
from sandbox.catalog.room import Room, packages_of, size_of
from sandbox.catalog.snapshot import Snapshot
from sandbox.clock import Clock
from sandbox.errors import CallerError, Conflict, NotFound
from sandbox.names import LATEST, LATEST_PUBLISHED, FunctionKey, FunctionReference

Request = Mapping[str, Any]
F = TypeVar("F", Function, Function | None)


class Catalog:
    """Functions by account, region and name. Safe to be used by many threads."""

    def __init__(
        self,
        database: Database,
        code: CodeStore,
        clock: Clock,
        random: Callable[[], float] = _random.random,
    ) -> None:
        """`random` draws from [0, 1) for aliases that point to two versions."""
        self.database = database
        self.code = code
        self._clock = clock
        self._random = random
        self._writing = threading.Lock()
        self._callbacks: tuple[Callable[[FunctionKey], None], ...] = ()
        self._snapshot = Snapshot.of(*database.transaction(storage.load))
        self._packages: Counter[str] = Counter()
        self.room = Room()
        for function in self._snapshot.functions.values():
            self._packages.update(packages_of(function))
            self.room.add(*function.key[:2], size_of(function))
        self.layers = Layers(database, code, clock, self._packages, self.room, self._writing)
        code.collect(self._packages)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        *,
        clock: Clock,
        database_url: str | None = None,
        random: Callable[[], float] = _random.random,
    ) -> Catalog:
        """Open what is kept under `state_dir`, `fnbox.db` and `code/`, or create it.

        With a `database_url` the rows are kept there instead. Raises StartupError.
        """
        database = Database(database_url) if database_url else Database.at(state_dir / "fnbox.db")
        return cls(database, CodeStore(state_dir / "code", clock), clock, random)

    def close(self) -> None:
        """Close the database, the event queue's too."""
        self.database.close()

    # reading

    def resolve(self, reference: FunctionReference) -> Version:
        """The version that a call runs now; an alias with weights draws at each call.

        While $LATEST is being updated it is the former one. A Pending version is returned too:
        refusing it is the caller's part. NotFound names `$LATEST` where no qualifier was given.
        """
        function = self._snapshot.functions.get(reference.key)
        qualifier = reference.qualifier or LATEST
        if function is not None:
            alias = function.aliases.get(qualifier)
            if alias is not None:
                draw = self._random() if alias.weights else 0.0
                qualifier = alias.pick(draw)
            if qualifier == LATEST:
                return function.serving
            if qualifier in function.versions:
                return function.versions[qualifier]
        raise not_found(reference.key, qualifier)

    def version(self, reference: FunctionReference) -> Version:
        """The version that a question is about, for an alias its main one; else NotFound.

        What to answer is `version.described(reference.qualifier)`.
        """
        key, qualifier = reference
        function = self._snapshot.functions.get(key)
        if function is not None:
            alias = function.aliases.get(qualifier or LATEST)
            name = alias.function_version if alias else qualifier or LATEST
            if name in function.versions:
                return function.versions[name]
        raise not_found(key, qualifier)

    def function(self, key: FunctionKey) -> Function:
        """NotFound when there is none."""
        function = self._snapshot.functions.get(key)
        if function is None:
            raise not_found(key)
        return function

    def find(self, key: FunctionKey) -> Function | None:
        return self._snapshot.functions.get(key)

    def functions(self, account: str, region: str) -> list[Function]:
        """Sorted by name."""
        snapshot = self._snapshot
        return [snapshot.functions[key] for key in snapshot.keys.get((account, region), ())]

    def every(self) -> Iterable[Function]:
        """Of all accounts and regions, in no order."""
        return self._snapshot.functions.values()

    def reserved(self, account: str, region: str) -> int:
        """What functions of an account and region together keep of its concurrency."""
        return self._snapshot.reserved.get((account, region), 0)

    def alias(self, key: FunctionKey, name: str) -> Alias:
        """NotFound when the function or the alias is not there."""
        alias = self.function(key).aliases.get(name)
        if alias is None:
            raise NotFound(f"Cannot find alias arn: {key.qualified(name)}")
        return alias

    def function_url(self, url_id: str) -> FunctionUrl | None:
        """Whose URL that is."""
        return self._snapshot.urls.get(url_id)

    def tags(self, reference: FunctionReference) -> Mapping[str, str]:
        """NotFound when the function is not there."""
        return self.function(reference.key).tags

    def unsettled(self) -> list[tuple[FunctionKey, str]]:
        """All versions that wait for `activate`: at the start those that the last run left."""
        functions = self._snapshot.functions.values()
        return [(function.key, name) for function in functions for name in function.unsettled]

    def on_change(self, callback: Callable[[FunctionKey], None]) -> None:
        """Have `callback` called after each change of a function, creation and deletion too.

        It runs in the thread that made the change, which holds no lock, and must be quick.
        """
        self._callbacks = (*self._callbacks, callback)

    # functions and versions

    def create_function(
        self, key: FunctionKey, request: Request, *, image_id: str | None = None
    ) -> Version:
        """CreateFunction. Returns $LATEST, or the version published; both Pending.

        Code carries ZipFile (bytes; from S3 when S3Bucket is beside them) or ImageUri; `image_id`
        is the engine's id of that image.
        Raises Conflict, CallerError or RequestTooLarge for a package that cannot be used.
        """
        refuse_existing(self._snapshot.functions.get(key))
        request, layers = self._with_layers(key, request)
        code, image_uri = self._package(request["Code"])
        check_size(code, layers)
        now = self._clock.wall()
        document = documents.coded(documents.created(key, request, now), code, image_uri, image_id)
        latest = Version(
            *(key, LATEST, document, _fresh(), code, image_uri, image_id),
            layers=layers,
            source=_source(request["Code"]),
        )
        tags = dict(request.get("Tags") or {})

        def create(found: Function | None) -> Function:
            refuse_existing(found)
            used = self._snapshot.used.get(key, 0)
            function = Function(key, {LATEST: latest}, {}, tags, used)
            return publication.changed(function, request, now)

        function = self._change(key, create)
        return publication.answered(function, request)

    def update_code(
        self, key: FunctionKey, request: Request, *, image_id: str | None = None
    ) -> Version:
        """UpdateFunctionCode, with ZipFile or ImageUri. Returns $LATEST, or the last version
        with Publish. With DryRun it returns what would be, and nothing is changed.

        Raises NotFound, Conflict, PreconditionFailed, CallerError, RequestTooLarge.
        """
        updatable(self.function(key), request)
        code, image_uri = self._package(request)
        now = self._clock.wall()

        def recode(function: Function) -> Version:
            latest = updatable(function, request)
            check_size(code, latest.layers)
            document = dict(latest.configuration)
            if not request.get("DryRun"):
                document = documents.recoded(document, request, now)
            document = documents.coded(document, code, image_uri, image_id)
            return Version(
                *(key, LATEST, document, _fresh(), code, image_uri, image_id),
                layers=latest.layers,
                source=_source(request),
            )

        def update(found: Function | None) -> Function:
            function = _with_latest(existing(found, key), recode(existing(found, key)))
            return publication.changed(function, request, now)

        if request.get("DryRun"):
            return recode(self.function(key))
        function = self._change(key, update)
        return publication.answered(function, request)

    def update_configuration(self, key: FunctionKey, request: Request) -> Version:
        """UpdateFunctionConfiguration: absent members stay. Returns $LATEST.

        Raises NotFound, Conflict, PreconditionFailed, CallerError for layers.
        """
        updatable(self.function(key), request)
        keeps_layers = request.get("Layers") is None
        request, given = self._with_layers(key, request)

        def update(found: Function | None) -> Function:
            function = existing(found, key)
            latest = updatable(function, request)
            layers = latest.layers if keeps_layers else given
            check_size(latest.code, layers)
            document = documents.reconfigured(
                key, latest.configuration, request, self._clock.wall()
            )
            changed = replace(latest, configuration=document, revision=_fresh(), layers=layers)
            return _with_latest(function, changed)

        return self._change(key, update).latest

    def publish_version(self, key: FunctionKey, request: Request) -> Version:
        """PublishVersion: $LATEST as it is, or the last version again when that is the same.

        Raises NotFound, Conflict, CallerError (CodeSha256), PreconditionFailed.
        """

        def publish(found: Function | None) -> Function:
            function = existing(found, key)
            refuse_busy(function)
            current, expected = (
                function.latest.configuration["CodeSha256"],
                request.get("CodeSha256"),
            )
            if expected and expected != current:
                raise CallerError(
                    f"CodeSHA256 ({expected}) is different from current CodeSHA256 in $LATEST "
                    f"({current}). Please try again with the CodeSHA256 in $LATEST."
                )
            check_revision(request, function.latest.configuration["RevisionId"])
            return publication.published(function, request, self._clock.wall())

        return publication.last(self._change(key, publish), request)

    def activate(
        self, key: FunctionKey, version: str, failure: tuple[str, str] | None = None
    ) -> Version | None:
        """Complete what is in progress for a version: it becomes Active, with a new RevisionId;
        or, with the reason's code and text as `failure`, it has Failed.

        Returns it, or None when it is gone by now. Nothing changes when it is settled already.
        """

        def settle(function: Function | None) -> Function | None:
            if function is None:
                return None
            found = function.versions.get(version)
            if found is None or found.settled:
                return function
            before = found.configuration
            after = documents.failed(before, *failure) if failure else documents.activated(before)
            settled = {**function.versions, version: replace(found, configuration=after)}
            former = None if version == LATEST else function.former
            return replace(function, versions=settled, former=former)

        function = self._change(key, settle)
        return function.versions.get(version) if function else None

    def delete_function(self, key: FunctionKey, qualifier: str | None = None) -> None:
        """DeleteFunction: all of it, or the version that `qualifier` names.

        A version that is not there is fine. Raises NotFound for the function, Conflict for a
        version that an alias points to, CallerError for $LATEST or an alias.
        """
        if qualifier == LATEST:
            raise CallerError("$LATEST version cannot be deleted without deleting the function.")
        if qualifier not in (None, LATEST_PUBLISHED) and not str(qualifier).isdigit():
            raise CallerError("Deletion of aliases is not currently supported.")

        def delete(found: Function | None) -> Function | None:
            function = existing(found, key)
            if qualifier is None:
                return None
            if qualifier not in function.versions:
                return function
            users = [
                alias.name
                for alias in function.aliases.values()
                if qualifier in (alias.function_version, *alias.weights)
            ]
            if users:
                raise Conflict(
                    f"Unable to delete version {qualifier} because the following aliases "
                    f"reference it: [{', '.join(users)}]"
                )
            left = {name: v for name, v in function.versions.items() if name != qualifier}
            return attachments.without(replace(function, versions=left), qualifier)

        self._change(key, delete)

    # aliases, tags, concurrency

    def create_alias(self, key: FunctionKey, request: Request) -> Alias:
        """CreateAlias. Raises NotFound for the function or a version, Conflict, CallerError."""
        name = request["Name"]

        def create(found: Function | None) -> Function:
            function = existing(found, key)
            if name in function.aliases:
                raise Conflict(f"Alias already exists: {key.qualified(name)}")
            return _with_alias(function, routing.created(function, request))

        return self._change(key, create).aliases[name]

    def update_alias(self, key: FunctionKey, name: str, request: Request) -> Alias:
        """UpdateAlias. Raises NotFound, PreconditionFailed, CallerError."""

        def update(found: Function | None) -> Function:
            function = existing(found, key)
            alias = function.aliases.get(name)
            if alias is None:
                raise NotFound(f"Alias not found: {key.qualified(name)}")
            check_revision(request, alias.revision_id)
            updated = routing.updated(function, alias, request)
            provisioned.check_alias(function, updated)
            return _with_alias(function, updated)

        return self._change(key, update).aliases[name]

    def delete_alias(self, key: FunctionKey, name: str) -> None:
        """DeleteAlias; one that is not there is fine. NotFound for the function."""

        def delete(found: Function | None) -> Function:
            function = existing(found, key)
            if name not in function.aliases:
                return function
            left = {other: alias for other, alias in function.aliases.items() if other != name}
            return attachments.without(replace(function, aliases=left), name)

        self._change(key, delete)

    def tag(self, reference: FunctionReference, tags: Mapping[str, str]) -> None:
        """Add tags, or replace those of the same name. NotFound for the function."""
        key = reference.key

        def add(found: Function | None) -> Function:
            function = existing(found, key)
            return tagged(function, {**function.tags, **tags})

        self._change(key, add)

    def untag(self, reference: FunctionReference, names: Iterable[str]) -> None:
        """Remove tags; those that are not there are fine. NotFound for the function."""
        key, gone = reference.key, set(names)

        def remove(found: Function | None) -> Function:
            function = existing(found, key)
            left = {name: value for name, value in function.tags.items() if name not in gone}
            return tagged(function, left)

        self._change(key, remove)

    def put_concurrency(
        self, key: FunctionKey, reserved: int | None, *, most: int | None = None
    ) -> Function:
        """Reserve so many concurrent calls, or with None release them. Raises NotFound, and
        CallerError when all functions of the account and region would reserve over `most`."""

        def reserve(found: Function | None) -> Function:
            function = existing(found, key)
            return reserving(function, reserved, others=self._others(function), most=most)

        return self._change(key, reserve)

    def put_recursive_loop(self, key: FunctionKey, loop: str) -> Function:
        """Say what becomes of a function that calls itself: `Terminate`, `Allow`. NotFound."""
        return self._change(key, lambda found: replace(existing(found, key), recursive_loop=loop))

    def attach(self, key: FunctionKey, change: Callable[[Function], Function]) -> Function:
        """Change what hangs on qualifiers, as `event_configs`, `permissions`, `function_urls` and
        `runtime_configs` do. NotFound."""
        return self._change(key, lambda found: change(existing(found, key)))

    def provision(self, key: FunctionKey, change: Callable[[Function, int], Function]) -> Function:
        """Change what is provisioned, as `catalog.provisioned` does. NotFound.

        `change` gets the function and what others keep of the account's concurrency.
        """

        def provision(found: Function | None) -> Function:
            function = existing(found, key)
            return change(function, self._others(function))

        return self._change(key, provision)

    def _others(self, function: Function) -> int:
        """What all other functions of its account and region keep."""
        return self.reserved(*function.key[:2]) - kept(function)

    def _change(self, key: FunctionKey, change: Callable[[Function | None], F]) -> F:
        """Replace a function by what `change` makes of it, durably, then tell all who listen."""
        with self._writing:
            old = self._snapshot.functions.get(key)
            new = change(old)
            if new is old:
                return new
            growth = size_of(old).grown_to(size_of(new))
            self.room.check(key.account, growth)
            self.database.transaction(partial(storage.save, key=key, old=old, new=new))
            self._snapshot = self._snapshot.replaced(key, new)
            self.room.add(key.account, key.region, growth)
            dropped = recount(self._packages, packages_of(old), packages_of(new))
        for callback in self._callbacks:
            callback(key)
        if dropped:
            self.code.collect(self._packages)
        return new

    def _with_layers(self, key: FunctionKey, request: Request) -> tuple[Request, Code | None]:
        """A request with its Layers as a document lists them, and what they are together."""
        versions = self.layers.resolve(key.region, request.get("Layers") or ())
        if not versions:
            return request, None
        listed = [{"Arn": each.arn, "CodeSize": each.code.size} for each in versions]
        return {**request, "Layers": listed}, self.code.merge([each.code for each in versions])

    def _package(self, source: Request) -> tuple[Code | None, str | None]:
        if "ZipFile" in source:
            return self.code.put_zip(source["ZipFile"], zipped_limit(source)), None
        return None, source["ImageUri"]


def _fresh() -> str:
    return uuid.uuid4().hex


def _source(code: Request) -> Request:
    return {name: code[name] for name in ("SourceKMSKeyArn",) if code.get(name)}


def _with_latest(function: Function, latest: Version) -> Function:
    versions = {**function.versions, LATEST: latest}
    return replace(function, versions=versions, former=function.latest)


def _with_alias(function: Function, alias: Alias) -> Function:
    aliases = {**function.aliases, alias.name: alias}
    return replace(function, aliases=dict(sorted(aliases.items())))
