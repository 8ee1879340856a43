"""FunctionConfiguration documents: what Lambda answers about a function.

Pure functions from requests to documents, with Lambda's defaults. A request has been checked
already, against the service model and against Lambda's own rules. Source: the Lambda API
reference, CreateFunction, UpdateFunctionConfiguration, UpdateFunctionCode and PublishVersion.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox.catalog.records import Code
from sandbox.names import LATEST, FunctionKey

Document = dict[str, Any]

_CREATING = {
    "State": "Pending",
    "StateReason": "The function is being created.",
    "StateReasonCode": "Creating",
}

# the reason is what Lambda says, odd as it is for an update
_UPDATING = {
    "LastUpdateStatus": "InProgress",
    "LastUpdateStatusReason": "The function is being created.",
    "LastUpdateStatusReasonCode": "Creating",
}

# members that say when and how a version came to be, not what it runs
_CIRCUMSTANCES = {
    *("FunctionArn", "Version", "Description", "LastModified", "RevisionId", "ConfigSha256"),
    *("CodeSha256", "CodeSize"),
    *_CREATING,
    *_UPDATING,
}


def timestamp(seconds: float) -> str:
    """LastModified as Lambda writes it: `2025-11-25T02:27:35.123+0000`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}+0000"


def created(key: FunctionKey, request: Mapping[str, Any], now: float) -> Document:
    """The document of a new function, Pending; `coded` adds what its package says."""
    document: Document = {
        "FunctionName": key.name,
        "FunctionArn": key.arn,
        "Version": LATEST,
        "PackageType": request.get("PackageType") or "Zip",
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Architectures": ["x86_64"],
        **_CREATING,
    }
    for member in ("Architectures", "TenancyConfig"):  # which no later request may change
        if request.get(member):
            document[member] = request[member]
    answered_always = ("TracingConfig", "EphemeralStorage", "SnapStart", "LoggingConfig")
    empty: Document = {member: {} for member in answered_always}
    return _stamped(_merged(document, {**empty, **request}, key), now)


def reconfigured(
    key: FunctionKey, document: Mapping[str, Any], request: Mapping[str, Any], now: float
) -> Document:
    """The document after UpdateFunctionConfiguration: what is absent stays; InProgress."""
    return _stamped({**_merged(document, request, key), **_UPDATING}, now)


def recoded(document: Mapping[str, Any], request: Mapping[str, Any], now: float) -> Document:
    """The document after UpdateFunctionCode, but for `coded`; InProgress."""
    changed = dict(document)
    if request.get("Architectures"):
        changed["Architectures"] = request["Architectures"]
    return _stamped({**changed, **_UPDATING}, now)


def coded(
    document: Document, code: Code | None, image_uri: str | None, image_id: str | None
) -> Document:
    """The document with the size and digest of its package.

    A zip's digest is in base64. An image's is in hexadecimal, and of its name when the engine
    has not said which image that is.
    """
    if code is not None:
        digest = base64.b64encode(bytes.fromhex(code.sha256)).decode()
        return {**document, "CodeSize": code.size, "CodeSha256": digest}
    digest = (image_id or "").rpartition("@")[2].removeprefix("sha256:")
    digest = digest or hashlib.sha256((image_uri or "").encode()).hexdigest()
    return {**document, "CodeSize": 0, "CodeSha256": digest}


def published(
    document: Mapping[str, Any], version: str, description: str | None, now: float
) -> Document:
    """The document of a version made from $LATEST's; in the state that $LATEST is in.

    Where Lambda prepares a version before it runs (images, VPCs, SnapStart) it is Pending.
    """
    snapshot = {
        **document,
        "FunctionArn": f"{document['FunctionArn']}:{version}",
        "Version": version,
        "ConfigSha256": fingerprint(document),
    }
    if description is not None:
        snapshot["Description"] = description
    snap_start = document["SnapStart"]["ApplyOn"] == "PublishedVersions"
    if snap_start:
        snapshot["SnapStart"] = {**document["SnapStart"], "OptimizationStatus": "On"}
    in_vpc = document.get("VpcConfig", {}).get("SubnetIds")
    if snap_start or in_vpc or document["PackageType"] == "Image":
        snapshot = {**_without(_UPDATING, snapshot), **_CREATING}
    return _stamped(snapshot, now)


def activated(document: Mapping[str, Any]) -> Document:
    """The document once creation or update is done."""
    done = _without({*_CREATING, *_UPDATING}, document)
    settled = {"State": "Active", "LastUpdateStatus": "Successful"}
    return {**done, **settled, "RevisionId": str(uuid.uuid4())}


def failed(document: Mapping[str, Any], code: str, reason: str) -> Document:
    """The document when creation or update cannot be done: what it was doing has Failed."""
    what = "State" if document["State"] == "Pending" else "LastUpdateStatus"
    told = {what: "Failed", f"{what}Reason": reason, f"{what}ReasonCode": code}
    return {**document, **told, "RevisionId": str(uuid.uuid4())}


def listed(document: Mapping[str, Any]) -> Document:
    """The document as a list shows it: without what Lambda tells of one function at a time."""
    return _without({*_CREATING, *_UPDATING, "RuntimeVersionConfig"}, document)


def fingerprint(document: Mapping[str, Any]) -> str:
    """Base64 of a SHA-256 over the configuration, whatever its package, texts, times or state."""
    text = json.dumps(_without(_CIRCUMSTANCES, document), sort_keys=True, separators=(",", ":"))
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def same_content(version: Mapping[str, Any], latest: Mapping[str, Any]) -> bool:
    """Whether publishing `latest` would only repeat a version."""
    same_code: bool = version["CodeSha256"] == latest["CodeSha256"]
    return same_code and version["ConfigSha256"] == fingerprint(latest)


def _stamped(document: Document, now: float) -> Document:
    return {**document, "LastModified": timestamp(now), "RevisionId": str(uuid.uuid4())}


def _without(names: Container[str], document: Mapping[str, Any]) -> Document:
    return {name: value for name, value in document.items() if name not in names}


def _merged(document: Mapping[str, Any], request: Mapping[str, Any], key: FunctionKey) -> Document:
    """`document` with what the request says about it."""
    changed = dict(document)
    for member in _AS_GIVEN:
        if request.get(member) is not None:
            changed[member] = request[member]
    for member, answer in _ANSWERED.items():
        value = request.get(member)
        if value is not None:
            if member in _PATCHED:
                value = {**document.get(member, {}), **value}
            changed |= answer(value, key)
    # what a request may empty is then left out of the answer
    return {name: value for name, value in changed.items() if value is not None}


def _vpc(value: Mapping[str, Any], _: FunctionKey) -> Document:
    subnets = list(value.get("SubnetIds") or ())
    digest = hashlib.sha256(",".join(sorted(subnets)).encode()).hexdigest()
    answer = {
        "SubnetIds": subnets,
        "SecurityGroupIds": list(value.get("SecurityGroupIds") or ()),
        # which VPC a subnet is in, only EC2 knows: the same answer for the same subnets will do
        "VpcId": f"vpc-{digest[:17]}" if subnets else "",
        "Ipv6AllowedForDualStack": bool(value.get("Ipv6AllowedForDualStack")),
    }
    return {"VpcConfig": answer}


def _logging(value: Mapping[str, Any], key: FunctionKey) -> Document:
    answer = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{key.name}", **value}
    levels = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}
    if answer["LogFormat"] == "JSON":
        return {"LoggingConfig": {**levels, **answer}}
    return {"LoggingConfig": _without(levels, answer)}


def _runtime(runtime: str, key: FunctionKey) -> Document:
    return {"Runtime": runtime, "RuntimeVersionConfig": runtime_version(runtime, key)}


def runtime_version(runtime: str, key: FunctionKey, arn: str | None = None) -> Document:
    """The RuntimeVersionConfig of a runtime: of the version that was chosen, else its only one."""
    digest = hashlib.sha256(runtime.encode()).hexdigest()
    return {"RuntimeVersionArn": arn or f"arn:aws:lambda:{key.region}::runtime:{digest}"}


_AS_GIVEN = (
    "Role",
    "Handler",
    "Description",
    "Timeout",
    "MemorySize",
    "CapacityProviderConfig",
    "RuntimeConfig",
    "AcceleratorConfig",
)

# of these an update changes what it gives, and leaves the rest as it was
_PATCHED = ("LoggingConfig", "DurableConfig")

_ANSWERED: dict[str, Callable[[Any, FunctionKey], Document]] = {
    "Runtime": _runtime,
    "Environment": lambda value, _: {
        "Environment": {"Variables": dict(value.get("Variables") or {})}
    },
    # as the catalog has resolved them: a document for each
    "Layers": lambda value, _: {"Layers": list(value) or None},
    "VpcConfig": _vpc,
    "LoggingConfig": _logging,
    "DurableConfig": lambda value, _: {"DurableConfig": dict(value)},
    "TracingConfig": lambda value, _: {"TracingConfig": {"Mode": "PassThrough", **value}},
    "EphemeralStorage": lambda value, _: {"EphemeralStorage": {"Size": 512, **value}},
    "SnapStart": lambda value, _: {
        "SnapStart": {"ApplyOn": "None", **value, "OptimizationStatus": "Off"}
    },
    "DeadLetterConfig": lambda value, _: {
        "DeadLetterConfig": dict(value) if value.get("TargetArn") else None
    },
    "KMSKeyArn": lambda value, _: {"KMSKeyArn": value or None},
    "FileSystemConfigs": lambda value, _: {"FileSystemConfigs": list(value) or None},
    "ImageConfig": lambda value, _: {
        "ImageConfigResponse": {"ImageConfig": dict(value)} if value else None
    },
}
