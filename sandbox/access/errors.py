"""Why a caller is not believed, as AWS names it and words it to Lambda's clients.

Other protocols have other names for the same: see `sandbox.api.refusals`.
"""

from __future__ import annotations

from sandbox.errors import CallerError


class AuthenticationError(CallerError):
    """The caller is not known to be who it says it is."""


class MissingAuthenticationToken(AuthenticationError):
    code = "MissingAuthenticationTokenException"

    def __init__(self) -> None:
        super().__init__("Missing Authentication Token")


class IncompleteSignature(AuthenticationError):
    """The signature lacks a part, or a part is not what it has to be."""

    code = "IncompleteSignatureException"


class UnsupportedSignature(IncompleteSignature):
    """Of a version that is not verified."""

    def __init__(self) -> None:
        super().__init__(
            "The authorization mechanism you have provided is not supported. Please use "
            "AWS4-HMAC-SHA256."
        )


class InvalidSignature(AuthenticationError):
    """The signature is whole, and not of this request, this service or this time."""

    code = "InvalidSignatureException"


class SignatureDoesNotMatch(InvalidSignature):
    def __init__(self) -> None:
        super().__init__(
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details."
        )


class SignatureNotOfNow(InvalidSignature):
    """Too old, or of a time to come."""


class UnrecognizedClient(AuthenticationError):
    """There is no such key, or it is not active, or its session token is of another."""

    code = "UnrecognizedClientException"

    def __init__(self) -> None:
        super().__init__("The security token included in the request is invalid.")


class ExpiredToken(AuthenticationError):
    code = "ExpiredTokenException"

    def __init__(self) -> None:
        super().__init__("The security token included in the request is expired")
