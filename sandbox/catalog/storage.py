"""Functions as rows of the database."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_

from sandbox.catalog import attachment_rows, tables
from sandbox.catalog.records import (
    Alias,
    Code,
    EventInvokeConfig,
    Function,
    Version,
    version_order,
)
from sandbox.names import FunctionKey

Row = dict[str, Any]
T = TypeVar("T")


def load(connection: Connection) -> tuple[dict[FunctionKey, Function], dict[FunctionKey, int]]:
    """All functions; and the last version number of each that was deleted."""
    # the collector would look again and again at what is all here to stay: half of the time
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _load(connection)
    finally:
        if collecting:
            gc.enable()


def _load(connection: Connection) -> tuple[dict[FunctionKey, Function], dict[FunctionKey, int]]:
    versions: dict[FunctionKey, dict[str, Version]] = defaultdict(dict)
    for row in _all(connection, tables.versions):
        key = FunctionKey(*row[:3])
        version, configuration, revision, sha256, size, unpacked, uri, image = row[3:11]
        opt, opt_size, opt_unpacked, source = row[11:]
        code = None if sha256 is None else Code(sha256, size, unpacked)
        layers = None if opt is None else Code(opt, opt_size, opt_unpacked)
        versions[key][version] = Version(
            *(key, version, configuration, revision, code, uri, image), layers, source or {}
        )
    aliases: dict[FunctionKey, dict[str, Alias]] = defaultdict(dict)
    for *of, name, version, description, weights, revision in _all(connection, tables.aliases):
        key = FunctionKey(*of)
        aliases[key][name] = Alias(key, name, version, description, weights, revision)
    configs: dict[FunctionKey, dict[str, EventInvokeConfig]] = defaultdict(dict)
    for *of, qualifier, modified, retries, age, success, failure in _all(
        connection, tables.event_invoke_configs
    ):
        key = FunctionKey(*of)
        configs[key][qualifier] = EventInvokeConfig(
            key, qualifier, modified, retries, age, success, failure
        )
    attached = attachment_rows.load(connection)
    found = {}
    for *of, tags, last_version, reserved, loop in _all(connection, tables.functions):
        key = FunctionKey(*of)
        published = dict(sorted(versions[key].items(), key=lambda item: version_order(item[0])))
        named = dict(sorted(aliases[key].items()))
        configured = dict(sorted(configs[key].items()))
        found[key] = Function(
            key,
            published,
            named,
            tags,
            last_version,
            reserved,
            configured,
            recursive_loop=loop,
            **attached.get(key, {}),
        )
    used = {FunctionKey(*of): number for *of, number in _all(connection, tables.used_versions)}
    return found, used


def save(
    connection: Connection, key: FunctionKey, old: Function | None, new: Function | None
) -> None:
    """Make the rows of a function say `new` where they said `old`; None: there is none."""
    if new is None:
        _delete(connection, tables.functions, key)  # and all that refers to it
        if old is not None and old.last_version:
            row = {**key._asdict(), "last_version": old.last_version}
            connection.execute(tables.used_versions.insert(), row)
        return
    if old is None:
        _delete(connection, tables.used_versions, key)
        connection.execute(tables.functions.insert(), _function_row(new))
    elif _function_row(old) != _function_row(new):
        change = tables.functions.update().where(_is(tables.functions, key))
        connection.execute(change, _function_row(new))
    old_versions = old.versions if old else {}
    old_aliases = old.aliases if old else {}
    _save_parts(connection, tables.versions, key, old_versions, new.versions, _version_row)
    _save_parts(connection, tables.aliases, key, old_aliases, new.aliases, _alias_row)
    old_configs = old.event_configs if old else {}
    configs = tables.event_invoke_configs
    _save_parts(connection, configs, key, old_configs, new.event_configs, _config_row)
    for kind in attachment_rows.KINDS:
        before = getattr(old, kind.member) if old else {}
        after = getattr(new, kind.member)
        _save_parts(connection, kind.table, key, before, after, attachment_rows.row(kind))


def _save_parts(
    connection: Connection,
    table: Table,
    key: FunctionKey,
    old: Mapping[str, T],
    new: Mapping[str, T],
    row: Callable[[T], Row],
) -> None:
    """Records are never changed in place: those that are the same object need no writing."""
    name_column = list(table.primary_key.columns)[-1]
    for name in {**old, **new}:
        if old.get(name) is new.get(name):
            continue
        if name in old:
            _delete(connection, table, key, name_column == name)
        if name in new:
            connection.execute(table.insert(), row(new[name]))


def _all(connection: Connection, table: Table) -> Iterable[Any]:
    return connection.execute(table.select())


def _is(table: Table, key: FunctionKey) -> ColumnElement[bool]:
    return and_(*(table.c[column] == value for column, value in key._asdict().items()))


def _delete(
    connection: Connection, table: Table, key: FunctionKey, *further: ColumnElement[bool]
) -> None:
    connection.execute(table.delete().where(_is(table, key), *further))


def _function_row(function: Function) -> Row:
    return {
        **function.key._asdict(),
        "tags": function.tags,
        "last_version": function.last_version,
        "reserved_concurrency": function.reserved_concurrency,
        "recursive_loop": function.recursive_loop,
    }


def _version_row(version: Version) -> Row:
    code, layers = version.code, version.layers
    return {
        **version.key._asdict(),
        "version": version.version,
        "configuration": version.configuration,
        "revision": version.revision,
        "code_sha256": code and code.sha256,
        "code_size": code and code.size,
        "unpacked_size": code and code.unpacked_size,
        "image_uri": version.image_uri,
        "image_id": version.image_id,
        "layers_sha256": layers and layers.sha256,
        "layers_size": layers and layers.size,
        "layers_unpacked_size": layers and layers.unpacked_size,
        "source": version.source or None,
    }


def _alias_row(alias: Alias) -> Row:
    return {
        **alias.key._asdict(),
        "alias": alias.name,
        "function_version": alias.function_version,
        "description": alias.description,
        "weights": alias.weights,
        "revision_id": alias.revision_id,
    }


def _config_row(config: EventInvokeConfig) -> Row:
    return {
        **config.key._asdict(),
        "qualifier": config.qualifier,
        "last_modified": config.last_modified,
        "maximum_retry_attempts": config.maximum_retry_attempts,
        "maximum_event_age": config.maximum_event_age,
        "on_success": config.on_success,
        "on_failure": config.on_failure,
    }
