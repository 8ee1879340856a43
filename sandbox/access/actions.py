"""What policies call an operation and what it is done to: IAM's action, resource and keys.

One table for Lambda's API, each operation of the model in it, whether fnbox has it or not, and
one for CloudWatch Logs. Source: the Service Authorization Reference, "Actions, resources, and
condition keys for AWS Lambda" and "… for Amazon CloudWatch Logs".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from sandbox.access.decisions import ANYTHING, Ask
from sandbox.catalog.conditions import Value
from sandbox.catalog.layers import parse_layer, parse_layer_version
from sandbox.errors import NotFound
from sandbox.names import FunctionReference, function_of_arn, parse_reference

Members = Mapping[str, Any]
Keys = Mapping[str, Value]


class Where(NamedTuple):
    """What a request leaves out of a resource's name: the caller's account, and its region."""

    account: str
    region: str

    def arn(self, resource: str) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:{resource}"


Find = Callable[[str, Members, Where], Ask]
"""The Ask of an action for a request's members. Raises what a name is refused with."""


class Rule(NamedTuple):
    action: str
    """After `lambda:`."""
    find: Find
    keys: Callable[[Members], Keys] | None = None


def asks(operation: str, members: Members, where: Where) -> Iterator[Ask]:
    """All that a caller of one of Lambda's operations has to be allowed."""
    rule = LAMBDA[operation]
    ask = rule.find(f"lambda:{rule.action}", members, where)
    yield ask._replace(keys=rule.keys(members)) if rule.keys else ask
    for further in _FURTHER.get(operation, ()):
        yield from further(members, where, ask)


def _nothing(action: str, members: Members, where: Where) -> Ask:
    return Ask(action, ANYTHING, where.account)


def _function(action: str, members: Members, where: Where) -> Ask:
    """The function, version or alias, as it is addressed."""
    qualifier = members.get("Qualifier")
    return _of(action, parse_reference(members["FunctionName"], qualifier, **where._asdict()))


def _of(action: str, reference: FunctionReference) -> Ask:
    return Ask(action, reference.arn, reference.key.account, reference)


def _by_arn(member: str) -> Find:
    """Whatever an ARN names."""

    def find(action: str, members: Members, where: Where) -> Ask:
        arn: str = members[member]
        if ":function:" in arn and "/" not in arn:  # read as the operations read it
            return _of(action, parse_reference(arn, None, **where._asdict()))
        parts = arn.split(":", 6)
        return Ask(action, arn, parts[4] if len(parts) > 4 and parts[4] else where.account)

    return find


def _named(kind: str, member: str) -> Find:
    """What is named by an id, or by an ARN."""

    def find(action: str, members: Members, where: Where) -> Ask:
        if members[member].startswith("arn:"):
            return _by_arn(member)(action, members, where)
        return Ask(action, where.arn(f"{kind}:{members[member]}"), where.account)

    return find


def _layer(action: str, members: Members, where: Where) -> Ask:
    key = parse_layer(members["LayerName"], **where._asdict())
    return Ask(action, key.arn, key.account)


def _layer_version(action: str, members: Members, where: Where) -> Ask:
    key = parse_layer(members["LayerName"], **where._asdict())
    number: int = members["VersionNumber"]
    return Ask(action, f"{key.arn}:{number}", key.account, (key, number))


def _layer_arn(action: str, members: Members, where: Where) -> Ask:
    key, number = parse_layer_version(members["Arn"], region=where.region)
    return Ask(action, f"{key.arn}:{number}", key.account, (key, number))


def _tags(members: Members) -> Keys:
    tags: Mapping[str, str] = members.get("Tags") or {}
    if not tags:
        return {}
    return {"aws:TagKeys": list(tags), **{f"aws:RequestTag/{key}": tags[key] for key in tags}}


def _tag_keys(members: Members) -> Keys:
    return {"aws:TagKeys": members["TagKeys"]}


def _present(**names: str) -> Callable[[Members], Keys]:
    """Condition keys of Lambda that are members of the request."""
    pairs = [(f"lambda:{key}", member) for key, member in names.items()]
    return lambda members: {key: members[member] for key, member in pairs if members.get(member)}


def _configuration(members: Members) -> Keys:
    network = members.get("VpcConfig") or {}
    keys: dict[str, Any] = {
        "lambda:Layer": members.get("Layers"),
        "lambda:CodeSigningConfigArn": members.get("CodeSigningConfigArn"),
        "lambda:SubnetIds": network.get("SubnetIds"),
        "lambda:SecurityGroupIds": network.get("SecurityGroupIds"),
        **_tags(members),
    }
    return {key: value for key, value in keys.items() if value}


def _mapped(members: Members) -> Keys:
    name = members.get("FunctionName", "")
    return {"lambda:FunctionArn": name} if name.startswith("arn:") else {}


_AUTH_TYPE = _present(FunctionUrlAuthType="AuthType")
_GRANTED = _present(Principal="Principal", FunctionUrlAuthType="FunctionUrlAuthType")


def _rules(find: Find, *operations: str) -> dict[str, Rule]:
    """Operations whose action has their own name."""
    return {operation: Rule(operation, find) for operation in operations}


LAMBDA: Mapping[str, Rule] = {
    # what is called differently, or has keys of its own
    "Invoke": Rule("InvokeFunction", _function),
    "InvokeAsync": Rule("InvokeFunction", _function),
    "InvokeWithResponseStream": Rule("InvokeFunction", _function),
    "GetLayerVersionByArn": Rule("GetLayerVersion", _layer_arn),
    "AddPermission": Rule("AddPermission", _function, _GRANTED),
    "CreateFunction": Rule("CreateFunction", _function, _configuration),
    "UpdateFunctionConfiguration": Rule("UpdateFunctionConfiguration", _function, _configuration),
    "CreateFunctionUrlConfig": Rule("CreateFunctionUrlConfig", _function, _AUTH_TYPE),
    "UpdateFunctionUrlConfig": Rule("UpdateFunctionUrlConfig", _function, _AUTH_TYPE),
    "PutFunctionCodeSigningConfig": Rule(
        "PutFunctionCodeSigningConfig",
        _function,
        _present(CodeSigningConfigArn="CodeSigningConfigArn"),
    ),
    "CreateEventSourceMapping": Rule("CreateEventSourceMapping", _nothing, _mapped),
    "UpdateEventSourceMapping": Rule(
        "UpdateEventSourceMapping", _named("event-source-mapping", "UUID"), _mapped
    ),
    "TagResource": Rule("TagResource", _by_arn("Resource"), _tags),
    "UntagResource": Rule("UntagResource", _by_arn("Resource"), _tag_keys),
    "CreateCapacityProvider": Rule(
        "CreateCapacityProvider", _named("capacity-provider", "CapacityProviderName"), _tags
    ),
    "CreateCodeSigningConfig": Rule("CreateCodeSigningConfig", _nothing, _tags),
    **_rules(
        _function,
        *("CreateAlias", "DeleteAlias", "GetAlias", "ListAliases", "UpdateAlias"),
        *("DeleteFunction", "GetFunction", "GetFunctionConfiguration", "UpdateFunctionCode"),
        *("PublishVersion", "ListVersionsByFunction", "GetPolicy", "RemovePermission"),
        *("DeleteFunctionConcurrency", "GetFunctionConcurrency", "PutFunctionConcurrency"),
        *("DeleteFunctionEventInvokeConfig", "GetFunctionEventInvokeConfig"),
        *("ListFunctionEventInvokeConfigs", "PutFunctionEventInvokeConfig"),
        *("UpdateFunctionEventInvokeConfig", "DeleteFunctionUrlConfig", "GetFunctionUrlConfig"),
        *("ListFunctionUrlConfigs", "DeleteProvisionedConcurrencyConfig"),
        *("GetProvisionedConcurrencyConfig", "ListProvisionedConcurrencyConfigs"),
        *("PutProvisionedConcurrencyConfig", "GetRuntimeManagementConfig"),
        *("PutRuntimeManagementConfig", "GetFunctionRecursionConfig"),
        *("PutFunctionRecursionConfig", "GetFunctionScalingConfig", "PutFunctionScalingConfig"),
        *("DeleteFunctionCodeSigningConfig", "GetFunctionCodeSigningConfig"),
        "ListDurableExecutionsByFunction",
    ),
    **_rules(_by_arn("Resource"), "ListTags"),
    **_rules(
        _by_arn("ResourceArn"), "DeleteResourcePolicy", "GetResourcePolicy", "PutResourcePolicy"
    ),
    **_rules(_layer, "PublishLayerVersion"),
    **_rules(
        _layer_version,
        *("AddLayerVersionPermission", "DeleteLayerVersion", "GetLayerVersion"),
        *("GetLayerVersionPolicy", "RemoveLayerVersionPermission"),
    ),
    **_rules(
        _named("event-source-mapping", "UUID"), "DeleteEventSourceMapping", "GetEventSourceMapping"
    ),
    **_rules(
        _by_arn("CodeSigningConfigArn"),
        *("DeleteCodeSigningConfig", "GetCodeSigningConfig", "UpdateCodeSigningConfig"),
        "ListFunctionsByCodeSigningConfig",
    ),
    **_rules(
        _named("capacity-provider", "CapacityProviderName"),
        *("DeleteCapacityProvider", "GetCapacityProvider", "UpdateCapacityProvider"),
        "ListFunctionVersionsByCapacityProvider",
    ),
    **_rules(
        _by_arn("DurableExecutionArn"),
        *("CheckpointDurableExecution", "DeleteDurableExecution", "GetDurableExecution"),
        *("GetDurableExecutionHistory", "GetDurableExecutionState", "PauseDurableExecution"),
        *("ResumeDurableExecution", "StopDurableExecution"),
    ),
    # a callback's id does not say of which execution it is
    **_rules(
        _nothing,
        *("SendDurableExecutionCallbackFailure", "SendDurableExecutionCallbackHeartbeat"),
        "SendDurableExecutionCallbackSuccess",
    ),
    **_rules(
        _nothing,
        *("GetAccountSettings", "ListCapacityProviders", "ListCodeSigningConfigs"),
        *("ListEventSourceMappings", "ListFunctions", "ListLayerVersions", "ListLayers"),
    ),
}
"""By operation."""


def _pass_role(members: Members, where: Where, ask: Ask) -> Iterator[Ask]:
    """A function gets no more than who makes it may hand on."""
    role: str | None = members.get("Role")
    if role is None:
        return
    own = role.split(":")[4:5] == [ask.account]
    yield Ask(
        "iam:PassRole",
        role,
        ask.account,
        keys={
            "iam:PassedToService": "lambda.amazonaws.com",
            "iam:AssociatedResourceArn": ask.resource,
        },
        refused="" if own else "Cross-account pass role is not allowed.",
    )


def _use_layers(members: Members, where: Where, ask: Ask) -> Iterator[Ask]:
    for arn in members.get("Layers") or ():
        try:
            yield _layer_arn("lambda:GetLayerVersion", {"Arn": arn}, where)
        except NotFound:
            continue  # of another region, or none: what that is told says the operation


def _read_code(members: Members, where: Where, ask: Ask) -> Iterator[Ask]:
    code: Members = members.get("Code") or members.get("Content") or members
    if code.get("S3Bucket"):
        resource = f"arn:aws:s3:::{code['S3Bucket']}/{code.get('S3Key', '')}"
        yield Ask("s3:GetObject", resource, where.account)


def _tag_created(members: Members, where: Where, ask: Ask) -> Iterator[Ask]:
    if members.get("Tags"):
        yield ask._replace(action="lambda:TagResource", keys=_tags(members))


_FURTHER: Mapping[str, tuple[Callable[[Members, Where, Ask], Iterator[Ask]], ...]] = {
    "CreateFunction": (_tag_created, _pass_role, _use_layers, _read_code),
    "UpdateFunctionConfiguration": (_pass_role, _use_layers),
    "UpdateFunctionCode": (_read_code,),
    "PublishLayerVersion": (_read_code,),
}
"""What else some operations ask for."""


_DELIVERIES = {
    "sqs": "sqs:SendMessage",
    "sns": "sns:Publish",
    "lambda": "lambda:InvokeFunction",
    "events": "events:PutEvents",
    "s3": "s3:PutObject",
}


def delivery_ask(target: str, account: str) -> Ask:
    """What the execution role of a function of an account has to be allowed, for `target`, an ARN,
    to be told what became of an event."""
    service, owner = (target.split(":") + [""] * 5)[2:5:2]
    action = _DELIVERIES.get(service, f"{service}:-")
    if service == "lambda":
        return _of(action, function_of_arn(target))
    return Ask(action, f"{target}/*" if service == "s3" else target, owner or account)


# CloudWatch Logs

TAGGING = frozenset(
    {
        *("ListTagsForResource", "TagResource", "UntagResource"),
        *("ListTagsLogGroup", "TagLogGroup", "UntagLogGroup"),
    }
)
"""Of a group that `resourceArn` may name."""
_BARE = frozenset({"ListTagsForResource", "TagResource", "UntagResource"})
_ALL_GROUPS = frozenset({"DescribeLogGroups"})


def log_ask(operation: str, account: str, region: str, group: str, stream: str = "") -> Ask:
    """What a caller of an operation on a log group, or on one of its streams, has to be allowed.

    Whose group it is says `account`. A group's own ARN ends with an empty stream, which is why
    policies have to say `log-group:NAME:*`; for tags it does not.
    """
    name = "" if operation in _ALL_GROUPS else group
    arn = f"arn:aws:logs:{region}:{account}:log-group:{name}"
    if operation not in _BARE:
        arn = f"{arn}:log-stream:{stream}"
    return Ask(f"logs:{operation}", arn, account)
