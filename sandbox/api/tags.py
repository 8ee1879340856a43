"""Tags of functions."""

from __future__ import annotations

from typing import Any

from sandbox.api.rules import check_tags
from sandbox.api.services import Call, Implementation
from sandbox.catalog import choices
from sandbox.errors import CallerError, NotFound
from sandbox.names import FunctionReference, parse_reference


def tag_resource(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    reference = _resource(call, members)
    tags = members["Tags"]
    if not tags:
        raise CallerError("An error occurred and the request cannot be processed.")
    check_tags({**call.services.catalog.tags(reference), **tags})
    choices.check(tags, call.services.settings)
    call.services.catalog.tag(reference, tags)
    return {}


def untag_resource(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    call.services.catalog.untag(_resource(call, members), members["TagKeys"])
    return {}


def list_tags(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    return {"Tags": dict(call.services.catalog.tags(_resource(call, members)))}


def _resource(call: Call, members: dict[str, Any]) -> FunctionReference:
    arn = members["Resource"]
    if ":function:" not in arn:  # what else has tags on Lambda does not exist here
        raise NotFound("The resource you requested does not exist.")
    reference = parse_reference(arn, None, account=call.context.account, region=call.context.region)
    if reference.qualifier is not None:
        raise CallerError(
            "Tags on function aliases and versions are not supported. Please specify a "
            "function ARN."
        )
    return reference


OPERATIONS: dict[str, Implementation] = {
    "ListTags": list_tags,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
