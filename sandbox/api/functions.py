"""Functions: create, read, list, update, delete."""

from __future__ import annotations

import logging
import platform
from typing import Any

from sandbox.api.code import with_zip
from sandbox.api.paging import page
from sandbox.api.rules import (
    check_create,
    check_update_code,
    check_update_configuration,
    reference_of,
    unqualified_key,
)
from sandbox.api.services import Call, Implementation
from sandbox.api.snap_start import check_snap_start
from sandbox.catalog import Code, Version, choices
from sandbox.catalog.documents import listed
from sandbox.catalog.records import version_order
from sandbox.engines.pulls import repository_of
from sandbox.errors import (
    CallerError,
    EngineError,
    ImageMissing,
    NotFound,
    RegistryUnavailable,
)
from sandbox.names import FunctionKey

PAGE = 50
CODE_PATH = "/_fnbox/code"

_ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())

_LOGGER = logging.getLogger(__name__)


def create_function(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key = unqualified_key(call, members)
    check_create(key, members)
    choices.check(members.get("Tags", {}), call.services.settings)
    check_snap_start({}, members)
    _check_runtime(call, members.get("Runtime"))
    members = {**members, "Code": with_zip(call, members["Code"])}
    version = call.services.catalog.create_function(
        key, members, image_id=_image_id(call, members["Code"].get("ImageUri"))
    )
    _compare_architecture(version)
    settle(call, key)
    return dict(version.configuration)


def get_function(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Configuration, where the code can be had, tags and reserved concurrency."""
    reference = reference_of(call, members)
    version = call.services.catalog.version(reference)
    function = call.services.catalog.function(reference.key)
    answer: dict[str, Any] = {
        "Configuration": version.described(reference.qualifier),
        "Code": _code_location(call, version),
    }
    if function.tags:
        answer["Tags"] = dict(function.tags)
    if function.reserved_concurrency is not None:
        answer["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
    return answer


def _code_location(call: Call, version: Version) -> dict[str, Any]:
    if version.code is not None:
        location = code_url(call, version.code)
        return {"RepositoryType": "S3", "Location": location, **version.source}
    uri = version.image_uri or ""
    resolved = version.image_id or uri
    if resolved.startswith("sha256:"):  # the engine's own id
        resolved = f"{repository_of(uri)}@{resolved}"
    return {"RepositoryType": "ECR", "ImageUri": uri, "ResolvedImageUri": resolved}


def code_url(call: Call, code: Code) -> str:
    """Where a package can be had; where callers are verified, for ten minutes."""
    path = f"{CODE_PATH}/{code.sha256}.zip"
    authorization = call.services.authorization
    if authorization.enforces:
        path = authorization.links.signed(path)
    return f"{call.context.base_url}{path}"


def get_function_configuration(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    reference = reference_of(call, members)
    return call.services.catalog.version(reference).described(reference.qualifier)


def list_functions(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """By name; with `FunctionVersion=ALL` every version of each."""
    functions = call.services.catalog.functions(call.context.account, call.context.region)
    if members.get("FunctionVersion") != "ALL":
        some, more = page(functions, lambda one: [one.key.name, 0], members, highest=PAGE)
        return {"Functions": [listed(one.latest.described(None)) for one in some], **more}
    versions = [version for function in functions for version in function.versions.values()]
    found, more = page(versions, _place, members, highest=PAGE)
    # only here is every version shown under its qualified ARN
    shown = [listed(version.described(version.version)) for version in found]
    return {"Functions": shown, **more}


def _place(version: Version) -> list[Any]:
    return [version.key.name, version_order(version.version)]


def update_function_code(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key = unqualified_key(call, members)
    check_update_code(call.services.catalog.function(key).latest.package_type, members)
    version = call.services.catalog.update_code(
        key, with_zip(call, members), image_id=_image_id(call, members.get("ImageUri"))
    )
    _compare_architecture(version)
    settle(call, key)
    return dict(version.configuration)


def update_function_configuration(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key = unqualified_key(call, members)
    latest = call.services.catalog.function(key).latest
    check_update_configuration(latest.configuration, members)
    check_snap_start(latest.configuration, members)
    _check_runtime(call, members.get("Runtime"))
    version = call.services.catalog.update_configuration(key, members)
    settle(call, key)
    return dict(version.configuration)


def delete_function(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """204, as Lambda answers; the model's 200 is what its documentation says."""
    reference = reference_of(call, members)
    call.services.catalog.delete_function(reference.key, reference.qualifier)
    return {"StatusCode": 204}


def get_function_code_signing_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """No function has one: code signing is not checked here. Terraform asks all the same.

    The answer of a function without one has an empty ARN.
    """
    key, _ = reference_of(call, members)
    call.services.catalog.function(key)
    return {"CodeSigningConfigArn": "", "FunctionName": key.name}


def settle(call: Call, key: FunctionKey) -> None:
    """Have what a change left Pending or InProgress brought to its end in the background."""
    try:
        unsettled = call.services.catalog.function(key).unsettled
    except NotFound:  # deleted meanwhile by another caller
        return
    for version in unsettled:
        call.services.activate(key, version)


def _check_runtime(call: Call, runtime: str | None) -> None:
    """A runtime that nothing here runs is refused at once, as long as the engine answers."""
    if runtime is None:
        return
    try:
        call.services.check_runtime(runtime)
    except ImageMissing as error:
        raise CallerError(str(error)) from error
    except EngineError as error:
        _LOGGER.warning("whether %s can run is unknown: %s", runtime, error)


def _compare_architecture(version: Version) -> None:
    """Say so when a function is not for this machine.

    It is accepted all the same: most packages are not compiled, and a template that says arm64
    should deploy on every developer's machine. What is compiled fails to load, and says why.
    """
    wanted = version.configuration["Architectures"][0]
    if wanted != _ARCHITECTURE:
        _LOGGER.warning(
            "%s is for %s, this machine is %s: what is compiled in it may not run here",
            *(version.key.arn, wanted, _ARCHITECTURE),
        )


def _image_id(call: Call, uri: str | None) -> str | None:
    if uri is None:
        return None
    try:
        return call.services.image_id(uri)
    except ImageMissing as error:
        raise CallerError(
            f"Source image {uri} does not exist. Provide a valid source image."
        ) from error
    except RegistryUnavailable as error:
        raise CallerError(
            f"Source image {uri} does not exist. Provide a valid source image. "
            f"It is not on the engine, and {error}"
        ) from error


OPERATIONS: dict[str, Implementation] = {
    "CreateFunction": create_function,
    "DeleteFunction": delete_function,
    "GetFunction": get_function,
    "GetFunctionCodeSigningConfig": get_function_code_signing_config,
    "GetFunctionConfiguration": get_function_configuration,
    "ListFunctions": list_functions,
    "UpdateFunctionCode": update_function_code,
    "UpdateFunctionConfiguration": update_function_configuration,
}
