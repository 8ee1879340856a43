"""Whether fnbox may listen where it was told to: not where others could come in unasked."""

from __future__ import annotations

import ipaddress

from sandbox.errors import StartupError
from sandbox.settings import Settings


def check(settings: Settings) -> str | None:
    """What there is to warn of, if anything. Raises StartupError for an address that others can
    reach when neither access is enforced nor the user has said that it may be so."""
    if _is_loopback(settings.host) or settings.iam == "enforce":
        return None
    place = settings.host or "every address of this machine"
    if not settings.insecure:
        raise StartupError(
            f"whoever can reach {place} could create and invoke functions; set FNBOX_IAM=enforce, "
            "or FNBOX_HOST=127.0.0.1, or say that it is meant: --insecure, FNBOX_INSECURE=true"
        )
    return (
        f"fnbox listens on {place} and asks nobody who they are: whoever reaches port "
        f"{settings.port} can run code in containers of this machine"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
