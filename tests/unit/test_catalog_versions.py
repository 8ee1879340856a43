"""The catalog's versions and aliases, and what a qualifier names."""

from __future__ import annotations

import pytest

from sandbox.catalog import Catalog
from sandbox.errors import CallerError, Conflict, FnboxError, NotFound, PreconditionFailed
from sandbox.names import LATEST
from tests.support.catalog import FN, KEY, REQUEST, STALE, publish, ref, refused, update, zipped

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
