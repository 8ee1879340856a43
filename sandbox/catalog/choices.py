"""What a function chooses by its tags, where the instance lets it.

`fnbox:network` is its network policy. `none`: no network; its own calls to fnbox still go
through. `internet`: public addresses. `full`: private ones too. Anything else is the name of a
Docker network, whose rules are its maker's. VpcConfig is AWS's, and says nothing here.

`fnbox:oci-runtime` starts its containers: empty for Docker's own, or one as gVisor's `runsc`.

The instance has one of each for all functions, and lists which others they may choose.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from sandbox.catalog.records import Function
from sandbox.errors import CallerError
from sandbox.settings import Settings

NETWORK = "fnbox:network"
OCI_RUNTIME = "fnbox:oci-runtime"

NONE = "none"
INTERNET = "internet"
FULL = "full"

_SETTINGS = {NETWORK: "FNBOX_NETWORK_CHOICES", OCI_RUNTIME: "FNBOX_OCI_RUNTIME_CHOICES"}


def network(tags: Mapping[str, str], settings: Settings) -> str:
    """The network policy of a function with these tags; CallerError if it may not have it."""
    return _chosen(NETWORK, tags, settings.network, settings.network_choices)


def oci_runtime(tags: Mapping[str, str], settings: Settings) -> str:
    """The OCI runtime of a function with these tags; CallerError if it may not have it."""
    return _chosen(OCI_RUNTIME, tags, settings.oci_runtime, settings.oci_runtime_choices)


def check(tags: Mapping[str, str], settings: Settings) -> None:
    """Raise CallerError for tags that choose what a function may not have here."""
    network(tags, settings)
    oci_runtime(tags, settings)


def _chosen(tag: str, tags: Mapping[str, str], default: str, choices: str) -> str:
    """`choices`: names with commas between them; the instance's own is one of them always."""
    name = tags.get(tag, default)
    allowed = [default, *(choice.strip() for choice in choices.split(",") if choice.strip())]
    if name not in allowed:
        named = ", ".join(dict.fromkeys(choice for choice in allowed if choice)) or "left out only"
        raise CallerError(
            f"The tag {tag} may be {named} here, not {name!r}: {_SETTINGS[tag]} lists "
            "what functions may choose."
        )
    return name


def tagged(function: Function, tags: Mapping[str, str]) -> Function:
    """With these tags; when they choose anew, no environment of before serves the function."""
    changed = replace(function, tags=tags)
    if all(tags.get(tag) == function.tags.get(tag) for tag in _SETTINGS):
        return changed
    versions = {
        name: replace(version, revision=uuid.uuid4().hex)
        for name, version in function.versions.items()
    }
    former = function.former and replace(function.former, revision=uuid.uuid4().hex)
    return replace(changed, versions=versions, former=former)
