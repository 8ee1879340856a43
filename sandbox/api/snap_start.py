"""What SnapStart cannot be had with.

The setting is kept, and versions with it are published as Lambda does it: Pending first, then
with OptimizationStatus On. Nothing is snapshot here: an environment starts as any other. Source:
the Lambda developer guide's list of what SnapStart does not support. Only the text about
runtimes is known to be Lambda's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.errors import CallerError

RUNTIMES = frozenset(
    {
        *("python3.12", "python3.13", "python3.14", "python3.15"),
        *("java11", "java11.al2023", "java17", "java17.al2023", "java21", "java25"),
        *("dotnet8", "dotnet10"),
    }
)
_STORAGE = 512


def check_snap_start(current: Mapping[str, Any], members: Mapping[str, Any]) -> None:
    """Raise CallerError when a request makes a configuration that SnapStart is not possible with.

    `current` is the configuration that the request changes; of a new function it is empty.
    """
    wanted = {**current, **members}
    if wanted.get("SnapStart", {}).get("ApplyOn") != "PublishedVersions":
        return
    if wanted.get("PackageType") == "Image":
        raise CallerError("SnapStart is not supported for functions of packageType Image.")
    if wanted["Runtime"] not in RUNTIMES:
        raise CallerError(f"{wanted['Runtime']} is not supported for SnapStart enabled functions.")
    if wanted.get("EphemeralStorage", {}).get("Size", _STORAGE) > _STORAGE:
        raise CallerError(
            f"SnapStart is not supported with ephemeral storage of more than {_STORAGE} MB."
        )
    if wanted.get("FileSystemConfigs"):
        raise CallerError("SnapStart is not supported for functions with a file system.")
    if wanted.get("TenancyConfig"):
        raise CallerError("SnapStart is not supported for functions with tenant isolation.")
