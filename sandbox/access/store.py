"""What an administrator has made: accounts, their users, roles, access keys and limits.

Kept in the catalog's database, and read from a snapshot in memory: no request waits for the
database, and a change holds for the next request. The database holds no secret: that of a key comes
from a random salt and the instance's secret. `own_account` is the one whose callers name no other;
it is there without being made.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from sqlalchemy import Connection

from sandbox.access import key_ids
from sandbox.access.documents import check_policy
from sandbox.access.principals import Policy
from sandbox.access.secret import InstanceSecret
from sandbox.catalog import tables
from sandbox.catalog.database import Database
from sandbox.clock import Clock
from sandbox.errors import CallerError, Conflict, NotFound

IdentityKind = Literal["user", "role"]

OWN_NAME = "default"
"""Of the instance's own account, until it gets another."""

_ACCOUNT = re.compile(r"[0-9]{12}")
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_ACCOUNT_NAME = re.compile(r"(?![0-9]{12}$)[\w+=,.@-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may use at most; None: what the instance's settings say of any account."""

    concurrency: int | None = None
    """Calls at once in a region."""
    functions: int | None = None
    code_storage_bytes: int | None = None
    queued_events: int | None = None
    memory_mib: int | None = None
    """MemorySize of all calls that run at once."""


LIMITS = tuple(item.name for item in fields(Limits))
UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Account:
    account: str
    name: str
    created_at: float
    limits: Limits = UNLIMITED


@dataclass(frozen=True, slots=True)
class Identity:
    """A user or a role, and what it may do."""

    account: str
    kind: IdentityKind
    name: str
    policies: tuple[Policy, ...]
    created_at: float


@dataclass(frozen=True, slots=True)
class AccessKey:
    access_key: str
    account: str
    user_name: str | None
    """None: the account's root user."""
    active: bool
    created_at: float
    salt: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Never changed: a change makes another one."""

    accounts: Mapping[str, Account]
    identities: Mapping[tuple[str, str, str], Identity]
    """By account, kind and name."""
    keys: Mapping[str, AccessKey]


class AccessStore:
    """Safe to be used by many threads."""

    def __init__(
        self, database: Database, secret: InstanceSecret, clock: Clock, own_account: str
    ) -> None:
        self._database = database
        self._secret = secret
        self._clock = clock
        self._own = Account(own_account, OWN_NAME, 0.0)
        self._writing = threading.Lock()
        self._snapshot = self._read()

    # reading

    def known(self, account: str) -> bool:
        """Whether there is such an account."""
        return account in self._snapshot.accounts

    def limits(self, account: str) -> Limits:
        """Of an account; of one that nobody made, none of its own."""
        found = self._snapshot.accounts.get(account)
        return found.limits if found else UNLIMITED

    def key(self, access_key: str) -> AccessKey | None:
        return self._snapshot.keys.get(access_key)

    def policies(self, account: str, kind: IdentityKind, name: str) -> tuple[Policy, ...]:
        """What a user or a role may do: nothing, when nobody made it."""
        found = self._snapshot.identities.get((account, kind, name))
        return found.policies if found else ()

    def accounts(self) -> list[Account]:
        return sorted(self._snapshot.accounts.values(), key=lambda one: one.account)

    def keys(self, account: str | None = None) -> list[AccessKey]:
        """In the order of their making."""
        found = [one for one in self._snapshot.keys.values() if account in (None, one.account)]
        return sorted(found, key=lambda one: (one.created_at, one.access_key))

    def roles(self, account: str | None = None) -> list[Identity]:
        found = self._snapshot.identities.values()
        kept = [one for one in found if one.kind == "role" and account in (None, one.account)]
        return sorted(kept, key=lambda one: (one.account, one.name))

    def account(self, named: str | None) -> Account:
        """By number or name; None: the instance's own. Raises NotFound."""
        accounts = self._snapshot.accounts
        if named is None:
            return accounts[self._own.account]
        for one in accounts.values():
            if named in (one.account, one.name):
                return one
        raise NotFound(f"There is no account {named}: `fnbox accounts list` shows those there are.")

    # changing

    def create_account(self, name: str, number: str | None = None) -> Account:
        """A new account; without a `number` one that nobody has. Raises CallerError, Conflict."""
        if _ACCOUNT_NAME.fullmatch(name) is None:
            raise CallerError(
                f"An account cannot be called {name!r}: a name has up to 64 letters, digits or "
                "_+=,.@- and is not 12 digits."
            )
        if number is not None and _ACCOUNT.fullmatch(number) is None:
            raise CallerError(f"{number!r} is no number of an account, which has 12 digits.")
        with self._writing:
            accounts = self._snapshot.accounts
            if any(one.name == name for one in accounts.values()):
                raise Conflict(f"There is an account {name} already.")
            if number in accounts:
                raise Conflict(f"There is an account {number} already.")
            while number is None or number in accounts:
                number = f"{secrets.randbelow(9 * 10**11) + 10**11}"
            made = Account(number, name, self._clock.wall())
            self._change(lambda connection: _insert_account(connection, made))
        return made

    def delete_account(self, named: str) -> Account:
        """With its keys, users and roles; its functions stay. Raises NotFound, CallerError."""
        with self._writing:
            found = self.account(named)
            if found.account == self._own.account:
                raise CallerError(
                    f"Account {found.account} is the instance's own (FNBOX_ACCOUNT) and stays."
                )
            self._change(lambda connection: _delete(connection, tables.accounts, found.account))
        return found

    def limit(self, named: str | None, changes: Mapping[str, int | None]) -> Account:
        """Change limits, by the names of Limits' members. Raises NotFound, CallerError."""
        for name, value in changes.items():
            if name not in LIMITS:
                raise CallerError(f"There is no limit {name}; there are {', '.join(LIMITS)}.")
            if value is not None and (type(value) is not int or not 0 <= value < 2**63):
                raise CallerError(f"{name} is a number from 0, or none for the instance's own.")
        with self._writing:
            old = self.account(named)
            new = replace(old, limits=replace(old.limits, **changes))
            self._change(lambda connection: _update_limits(connection, new))
        return new

    def create_key(
        self, named: str | None, user: str | None = None, policy: Any = None
    ) -> AccessKey:
        """A new key of a user, which is made if need be, or of the account's root user.

        `policy` replaces what the user may do. Raises NotFound, CallerError.
        """
        if user is not None:
            _check_name("user", user)
        if policy is not None:
            if user is None:
                raise CallerError("The root user of an account may do all; a policy is a user's.")
            check_policy(policy)
        with self._writing:
            account = self.account(named)
            known = user is not None and (account.account, "user", user) in (
                self._snapshot.identities
            )
            if user is not None and policy is None and not known:
                raise CallerError(
                    f"There is no user {user} in account {account.account} yet: say with a policy "
                    "what a new one may do."
                )
            access_key = self._new_id(account.account)
            now = self._clock.wall()
            salt = secrets.token_hex(16)
            row = {
                "access_key": access_key,
                "account": account.account,
                "user_name": user,
                "salt": salt,
                "active": True,
                "created_at": now,
            }
            identity = None
            if user is not None and policy is not None:
                identity = Identity(account.account, "user", user, (policy,), now)

            def work(connection: Connection) -> None:
                _insert_account(connection, account)
                if identity is not None:
                    _put_identity(connection, identity)
                connection.execute(tables.access_keys.insert(), row)

            self._change(work)
            return self._snapshot.keys[access_key]

    def delete_key(self, access_key: str) -> AccessKey:
        """Raises NotFound. A user whose last key goes, goes with it."""
        with self._writing:
            found = self._existing(access_key)
            others = [
                one
                for one in self._snapshot.keys.values()
                if (one.account, one.user_name) == (found.account, found.user_name)
            ]

            def work(connection: Connection) -> None:
                _delete(connection, tables.access_keys, access_key)
                if found.user_name is not None and len(others) == 1:
                    _delete(connection, tables.identities, found.account, "user", found.user_name)

            self._change(work)
        return found

    def activate_key(self, access_key: str, *, active: bool) -> AccessKey:
        """Let a key be used, or not. Raises NotFound."""
        with self._writing:
            self._existing(access_key)
            column = tables.access_keys.c.access_key
            change = tables.access_keys.update().where(column == access_key)
            self._change(lambda connection: _run(connection, change.values(active=active)))
            return self._snapshot.keys[access_key]

    def put_role(self, named: str | None, name: str, policy: Any) -> Identity:
        """Say what a role may do, which is made if need be. Raises NotFound, CallerError."""
        _check_name("role", name)
        check_policy(policy)
        with self._writing:
            account = self.account(named)
            role = Identity(account.account, "role", name, (policy,), self._clock.wall())

            def work(connection: Connection) -> None:
                _insert_account(connection, account)
                _put_identity(connection, role)

            self._change(work)
        return role

    def delete_role(self, named: str | None, name: str) -> None:
        """Raises NotFound."""
        with self._writing:
            account = self.account(named).account
            if (account, "role", name) not in self._snapshot.identities:
                raise NotFound(f"There is no role {name} in account {account}.")
            self._change(
                lambda connection: _delete(connection, tables.identities, account, "role", name)
            )

    def _existing(self, access_key: str) -> AccessKey:
        found = self._snapshot.keys.get(access_key)
        if found is None:
            raise NotFound(f"There is no access key {access_key}.")
        return found

    def _new_id(self, account: str) -> str:
        while True:
            nonce = secrets.randbelow(key_ids.NONCES)
            access_key = key_ids.new_id(key_ids.LASTING, account, nonce)
            if access_key not in self._snapshot.keys:
                return access_key

    def _change(self, work: Callable[[Connection], None]) -> None:
        """Commit, then show: while `_writing` is held."""
        self._database.transaction(work)
        self._snapshot = self._read()

    def _read(self) -> Snapshot:
        rows = self._database.transaction(_rows)
        made = [Account(number, name, at, Limits(*limits)) for number, name, at, *limits in rows[0]]
        own = self._own
        if any(one.name == own.name for one in made):  # it was the own one under other settings
            own = replace(own, name=own.account)
        accounts = {own.account: own, **{one.account: one for one in made}}
        identities = {
            (account, kind, name): Identity(account, kind, name, tuple(policies), created_at)
            for account, kind, name, policies, created_at in rows[1]
        }
        keys = {}
        for access_key, account, user, salt, active, created_at in rows[2]:
            secret = self._secret.secret_key(access_key, salt)
            keys[access_key] = AccessKey(
                access_key, account, user, active, created_at, salt, secret
            )
        return Snapshot(accounts, identities, keys)


def _check_name(kind: str, name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise CallerError(
            f"A {kind} cannot be called {name!r}: a name has up to 64 letters, digits or _+=,.@-."
        )


def _rows(connection: Connection) -> tuple[list[Any], list[Any], list[Any]]:
    accounts, identities, keys = (
        [tuple(row) for row in connection.execute(table.select())]
        for table in (tables.accounts, tables.identities, tables.access_keys)
    )
    return accounts, identities, keys


def _run(connection: Connection, statement: Any) -> None:
    connection.execute(statement)


def _insert_account(connection: Connection, account: Account) -> None:
    """If it has no row yet: the instance's own has none before it needs one."""
    column = tables.accounts.c.account
    if connection.scalar(tables.accounts.select().where(column == account.account)) is None:
        row = {"account": account.account, "name": account.name, "created_at": account.created_at}
        connection.execute(tables.accounts.insert(), {**row, **asdict(account.limits)})


def _update_limits(connection: Connection, account: Account) -> None:
    _insert_account(connection, account)
    change = tables.accounts.update().where(tables.accounts.c.account == account.account)
    connection.execute(change.values(**asdict(account.limits)))


def _put_identity(connection: Connection, identity: Identity) -> None:
    _delete(connection, tables.identities, identity.account, identity.kind, identity.name)
    row = {**asdict(identity), "policies": list(identity.policies)}
    connection.execute(tables.identities.insert(), row)


def _delete(connection: Connection, table: Any, *key: str) -> None:
    columns = list(table.primary_key.columns)
    conditions = (column == value for column, value in zip(columns, key, strict=True))
    connection.execute(table.delete().where(*conditions))
