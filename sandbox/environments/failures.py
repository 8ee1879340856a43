"""How a function that failed looks to its caller: the platform's own error documents.

Bodies that a runtime posts pass through unchanged and are not made here. Source:
the error payloads of the Invoke API; the key order is the one AWS sends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

OUT_OF_MEMORY = "Runtime.OutOfMemory"
TIMED_OUT = "Sandbox.Timedout"
RESPONSE_TOO_LARGE = "Function.ResponseSizeTooLarge"
TRUNCATED_RESPONSE = "Runtime.TruncatedResponse"

_TYPE_OF_CAUSE = {
    "exit": "Runtime.ExitError",
    "killed": "Runtime.ExitError",
    "outOfMemory": OUT_OF_MEMORY,
    "invalidEntrypoint": "Runtime.InvalidEntrypoint",
    "invalidWorkingDir": "Runtime.InvalidWorkingDir",
}
_VALID_TYPE = re.compile(r"(?:Runtime|Function)\.[A-Z][a-zA-Z]+")


class Failure(NamedTuple):
    """Why the runtime gave no answer of its own."""

    error_type: str
    text: str

    def document(self, request_id: str) -> bytes:
        """The body of the answer."""
        message = f"RequestId: {request_id} Error: {self.text}"
        return _document(errorType=self.error_type, errorMessage=message)


def of_exit(exited: Mapping[str, Any]) -> Failure:
    """From the meta of an EXITED frame."""
    cause = exited.get("cause", "exit")
    description = exited.get("description", "")
    if cause in ("invalidEntrypoint", "invalidWorkingDir"):
        return Failure(_TYPE_OF_CAUSE[cause], description)
    if cause == "extension":
        return Failure(exited["errorType"], description)
    if not description:
        return Failure("Runtime.ExitError", "Runtime exited without providing a reason")
    return Failure(
        _TYPE_OF_CAUSE.get(cause, "Runtime.ExitError"),
        f"Runtime exited with error: {description}",
    )


def of_timeout(seconds: float) -> Failure:
    return Failure(TIMED_OUT, f"Task timed out after {seconds:.2f} seconds")


def of_truncation() -> Failure:
    """Lambda's type; the text is ours."""
    return Failure(TRUNCATED_RESPONSE, "Runtime ended its response before it was complete")


def response_too_large(limit: int) -> bytes:
    """The body when a response is over `limit` bytes."""
    message = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
    return _document(errorMessage=message, errorType=RESPONSE_TOO_LARGE)


def reported_type(sent: str | None, *, during_init: bool) -> str:
    """The error type for logs and metrics, from what the runtime sent in its header."""
    if sent and _VALID_TYPE.fullmatch(sent):
        return sent
    return "Runtime.Unknown" if during_init else "Function.Unknown"


def _document(**members: str) -> bytes:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
