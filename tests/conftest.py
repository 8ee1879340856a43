"""What all tests share: they do not depend on how the caller's shell is set up."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Few examples make the suite quick, and the same ones each time: a run without a change has the
# outcome of the last. `--hypothesis-profile=thorough` (make test-all) takes many, and new ones.
# How fast they are made says something of the machine alone.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _UNTIMED, max_examples=20, derandomize=True)
settings.register_profile("thorough", _UNTIMED, max_examples=500)
settings.load_profile("quick")

_KEPT = ("FNBOX_DOCKER_HOST", "FNBOX_TEST_")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_caller() -> Iterator[None]:
    """Neither fnbox nor AWS clients see settings but those that a test makes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "FNBOX_")) and not name.startswith(_KEPT):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield
