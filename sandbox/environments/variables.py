"""What a runtime finds when it starts: its command and its environment variables.

Source: the Runtime API's environment variables. Precedence, low to high: the
image's ENV, what the platform offers and a customer may override, the customer's
variables, what is reserved.
"""

from __future__ import annotations

import secrets
from typing import Any

from sandbox.access.sessions import Credentials
from sandbox.catalog.records import Version
from sandbox.engines.base import Image
from sandbox.logs.formats import ON_DEMAND, runtime_version

RESPONSE_BYTES = 6 * 2**20 + 100
_INTERNAL_SHUTDOWN_MS = 500
_EXTERNAL_SHUTDOWN_MS = 2_000
"""How long an environment with external extensions takes to end at most; with internal ones only,
the other; without any it ends at once."""

_RUNTIME_API = "127.0.0.1:9001"
"""Where the init serves it, and the metadata endpoint with it."""
_LIBRARIES = (
    "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
)
_THE_IMAGES = ("PATH", "LD_LIBRARY_PATH")
"""What an image knows better than the platform."""

# Whose runtime client is known to write log records, so that one of several lines stays one
# event. Container images get no descriptor for them on AWS: there each line is an event.
_RECORDING_RUNTIMES = ("java", "nodejs", "python", "ruby")


def configuration(
    version: Version,
    image: Image,
    credentials: Credentials,
    *,
    uid: int,
    log_group: str,
    log_stream: str,
    initialization: str = ON_DEMAND,
    endpoint: str = "",
) -> dict[str, Any]:
    """The meta of a CONFIGURE frame. `endpoint`: where in its container a function reaches
    fnbox; empty: nowhere."""
    runtime = runtime_version(version)
    names = ("runtimeVersion", "runtimeVersionArn")
    return {
        "command": command(version, image),
        "workingDirectory": working_directory(version, image),
        "environment": environment(
            version,
            image,
            credentials,
            log_group=log_group,
            log_stream=log_stream,
            initialization=initialization,
            endpoint=endpoint,
        ),
        "uid": uid,
        "gid": uid,
        "memoryBytes": version.memory_size * 2**20,
        "responseBytes": RESPONSE_BYTES,
        "freeze": True,
        "telemetryLog": (version.runtime or "").startswith(_RECORDING_RUNTIMES),
        "accountId": version.key.account,
        "internalShutdownMs": _INTERNAL_SHUTDOWN_MS,
        "externalShutdownMs": _EXTERNAL_SHUTDOWN_MS,
        "timeoutMs": round(version.timeout * 1000),
        "activeTracing": version.active_tracing,
        **(dict(zip(names, runtime, strict=True)) if runtime else {}),
        **({"endpoint": endpoint} if endpoint else {}),
    }


def command(version: Version, image: Image) -> list[str]:
    """The runtime's argv; empty for a bootstrap that is looked for in the code."""
    if version.package_type == "Image":
        config = _image_config(version)
        entry_point = config.get("EntryPoint") or image.entrypoint
        # As in Docker, an entry point that is overridden takes the image's CMD with it.
        given = config.get("Command") or (() if config.get("EntryPoint") else image.command)
        return [*entry_point, *given]
    if (version.runtime or "").startswith("provided"):
        return []
    return [*image.entrypoint, version.handler or ""]


def working_directory(version: Version, image: Image) -> str:
    if version.package_type == "Image":
        configured: str | None = _image_config(version).get("WorkingDirectory")
        return configured or image.working_directory
    return "/var/task"


def _image_config(version: Version) -> dict[str, Any]:
    response = version.configuration.get("ImageConfigResponse") or {}
    config: dict[str, Any] = response.get("ImageConfig") or {}
    return config


def environment(
    version: Version,
    image: Image,
    credentials: Credentials,
    *,
    log_group: str,
    log_stream: str,
    initialization: str = ON_DEMAND,
    endpoint: str = "",
) -> dict[str, str]:
    variables = dict(item.split("=", 1) for item in image.environment if "=" in item)
    offered = {
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PWD": working_directory(version, image),
        "SHLVL": "0",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
    }
    if endpoint:
        offered["AWS_ENDPOINT_URL"] = f"http://{endpoint}"
    if version.package_type == "Image":
        # its user has no name there, and programs ask whose home it is
        variables.setdefault("HOME", "/home/sbx_user1051")
    else:
        # where what layers bring is looked for; an image's own loader may know better
        offered["LD_LIBRARY_PATH"] = _LIBRARIES
    kept = {name: variables[name] for name in _THE_IMAGES if name in variables}
    variables |= {**offered, **kept, **version.variables}
    logging = version.configuration.get("LoggingConfig") or {}
    variables |= {
        "AWS_REGION": version.key.region,
        "AWS_DEFAULT_REGION": version.key.region,
        # of its role: a function's own calls come back to its account
        **credentials.variables(),
        "AWS_LAMBDA_FUNCTION_NAME": version.key.name,
        "AWS_LAMBDA_FUNCTION_VERSION": version.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(version.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_LOG_FORMAT": str(logging.get("LogFormat", "Text")),
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization,
        "AWS_LAMBDA_METADATA_API": _RUNTIME_API,
        "AWS_LAMBDA_METADATA_TOKEN": secrets.token_urlsafe(24),
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
    if logging.get("ApplicationLogLevel"):
        variables["AWS_LAMBDA_LOG_LEVEL"] = str(logging["ApplicationLogLevel"])
    if version.handler:
        variables["_HANDLER"] = version.handler
    if version.runtime and not version.runtime.startswith("provided"):
        variables["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{version.runtime}"
    return variables
