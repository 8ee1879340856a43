"""What one account may use at most, and what it is told when it has that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.access.limits import CODE_STORAGE_BYTES, AccountLimits
from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.errors import TooManyRequests
from sandbox.invocation import Invocation
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import EventQueue
from tests.support.api import ACCOUNT, Api, open_api, zip_bytes

SIZE = len(zip_bytes())
OTHER = "111111111111"

Opened = Callable[..., Api]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made: list[Api] = []

    def make(**settings: Any) -> Api:
        made.append(open_api(tmp_path, **settings))
        return made[-1]

    yield make
    for api in made:
        api.close()


def refusal(call: Callable[[], Any]) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    error = response["Error"]
    return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


def test_an_account_has_so_many_functions_and_no_more(opened: Opened) -> None:
    api = opened(account_functions=2)
    api.create("f")
    api.create("g")
    assert refusal(lambda: api.create("h")) == (
        402,
        "ServiceQuotaExceededException",
        f"The account {ACCOUNT} has 2 functions, and may have 2.",
    )
    api.boto(access_key=OTHER)  # of its own account
    api.boto().delete_function(FunctionName="f")
    api.create("h")


def test_an_account_has_so_many_bytes_of_code(opened: Opened) -> None:
    api = opened(account_code_bytes=3 * SIZE)
    api.create("f", Publish=True)
    layer = {"LayerName": "l", "Content": {"ZipFile": zip_bytes()}}
    api.boto().publish_layer_version(**layer)
    exceeded = (400, "CodeStorageExceededException", "Code storage limit exceeded.")
    assert refusal(lambda: api.create("g")) == exceeded
    assert refusal(lambda: api.boto().publish_layer_version(**layer)) == exceeded
    larger = zip_bytes({"app.py": "x = 1\n" * 100, "b.py": "y"})
    assert (
        refusal(lambda: api.boto().update_function_code(FunctionName="f", ZipFile=larger))
        == exceeded
    )
    api.boto().update_function_configuration(FunctionName="f", Timeout=4)
    api.settle()
    api.boto().delete_layer_version(LayerName="l", VersionNumber=1)
    api.create("g")


def test_what_is_said_of_an_account_goes_before_the_settings(opened: Opened) -> None:
    api = opened(account_functions=1, account_concurrency=500)
    accounts = api.authentication.store
    accounts.limit(None, {"functions": 2, "concurrency": 300, "code_storage_bytes": 10 * SIZE})
    api.create("f")
    api.create("g")
    assert refusal(lambda: api.create("h"))[1] == "ServiceQuotaExceededException"
    settings = api.boto().get_account_settings()
    assert settings["AccountLimit"]["TotalCodeSize"] == 10 * SIZE
    assert settings["AccountLimit"]["ConcurrentExecutions"] == 300
    assert settings["AccountUsage"] == {"TotalCodeSize": 2 * SIZE, "FunctionCount": 2}
    wanted = {"FunctionName": "f", "ReservedConcurrentExecutions": 201}
    assert refusal(lambda: api.boto().put_function_concurrency(**wanted))[1] == (
        "InvalidParameterValueException"
    )
    accounts.limit(None, {"functions": None, "concurrency": None, "code_storage_bytes": None})
    assert refusal(lambda: api.create("h"))[1] == "ServiceQuotaExceededException"
    limit = api.boto().get_account_settings()["AccountLimit"]
    assert (limit["TotalCodeSize"], limit["ConcurrentExecutions"]) == (CODE_STORAGE_BYTES, 500)


def test_totals_are_there_again_after_a_restart(opened: Opened, tmp_path: Path) -> None:
    api = opened()
    api.create("f", Publish=True)
    layer = {"LayerName": "l", "Content": {"ZipFile": zip_bytes()}}
    api.boto().publish_layer_version(**layer)
    before = api.catalog.room.of(ACCOUNT, "us-east-1")
    assert before == (1, 3 * SIZE)
    api.catalog.close()
    again = Catalog.open(tmp_path, clock=FakeClock())
    assert again.room.of(ACCOUNT, "us-east-1") == before
    again.close()


def test_an_account_has_so_many_events_queued(opened: Opened) -> None:
    api = opened()
    most = {ACCOUNT: 2, OTHER: None}
    queue = EventQueue(api.catalog.database, api.clock, most.__getitem__)

    def put(account: str) -> None:
        key = FunctionKey(account, "us-east-1", "f")
        queue.put(Invocation(FunctionReference(key, None), b"{}"))

    put(ACCOUNT)
    put(ACCOUNT)
    with pytest.raises(TooManyRequests) as caught:
        put(ACCOUNT)
    assert caught.value.members["Reason"] == "CallerRateLimitExceeded"
    for _ in range(3):
        put(OTHER)
    assert queue.count() == 5


def test_without_a_store_every_account_has_the_same() -> None:
    limits = AccountLimits(concurrency=3, memory_mib=256)
    assert (limits.concurrency(OTHER), limits.memory_mib(OTHER)) == (3, 256)
    assert (limits.functions(OTHER), limits.queued_events(OTHER)) == (None, None)
    assert limits.code_storage_bytes(OTHER) == CODE_STORAGE_BYTES
