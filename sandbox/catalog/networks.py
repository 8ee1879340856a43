"""Which network a function has: one concept, the network policy.

`none`: none; its own calls to fnbox still go through. `internet`: public addresses. `full`:
private ones too. Anything else is the name of a Docker network, whose rules are its maker's.
The instance has one for all functions, and a function chooses another by its tag TAG, of those
that the instance lets it choose. VpcConfig is AWS's, and says nothing here.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from sandbox.catalog.records import Function
from sandbox.errors import CallerError

NONE = "none"
INTERNET = "internet"
FULL = "full"
TAG = "fnbox:network"


def chosen(tags: Mapping[str, str], default: str, choices: str) -> str:
    """The policy of a function with these tags; CallerError for one that it may not choose.

    `choices`: names with commas between them; the instance's own is one of them always.
    """
    name = tags.get(TAG, default)
    if name == default:
        return name
    allowed = [default, *(choice.strip() for choice in choices.split(",") if choice.strip())]
    if name not in allowed:
        raise CallerError(
            f"The tag {TAG} may be {', '.join(dict.fromkeys(allowed))} here, not {name!r}: "
            "FNBOX_NETWORK_CHOICES lists what functions may choose."
        )
    return name


def tagged(function: Function, tags: Mapping[str, str]) -> Function:
    """With these tags; when they name another network, no environment of before serves it."""
    changed = replace(function, tags=tags)
    if tags.get(TAG) == function.tags.get(TAG):
        return changed
    versions = {
        name: replace(version, revision=uuid.uuid4().hex)
        for name, version in function.versions.items()
    }
    former = function.former and replace(function.former, revision=uuid.uuid4().hex)
    return replace(changed, versions=versions, former=former)
