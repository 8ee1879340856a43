"""Whether what the companion needs is installed: the extra `fnbox[aws]`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from sandbox.errors import StartupError

_NEEDED = ("moto", "flask_cors", "jsonpath_ng", "yaml")


def check(find: Callable[[str], object] = importlib.util.find_spec) -> None:
    """Raise StartupError unless all of it is. Imports none of it."""
    if any(find(name) is None for name in _NEEDED):
        raise StartupError(
            "other AWS services need packages that are missing: run `pip install 'fnbox[aws]'`"
        )
