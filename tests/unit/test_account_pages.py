"""What belongs to accounts is shown to them alone: logs, traces, dead events, function URLs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from sandbox.access.links import SECONDS, Links
from sandbox.catalog.tables import dead_events
from sandbox.clock import FakeClock
from sandbox.invocation import Invocation
from sandbox.logs import GroupKey, LogStore
from sandbox.names import FunctionKey, FunctionReference
from tests.support.access import sign
from tests.support.api import Api, open_api, zip_bytes
from tests.support.callers import (
    OTHER,
    OWN,
    allow,
    client,
    open_the_clock,
    root,
    user,
)

GROUP = "/aws/lambda/f"
GROUP_ARN = f"arn:aws:logs:us-east-1:{OWN}:log-group:{GROUP}"
HOST = "http://lambda.test"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    store = LogStore(tmp_path / "logs", FakeClock(), 2**20)
    made = open_api(tmp_path / "state", iam="enforce", logs=store)
    open_the_clock(made, monkeypatch)
    for account in (OWN, OTHER):
        key = GroupKey(account, "us-east-1", GROUP)
        store.create_group(key, None)
        store.create_stream(key, "s")
        store.put_events(key, "s", [(1_000_000_000, f"of {account}".encode())])
    yield made
    made.close()
    store.close()


def get(api: Api, path: str, keys: tuple[str, ...] | None, method: str = "GET") -> Any:
    """A page, asked for with keys."""
    headers = {}
    if keys:
        request = AWSRequest(method, f"{HOST}{path}")
        headers = dict(sign(request, Credentials(*keys)).headers.items())
    return api.client.open(path, method=method, headers={"Host": "lambda.test", **headers})


def test_logs_are_read_by_whom_a_policy_lets(api: Api) -> None:
    ada = client(api, *user(api, allow("logs:FilterLogEvents", f"{GROUP_ARN}:*")), service="logs")
    [event] = ada.filter_log_events(logGroupName=GROUP)["events"]
    assert event["message"] == f"of {OWN}"
    for members in ({"logGroupName": "/aws/lambda/g"}, {"logGroupIdentifier": "/aws/lambda/g"}):
        with pytest.raises(ClientError) as caught:
            ada.filter_log_events(**members)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert caught.value.response["Error"] == {
            "Code": "AccessDeniedException",
            "Message": f"User: arn:aws:iam::{OWN}:user/ada is not authorized to perform: "
            f"logs:FilterLogEvents on resource: {GROUP_ARN[:-1]}g:log-stream: because no "
            "identity-based policy allows the logs:FilterLogEvents action",
        }
    with pytest.raises(ClientError):
        ada.describe_log_groups()
    assert [entry.action for entry in api.noted][-1] == "logs:DescribeLogGroups"


def test_what_is_no_member_of_a_request_does_not_stand_for_its_group(api: Api) -> None:
    keys = user(api, allow("logs:*", f"{GROUP_ARN}:*"))
    body = json.dumps({"resourceArn": GROUP_ARN, "logGroupName": "/secret", "limit": 1})
    request = AWSRequest(
        "POST",
        f"{HOST}/",
        data=body,
        headers={"X-Amz-Target": "Logs_20140328.FilterLogEvents"},
    )
    headers = dict(sign(request, Credentials(*keys), service="logs").headers.items())
    answer = api.client.post("/", data=body, headers={"Host": "lambda.test", **headers})
    assert json.loads(answer.get_data())["__type"] == "AccessDeniedException"


def test_a_group_of_another_account_is_nobody_elses(api: Api) -> None:
    own = client(api, *root(api), service="logs")
    with pytest.raises(ClientError, match="no resource-based policy allows"):
        own.filter_log_events(logGroupIdentifier=GROUP_ARN.replace(OWN, OTHER))


def test_the_page_of_a_log_shows_the_callers(api: Api) -> None:
    path = "/_fnbox/logs/f"
    for query in ("", f"?account={OTHER}"):
        answer = get(api, f"{path}{query}", root(api))
        assert f"of {OWN}" in answer.text
        assert OTHER not in answer.text
    reader = user(api, allow("logs:FilterLogEvents", f"{GROUP_ARN}:*"))
    assert f"of {OWN}" in get(api, path, reader).text
    assert get(api, "/_fnbox/logs/g", reader).status_code == 403
    assert get(api, path, None).status_code == 403


def bury(api: Api, account: str) -> None:
    """A dead message of an account's function."""
    reference = FunctionReference(FunctionKey(account, "us-east-1", "f"), None)
    row = {
        **reference.key._asdict(),
        "qualifier": None,
        "request_id": "r",
        "trace_id": None,
        "tenant_id": None,
        "reason": "because",
        "condition": "RetriesExhausted",
        "attempts": 3,
        "kind": None,
        "target": None,
        "attributes": None,
        "created_at": 1.0,
        "died_at": 2.0,
        "body": b"{}",
    }
    api.catalog.database.transaction(
        lambda connection: connection.execute(dead_events.insert(), row).close()
    )


def test_dead_events_are_their_accounts(api: Api) -> None:
    for account in (OWN, OTHER):
        bury(api, account)
    own, other = root(api), root(api, OTHER)
    shown = get(api, "/_fnbox/events", own).get_json()
    assert shown["count"] == 1
    [event] = shown["events"]
    assert event["functionArn"].split(":")[4] == OWN
    theirs = get(api, "/_fnbox/events", other).get_json()["events"][0]["id"]
    for path, method in (
        (f"/_fnbox/events/{theirs}", "GET"),
        (f"/_fnbox/events/{theirs}", "DELETE"),
        (f"/_fnbox/events/{theirs}/retry", "POST"),
    ):
        assert get(api, path, own, method).status_code == 404
    other_function = f"/_fnbox/events?function={OTHER}%3Afunction%3Af"
    assert get(api, other_function, own, "DELETE").get_json() == {"purged": 0}
    assert get(api, "/_fnbox/events", own, "DELETE").get_json() == {"purged": 1}
    assert get(api, "/_fnbox/events/retry", other, "POST").get_json() == {"retried": 1}
    reader = user(api, allow("fnbox:GetDeadEvents"))
    assert get(api, "/_fnbox/events", reader).status_code == 200
    assert get(api, "/_fnbox/events", reader, "DELETE").status_code == 403


def test_traces_are_their_accounts(api: Api) -> None:
    traces = api.traces
    for account in (OWN, OTHER):
        key = FunctionKey(account, "us-east-1", "f")
        invocation = Invocation(FunctionReference(key, None), b"", f"of-{account}")
        with traces.of(invocation):
            pass
    listed = get(api, "/_fnbox/traces", root(api)).get_json()["traces"]
    assert len(listed) == 1
    assert get(api, f"/_fnbox/traces/of-{OWN}", root(api)).status_code == 200
    assert get(api, f"/_fnbox/traces/of-{OTHER}", root(api)).status_code == 404
    assert get(api, "/_fnbox/traces", user(api)).status_code == 403


def test_a_link_lets_in_for_a_while_and_for_its_path_alone() -> None:
    clock = FakeClock()
    links = Links(clock)
    path, _, query = links.signed("/a").partition("?")
    assert links.lets_in(path, query)
    assert not links.lets_in("/b", query)
    assert not Links(clock).lets_in(path, query)
    assert not links.lets_in(path, query.replace("Expires=", "Expires=9"))
    assert not links.lets_in(path, "")
    clock.advance(SECONDS + 1)
    assert not links.lets_in(path, query)


URL_ACTIONS = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]


def test_a_url_asks_the_policies_of_its_caller(api: Api) -> None:
    owner = client(api, *root(api))
    owner.create_function(
        FunctionName="f",
        Role=f"arn:aws:iam::{OWN}:role/r",
        Runtime="python3.13",
        Handler="app.handler",
        Code={"ZipFile": zip_bytes()},
    )
    api.settle()
    made = owner.create_function_url_config(FunctionName="f", AuthType="AWS_IAM")
    path = made["FunctionUrl"].removeprefix(HOST)
    condition = {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}
    both = user(api, allow(URL_ACTIONS, Condition=condition), name="both")
    one = user(api, allow(URL_ACTIONS[0]), name="one")
    other = user(api, allow(URL_ACTIONS), account=OTHER)
    statuses = [get(api, path, keys).status_code for keys in (root(api), both, one, other)]
    assert statuses == [200, 200, 403, 403]
    for number, action in enumerate(URL_ACTIONS):
        owner.add_permission(
            FunctionName="f", StatementId=f"s{number}", Action=action, Principal=OTHER
        )
    assert get(api, path, other).status_code == 200
    denied = [entry for entry in api.noted if entry.decision == "denied"]
    assert [(entry.action, entry.status) for entry in denied] == [
        ("lambda:InvokeFunction", 403),
        ("lambda:InvokeFunctionUrl", 403),
    ]
