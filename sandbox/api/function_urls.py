"""Function URLs as they are configured; `urls` answers at them.

Source: the Lambda API reference and observed answers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sandbox.api.paging import page
from sandbox.api.rules import reference_of, unqualified_key
from sandbox.api.services import Call, Implementation
from sandbox.api.urls.address import address
from sandbox.catalog import Function, FunctionUrl, function_urls
from sandbox.errors import NotFound
from sandbox.names import FunctionKey

PAGE = 50
_UNSAID = {"LastModifiedTime", "InvokeMode"}
"""Members that the answer to a creation does not have, unless the request had them."""


def create_function_url_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key, qualifier = reference_of(call, members)
    _function(call, key, "Function does not exist")
    change = partial(
        function_urls.created,
        qualifier=qualifier,
        request=members,
        url_id=function_urls.new_id(),
        now=call.services.clock.wall(),
    )
    url = function_urls.found(call.services.catalog.attach(key, change), qualifier)
    unsaid = _UNSAID - members.keys()
    return {name: value for name, value in _answer(call, url).items() if name not in unsaid}


def get_function_url_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key, qualifier = reference_of(call, members)
    function = _function(call, key, "The resource you requested does not exist.")
    return _answer(call, function_urls.found(function, qualifier))


def update_function_url_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key, qualifier = reference_of(call, members)
    _function(call, key, "Function does not exist")
    change = partial(
        function_urls.updated,
        qualifier=qualifier,
        request=members,
        now=call.services.clock.wall(),
    )
    return _answer(call, function_urls.found(call.services.catalog.attach(key, change), qualifier))


def delete_function_url_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    key, qualifier = reference_of(call, members)
    _function(call, key, "The resource you requested does not exist.")
    call.services.catalog.attach(key, partial(function_urls.deleted, qualifier=qualifier))
    return {}


def list_function_url_configs(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """The function's own first, then those of its aliases by name."""
    function = _function(call, unqualified_key(call, members), "Function does not exist")
    found, more = page(list(function.urls.values()), _place, members, highest=PAGE)
    return {"FunctionUrlConfigs": [_answer(call, url) for url in found], **more}


def _answer(call: Call, url: FunctionUrl) -> dict[str, Any]:
    domain = call.services.settings.url_domain
    return {"FunctionUrl": address(url, call.context.base_url, domain), **url.document}


def _function(call: Call, key: FunctionKey, missing: str) -> Function:
    try:
        return call.services.catalog.function(key)
    except NotFound as error:
        raise NotFound(missing) from error


def _place(url: FunctionUrl) -> list[Any]:
    return [url.qualifier]


OPERATIONS: dict[str, Implementation] = {
    "CreateFunctionUrlConfig": create_function_url_config,
    "DeleteFunctionUrlConfig": delete_function_url_config,
    "GetFunctionUrlConfig": get_function_url_config,
    "ListFunctionUrlConfigs": list_function_url_configs,
    "UpdateFunctionUrlConfig": update_function_url_config,
}
