"""Errors on the wire: status, the member with the text, and what else comes along."""

from __future__ import annotations

import json

import pytest

from sandbox import errors
from sandbox.api.errors import NOT_IN_THE_MODEL, error_reply
from sandbox.api.model import load

MODEL = load()


def entries(text: str) -> list[str]:
    return text.split()


LOWER = entries("""
InvalidParameterValueException400 InvalidRequestContentException400 ModeNotSupportedException400
AliasLimitExceededException400 CapacityProviderLimitExceededException400
CodeStorageExceededException400 PolicyLengthExceededException400
FunctionVersionsPerCapacityProviderLimitExceededException400
ProvisionedConcurrencyConfigNotFoundException404 ResourceConflictException409
CodeArtifactUserDeletedException409 CodeArtifactUserFailedException409
CodeArtifactUserPendingException409 RuntimeAliasDeletedException409
RuntimeVersionDeletedException409 PreconditionFailedException412 RequestTooLargeException413
SerializedRequestEntityTooLargeException413 UnsupportedMediaTypeException415
TooManyRequestsException429 ResourceNotReadyException502
""")
UPPER = entries("""
ResourceNotFoundException404 ServiceException500 ServiceQuotaExceededException402
RecursiveInvocationException400 ResourceInUseException400 NoPublishedVersionException400
PublicPolicyException400 CallbackTimeoutException400 CodeVerificationFailedException400
InvalidCodeSignatureException400 CodeSigningConfigNotFoundException404 SnapStartException400
SnapStartNotReadyException409 SnapStartRegenerationFailureException409
SnapStartTimeoutException408 DurableExecutionAlreadyStartedException409
EFSMountFailureException403 EFSMountConnectivityException408 EFSMountTimeoutException408
EFSIOException410 S3FilesMountFailureException403 S3FilesMountConnectivityException408
S3FilesMountTimeoutException408 EC2AccessDeniedException502 EC2ThrottledException502
EC2UnexpectedException502 ENILimitReachedException502 ENINotReadyException502
InvalidRuntimeException502 InvalidSecurityGroupIDException502 InvalidSubnetIDException502
InvalidZipFileException502 KMSAccessDeniedException502 KMSDisabledException502
KMSInvalidStateException502 KMSNotFoundException502 SubnetIPAddressLimitReachedException502
""")


@pytest.mark.parametrize("entry", [*LOWER, *UPPER])
def test_status_and_message_member_are_those_of_the_catalogue(entry: str) -> None:
    name, status = entry[:-3], int(entry[-3:])
    shape = MODEL.errors[name]
    assert (shape.status, shape.message_member) == (
        status,
        "message" if entry in LOWER else "Message",
    )


def test_the_catalogue_is_whole() -> None:
    assert {entry[:-3] for entry in [*LOWER, *UPPER]} == set(MODEL.errors)


@pytest.mark.parametrize(
    ("error", "status", "name", "body"),
    [
        (
            errors.NotFound("Function not found: x"),
            404,
            "ResourceNotFoundException",
            {"Type": "User", "Message": "Function not found: x"},
        ),
        (
            errors.CallerError("no"),
            400,
            "InvalidParameterValueException",
            {"Type": "User", "message": "no"},
        ),
        (errors.ValidationError("no"), 400, "ValidationException", {"message": "no"}),
        (errors.AccessDenied("no"), 403, "AccessDeniedException", {"Message": "no"}),
        (
            errors.RequestTooLarge("big"),
            413,
            "RequestEntityTooLargeException",
            {"Message": "big"},
        ),
        (
            errors.Conflict("busy"),
            409,
            "ResourceConflictException",
            {"Type": "User", "message": "busy"},
        ),
        (
            errors.PreconditionFailed("old"),
            412,
            "PreconditionFailedException",
            {"Type": "User", "message": "old"},
        ),
        (
            errors.TooManyRequests("ReservedFunctionConcurrentInvocationLimitExceeded"),
            429,
            "TooManyRequestsException",
            {
                "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
                "Type": "User",
                "message": "Rate Exceeded.",
            },
        ),
        (
            errors.EngineUnavailable("Docker does not answer"),
            500,
            "ServiceException",
            {"Type": "Service", "Message": "Docker does not answer"},
        ),
        (
            errors.EngineError("it refused"),
            500,
            "ServiceException",
            {"Type": "Service", "Message": "it refused"},
        ),
        (
            errors.EnvironmentFailed("it broke"),
            500,
            "ServiceException",
            {"Type": "Service", "Message": "it broke"},
        ),
        (
            errors.ImageMissing("run fnbox images"),
            502,
            "InvalidRuntimeException",
            {"Type": "Service", "Message": "run fnbox images"},
        ),
    ],
)
def test_an_error_becomes_its_answer(
    error: errors.FnboxError, status: int, name: str, body: dict[str, str]
) -> None:
    answered, headers, content = error_reply(error, "the-id", MODEL.errors)
    assert answered == status
    assert json.loads(content) == body
    retry = {"Retry-After": "1"} if status == 429 else {}
    assert dict(headers) == retry | {
        "Content-Type": "application/json",
        "x-amzn-RequestId": "the-id",
        "x-amzn-ErrorType": name,
    }


def test_a_modelled_header_leaves_the_body() -> None:
    error = errors.CallerError("slow down", retryAfterSeconds="7", Reason="CallerRateLimitExceeded")
    error.code = "TooManyRequestsException"
    _, headers, content = error_reply(error, "the-id", MODEL.errors)
    assert ("Retry-After", "7") in headers
    assert "retryAfterSeconds" not in json.loads(content)


def test_every_error_that_fnbox_raises_has_an_answer() -> None:
    def below(root: type[errors.FnboxError]) -> set[str]:
        # CloudWatch Logs answers for itself
        own = set() if ".logs" in root.__module__ else {root.code}
        return own.union(*(below(child) for child in root.__subclasses__()))

    assert below(errors.FnboxError) <= {*MODEL.errors, *NOT_IN_THE_MODEL}
