"""What attacks share: the hostile function."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.hostile import FUNCTION_SECRET, HOST_SECRET, RUNTIME
from tests.support.instance import Function, Instance


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    """It does what its event says, on an instance of its own, which has no spares.

    Who started the instance has a secret in the environment.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST_SECRET", HOST_SECRET)
        images = "provided.al2023=fnbox/python3.13:latest"
        state = tmp_path_factory.mktemp("hostile") / "state"
        shared = Instance(state, spares=0, runtime_images=images)
    try:
        yield shared.start().deploy(
            {"bootstrap": RUNTIME},
            Runtime="provided.al2023",
            Timeout=60,
            MemorySize=512,
            Environment={"Variables": {"TOKEN": FUNCTION_SECRET}},
        )
    finally:
        shared.stop()
