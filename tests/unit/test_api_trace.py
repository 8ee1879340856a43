"""What Invoke makes of its request's X-Amzn-Trace-Id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.names import FunctionKey
from tests.support.api import Api, open_api

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
PARENT = "53995c3f42cd8ad8"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path)
    for name, mode in (("f", "Active"), ("g", "PassThrough")):
        opened.catalog.create_function(
            FunctionKey("000000000000", "us-east-1", name),
            {
                "Role": "r",
                "PackageType": "Image",
                "Code": {"ImageUri": "my:1"},
                "TracingConfig": {"Mode": mode},
            },
        )
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("name", "header", "sampled"),
    [
        ("f", None, 1),
        ("f", f"Root={ROOT}", 1),
        ("f", f"Root={ROOT};Parent={PARENT};Sampled=0", 0),
        ("f", f"Root={ROOT};Parent={PARENT};Sampled=1", 1),
        ("g", None, 0),
        ("g", f"Root={ROOT}", 0),
        ("g", f"Root={ROOT};Parent={PARENT};Sampled=1", 1),
        ("absent", None, 0),
    ],
)
def test_active_tracing_samples_what_the_caller_has_not_decided(
    api: Api, name: str, header: str | None, sampled: int
) -> None:
    headers = {} if header is None else {"X-Amzn-Trace-Id": header}
    answer = api.invoke(name, headers=headers)
    assert f";sampled={sampled};" in answer.headers["X-Amzn-Trace-Id"]
    [invocation] = api.service.invoked
    assert invocation.trace_id is not None
    assert f";Sampled={sampled};" in invocation.trace_id
    assert invocation.trace.parent_given == (header is not None and PARENT in header)


def test_a_trace_begins_when_its_request_came(api: Api) -> None:
    api.invoke("f")
    [invocation] = api.service.invoked
    assert invocation.trace.received == api.clock.monotonic()
