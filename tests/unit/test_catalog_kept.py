"""What of a catalog is kept over a restart, and which packages it keeps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.catalog import Catalog
from sandbox.catalog.code_store import GRACE
from sandbox.clock import FakeClock
from sandbox.errors import CallerError, NotFound
from sandbox.names import LATEST
from tests.support.catalog import KEY, REQUEST, publish, ref, zipped


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
