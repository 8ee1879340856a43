"""Keys that are kept nowhere: ids that name their account, secrets, session tokens."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sandbox.access import key_ids
from sandbox.access.errors import ExpiredToken, UnrecognizedClient
from sandbox.access.secret import InstanceSecret, instance_secret, read_secret
from sandbox.access.sessions import (
    ENVIRONMENT_SECONDS,
    RENEWAL_SECONDS,
    Session,
    Sessions,
    role_name,
)
from sandbox.clock import FakeClock
from sandbox.errors import StartupError
from tests.support.access import make_sessions

ACCOUNT = "111122223333"
DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
"""Of base 64, as tokens have it."""


@given(st.integers(0, 10**12 - 1), st.integers(0, key_ids.NONCES - 1))
def test_the_account_of_a_key_can_be_read_from_its_id(number: int, nonce: int) -> None:
    account = f"{number:012d}"
    for prefix in (key_ids.LASTING, key_ids.SESSION):
        access_key = key_ids.new_id(prefix, account, nonce)
        assert len(access_key) == 20
        assert access_key.isalnum()
        assert access_key.isupper()
        assert key_ids.account_of(access_key) == account


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=16, max_size=16))
def test_keys_of_others_name_no_account(rest: str) -> None:
    assert key_ids.account_of(f"AKIA{rest}") is None


@pytest.mark.parametrize(
    "access_key", ["test", "AKIAIOSFODNN7EXAMPLE", "ASIA", "AKIA" + "é" * 16, "AKIA" + "a" * 16, ""]
)
def test_what_is_no_key_names_no_account(access_key: str) -> None:
    assert key_ids.account_of(access_key) is None


def test_a_session_is_of_a_role_or_of_an_accounts_root_user(clock: FakeClock) -> None:
    sessions = make_sessions(clock)
    made = sessions.issue(ACCOUNT, "my-role", "my-function")
    found = sessions.read(made.access_key, made.session_token)
    assert found == Session(ACCOUNT, "my-role", "my-function", made.secret_key)
    assert key_ids.account_of(made.access_key) == ACCOUNT
    assert (len(made.secret_key), made.access_key[:4]) == (40, "ASIA")
    root = sessions.issue(ACCOUNT, None, "somebody")
    assert sessions.read(root.access_key, root.session_token).role is None


def test_no_two_sessions_have_the_same_secret(clock: FakeClock) -> None:
    sessions = make_sessions(clock)
    made = [sessions.issue(ACCOUNT, "r", "f") for _ in range(100)]
    assert len({one.secret_key for one in made}) == 100


def test_an_environment_is_replaced_long_before_its_keys_end(clock: FakeClock) -> None:
    sessions = make_sessions(clock)
    made = sessions.issue(ACCOUNT, "r", "f")
    clock.advance(RENEWAL_SECONDS + 15 * 60)
    sessions.read(made.access_key, made.session_token)
    clock.advance(ENVIRONMENT_SECONDS - RENEWAL_SECONDS - 15 * 60)
    with pytest.raises(ExpiredToken, match="The security token included in the request is expired"):
        sessions.read(made.access_key, made.session_token)


def test_sessions_outlive_the_control_plane_and_belong_to_one_instance(
    tmp_path: Path, clock: FakeClock
) -> None:
    made = Sessions(instance_secret(tmp_path), clock).issue(ACCOUNT, "r", "f")
    again = Sessions(instance_secret(tmp_path), clock)
    assert again.read(made.access_key, made.session_token).secret_key == made.secret_key
    other = Sessions(instance_secret(tmp_path / "other"), clock)
    with pytest.raises(UnrecognizedClient):
        other.read(made.access_key, made.session_token)


@given(st.data())
def test_a_token_that_was_changed_is_none(data: st.DataObject) -> None:
    sessions = make_sessions()
    made = sessions.issue(ACCOUNT, "r", "f")
    token = made.session_token
    at = data.draw(st.integers(0, len(token) - 1))
    new = token[:at] + data.draw(st.characters()) + token[at + 1 :]
    assume(new != token)
    with pytest.raises(UnrecognizedClient):
        sessions.read(made.access_key, new)


def other_spellings(token: str) -> Iterator[str]:
    """What lenient decoders of base 64 take for the same bytes."""
    yield token[:10] + "!" + token[10:]
    yield token[:10] + "\n" + token[10:]
    yield token[:10] + "é" + token[10:]
    yield token + "="
    yield token + "tail"
    yield token.replace("-", "+").replace("_", "/")
    if token.endswith("="):
        bare = token.rstrip("=")
        yield bare[:-1] + DIGITS[DIGITS.index(bare[-1]) + 1] + token[len(bare) :]
        yield bare


def test_a_token_has_one_spelling() -> None:
    sessions = make_sessions()
    # names of all lengths, for tokens with and without padding
    made = [sessions.issue(ACCOUNT, "r", "f" * length) for length in range(1, 31)]
    assert {one.session_token[-2:].count("=") for one in made} == {0, 1, 2}
    assert any(set("-_") & set(one.session_token) for one in made)
    for one in made:
        sessions.read(one.access_key, one.session_token)
        for spelling in {*other_spellings(one.session_token)} - {one.session_token}:
            with pytest.raises(UnrecognizedClient):
                sessions.read(one.access_key, spelling)


def test_a_token_is_of_one_key() -> None:
    sessions = make_sessions()
    one, other = sessions.issue(ACCOUNT, "r", "f"), sessions.issue("444455556666", "r", "f")
    for token in (other.session_token, "", "x", "local"):
        with pytest.raises(UnrecognizedClient):
            sessions.read(one.access_key, token)


def test_the_secret_of_an_instance_is_its_owners_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert read_secret(state) is None
    made = instance_secret(state)
    assert (state / "secret").stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in state.iterdir()] == ["secret"]
    found = read_secret(state)
    assert found is not None
    assert found.administrator_token == made.administrator_token
    assert len({made.administrator_token, made.derived("x").hex(), made.derived("y").hex()}) == 3


@pytest.mark.parametrize("text", ["", "ab", "no hex", "ab" * 31])
def test_a_secret_that_is_broken_is_not_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    with pytest.raises(StartupError, match="is not the secret of an instance"):
        instance_secret(tmp_path)
    assert (tmp_path / "secret").read_text() == text


def test_a_secret_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="the instance's secret cannot be written"):
        instance_secret(tmp_path / "file")


def test_the_secret_of_a_key_is_of_the_key_its_salt_and_the_instance() -> None:
    secrets = {
        InstanceSecret(bytes([number]) * 32).secret_key(key, salt)
        for number in (1, 2)
        for key in ("a", "b")
        for salt in ("x", "y")
    }
    assert len(secrets) == 8
    assert {len(secret) for secret in secrets} == {40}


@pytest.mark.parametrize("path", ["", "service-role/", "a/b/"])
def test_a_role_goes_by_its_name_without_its_path(path: str) -> None:
    assert role_name(f"arn:aws:iam::111122223333:role/{path}my-role") == "my-role"
