"""What a caller may, through the API with a real client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.errors import AccessDenied
from sandbox.names import FunctionKey
from tests.support.access import served
from tests.support.api import Api, open_api, zip_bytes
from tests.support.callers import (
    OTHER,
    OWN,
    allow,
    client,
    deny,
    open_the_clock,
    root,
    session,
    store,
    user,
)

AWS = str(Path(sys.executable).parent / "aws")
FUNCTION = f"arn:aws:lambda:us-east-1:{OWN}:function:f"
ROLE = f"arn:aws:iam::{OWN}:role/r"
INVOKE = "lambda:InvokeFunction"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    made = open_api(tmp_path, iam="enforce")
    open_the_clock(made, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    made = open_api(tmp_path, iam="audit")
    open_the_clock(made, monkeypatch)
    yield made
    made.close()


def create(caller: Any, api: Api, name: str = "f", **members: Any) -> None:
    caller.create_function(
        **{
            "FunctionName": name,
            "Role": ROLE,
            "Runtime": "python3.13",
            "Handler": "app.handler",
            "Code": {"ZipFile": zip_bytes()},
            **members,
        }
    )
    api.settle()


@pytest.fixture
def owner(api: Api) -> Any:
    """The root user of an account with a function `f`, version 1, alias `live`."""
    made = client(api, *root(api))
    create(made, api, Publish=True)
    made.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    return made


def refusal(call: Any, **members: Any) -> str:
    """What the caller is told."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert response["Error"]["Code"] == "AccessDeniedException"
    return str(response["Error"]["Message"])


def told(action: str, resource: str, why: str, who: str = f"arn:aws:iam::{OWN}:user/ada") -> str:
    return f"User: {who} is not authorized to perform: {action} on resource: {resource} {why}"


def because(kind: str, action: str = INVOKE) -> str:
    return f"because no {kind}-based policy allows the {action} action"


def test_a_user_invokes_what_its_policy_allows_and_nothing_else(api: Api, owner: Any) -> None:
    ada = client(api, *user(api, allow(INVOKE, FUNCTION)))
    assert ada.invoke(FunctionName="f", Payload=b"1")["Payload"].read() == b"1"
    why = because("identity")
    assert refusal(ada.invoke, FunctionName="f", Qualifier="live") == told(
        INVOKE, f"{FUNCTION}:live", why
    )
    assert refusal(ada.invoke, FunctionName="f:1") == told(INVOKE, f"{FUNCTION}:1", why)
    assert len(api.service.invoked) == 1


def test_a_deny_is_said_to_be_one(api: Api, owner: Any) -> None:
    ada = client(api, *user(api, allow("*"), deny(INVOKE, FUNCTION)))
    assert refusal(ada.invoke, FunctionName="f") == told(
        INVOKE, FUNCTION, "with an explicit deny in an identity-based policy"
    )
    ada.invoke(FunctionName="f", Qualifier="live")


def test_a_resource_policy_that_denies_holds_for_the_root_user_too(api: Api, owner: Any) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": INVOKE, "Resource": FUNCTION}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    owner.invoke(FunctionName="f")
    owner.put_resource_policy(ResourceArn=FUNCTION, Policy=policy)
    assert refusal(owner.invoke, FunctionName="f") == told(
        INVOKE,
        FUNCTION,
        "with an explicit deny in a resource-based policy",
        f"arn:aws:iam::{OWN}:root",
    )
    owner.delete_resource_policy(ResourceArn=FUNCTION)
    owner.invoke(FunctionName="f")


@pytest.mark.parametrize("kind", ["RequestResponse", "Event", "DryRun"])
def test_every_kind_of_invoke_is_asked_for(api: Api, owner: Any, kind: str) -> None:
    ada = client(api, *user(api))
    assert refusal(ada.invoke, FunctionName="f", InvocationType=kind) == told(
        INVOKE, FUNCTION, because("identity")
    )
    assert api.service.invoked == api.service.enqueued == []
    allowed = client(api, *user(api, allow(INVOKE), name="bob"))
    status = {"RequestResponse": 200, "Event": 202, "DryRun": 204}[kind]
    assert allowed.invoke(FunctionName="f", InvocationType=kind)["StatusCode"] == status


def test_streams_and_the_deprecated_form_are_the_same_action(api: Api, owner: Any) -> None:
    ada = client(api, *user(api))
    for call, members in (
        (ada.invoke_with_response_stream, {}),
        (ada.invoke_async, {"InvokeArgs": b"{}"}),
    ):
        assert refusal(call, FunctionName="f", **members) == told(
            INVOKE, FUNCTION, because("identity")
        )


def test_between_accounts_both_sides_have_to_allow(api: Api, owner: Any) -> None:
    arn = f"arn:aws:iam::{OTHER}:user/ada"
    ada = client(api, *user(api, allow(INVOKE, FUNCTION), account=OTHER))
    assert refusal(ada.invoke, FunctionName=FUNCTION) == told(
        INVOKE, FUNCTION, because("resource"), arn
    )
    owner.add_permission(FunctionName="f", StatementId="a", Action=INVOKE, Principal=OTHER)
    for name in (FUNCTION, f"{OWN}:function:f", f"{OWN}:f"):
        assert ada.invoke(FunctionName=name)["StatusCode"] == 200
    bob = client(api, *user(api, account=OTHER, name="bob"))
    assert refusal(bob.invoke, FunctionName=FUNCTION) == told(
        INVOKE, FUNCTION, because("identity"), f"arn:aws:iam::{OTHER}:user/bob"
    )
    # the policy is the function's, and an alias has its own
    assert "no identity" in refusal(ada.invoke, FunctionName=FUNCTION, Qualifier="live")
    owner.remove_permission(FunctionName="f", StatementId="a")
    assert "no resource" in refusal(ada.invoke, FunctionName=FUNCTION)


def test_what_another_account_has_and_what_it_does_not_are_denied_alike(
    api: Api, owner: Any
) -> None:
    other = client(api, *root(api, OTHER))
    absent = f"{FUNCTION[:-1]}g"
    calls = [
        (other.invoke, {}),
        (other.get_function, {}),
        (other.delete_function, {}),
        (other.get_policy, {}),
        (other.list_versions_by_function, {}),
        (other.put_function_concurrency, {"ReservedConcurrentExecutions": 1}),
        (other.invoke, {"Qualifier": "live"}),
        (other.get_alias, {"Name": "live"}),
    ]
    for call, members in calls:
        there = refusal(call, FunctionName=FUNCTION, **members)
        gone = refusal(call, FunctionName=absent, **members)
        assert there.replace(FUNCTION, absent) == gone
    for arn in (FUNCTION, absent):
        assert arn in refusal(other.list_tags, Resource=arn)
        assert arn in refusal(other.get_resource_policy, ResourceArn=arn)
    assert owner.get_function(FunctionName="f")["Configuration"]["FunctionArn"] == FUNCTION


def test_an_account_sees_its_own_functions_and_layers_only(api: Api, owner: Any) -> None:
    owner.publish_layer_version(LayerName="tools", Content={"ZipFile": zip_bytes()})
    other = client(api, *root(api, OTHER))
    assert other.list_functions()["Functions"] == []
    assert other.list_layers()["Layers"] == []
    assert other.get_account_settings()["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    assert len(owner.list_functions()["Functions"]) == 1


def test_a_list_is_asked_for_as_everything(api: Api, owner: Any) -> None:
    ada = client(api, *user(api, allow("lambda:ListFunctions", FUNCTION)))
    assert refusal(ada.list_functions) == told(
        "lambda:ListFunctions", "*", because("identity", "lambda:ListFunctions")
    )


def test_a_role_is_passed_by_whom_that_is_allowed_to(api: Api, owner: Any) -> None:
    ada = client(api, *user(api, allow("lambda:*")))
    for call in (
        lambda: create(ada, api, "g"),
        lambda: ada.update_function_configuration(FunctionName="f", Role=ROLE),
    ):
        assert refusal(call) == told("iam:PassRole", ROLE, because("identity", "iam:PassRole"))
    ada.update_function_configuration(FunctionName="f", Timeout=5)
    condition = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    passing = allow("iam:PassRole", ROLE, Condition=condition)
    bob = client(api, *user(api, allow("lambda:*"), passing, name="bob"))
    create(bob, api, "g")


def test_a_role_of_another_account_is_passed_by_nobody(api: Api, owner: Any) -> None:
    with pytest.raises(ClientError) as caught:
        create(owner, api, "g", Role=ROLE.replace(OWN, OTHER))
    assert caught.value.response["Error"] == {
        "Code": "AccessDeniedException",
        "Message": "Cross-account pass role is not allowed.",
    }


def test_a_layer_of_another_account_is_used_when_both_allow(api: Api, owner: Any) -> None:
    other = client(api, *root(api, OTHER))
    made = other.publish_layer_version(LayerName="tools", Content={"ZipFile": zip_bytes()})
    arn = made["LayerVersionArn"]
    action = "lambda:GetLayerVersion"
    who = f"arn:aws:iam::{OWN}:root"
    expected = told(action, arn, because("resource", action), who)
    use = {"FunctionName": "f", "Layers": [arn]}
    assert refusal(owner.update_function_configuration, **use) == expected
    assert refusal(owner.get_layer_version_by_arn, Arn=arn) == expected
    absent = f"{arn[:-1]}7"
    assert refusal(owner.get_layer_version_by_arn, Arn=absent) == expected.replace(arn, absent)
    other.add_layer_version_permission(
        LayerName="tools", VersionNumber=1, StatementId="s", Action=action, Principal=OWN
    )
    owner.update_function_configuration(**use)


def test_tags_are_conditions(api: Api, owner: Any) -> None:
    condition = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    ada = client(api, *user(api, allow("lambda:*", Condition=condition)))
    assert "no identity" in refusal(ada.invoke, FunctionName="f")
    owner.tag_resource(Resource=FUNCTION, Tags={"team": "blue"})
    ada.invoke(FunctionName="f")
    owner.untag_resource(Resource=FUNCTION, TagKeys=["team"])
    assert "no identity" in refusal(ada.invoke, FunctionName="f")


def test_an_address_is_a_condition(api: Api, owner: Any) -> None:
    for network, allowed in (("192.0.2.0/24", True), ("10.0.0.0/8", False)):
        condition = {"IpAddress": {"aws:SourceIp": network}}
        keys = user(api, allow(INVOKE, Condition=condition), name=f"of-{network[:2]}")
        caller = client(api, *keys)
        if allowed:
            caller.invoke(FunctionName="f")
        else:
            assert "no identity" in refusal(caller.invoke, FunctionName="f")


def test_the_aws_cli_shows_what_is_denied(tmp_path: Path) -> None:
    api = open_api(tmp_path, iam="enforce")
    api.clock.advance(time.time() - api.clock.wall())
    key, secret = user(api)
    with served(api.app) as url:
        done = subprocess.run(
            [AWS, "--endpoint-url", url, "lambda", "invoke", "--function-name", FUNCTION, "-"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": "/nonexistent",
                "NO_PROXY": "*",
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
    api.close()
    assert done.returncode != 0
    assert done.stderr.strip() == (
        "An error occurred (AccessDeniedException) when calling the Invoke operation: "
        + told(INVOKE, FUNCTION, because("identity"))
    )


def test_a_changed_policy_holds_for_the_next_call(api: Api, owner: Any) -> None:
    ada = client(api, *user(api, allow(INVOKE)))
    ada.invoke(FunctionName="f")
    user(api, deny(INVOKE))
    assert "explicit deny" in refusal(ada.invoke, FunctionName="f")


def test_an_execution_role_invokes_one_function_and_not_another(api: Api, owner: Any) -> None:
    create(owner, api, "g")
    policy = {"Version": "2012-10-17", "Statement": [allow(INVOKE, FUNCTION)]}
    store(api).put_role(OWN, "r", policy)
    function = client(api, *session(api, "r"))
    function.invoke(FunctionName="f")
    assert refusal(function.invoke, FunctionName="g") == told(
        INVOKE,
        f"{FUNCTION[:-1]}g",
        because("identity"),
        f"arn:aws:sts::{OWN}:assumed-role/r/f",
    )


def test_audit_lets_everything_pass_and_notes_what_would_be_denied(watched: Api) -> None:
    owner = client(watched, *root(watched))
    create(owner, watched)
    ada = client(watched, *user(watched))
    unknown = client(watched, "test", "test")
    for caller in (ada, unknown, owner):
        caller.invoke(FunctionName=FUNCTION, Payload=b'"secret"')
    noted = [entry for entry in watched.noted if entry.action == INVOKE]
    assert [(entry.decision, entry.status) for entry in noted] == [
        ("would be denied", 200),
        ("would be denied", 200),
        ("allowed", 200),
    ]
    assert noted[0].reason == because("identity")
    assert noted[0].principal == f"arn:aws:iam::{OWN}:user/ada"
    assert noted[1].reason == "The security token included in the request is invalid."
    assert (noted[2].resource, noted[2].source) == (FUNCTION, "192.0.2.7")
    assert "secret" not in repr(watched.noted)


def test_a_denied_request_is_noted_with_its_status(api: Api, owner: Any) -> None:
    api.noted.clear()
    key, secret = user(api)
    ada = client(api, key, secret)
    refusal(ada.delete_function, FunctionName="f")
    [entry] = api.noted
    assert (entry.action, entry.resource) == ("lambda:DeleteFunction", FUNCTION)
    assert (entry.decision, entry.status, entry.access_key) == ("denied", 403, key)
    with pytest.raises(ClientError):
        client(api, key, "wrong").invoke(FunctionName="f")
    assert api.noted[1][2:10] == (
        *("*", "", key, "192.0.2.7", INVOKE, "*", "denied"),
        "The request signature we calculated does not match the signature you provided. Check "
        "your AWS Secret Access Key and signing method. Consult the service documentation for "
        "details.",
    )
    assert secret not in repr(api.noted)


def test_without_enforcement_nothing_is_asked_and_nothing_noted(tmp_path: Path) -> None:
    api = open_api(tmp_path)
    api.create()
    api.invoke()
    other = api.boto(access_key=OTHER)
    other.invoke(FunctionName="arn:aws:lambda:us-east-1:000000000000:function:f")
    assert api.noted == []
    api.close()


def test_a_log_may_be_kept_where_nothing_is_asked(tmp_path: Path) -> None:
    api = open_api(tmp_path, audit=True)
    api.create()
    api.invoke()
    entry = api.noted[-1]
    assert (entry.action, entry.decision, entry.reason) == (INVOKE, "allowed", "nothing is asked")
    api.close()


QUEUE = f"arn:aws:sqs:us-east-1:{OWN}:q"


@pytest.mark.parametrize(
    ("target", "action", "resource"),
    [
        (QUEUE, "sqs:SendMessage", QUEUE),
        (f"arn:aws:sns:us-east-1:{OWN}:t", "sns:Publish", f"arn:aws:sns:us-east-1:{OWN}:t"),
        (f"{FUNCTION}:live", INVOKE, f"{FUNCTION}:live"),
        ("arn:aws:s3:::b", "s3:PutObject", "arn:aws:s3:::b/*"),
        (
            f"arn:aws:events:us-east-1:{OWN}:event-bus/b",
            "events:PutEvents",
            f"arn:aws:events:us-east-1:{OWN}:event-bus/b",
        ),
    ],
)
def test_what_becomes_of_an_event_is_told_where_the_functions_role_may(
    api: Api, owner: Any, target: str, action: str, resource: str
) -> None:
    def check() -> None:
        key = FunctionKey(OWN, "us-east-1", "f")
        api.authorization.check_delivery(key, target, "r")

    with pytest.raises(AccessDenied) as caught:
        check()
    who = f"arn:aws:sts::{OWN}:assumed-role/r/f"
    assert str(caught.value) == told(action, resource, because("identity", action), who)
    assert api.noted[-1][6:10] == (action, resource, "denied", because("identity", action))
    store(api).put_role(OWN, "r", {"Statement": [allow(action, resource)]})
    check()


def test_a_target_of_another_account_is_told_if_that_lets_it(api: Api, owner: Any) -> None:
    store(api).put_role(OWN, "r", {"Statement": [allow("*")]})
    key = FunctionKey(OWN, "us-east-1", "f")
    for target in (QUEUE, FUNCTION):
        with pytest.raises(AccessDenied, match="no resource-based policy"):
            api.authorization.check_delivery(key, target.replace(OWN, OTHER), "r")
    other = client(api, *root(api, OTHER))
    create(other, api, Role=ROLE.replace(OWN, OTHER))
    other.add_permission(FunctionName="f", StatementId="s", Action=INVOKE, Principal=OWN)
    api.authorization.check_delivery(key, FUNCTION.replace(OWN, OTHER), "r")
