"""Which OCI runtime starts the containers of a function: Docker's own, or one as gVisor's `runsc`.

The instance has one for all functions, and a function chooses another by its tag TAG, of those
that the instance lets it choose.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from sandbox.catalog.records import Function
from sandbox.errors import CallerError

TAG = "fnbox:oci-runtime"


def chosen(tags: Mapping[str, str], default: str, choices: str) -> str:
    """The OCI runtime of a function with these tags, empty for Docker's own.

    CallerError for one that it may not choose. `choices`: names with commas between them; the
    instance's own is one of them always.
    """
    name = tags.get(TAG, default)
    allowed = [default, *(choice.strip() for choice in choices.split(",") if choice.strip())]
    if name not in allowed:
        named = ", ".join(dict.fromkeys(choice for choice in allowed if choice)) or "left out only"
        raise CallerError(
            f"The tag {TAG} may be {named} here, not {name!r}: FNBOX_OCI_RUNTIME_CHOICES lists "
            "what functions may choose."
        )
    return name


def tagged(function: Function, tags: Mapping[str, str]) -> Function:
    """With these tags; when they name another runtime, no environment of before serves it."""
    changed = replace(function, tags=tags)
    if tags.get(TAG) == function.tags.get(TAG):
        return changed
    versions = {
        name: replace(version, revision=uuid.uuid4().hex)
        for name, version in function.versions.items()
    }
    former = function.former and replace(function.former, revision=uuid.uuid4().hex)
    return replace(changed, versions=versions, former=former)
