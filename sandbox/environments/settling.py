"""After the answer: an environment whose extensions are still busy with the invocation."""

from __future__ import annotations

import functools
import logging

from sandbox.environments.environment import ExecutionEnvironment
from sandbox.environments.pool import EnvironmentPool
from sandbox.errors import EnvironmentFailed
from sandbox.threads import in_background

_LOGGER = logging.getLogger(__name__)


def release_settled(pool: EnvironmentPool, environment: ExecutionEnvironment) -> None:
    """Give an environment back to the pool once its invocation is over, in the background."""
    in_background(functools.partial(_settle, pool, environment), "settle")


def _settle(pool: EnvironmentPool, environment: ExecutionEnvironment) -> None:
    lost = True
    try:
        if environment.settling is not None:
            environment.settling()
        lost = False
    except EnvironmentFailed as error:
        _LOGGER.info("%s", error)  # its last caller has an answer
    finally:
        pool.release(environment, lost=lost)
