"""The catalog: lifecycle of functions, by Lambda's rules and in its words."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.errors import (
    CallerError,
    Conflict,
    FnboxError,
    NotFound,
    PreconditionFailed,
    RequestTooLarge,
    StorageError,
)
from sandbox.names import LATEST
from tests.support.catalog import (
    FN,
    KEY,
    REQUEST,
    STALE,
    publish,
    ref,
    refused,
    revision_id,
    update,
    zipped,
)

PENDING = (
    "The operation cannot be performed at this time. "
    "The function is currently in the following state: Pending"
)
IN_PROGRESS = (
    f"The operation cannot be performed at this time. An update is in progress for resource: {FN}"
)


# creation and updates


def test_a_new_function_is_pending_until_it_is_activated(catalog: Catalog) -> None:
    created = catalog.create_function(KEY, {**REQUEST, "Tags": {"a": "b"}})
    assert created.state == "Pending"
    assert "LastUpdateStatus" not in created.configuration
    assert catalog.unsettled() == [(KEY, LATEST)]
    active = catalog.activate(KEY, LATEST)
    assert active is not None
    assert active.state == "Active"
    assert active.configuration["LastUpdateStatus"] == "Successful"
    assert active.configuration["RevisionId"] != created.configuration["RevisionId"]
    assert active.revision == created.revision
    assert catalog.unsettled() == []
    assert catalog.tags(ref()) == {"a": "b"}


def test_a_version_knows_what_an_environment_needs(catalog: Catalog) -> None:
    request = {**REQUEST, "Timeout": 9, "Environment": {"Variables": {"A": "1"}}}
    version = catalog.create_function(KEY, request)
    assert version.arn == f"{FN}:$LATEST"
    assert (version.package_type, version.runtime, version.handler) == (
        "Zip",
        "python3.13",
        "app.handler",
    )
    assert (version.timeout, version.memory_size, version.ephemeral_storage) == (9, 128, 512)
    assert version.variables == {"A": "1"}
    assert version.code is not None
    assert (catalog.code.tree(version.code) / "app.py").read_text() == "x = 1\n"
    assert version.configuration["CodeSize"] == len(zipped())


def test_activation_happens_once(ready: Catalog) -> None:
    before = revision_id(ready)
    assert ready.activate(KEY, LATEST) is ready.function(KEY).latest
    assert revision_id(ready) == before


def test_activating_what_is_gone_is_fine(ready: Catalog) -> None:
    assert ready.activate(KEY, "1") is None
    ready.delete_function(KEY)
    assert ready.activate(KEY, LATEST) is None


def test_a_name_is_taken_only_once(ready: Catalog) -> None:
    refused(Conflict, "Function already exist: f", ready.create_function, KEY, REQUEST)
    other = KEY._replace(region="eu-west-1")
    ready.create_function(other, REQUEST)
    assert ready.functions("000000000000", "eu-west-1")[0].key == other


def test_functions_are_listed_by_name(catalog: Catalog) -> None:
    for name in ("b", "B", "a-1", "a", "c"):
        catalog.create_function(KEY._replace(name=name), REQUEST)
    catalog.delete_function(KEY._replace(name="b"))
    found = [function.key.name for function in catalog.functions(KEY.account, KEY.region)]
    assert found == ["B", "a", "a-1", "c"]
    assert catalog.functions("111111111111", KEY.region) == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"no zip", CallerError), (bytes(52_428_801), RequestTooLarge)],
)
def test_a_bad_package_changes_nothing(ready: Catalog, data: bytes, kind: type[FnboxError]) -> None:
    before = ready.function(KEY)
    with pytest.raises(kind):
        ready.update_code(KEY, {"ZipFile": data})
    with pytest.raises(kind):
        ready.create_function(KEY._replace(name="g"), {**REQUEST, "Code": {"ZipFile": data}})
    assert ready.functions(KEY.account, KEY.region) == [before]


def test_revision_id_changes_at_an_update_and_again_when_it_is_done(ready: Catalog) -> None:
    seen = [revision_id(ready)]
    revisions = [ready.function(KEY).latest.revision]
    for change in (
        lambda: ready.update_configuration(KEY, {"Timeout": 5}),
        lambda: ready.update_code(KEY, {"ZipFile": zipped("y")}),
    ):
        change()
        seen.append(revision_id(ready))
        ready.activate(KEY, LATEST)
        seen.append(revision_id(ready))
        revisions.append(ready.function(KEY).latest.revision)
    assert len(set(seen)) == 5
    assert len(set(revisions)) == 3


def test_updated_code_is_answered_at_once(ready: Catalog, clock: FakeClock) -> None:
    before = ready.function(KEY).latest.configuration
    clock.advance(1)
    after = ready.update_code(KEY, {"ZipFile": zipped("longer = 1\n")}).configuration
    assert after["LastUpdateStatus"] == "InProgress"
    assert after["CodeSize"] == len(zipped("longer = 1\n"))
    for member in ("CodeSha256", "LastModified"):
        assert after[member] != before[member]


def test_calls_run_the_former_code_until_an_update_is_done(ready: Catalog) -> None:
    former = ready.resolve(ref())
    ready.update_code(KEY, {"ZipFile": zipped("y")})
    assert ready.resolve(ref()) is former
    assert ready.resolve(ref(LATEST)) is former
    assert former.state == "Active"
    ready.activate(KEY, LATEST)
    assert ready.resolve(ref()) is ready.function(KEY).latest
    assert ready.resolve(ref()).code != former.code


@pytest.mark.parametrize(
    "operation",
    [
        lambda catalog: catalog.update_code(KEY, {"ZipFile": zipped("z")}),
        lambda catalog: catalog.update_configuration(KEY, {"Timeout": 7}),
        lambda catalog: catalog.publish_version(KEY, {}),
    ],
    ids=["code", "configuration", "publish"],
)
def test_one_change_at_a_time(catalog: Catalog, operation: Any) -> None:
    catalog.create_function(KEY, REQUEST)
    refused(Conflict, PENDING, operation, catalog)
    catalog.activate(KEY, LATEST)
    catalog.update_configuration(KEY, {"Timeout": 5})
    refused(Conflict, IN_PROGRESS, operation, catalog)
    catalog.activate(KEY, LATEST)
    operation(catalog)


@pytest.mark.parametrize("operation", ["update_code", "update_configuration", "publish_version"])
def test_a_stale_revision_id_is_refused(ready: Catalog, operation: str) -> None:
    request = {"ZipFile": zipped(), "RevisionId": "stale"}
    refused(PreconditionFailed, STALE, getattr(ready, operation), KEY, request)
    getattr(ready, operation)(KEY, {**request, "RevisionId": revision_id(ready)})


def test_a_dry_run_answers_the_digest_and_changes_nothing(ready: Catalog) -> None:
    before = ready.function(KEY)
    answer = ready.update_code(KEY, {"ZipFile": zipped("y"), "DryRun": True, "Publish": True})
    assert answer.configuration["CodeSha256"] != before.latest.configuration["CodeSha256"]
    assert answer.configuration["RevisionId"] == before.latest.configuration["RevisionId"]
    assert ready.function(KEY) is before
    with pytest.raises(CallerError):
        ready.update_code(KEY, {"ZipFile": b"no zip", "DryRun": True})


def test_an_image_is_known_by_its_name_and_id(catalog: Catalog) -> None:
    request = {"Role": REQUEST["Role"], "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    catalog.create_function(KEY, request, image_id="sha256:" + "ab" * 32)
    created = catalog.activate(KEY, LATEST)
    assert created is not None
    assert (created.code, created.image_uri) == (None, "my:1")
    assert created.image_id == "sha256:" + "ab" * 32
    assert created.configuration["CodeSha256"] == "ab" * 32
    # the same name, but the engine has another image of it by now
    catalog.update_code(KEY, {"ImageUri": "my:1"}, image_id="sha256:" + "cd" * 32)
    rebuilt = catalog.activate(KEY, LATEST)
    assert rebuilt is not None
    assert rebuilt.revision != created.revision
    assert rebuilt.configuration["CodeSha256"] == "cd" * 32
    version = catalog.publish_version(KEY, {})
    assert version.state == "Pending"
    assert catalog.unsettled() == [(KEY, "1")]
    catalog.activate(KEY, "1")
    assert catalog.resolve(ref("1")).state == "Active"


@pytest.mark.parametrize(
    "operation",
    [
        lambda catalog: catalog.function(KEY),
        lambda catalog: catalog.version(ref()),
        lambda catalog: catalog.update_code(KEY, {"ZipFile": zipped()}),
        lambda catalog: catalog.update_configuration(KEY, {}),
        lambda catalog: catalog.publish_version(KEY, {}),
        lambda catalog: catalog.delete_function(KEY),
        lambda catalog: catalog.delete_function(KEY, "3"),
        lambda catalog: catalog.create_alias(KEY, {"Name": "a", "FunctionVersion": "1"}),
        lambda catalog: catalog.update_alias(KEY, "a", {}),
        lambda catalog: catalog.delete_alias(KEY, "a"),
        lambda catalog: catalog.alias(KEY, "a"),
        lambda catalog: catalog.tags(ref()),
        lambda catalog: catalog.tag(ref(), {"a": "b"}),
        lambda catalog: catalog.untag(ref(), ["a"]),
        lambda catalog: catalog.put_concurrency(KEY, 1),
    ],
)
def test_a_function_that_is_not_there_is_named(catalog: Catalog, operation: Any) -> None:
    refused(NotFound, f"Function not found: {FN}", operation, catalog)


# the rest


def test_tags_are_added_replaced_and_removed(ready: Catalog) -> None:
    ready.tag(ref(), {"a": "1", "b": "2"})
    ready.tag(ref(), {"b": "3", "c": "4"})
    ready.untag(ref(), ["a", "none"])
    assert ready.tags(ref()) == {"b": "3", "c": "4"}


def test_concurrency_is_reserved_and_released(ready: Catalog) -> None:
    assert ready.function(KEY).reserved_concurrency is None
    assert ready.put_concurrency(KEY, 0).reserved_concurrency == 0
    assert ready.put_concurrency(KEY, None).reserved_concurrency is None


def test_listeners_hear_of_every_change_after_it_is_visible(catalog: Catalog) -> None:
    heard: list[tuple[str, bool]] = []
    catalog.on_change(
        lambda key: heard.append((key.name, bool(catalog.functions(key.account, key.region))))
    )
    catalog.create_function(KEY, REQUEST)
    catalog.activate(KEY, LATEST)
    catalog.activate(KEY, LATEST)
    catalog.publish_version(KEY, {})
    catalog.publish_version(KEY, {})
    catalog.delete_function(KEY)
    assert heard == [("f", True), ("f", True), ("f", True), ("f", False)]


def test_a_snapshot_does_not_change(ready: Catalog) -> None:
    function, listed = ready.function(KEY), ready.functions(KEY.account, KEY.region)
    before = (dict(function.versions), dict(function.tags), revision_id(ready))
    update(ready, Timeout=9)
    ready.tag(ref(), {"a": "b"})
    publish(ready, "y")
    ready.delete_function(KEY)
    after = function.latest.configuration["RevisionId"]
    assert (function.versions, function.tags, after) == before
    assert listed == [function]


def test_a_change_that_cannot_be_saved_did_not_happen(ready: Catalog) -> None:
    before = ready.function(KEY)
    ready.close()
    with pytest.raises(StorageError):
        ready.update_configuration(KEY, {"Timeout": 9})
    assert ready.function(KEY) is before


def test_changes_at_once_are_all_made(ready: Catalog) -> None:
    def work(number: int) -> None:
        key = KEY._replace(name=f"f{number}")
        ready.create_function(key, REQUEST)
        ready.activate(key, LATEST)
        ready.tag(ref(), {f"t{number}": "x"})
        ready.publish_version(key, {})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ready.functions(KEY.account, KEY.region)) == 9
    assert len(ready.tags(ref())) == 8


def test_only_a_tag_that_names_another_network_ends_what_runs(ready: Catalog) -> None:
    def revisions() -> list[str]:
        function = ready.function(ref().key)
        return [version.revision for version in (*function.versions.values(), function.serving)]

    before = revisions()
    ready.tag(ref(), {"a": "1"})
    assert revisions() == before
    ready.tag(ref(), {"fnbox:network": "internet"})
    changed = revisions()
    assert not set(changed) & set(before)
    ready.tag(ref(), {"fnbox:network": "internet"})
    assert revisions() == changed
    ready.untag(ref(), ["fnbox:network"])
    assert not set(revisions()) & set(changed)
