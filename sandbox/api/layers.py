"""Layers: publish, read, list, delete, and who else may use them."""

from __future__ import annotations

from typing import Any

from sandbox.api.code import with_zip
from sandbox.api.functions import code_url
from sandbox.api.paging import page
from sandbox.api.rules import check_source
from sandbox.api.services import Call, Implementation
from sandbox.catalog import Layer, LayerKey, LayerVersion
from sandbox.catalog.layers import parse_layer, parse_layer_version
from sandbox.catalog.policies import written

PAGE = 50


def publish_layer_version(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    check_source(members["Content"])
    members = {**members, "Content": with_zip(call, members["Content"])}
    version = call.services.catalog.layers.publish(_key(call, members), members)
    return _described(call, version)


def get_layer_version(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key, number = _key(call, members), members["VersionNumber"]
    return _described(call, call.services.catalog.layers.version(key, number))


def get_layer_version_by_arn(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key, number = parse_layer_version(members["Arn"], region=call.context.region)
    return _described(call, call.services.catalog.layers.version(key, number))


def list_layers(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """By name, each with the newest of its versions that suit what is asked for."""
    layers = call.services.catalog.layers.layers(call.context.account, call.context.region)
    newest = [suiting[0] for layer in layers if (suiting := _suiting(layer, members))]
    found, more = page(newest, lambda version: [version.key.name], members, highest=PAGE)
    documents = [
        {
            "LayerName": version.key.name,
            "LayerArn": version.key.arn,
            "LatestMatchingVersion": version.listed,
        }
        for version in found
    ]
    return {"Layers": documents, **more}


def list_layer_versions(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """The newest first; nothing of a layer that is not there."""
    layer = call.services.catalog.layers.layer(_key(call, members))
    # a page goes on after its marker in ascending order
    found, more = page(
        _suiting(layer, members), lambda version: [-version.number], members, highest=PAGE
    )
    return {"LayerVersions": [version.listed for version in found], **more}


def delete_layer_version(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    call.services.catalog.layers.delete(_key(call, members), members["VersionNumber"])
    return {}


def add_layer_version_permission(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    statement, revision_id = call.services.catalog.layers.add_permission(
        _key(call, members), members["VersionNumber"], members
    )
    return {"Statement": written(statement), "RevisionId": revision_id}


def get_layer_version_policy(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    policy = call.services.catalog.layers.policy(_key(call, members), members["VersionNumber"])
    return {"Policy": policy.text, "RevisionId": policy.revision_id}


def remove_layer_version_permission(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key, number = _key(call, members), members["VersionNumber"]
    call.services.catalog.layers.remove_permission(key, number, members)
    return {}


def _key(call: Call, members: dict[str, Any]) -> LayerKey:
    context = call.context
    return parse_layer(members["LayerName"], account=context.account, region=context.region)


def _suiting(layer: Layer, members: dict[str, Any]) -> list[LayerVersion]:
    wanted = members.get("CompatibleRuntime"), members.get("CompatibleArchitecture")
    return [version for version in layer.versions.values() if version.suits(*wanted)]


def _described(call: Call, version: LayerVersion) -> dict[str, Any]:
    return {
        "Content": {**version.content, "Location": code_url(call, version.code)},
        "LayerArn": version.key.arn,
        **version.listed,
    }


OPERATIONS: dict[str, Implementation] = {
    "AddLayerVersionPermission": add_layer_version_permission,
    "DeleteLayerVersion": delete_layer_version,
    "GetLayerVersion": get_layer_version,
    "GetLayerVersionByArn": get_layer_version_by_arn,
    "GetLayerVersionPolicy": get_layer_version_policy,
    "ListLayerVersions": list_layer_versions,
    "ListLayers": list_layers,
    "PublishLayerVersion": publish_layer_version,
    "RemoveLayerVersionPermission": remove_layer_version_permission,
}
