"""One API for the attacks of a module, and the worker in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.http.worker import InvokeWorker
from tests.support.api import Api, open_api
from tests.support.worker import worker


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    opened = open_api(tmp_path_factory.mktemp("state"))
    opened.create("f")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def door(api: Api) -> InvokeWorker:
    return worker(api.app)


@pytest.fixture(autouse=True)
def _fresh(api: Api) -> None:
    api.service.reset()
