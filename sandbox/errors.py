"""Exceptions, sorted by whose fault it is.

A function that fails is not here: that is an `Outcome` (see `invocation`).
`code` is the name a client sees in `x-amzn-ErrorType`; the HTTP status and the
body's member that carries the text come from botocore's model, in `api/`.
"""

from __future__ import annotations

from typing import TypeVar

Error = TypeVar("Error", bound=Exception)


def to_keep(error: Error) -> Error:
    """`error`, to be held on to once it is handled.

    Tracebacks, its own and that of its cause, hold every frame that was on the stack, among them
    whose variable the error is then in: a cycle, and with it the whole request waits for the
    garbage collector.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class FnboxError(Exception):
    """Root of every error that fnbox raises on purpose."""

    code = "ServiceException"


class CallerError(FnboxError):
    """The request is wrong: a 4xx."""

    code = "InvalidParameterValueException"

    def __init__(self, message: str, **members: str) -> None:
        """`members` join the error's body, as `Reason` does for a throttle."""
        super().__init__(message)
        self.message = message
        self.members = members


class ValidationError(CallerError):
    """A constraint of the service model is broken."""

    code = "ValidationException"


class InvalidRequestContent(CallerError):
    code = "InvalidRequestContentException"


class NotFound(CallerError):
    code = "ResourceNotFoundException"


class ProvisionedConcurrencyNotFound(CallerError):
    code = "ProvisionedConcurrencyConfigNotFoundException"


class CodeSigningConfigNotFound(CallerError):
    code = "CodeSigningConfigNotFoundException"


class Conflict(CallerError):
    code = "ResourceConflictException"


class PreconditionFailed(CallerError):
    code = "PreconditionFailedException"


class AccessDenied(CallerError):
    code = "AccessDeniedException"


class PolicyTooLong(CallerError):
    """A resource policy is over 20 KB."""

    code = "PolicyLengthExceededException"


class CodeStorageExceeded(CallerError):
    """The packages of an account are as large together as they may be."""

    code = "CodeStorageExceededException"


class QuotaExceeded(CallerError):
    """An account has as much of something as it may."""

    code = "ServiceQuotaExceededException"


class RequestTooLarge(CallerError):
    code = "RequestEntityTooLargeException"


class TooManyRequests(CallerError):
    """No environment may be had. `members["Reason"]` is one of the model's ThrottleReason, and
    `retryAfterSeconds` becomes the header `Retry-After`."""

    code = "TooManyRequestsException"

    def __init__(self, reason: str, message: str = "Rate Exceeded.") -> None:
        # no source says after how many; a call may end at any time
        super().__init__(message, Reason=reason, retryAfterSeconds="1")


class RecursiveInvocation(CallerError):
    """A function that has called itself too often is not called again."""

    code = "RecursiveInvocationException"


class EngineError(FnboxError):
    """The container engine refused or failed."""


class EngineUnavailable(EngineError):
    """The container engine does not answer."""


class OutcomeUnknown(EngineUnavailable):
    """The container engine does not say whether it has made a container, or may make it yet."""


class ImageMissing(EngineError):
    """An image that is needed is not on the engine."""

    code = "InvalidRuntimeException"


class RegistryUnavailable(EngineError):
    """The registry of an image does not answer."""


class PullFailed(EngineError):
    """An image that its registry has could not be pulled."""


class NetworkUnavailable(EngineError):
    """The network policy of a function cannot be had here; it is not run with another."""

    code = "EC2UnexpectedException"


class EnvironmentFailed(FnboxError):
    """An execution environment broke in a way that is not its function's doing."""


class StorageError(FnboxError):
    """The database or its disk failed: what was asked for has not been done."""


class StartupError(FnboxError):
    """The control plane cannot start; the text is one line that says what to do."""
