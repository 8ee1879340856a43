"""One API for the attacks of a module, and the worker in front of it."""

from __future__ import annotations

import pytest

from sandbox.http.worker import InvokeWorker
from tests.support.api import Api
from tests.support.worker import worker


@pytest.fixture(scope="module")
def api(opened: Api) -> Api:
    opened.create("f")
    return opened


@pytest.fixture(scope="module")
def door(api: Api) -> InvokeWorker:
    return worker(api.app)


@pytest.fixture(autouse=True)
def _fresh(api: Api) -> None:
    api.service.reset()
