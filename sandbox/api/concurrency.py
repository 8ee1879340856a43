"""Concurrency: what functions reserve of their account's, and what is provisioned of it.

Source: the Lambda API reference and observed answers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sandbox.api.paging import page
from sandbox.api.rules import reference_of, unqualified_key
from sandbox.api.services import Call, Implementation
from sandbox.catalog import Function, provisioned
from sandbox.catalog.reservations import LEAST_UNRESERVED
from sandbox.errors import CallerError, NotFound, ProvisionedConcurrencyNotFound
from sandbox.names import LATEST, FunctionKey

PAGE = 50


def put_function_concurrency(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    function = _function(call, members)
    wanted: int = members["ReservedConcurrentExecutions"]
    most = call.services.limits.concurrency(function.key.account) - LEAST_UNRESERVED
    call.services.catalog.put_concurrency(function.key, wanted, most=most)
    return {"ReservedConcurrentExecutions": wanted}


def get_function_concurrency(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    reserved = _function(call, members).reserved_concurrency
    return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}


def delete_function_concurrency(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    call.services.catalog.put_concurrency(_function(call, members).key, None)
    return {}


def put_provisioned_concurrency_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """Its environments start in the background: until they are there it is IN_PROGRESS."""
    wanted: int = members["ProvisionedConcurrentExecutions"]
    function, qualifier = _published(call, members, refusal=provisioned.unpublished)
    account = call.services.limits.concurrency(function.key.account)
    now = call.services.clock.wall()

    def put(function: Function, others: int) -> Function:
        return provisioned.put(function, qualifier, wanted, now=now, account=account, others=others)

    function = call.services.catalog.provision(function.key, put)
    answer = {**_document(call, function, qualifier), "Status": "IN_PROGRESS"}
    answer.pop("StatusReason", None)
    return answer


def get_provisioned_concurrency_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    function, qualifier = _published(call, members, refusal=_not_published)
    if qualifier not in function.provisioned:
        raise ProvisionedConcurrencyNotFound(
            "No Provisioned Concurrency Config found for this function"
        )
    return _document(call, function, qualifier)


def delete_provisioned_concurrency_config(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """One that is not there is fine."""
    function, qualifier = _published(call, members, refusal=_not_published)
    call.services.catalog.provision(
        function.key, lambda function, _: provisioned.without(function, qualifier)
    )
    return {}


def list_provisioned_concurrency_configs(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """By qualifier."""
    function = call.services.catalog.function(unqualified_key(call, members))
    configs = list(function.provisioned.values())
    found, more = page(configs, lambda config: [config.qualifier], members, highest=PAGE)
    documents = [
        {
            "FunctionArn": function.key.qualified(config.qualifier),
            **_document(call, function, config.qualifier),
        }
        for config in found
    ]
    return {"ProvisionedConcurrencyConfigs": documents, **more}


def _function(call: Call, members: dict[str, Any]) -> Function:
    key: FunctionKey = unqualified_key(call, members)
    try:
        return call.services.catalog.function(key)
    except NotFound as error:
        # these operations alone print the qualifier
        raise NotFound(f"Function not found: {key.qualified(LATEST)}") from error


def _published(
    call: Call, members: dict[str, Any], *, refusal: Callable[[], CallerError]
) -> tuple[Function, str]:
    """A function and its version or alias that are meant, and there; `$LATEST` is refused."""
    key, qualifier = reference_of(call, members)
    try:
        function = call.services.catalog.function(key)
    except NotFound as error:
        raise NotFound(f"Function not found: {key.qualified(qualifier)}") from error
    if not qualifier or qualifier == LATEST:
        raise refusal()
    provisioned.check_qualifier(function, qualifier)
    return function, qualifier


def _document(call: Call, function: Function, qualifier: str) -> dict[str, Any]:
    """What the configuration of a qualifier asks for and what has come of it."""
    config = function.provisioned[qualifier]
    provided = call.services.provided(function, qualifier)
    moment = datetime.fromtimestamp(config.last_modified, UTC)
    if provided.ready >= config.requested:
        status = {"Status": "READY"}
    elif provided.failure is None:
        status = {"Status": "IN_PROGRESS"}
    else:
        status = {"Status": "FAILED", "StatusReason": provided.failure}
    return {
        "RequestedProvisionedConcurrentExecutions": config.requested,
        "AvailableProvisionedConcurrentExecutions": provided.ready,
        "AllocatedProvisionedConcurrentExecutions": provided.ready,
        **status,
        "LastModified": f"{moment:%Y-%m-%dT%H:%M:%S}+0000",
    }


def _not_published() -> CallerError:
    return CallerError("The function resource provided must be an alias or a published version.")


OPERATIONS: dict[str, Implementation] = {
    "DeleteFunctionConcurrency": delete_function_concurrency,
    "DeleteProvisionedConcurrencyConfig": delete_provisioned_concurrency_config,
    "GetFunctionConcurrency": get_function_concurrency,
    "GetProvisionedConcurrencyConfig": get_provisioned_concurrency_config,
    "ListProvisionedConcurrencyConfigs": list_provisioned_concurrency_configs,
    "PutFunctionConcurrency": put_function_concurrency,
    "PutProvisionedConcurrencyConfig": put_provisioned_concurrency_config,
}
