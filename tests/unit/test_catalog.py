"""The catalog: lifecycle of functions, versions and aliases, by Lambda's rules and in its words."""

from __future__ import annotations

import io
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog, Version
from sandbox.catalog.code_store import GRACE
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
from sandbox.names import LATEST, FunctionKey, FunctionReference

KEY = FunctionKey("000000000000", "us-east-1", "f")
FN = "arn:aws:lambda:us-east-1:000000000000:function:f"
PENDING = (
    "The operation cannot be performed at this time. "
    "The function is currently in the following state: Pending"
)
IN_PROGRESS = (
    f"The operation cannot be performed at this time. An update is in progress for resource: {FN}"
)
STALE = (
    "The Revision Id provided does not match the latest Revision Id. Call the "
    "GetFunction/GetAlias API to retrieve the latest Revision Id"
)


def zipped(text: str = "x = 1\n") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("app.py"), text)
    return buffer.getvalue()


REQUEST: dict[str, Any] = {
    "Runtime": "python3.13",
    "Handler": "app.handler",
    "Role": "arn:aws:iam::000000000000:role/r",
    "Code": {"ZipFile": zipped()},
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def draws() -> list[float]:
    """What the catalog's random numbers will be, from the end."""
    return []


@pytest.fixture
def catalog(tmp_path: Path, clock: FakeClock, draws: list[float]) -> Iterator[Catalog]:
    catalog = Catalog.open(tmp_path, clock=clock, random=lambda: draws.pop())
    yield catalog
    catalog.close()


@pytest.fixture
def ready(catalog: Catalog) -> Catalog:
    """With an Active function `f`."""
    catalog.create_function(KEY, REQUEST)
    catalog.activate(KEY, LATEST)
    return catalog


def ref(qualifier: str | None = None, key: FunctionKey = KEY) -> FunctionReference:
    return FunctionReference(key, qualifier)


def revision_id(catalog: Catalog) -> str:
    return str(catalog.function(KEY).latest.configuration["RevisionId"])


def update(catalog: Catalog, **members: Any) -> Version | None:
    catalog.update_configuration(KEY, members)
    return catalog.activate(KEY, LATEST)


def publish(catalog: Catalog, text: str, **members: Any) -> Version:
    """A version with other code than all before."""
    catalog.update_code(KEY, {"ZipFile": zipped(text)})
    catalog.activate(KEY, LATEST)
    return catalog.publish_version(KEY, members)


def refused(kind: type[FnboxError], text: str, call: Any, *arguments: Any) -> None:
    with pytest.raises(kind) as refusal:
        call(*arguments)
    assert type(refusal.value) is kind
    assert str(refusal.value) == text


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


# versions


def test_a_version_is_a_snapshot(ready: Catalog) -> None:
    version = publish(ready, "one", Description="the first")
    assert version.version == "1"
    assert version.configuration["FunctionArn"] == f"{FN}:1"
    assert version.configuration["Description"] == "the first"
    assert version.arn == f"{FN}:1"
    update(ready, Timeout=99)
    assert ready.resolve(ref("1")) is version
    assert version.timeout == 3
    assert list(ready.function(KEY).versions) == [LATEST, "1"]


def test_publishing_again_without_a_change_answers_the_same_version(ready: Catalog) -> None:
    first = publish(ready, "one", Description="d")
    assert ready.publish_version(KEY, {"Description": "other"}) is first
    update(ready, Timeout=5)
    assert ready.publish_version(KEY, {}).version == "2"
    update(ready, Timeout=3)
    assert ready.publish_version(KEY, {}).version == "3"


def test_versions_are_listed_by_number(ready: Catalog) -> None:
    for number in range(1, 12):
        assert publish(ready, f"v{number}").version == str(number)
    assert list(ready.function(KEY).versions) == [LATEST, *map(str, range(1, 12))]


def test_a_number_is_never_used_twice(ready: Catalog) -> None:
    publish(ready, "one")
    publish(ready, "two")
    ready.delete_function(KEY, "2")
    assert ready.publish_version(KEY, {}).version == "3"
    ready.delete_function(KEY)
    created = ready.create_function(KEY, {**REQUEST, "Publish": True})
    assert created.version == "4"


def test_a_function_can_be_created_with_a_version(catalog: Catalog) -> None:
    created = catalog.create_function(KEY, {**REQUEST, "Publish": True})
    assert (created.version, created.state) == ("1", "Pending")
    assert created.configuration["FunctionArn"] == f"{FN}:1"
    assert catalog.function(KEY).unsettled == (LATEST, "1")
    for version in catalog.function(KEY).unsettled:
        catalog.activate(KEY, version)
    assert catalog.resolve(ref("1")).state == "Active"


def test_code_can_be_updated_with_a_version(ready: Catalog) -> None:
    version = ready.update_code(KEY, {"ZipFile": zipped("y"), "Publish": True})
    assert version.version == "1"
    assert version.configuration["LastUpdateStatus"] == "InProgress"
    assert ready.function(KEY).unsettled == (LATEST, "1")


def test_a_version_can_be_bound_to_a_digest(ready: Catalog) -> None:
    actual = ready.function(KEY).latest.configuration["CodeSha256"]
    text = (
        f"CodeSHA256 (xyz) is different from current CodeSHA256 in $LATEST ({actual}). "
        "Please try again with the CodeSHA256 in $LATEST."
    )
    refused(CallerError, text, ready.publish_version, KEY, {"CodeSha256": "xyz"})
    assert ready.publish_version(KEY, {"CodeSha256": actual}).version == "1"


def test_latest_is_deleted_only_with_its_function(ready: Catalog) -> None:
    text = "$LATEST version cannot be deleted without deleting the function."
    refused(CallerError, text, ready.delete_function, KEY, LATEST)


def test_a_version_with_an_alias_stays(ready: Catalog) -> None:
    publish(ready, "one")
    publish(ready, "two")
    route = {"AdditionalVersionWeights": {"2": 0.5}}
    ready.create_alias(KEY, {"Name": "a", "FunctionVersion": "1", "RoutingConfig": route})
    for version in ("1", "2"):
        text = f"Unable to delete version {version} because the following aliases reference it: [a]"
        refused(Conflict, text, ready.delete_function, KEY, version)
    ready.delete_alias(KEY, "a")
    ready.delete_function(KEY, "1")
    ready.delete_function(KEY, "1")
    assert list(ready.function(KEY).versions) == [LATEST, "2"]


# aliases


@pytest.fixture
def with_versions(ready: Catalog) -> Catalog:
    """With versions 1, 2 and 3."""
    for text in ("one", "two", "three"):
        publish(ready, text)
    return ready


def test_an_alias_answers_as_lambda_does(with_versions: Catalog) -> None:
    request = {"Name": "prod", "FunctionVersion": "1", "Description": "d"}
    document = with_versions.create_alias(KEY, request).document
    assert len(document.pop("RevisionId")) == 36
    assert document == {
        "AliasArn": f"{FN}:prod",
        "Name": "prod",
        "FunctionVersion": "1",
        "Description": "d",
    }
    route = {"AdditionalVersionWeights": {"2": 0.25}}
    updated = with_versions.update_alias(KEY, "prod", {"RoutingConfig": route}).document
    assert updated["RoutingConfig"] == route
    assert (updated["FunctionVersion"], updated["Description"]) == ("1", "d")
    for empty in ({}, {"AdditionalVersionWeights": {}}):
        with_versions.update_alias(KEY, "prod", {"RoutingConfig": route})
        cleared = with_versions.update_alias(KEY, "prod", {"RoutingConfig": empty}).document
        assert "RoutingConfig" not in cleared
    assert with_versions.alias(KEY, "prod").document == cleared


def test_a_moved_alias_sends_the_next_call_to_the_new_version(with_versions: Catalog) -> None:
    with_versions.create_alias(KEY, {"Name": "prod", "FunctionVersion": "1"})
    assert with_versions.resolve(ref("prod")).version == "1"
    with_versions.update_alias(KEY, "prod", {"FunctionVersion": "2"})
    assert with_versions.resolve(ref("prod")).version == "2"
    assert with_versions.version(ref("prod")).described("prod")["FunctionArn"] == f"{FN}:prod"


def test_a_weighted_alias_draws_at_each_call(with_versions: Catalog, draws: list[float]) -> None:
    route = {"AdditionalVersionWeights": {"2": 0.25}}
    with_versions.create_alias(KEY, {"Name": "a", "FunctionVersion": "1", "RoutingConfig": route})
    draws[:] = [0.99, 0.25, 0.2499, 0.0]
    picked = [with_versions.resolve(ref("a")).version for _ in range(4)]
    assert picked == ["2", "2", "1", "1"]
    assert with_versions.version(ref("a")).version == "1"


def test_an_alias_can_follow_latest(ready: Catalog) -> None:
    ready.create_alias(KEY, {"Name": "dev", "FunctionVersion": LATEST})
    former = ready.resolve(ref("dev"))
    ready.update_code(KEY, {"ZipFile": zipped("y")})
    assert ready.resolve(ref("dev")) is former
    ready.activate(KEY, LATEST)
    assert ready.resolve(ref("dev")) is ready.function(KEY).latest


def test_aliases_are_sorted_and_deleting_a_missing_one_is_fine(with_versions: Catalog) -> None:
    for name in ("b", "c", "a"):
        with_versions.create_alias(KEY, {"Name": name, "FunctionVersion": "1"})
    with_versions.delete_alias(KEY, "c")
    with_versions.delete_alias(KEY, "c")
    assert list(with_versions.function(KEY).aliases) == ["a", "b"]


@pytest.mark.parametrize(
    ("version", "weights", "kind", "text"),
    [
        ("9", {}, NotFound, f"Function not found: {FN}:9"),
        ("1", {"9": 0.5}, NotFound, f"Function not found: {FN}:9"),
        (
            "1",
            {"2": 0.5, "3": 0.1},
            CallerError,
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ),
        (
            "1",
            {"1": 0.5},
            CallerError,
            "Invalid function version 1. Function version 1 is already included in "
            "routing configuration.",
        ),
        (
            LATEST,
            {"1": 0.5},
            CallerError,
            "$LATEST is not supported for an alias pointing to more than 1 version",
        ),
    ],
)
def test_an_alias_that_cannot_be_is_refused(
    with_versions: Catalog,
    version: str,
    weights: dict[str, float],
    kind: type[FnboxError],
    text: str,
) -> None:
    request = {
        "FunctionVersion": version,
        "RoutingConfig": {"AdditionalVersionWeights": weights},
    }
    refused(kind, text, with_versions.create_alias, KEY, {**request, "Name": "new"})
    before = with_versions.create_alias(KEY, {"Name": "old", "FunctionVersion": "1"})
    refused(kind, text, with_versions.update_alias, KEY, "old", request)
    assert with_versions.function(KEY).aliases == {"old": before}


def test_an_alias_is_unique_and_has_its_own_revision(with_versions: Catalog) -> None:
    request = {"Name": "a", "FunctionVersion": "1"}
    alias = with_versions.create_alias(KEY, request)
    refused(Conflict, f"Alias already exists: {FN}:a", with_versions.create_alias, KEY, request)
    refused(
        PreconditionFailed, STALE, with_versions.update_alias, KEY, "a", {"RevisionId": "stale"}
    )
    changed = with_versions.update_alias(KEY, "a", {"RevisionId": alias.revision_id})
    assert changed.revision_id != alias.revision_id


def test_an_alias_that_is_not_there_is_named(ready: Catalog) -> None:
    refused(NotFound, f"Cannot find alias arn: {FN}:a", ready.alias, KEY, "a")
    refused(NotFound, f"Alias not found: {FN}:a", ready.update_alias, KEY, "a", {})


# resolving


@pytest.mark.parametrize("qualifier", ["$latest", "9", "nope", "$LATEST.PUBLISHED"])
def test_an_unknown_qualifier_is_named(ready: Catalog, qualifier: str) -> None:
    text = f"Function not found: {FN}:{qualifier}"
    refused(NotFound, text, ready.resolve, ref(qualifier))
    refused(NotFound, text, ready.version, ref(qualifier))


def test_a_call_to_an_unknown_function_names_latest_but_a_question_does_not(
    catalog: Catalog,
) -> None:
    refused(NotFound, f"Function not found: {FN}:$LATEST", catalog.resolve, ref())
    refused(NotFound, f"Function not found: {FN}", catalog.version, ref())
    refused(NotFound, f"Function not found: {FN}:a", catalog.resolve, ref("a"))


def test_a_document_carries_the_arn_that_was_asked_for(ready: Catalog) -> None:
    version = ready.version(ref())
    assert version.described(None)["FunctionArn"] == FN
    assert version.described(LATEST)["FunctionArn"] == f"{FN}:$LATEST"


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


def test_everything_survives_a_restart(ready: Catalog, tmp_path: Path, clock: FakeClock) -> None:
    publish(ready, "one")
    route = {"AdditionalVersionWeights": {"2": 0.25}}
    publish(ready, "two")
    ready.create_alias(KEY, {"Name": "a", "FunctionVersion": "1", "RoutingConfig": route})
    ready.tag(ref(), {"tag": "ä"})
    ready.put_concurrency(KEY, 5)
    image = KEY._replace(name="image")
    request = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    ready.create_function(image, request, image_id="sha256:ab")
    gone = KEY._replace(name="gone")
    ready.create_function(gone, {**REQUEST, "Publish": True})
    ready.delete_function(gone)
    before = ready.functions(KEY.account, KEY.region)
    ready.close()
    again = Catalog.open(tmp_path, clock=clock)
    try:
        assert again.functions(KEY.account, KEY.region) == before
        assert again.unsettled() == [(image, LATEST)]
        created = again.create_function(gone, {**REQUEST, "Publish": True})
        assert created.version == "2"
    finally:
        again.close()


def test_an_update_in_progress_is_seen_after_a_restart(
    ready: Catalog, tmp_path: Path, clock: FakeClock
) -> None:
    updated = ready.update_code(KEY, {"ZipFile": zipped("y")})
    ready.close()
    again = Catalog.open(tmp_path, clock=clock)
    try:
        assert again.resolve(ref()) == updated
        assert again.unsettled() == [(KEY, LATEST)]
    finally:
        again.close()


def test_packages_that_no_version_has_are_removed(ready: Catalog, clock: FakeClock) -> None:
    first = ready.function(KEY).latest.code
    published = publish(ready, "one").code
    assert first is not None
    assert published is not None
    clock.advance(GRACE)
    publish(ready, "two")
    assert not ready.code.zip_path(first).exists()
    assert ready.code.zip_path(published).exists()
    clock.advance(GRACE)
    ready.delete_function(KEY)
    assert not ready.code.zip_path(published).exists()


def test_the_former_code_stays_while_calls_may_run_it(ready: Catalog, clock: FakeClock) -> None:
    former = ready.resolve(ref()).code
    assert former is not None
    ready.update_code(KEY, {"ZipFile": zipped("y")})
    clock.advance(GRACE)
    other = KEY._replace(name="other")
    ready.create_function(other, {**REQUEST, "Code": {"ZipFile": zipped("z")}})
    ready.delete_function(other)
    assert ready.code.tree(former).is_dir()


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


def test_what_becomes_of_a_function_that_calls_itself_is_kept(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    image = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    catalog.create_function(KEY, image)
    assert catalog.function(KEY).recursive_loop == "Terminate"
    catalog.put_recursive_loop(KEY, "Allow")
    catalog.close()
    again = Catalog.open(tmp_path, clock=FakeClock())
    assert again.function(KEY).recursive_loop == "Allow"
    with pytest.raises(NotFound):
        again.put_recursive_loop(KEY._replace(name="none"), "Allow")
    again.close()


def test_what_functions_reserve_is_known_in_sum_by_account_and_region(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    other, elsewhere = KEY._replace(name="other"), KEY._replace(region="eu-west-1")
    image = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    for key, reserved in ((KEY, 5), (other, 7), (elsewhere, 11)):
        catalog.create_function(key, image)
        catalog.put_concurrency(key, reserved)
    assert catalog.reserved(KEY.account, KEY.region) == 12
    with pytest.raises(CallerError, match=re.escape("below its minimum value of [100].")):
        catalog.put_concurrency(KEY, 6, most=12)
    catalog.put_concurrency(KEY, 4, most=12)
    catalog.put_concurrency(other, 8, most=12)
    catalog.put_concurrency(other, 0, most=1)
    catalog.put_concurrency(other, 3)
    catalog.put_concurrency(KEY, None)
    assert catalog.reserved(KEY.account, KEY.region) == 3
    catalog.close()
    again = Catalog.open(tmp_path, clock=FakeClock())
    assert again.reserved(KEY.account, KEY.region) == 3
    again.delete_function(other)
    assert again.reserved(KEY.account, KEY.region) == 0
    assert again.reserved(KEY.account, "eu-west-1") == 11
    again.close()


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
