"""Accounts, users, roles and keys: what is made, what holds at once, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.access.key_ids import account_of
from sandbox.access.secret import InstanceSecret
from sandbox.access.store import UNLIMITED, AccessStore, Limits
from sandbox.catalog.database import Database
from sandbox.clock import FakeClock
from sandbox.errors import CallerError, Conflict, NotFound
from tests.support.access import SECRET

OWN = "000000000000"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "lambda:Invoke*", "Resource": "*"}],
}


@pytest.fixture
def store(database: Database, clock: FakeClock) -> AccessStore:
    return AccessStore(database, SECRET, clock, OWN)


def reopened(database: Database, own: str = OWN) -> AccessStore:
    return AccessStore(database, SECRET, FakeClock(), own)


def test_the_instances_own_account_is_there_from_the_start(store: AccessStore) -> None:
    assert [(one.account, one.name) for one in store.accounts()] == [(OWN, "default")]
    assert store.account(None).account == OWN
    assert store.known(OWN)
    assert not store.known("111122223333")
    assert store.limits("111122223333") == UNLIMITED


def test_accounts_are_named_and_numbered_once(store: AccessStore) -> None:
    made = store.create_account("team-a", "111122223333")
    other = store.create_account("team-b")
    assert len(other.account) == 12
    assert store.account("team-a") == store.account("111122223333") == made
    for name, number in (("team-a", None), ("default", None), ("new", "111122223333")):
        with pytest.raises(Conflict, match="already"):
            store.create_account(name, number)
    with pytest.raises(NotFound, match="There is no account team-c: `fnbox accounts list` shows"):
        store.account("team-c")


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "111122223333", "ä", "a\n"])
def test_a_name_that_could_be_taken_for_something_else_is_refused(
    store: AccessStore, name: str
) -> None:
    with pytest.raises(CallerError, match="An account cannot be called"):
        store.create_account(name)


@pytest.mark.parametrize("number", ["1", "1111222233334", "11112222333x", "²" * 12])
def test_an_account_has_12_digits(store: AccessStore, number: str) -> None:
    with pytest.raises(CallerError, match="is no number of an account"):
        store.create_account("a", number)


def test_limits_are_set_one_by_one_and_taken_back(store: AccessStore) -> None:
    store.create_account("a", "111122223333")
    store.limit("a", {"concurrency": 5, "memory_mib": 4096})
    store.limit("a", {"concurrency": 0, "memory_mib": None})
    assert store.limits("111122223333") == Limits(concurrency=0)
    store.limit(None, {"functions": 10})
    assert store.limits(OWN) == Limits(functions=10)


@pytest.mark.parametrize(
    "changes", [{"speed": 1}, {"functions": -1}, {"functions": 2**63}, {"functions": True}]
)
def test_a_limit_is_a_number_from_0(store: AccessStore, changes: dict[str, Any]) -> None:
    with pytest.raises(CallerError):
        store.limit(None, changes)


def test_keys_of_the_root_user_and_of_users(store: AccessStore) -> None:
    root = store.create_key(None)
    ada = store.create_key(None, "ada", POLICY)
    again = store.create_key(None, "ada")
    assert store.keys() == sorted(
        [root, ada, again], key=lambda one: (one.created_at, one.access_key)
    )
    assert (root.user_name, ada.user_name) == (None, "ada")
    assert len({root.secret_key, ada.secret_key, again.secret_key}) == 3
    assert account_of(root.access_key) == OWN
    assert store.policies(OWN, "user", "ada") == (POLICY,)
    assert store.policies(OWN, "user", "bob") == store.policies(OWN, "role", "ada") == ()
    assert "secret" not in repr(root)
    assert "salt" not in repr(root)


def test_a_new_user_needs_a_policy_and_the_root_user_takes_none(store: AccessStore) -> None:
    with pytest.raises(CallerError, match="say with a policy"):
        store.create_key(None, "ada")
    with pytest.raises(CallerError, match="a policy is a user's"):
        store.create_key(None, None, POLICY)
    with pytest.raises(CallerError, match="A user cannot be called"):
        store.create_key(None, "a b", POLICY)
    with pytest.raises(NotFound):
        store.create_key("nobody")
    assert store.keys() == []


def test_a_key_is_disabled_enabled_and_deleted_at_once(store: AccessStore) -> None:
    key = store.create_key(None, "ada", POLICY)
    store.activate_key(key.access_key, active=False)
    found = store.key(key.access_key)
    assert found is not None
    assert not found.active
    assert found.secret_key == key.secret_key
    store.activate_key(key.access_key, active=True)
    assert store.key(key.access_key) == key
    second = store.create_key(None, "ada")
    store.delete_key(key.access_key)
    assert store.key(key.access_key) is None
    assert store.policies(OWN, "user", "ada") == (POLICY,)
    store.delete_key(second.access_key)
    assert store.policies(OWN, "user", "ada") == ()
    for change in (store.delete_key, lambda one: store.activate_key(one, active=True)):
        with pytest.raises(NotFound, match="There is no access key"):
            change(key.access_key)


def test_roles_are_put_replaced_and_deleted(store: AccessStore) -> None:
    store.create_account("a", "111122223333")
    store.put_role("a", "worker", POLICY)
    other = {"Statement": {"Effect": "Deny", "NotAction": ["sqs:*"], "NotResource": "*"}}
    store.put_role("a", "worker", other)
    store.put_role(None, "worker", POLICY)
    assert store.policies("111122223333", "role", "worker") == (other,)
    assert [one.account for one in store.roles()] == [OWN, "111122223333"]
    assert [one.name for one in store.roles("111122223333")] == ["worker"]
    store.delete_role("a", "worker")
    assert store.policies("111122223333", "role", "worker") == ()
    with pytest.raises(NotFound, match="There is no role worker"):
        store.delete_role("a", "worker")


def test_a_deleted_account_takes_its_keys_users_and_roles_along(store: AccessStore) -> None:
    store.create_account("a", "111122223333")
    root = store.create_key("a")
    store.create_key("a", "ada", POLICY)
    store.put_role("a", "worker", POLICY)
    kept = store.create_key(None)
    store.delete_account("a")
    assert store.keys() == [kept]
    assert store.key(root.access_key) is None
    assert not store.known("111122223333")
    assert store.roles() == []
    with pytest.raises(CallerError, match="is the instance's own"):
        store.delete_account("default")


def test_all_of_it_is_there_after_a_restart(store: AccessStore, database: Database) -> None:
    store.create_account("a", "111122223333")
    store.limit("a", {"functions": 3})
    store.create_key("a", "ada", POLICY)
    store.put_role(None, "worker", POLICY)
    again = reopened(database)
    assert again.accounts() == [*store.accounts()]
    assert again.keys() == store.keys()
    assert again.roles() == store.roles()


def test_the_database_holds_no_secret(tmp_path: Path, clock: FakeClock) -> None:
    database = Database.at(tmp_path / "db")
    store = AccessStore(database, SECRET, clock, OWN)
    key = store.create_key(None)
    database.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.access_key.encode() in content
    assert key.secret_key.encode() not in content
    other = AccessStore(Database.at(tmp_path / "db"), InstanceSecret(b"x" * 32), clock, OWN)
    found = other.key(key.access_key)
    assert found is not None
    assert found.secret_key != key.secret_key
    other._database.close()


def test_an_instance_may_get_another_account_of_its_own(
    store: AccessStore, database: Database
) -> None:
    store.create_key(None)
    moved = reopened(database, "999999999999")
    names = {one.account: one.name for one in moved.accounts()}
    assert names == {OWN: "default", "999999999999": "999999999999"}
    assert moved.create_key(None).account == "999999999999"


def broken(**change: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", **change}
    return {"Statement": {name: value for name, value in statement.items() if value is not None}}


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ([], "it is not a JSON object"),
        ("text", "it is not a JSON object"),
        ({}, "it has no Statement"),
        ({"Statement": []}, "it has no Statement"),
        ({"Statement": ["x"]}, "statement 1 is not a JSON object"),
        ({"Statement": [], "Statements": []}, "it has the element Statements"),
        ({**broken(), "Version": "2020-01-01"}, "its Version is none of 2012-10-17, 2008-10-17"),
        (broken(Effect="allow"), "the Effect of statement 1 is neither Allow nor Deny"),
        (broken(Effect=None), "the Effect of statement 1 is neither Allow nor Deny"),
        (broken(Principal="*"), "statement 1 has a Principal"),
        (broken(Actions="*"), "statement 1 has the element Actions"),
        (broken(Action=None), "statement 1 needs one of Action and NotAction"),
        (broken(NotAction="*"), "statement 1 needs one of Action and NotAction"),
        (broken(Resource=7), "Resource of statement 1 is neither a text nor a list of texts"),
        (broken(Action=["a", 1]), "Action of statement 1 has an entry that is no text"),
        (broken(Condition=[]), "the Condition of statement 1 is not an object of objects"),
        (broken(Condition={"Bool": "x"}), "the Condition of statement 1 is not an object"),
        (broken(Sid="x" * 20_000), "it is larger than 10240 characters"),
    ],
)
def test_a_policy_that_is_none_is_refused_with_the_reason(
    store: AccessStore, policy: Any, what: str
) -> None:
    with pytest.raises(CallerError) as refused:
        store.put_role(None, "worker", policy)
    assert refused.value.message.startswith(f"The policy cannot be used: {what}")
    assert store.roles() == []


def test_policies_come_back_as_they_were_given(store: AccessStore, database: Database) -> None:
    policy = json.loads(json.dumps(POLICY))
    policy["Statement"].append(
        {
            "Sid": "ü",
            "Effect": "Deny",
            "NotAction": ["s3:*"],
            "NotResource": ["arn:aws:s3:::x"],
            "Condition": {"StringEquals": {"aws:SourceAccount": ["1", "2"]}},
        }
    )
    store.put_role(None, "worker", policy)
    assert reopened(database).policies(OWN, "role", "worker") == (policy,)


@pytest.fixture(autouse=True)
def _nothing_is_left(database: Database) -> Iterator[None]:
    yield
    database.close()
