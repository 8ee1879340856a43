"""What Lambda itself asks of a function's configuration, beyond the service model.

All raise CallerError (InvalidParameterValueException, 400) with Lambda's text.
Texts that no capture shows are ours, and say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sandbox.api.services import Call
from sandbox.api.validation import sentence
from sandbox.errors import CallerError, CodeSigningConfigNotFound
from sandbox.names import FunctionKey, FunctionReference, parse_reference

SUPPORTED_RUNTIMES = (
    *("nodejs16.x", "nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "nodejs26.x"),
    *("python3.8", "python3.9", "python3.10", "python3.11", "python3.12", "python3.13"),
    *("python3.14", "python3.15"),
    *("java8.al2", "java8.al2023", "java11", "java11.al2023", "java17", "java17.al2023"),
    *("java21", "java25", "dotnet6", "dotnet8", "dotnet10"),
    *("ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0", "provided.al2", "provided.al2023", "custom"),
)
BLOCKED_RUNTIMES = frozenset(
    {
        *("nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x"),
        *("nodejs12.x", "nodejs14.x", "python2.7", "python3.6", "python3.7", "java8", "go1.x"),
        *("dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1"),
        *("ruby2.5", "ruby2.7", "provided"),
    }
)

RESERVED_VARIABLES = frozenset(
    {
        *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION"),
        *("AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
        *("AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE"),
        *("AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"),
        *("AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_METADATA_API", "AWS_LAMBDA_METADATA_TOKEN"),
    }
)
ENVIRONMENT_BYTES = 4096
NAME_LENGTH = 64
TAG_LIMIT = 50

# The model also admits what only Lambda Managed Instances may have.
_HIGHEST = {"Timeout": ("timeout", 900), "MemorySize": ("memorySize", 10240)}
_HIGHEST_STORAGE = 10240

_SOURCES = ("ZipFile", "S3Bucket", "ImageUri")


def reference_of(call: Call, members: Mapping[str, Any]) -> FunctionReference:
    """The function, and version or alias, that `FunctionName` and `Qualifier` name."""
    return parse_reference(
        members["FunctionName"],
        members.get("Qualifier"),
        account=call.context.account,
        region=call.context.region,
    )


def unqualified_key(call: Call, members: Mapping[str, Any]) -> FunctionKey:
    """The function of an operation that works on functions alone."""
    key, qualifier = reference_of(call, members)
    if qualifier is not None:
        raise CallerError(
            "This operation is permitted on Lambda functions only. Aliases and versions do not "
            "support this operation. Please specify either a function name or an unqualified "
            "function ARN."
        )
    return key


def check_create(key: FunctionKey, members: Mapping[str, Any]) -> None:
    """The rules for CreateFunction."""
    if len(key.name) > NAME_LENGTH:
        limit = f"Member must have length less than or equal to {NAME_LENGTH}"
        raise CallerError(sentence(key.name, "functionName", limit))
    code = members["Code"]
    package_type = members.get("PackageType", "Zip")
    if package_type == "Image":
        _check_image(members, code)
    else:
        _check_zip(members, code)
    check_tags(members.get("Tags", {}))
    if "CodeSigningConfigArn" in members:  # there are none here
        raise CodeSigningConfigNotFound(
            "The code signing configuration cannot be found. Check that the provided configuration "
            f"is not deleted: {members['CodeSigningConfigArn']}."
        )
    check_configuration(members)


def _check_zip(members: Mapping[str, Any], code: Mapping[str, Any]) -> None:
    if "ImageUri" in code:
        raise CallerError(
            "Please don't provide ImageUri when creating a function with packageType Zip."
        )
    check_source(code)
    if "Runtime" not in members or "Handler" not in members:
        raise CallerError(
            "Runtime and Handler are mandatory parameters for functions created with "
            "deployment packages."
        )
    if "ImageConfig" in members:
        raise CallerError("Please don't provide ImageConfig for functions of packageType Zip.")


def _check_image(members: Mapping[str, Any], code: Mapping[str, Any]) -> None:
    if "ImageUri" not in code:
        raise CallerError(
            "Please provide ImageUri when creating a function with packageType Image."
        )
    check_source(code)
    if not {"Runtime", "Handler", "Layers"}.isdisjoint(members):
        raise CallerError(
            "Please don't provide Handler or Runtime or Layer when the intended function "
            "PackageType is Image."
        )


def check_update_code(package_type: str, members: Mapping[str, Any]) -> None:
    """The rules for UpdateFunctionCode on a function of the given PackageType."""
    if package_type == "Image" and "ImageUri" not in members:
        raise CallerError(
            "Please provide ImageUri when updating a function with packageType Image."
        )
    if package_type == "Zip" and "ImageUri" in members:
        raise CallerError(
            "Please don't provide ImageUri when updating a function with packageType Zip."
        )
    check_source(members)


def check_update_configuration(current: Mapping[str, Any], members: Mapping[str, Any]) -> None:
    """The rules for UpdateFunctionConfiguration on a function with the given configuration."""
    package_type = current["PackageType"]
    if package_type == "Image" and not {"Runtime", "Handler", "Layers"}.isdisjoint(members):
        raise CallerError(
            "Please don't provide Handler or Runtime or Layer when the intended function "
            "PackageType is Image."
        )
    if package_type == "Zip" and "ImageConfig" in members:
        raise CallerError("Please don't provide ImageConfig for functions of packageType Zip.")
    if "DurableConfig" in members and "DurableConfig" not in current:
        # no capture shows AWS's text
        raise CallerError("DurableConfig can only be given when a function is created.")
    check_configuration(members, current["LoggingConfig"]["LogFormat"])


def check_source(code: Mapping[str, Any]) -> None:
    """Exactly one source of code, and one that can be read."""
    given = [source for source in _SOURCES if source in code]
    if not given:
        raise CallerError("Please provide a source for function code.")
    if len(given) > 1:
        raise CallerError(
            f"Please do not provide other FunctionCode parameters when providing a {given[0]}."
        )
    if given == ["S3Bucket"] and "S3Key" not in code:
        raise CallerError("Please provide S3Key with S3Bucket.")  # the text is ours


def check_configuration(members: Mapping[str, Any], log_format: str = "Text") -> None:
    """The rules that hold for a configuration whenever it is set; `log_format`: what it has."""
    if "Runtime" in members:
        check_runtime(members["Runtime"])
    for member, (path, limit) in _HIGHEST.items():
        if members.get(member, 0) > limit:
            raise _too_high(members[member], path, limit)
    size = members.get("EphemeralStorage", {}).get("Size", 0)
    if size > _HIGHEST_STORAGE:
        raise _too_high(size, "ephemeralStorage.size", _HIGHEST_STORAGE)
    check_dead_letter(members.get("DeadLetterConfig", {}).get("TargetArn"))
    check_variables(members.get("Environment", {}).get("Variables", {}))
    logging = members.get("LoggingConfig", {})
    has_level = not {"ApplicationLogLevel", "SystemLogLevel"}.isdisjoint(logging)
    if has_level and logging.get("LogFormat", log_format) != "JSON":
        raise CallerError(
            'LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your '
            'request or change the LogFormat to "Json" and try again.'
        )


def check_dead_letter(arn: str | None) -> None:
    """A standard queue or topic, or none. Whether it is there shows when it is sent to.

    No capture shows Lambda's texts for these: they are ours.
    """
    if not arn:
        return
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[2] not in ("sqs", "sns") or not parts[5]:
        raise CallerError(f"The dead letter ARN {arn} is invalid: it must be of SQS or SNS.")
    if arn.endswith(".fifo"):
        kind = "queue" if parts[2] == "sqs" else "topic"
        raise CallerError(f"The dead letter ARN {arn} is invalid: it must be a standard {kind}.")


def _too_high(value: int, path: str, limit: int) -> CallerError:
    return CallerError(
        sentence(str(value), path, f"Member must have value less than or equal to {limit}")
    )


def check_runtime(runtime: str) -> None:
    if runtime in BLOCKED_RUNTIMES:
        raise CallerError(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating "
            "AWS Lambda functions. We recommend you use a supported runtime while creating or "
            "updating functions."
        )
    if runtime not in SUPPORTED_RUNTIMES:
        raise CallerError(
            f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy "
            f"enum value set: [{', '.join(SUPPORTED_RUNTIMES)}] or be a valid ARN"
        )


def check_variables(variables: Mapping[str, str]) -> None:
    """The size and the names of environment variables."""
    refusal = (
        "Lambda was unable to configure your environment variables because the environment "
        "variables you have provided "
    )
    reserved = sorted(RESERVED_VARIABLES & variables.keys())
    if reserved:
        raise CallerError(
            f"{refusal}contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > ENVIRONMENT_BYTES:
        raise CallerError(f"{refusal}exceeded the 4KB limit. String measured: {measured}")
    if any("\0" in value for value in variables.values()):
        # no process can be started with one; the text is ours
        raise CallerError(f"{refusal}contains a NUL character.")


def check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > TAG_LIMIT:
        raise CallerError("Number of tags exceeds resource tag limit.")
