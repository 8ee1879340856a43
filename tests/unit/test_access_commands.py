"""fnbox accounts, keys and roles, as a shell sees them, against a control plane in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sandbox.access.secret import instance_secret
from sandbox.cli import main as cli_main
from sandbox.settings import Settings
from sandbox.setup.deploy import own_keys
from tests.support.access import SECRET, served
from tests.support.api import ACCOUNT, Api, open_api

POLICY = {"Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}]}


class Ended(NamedTuple):
    status: int
    out: str
    err: str


class Shell:
    def __init__(self, api: Api, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.api = api
        self.store = api.authentication.store
        self.folder = folder
        self._capsys = capsys

    def run(self, *words: str) -> Ended:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["fnbox", *words])
            with pytest.raises(SystemExit) as ended:
                cli_main.main()
        out, err = self._capsys.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    def json(self, *words: str) -> Any:
        ended = self.run(*words, "--json")
        assert ended.status == 0, ended.err
        return json.loads(ended.out)

    def policy(self, document: Any = POLICY) -> str:
        path = self.folder / "policy.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    api = open_api(tmp_path / "state", iam="enforce")
    api.clock.advance(datetime.now(UTC).timestamp() - api.clock.wall())
    (tmp_path / "state" / "secret").write_text(SECRET._value.hex())
    monkeypatch.setenv("FNBOX_STATE_DIR", str(tmp_path / "state"))
    with served(api.app) as url:
        monkeypatch.setenv("FNBOX_PORT", url.rpartition(":")[2])
        yield Shell(api, tmp_path, capsys)
    api.close()


def test_accounts_are_created_listed_limited_and_deleted(shell: Shell) -> None:
    made = shell.run("accounts", "create", "team-a", "--number", "111122223333")
    assert made == (0, "111122223333  team-a\n", "")
    assert shell.run("accounts", "limits", "team-a", "concurrency=5", "functions=0").out == (
        "code_storage_bytes none\nconcurrency 5\nfunctions 0\nmemory_mib none\nqueued_events none\n"
    )
    assert shell.json("accounts", "limits", "team-a", "functions=none")["functions"] is None
    assert shell.run("accounts", "list").out == (
        f"{ACCOUNT}  default\n111122223333  team-a  concurrency=5\n"
    )
    listed = shell.json("accounts", "list")
    assert [(one["account"], one["limits"]["concurrency"]) for one in listed] == [
        (ACCOUNT, None),
        ("111122223333", 5),
    ]
    assert shell.run("accounts", "delete", "team-a").out == "111122223333  team-a\n"
    assert not shell.store.known("111122223333")


def test_keys_are_created_listed_disabled_and_deleted(shell: Shell) -> None:
    shell.run("accounts", "create", "team-a", "--number", "111122223333")
    root = shell.json("keys", "create", "--account", "team-a")
    key = shell.store.key(root["accessKeyId"])
    assert key is not None
    assert (root["secretAccessKey"], root["account"]) == (key.secret_key, "111122223333")
    shell.api.clock.advance(1)
    user = shell.run("keys", "create", "--user", "ada", "--policy", shell.policy())
    [made] = shell.store.keys(ACCOUNT)
    assert user.out == (
        f"AWS_ACCESS_KEY_ID={made.access_key}\nAWS_SECRET_ACCESS_KEY={made.secret_key}\n"
    )
    assert shell.store.policies(ACCOUNT, "user", "ada") == (POLICY,)
    assert shell.run("keys", "disable", made.access_key).out == f"{made.access_key}  Inactive\n"
    listed = shell.run("keys", "list").out.splitlines()
    assert [line.split("  ")[1:4] for line in listed] == [
        ["111122223333", "root", "Active"],
        [ACCOUNT, "ada", "Inactive"],
    ]
    assert made.secret_key not in shell.run("keys", "list").out
    assert [one["user"] for one in shell.json("keys", "list", "--account", ACCOUNT)] == ["ada"]
    assert shell.run("keys", "enable", made.access_key).out == f"{made.access_key}  Active\n"
    assert shell.json("keys", "delete", made.access_key)["accessKeyId"] == made.access_key
    assert shell.store.key(made.access_key) is None


def test_roles_are_put_listed_and_deleted(shell: Shell) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:role/worker"
    assert shell.run("roles", "put", "worker", "--policy", shell.policy()).out == f"{arn}\n"
    assert shell.store.policies(ACCOUNT, "role", "worker") == (POLICY,)
    [listed] = shell.json("roles", "list")
    assert (listed["arn"], listed["policies"]) == (arn, [POLICY])
    assert shell.run("roles", "list").out == f"{arn}  {listed['createdAt']}\n"
    assert shell.run("roles", "delete", "worker") == (0, "", "")
    assert shell.store.roles() == []


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("accounts", "create", "default"), 1, "fnbox: There is an account default already.\n"),
        (("accounts", "delete", "default"), 1, "is the instance's own (FNBOX_ACCOUNT) and stays."),
        (("accounts", "delete", "x"), 1, "fnbox: There is no account x: `fnbox accounts list`"),
        (("accounts", "limits", "default", "speed=1"), 1, "There is no limit speed; there are "),
        (("accounts", "limits", "default", "functions"), 2, "a limit is set as NAME=NUMBER"),
        (("keys", "create", "--user", "ada"), 1, "There is no user ada in account 000000000000"),
        (("keys", "create", "--account", "x"), 1, "fnbox: There is no account x"),
        (("keys", "delete", "AKIA/x"), 1, "fnbox: "),
        (("keys", "disable", "AKIAX"), 1, "fnbox: There is no access key AKIAX.\n"),
        (("env", "--key", "AKIAX"), 1, "fnbox: There is no access key AKIAX.\n"),
        (("roles", "delete", "x"), 1, "fnbox: There is no role x in account 000000000000.\n"),
        (("roles", "put", "x"), 2, "Missing option '--policy'"),
    ],
)
def test_what_is_wrong_is_one_line(
    shell: Shell, words: tuple[str, ...], status: int, text: str
) -> None:
    ended = shell.run(*words)
    assert ended.status == status
    assert text in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("{", "fnbox: the policy in policy.json is not JSON: "),
        ([], "fnbox: policy is not what it has to be.\n"),
        ({}, "fnbox: The policy cannot be used: it has no Statement.\n"),
    ],
)
def test_a_policy_that_is_none_is_one_line(shell: Shell, document: Any, text: str) -> None:
    ended = shell.run("roles", "put", "worker", "--policy", shell.policy(document))
    assert ended.status == 1
    assert ended.err.startswith(text)


def test_the_variables_of_a_key_are_printed_if_asked(shell: Shell) -> None:
    key = shell.store.create_key(None)
    plain = shell.run("env").out
    assert "AWS_ACCESS_KEY_ID=test\n" in plain
    asked = shell.run("env", "--key", key.access_key).out
    assert f"AWS_ACCESS_KEY_ID={key.access_key}\n" in asked
    assert key.secret_key in asked
    assert set(plain.splitlines()) - set(asked.splitlines()) == {
        "export AWS_ACCESS_KEY_ID=test",
        "export AWS_SECRET_ACCESS_KEY=test",
    }


def test_who_cannot_read_the_state_directory_is_no_administrator(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FNBOX_STATE_DIR", str(shell.folder / "another"))
    ended = shell.run("keys", "list")
    assert ended.status == 1
    assert ended.err.startswith("fnbox: This page is for the administrator of this instance")


def test_nothing_runs_is_said_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FNBOX_PORT", "1")
    assert shell.run("accounts", "list").err == (
        "fnbox: nothing answers at http://127.0.0.1:1: run `fnbox up`\n"
    )


def test_fnbox_itself_is_let_in_as_the_root_user_of_the_instances_account(shell: Shell) -> None:
    shell.api.create()
    assert shell.run("invoke", "f", "--payload", '{"a": 1}').out == '{"a": 1}\n'
    for words in (("events", "list"), ("trace",)):
        assert shell.run(*words).status == 0


def test_who_cannot_read_the_secret_calls_with_keys_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state_dir=tmp_path)
    assert own_keys(settings) == {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert own_keys(settings)["AWS_ACCESS_KEY_ID"] == "mine"
    instance_secret(tmp_path)
    assert own_keys(settings)["AWS_ACCESS_KEY_ID"].startswith("ASIA")
