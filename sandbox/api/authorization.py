"""Whether a request may be done: asks for each of Lambda's operations, and has it noted.

With `FNBOX_IAM=off` nothing is asked. `audit` lets everything pass and notes what would have been
denied. `enforce` raises AccessDenied, in AWS's words; what is another account's and what is not
there at all are denied alike. **What a function calls by itself is held to its role in every
mode.** Decisions about Invoke are kept for as long as nothing changes that they depend on: the
caller's policies, the function with its policies and tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sandbox.access.actions import LAMBDA, Where, asks, delivery_ask
from sandbox.access.audit import ALLOWED, DENIED, WOULD_BE_DENIED, Entry, Note, source_of
from sandbox.access.authentication import Authentication
from sandbox.access.decisions import (
    ANYTHING,
    Ask,
    Decision,
    Document,
    decide,
    denied,
    is_stable,
)
from sandbox.access.errors import AuthenticationError
from sandbox.access.links import Links
from sandbox.access.principals import Principal
from sandbox.access.sessions import role_name
from sandbox.api.context import RequestContext
from sandbox.catalog import Catalog, Function
from sandbox.clock import Clock
from sandbox.errors import AccessDenied, FnboxError
from sandbox.http.wire import INSIDE
from sandbox.names import LATEST, FunctionKey, FunctionReference

_HELD = 10_000
"""Decisions that are kept."""
_ASKED = "fnbox.asked"
"""Member of the WSGI environment: what was asked, and decided."""
_REFUSALS = (AccessDenied, AuthenticationError)
_NOTHING_ASKED = Decision(True, "nothing is asked")
_INVOKES = frozenset(name for name, rule in LAMBDA.items() if rule.action == "InvokeFunction")


class Asked(NamedTuple):
    """What a line of the audit log is about: what was denied, else what was asked first."""

    principal: Principal
    ask: Ask
    decision: Decision


class _Held(NamedTuple):
    """A decision, and what it depends on, each as the object that it was."""

    asked: Asked
    policies: tuple[Document, ...]
    key: FunctionKey
    function: Function | None


class Authorization:
    """Decides for one control plane. Safe to be used by many threads."""

    def __init__(
        self, authentication: Authentication, catalog: Catalog, clock: Clock, note: Note | None
    ) -> None:
        """`note` takes the entries of the audit log; None: there is none."""
        self._verifies = authentication.verifies
        self._store = authentication.store
        self.enforces = authentication.mode == "enforce"
        self._catalog = catalog
        self._clock = clock
        self._note = note
        self._active = self._verifies or note is not None
        self._held: dict[tuple[Any, ...], _Held] = {}
        self.links = Links(clock)

    @property
    def notes(self) -> bool:
        """Whether there is an audit log."""
        return self._note is not None

    def asks(self, environ: Mapping[str, Any]) -> bool:
        """Whether anything is asked, or noted, about a request."""
        return self._active or INSIDE in environ

    # Lambda

    def check(self, operation: str, members: Mapping[str, Any], context: RequestContext) -> None:
        """Raise AccessDenied unless the caller of one of Lambda's operations may."""
        if operation not in _INVOKES:
            where = Where(context.account, context.region)
            self.require(asks(operation, members, where), context)
            return
        principal = context.principal
        name, qualifier = members["FunctionName"], members.get("Qualifier")
        place = (principal.arn, principal.access_key, context.region, name, qualifier)
        held = self._held.get(place)
        if (
            held is not None
            and held.policies is principal.policies
            and held.function is self._catalog.find(held.key)
            and principal.failure is None
        ):
            asked = held.asked
        else:
            asked = self._first(operation, members, context, place)
        self._settle(context, asked)

    def _first(
        self,
        operation: str,
        members: Mapping[str, Any],
        context: RequestContext,
        place: tuple[Any, ...],
    ) -> Asked:
        """The decision about an Invoke, kept if it may be."""
        principal = context.principal
        [ask] = asks(operation, members, Where(context.account, context.region))
        assert isinstance(ask.of, FunctionReference)
        function = self._catalog.find(ask.of.key)
        asked = self._asked(ask, context)
        policy, _ = self._about(ask)
        if principal.failure is None and is_stable([policy, *principal.policies]):
            if len(self._held) >= _HELD:
                self._held.clear()
            self._held[place] = _Held(asked, principal.policies, ask.of.key, function)
        return asked

    # any service

    def require(self, asked_for: Iterable[Ask], context: RequestContext) -> None:
        """Raise AccessDenied unless the caller may do all that is asked for."""
        first = None
        for ask in asked_for:
            asked = self._asked(ask, context)
            first = first or asked
            if not asked.decision.allowed:
                first = asked
                break
        if first is not None:
            self._settle(context, first)

    def check_delivery(self, key: FunctionKey, target: str, request_id: str) -> None:
        """Raise AccessDenied unless a function's execution role may tell `target`, an ARN, what
        became of its event."""
        if not self._active:
            return
        function = self._catalog.find(key)
        role = role_name(function.latest.configuration["Role"]) if function else "-"
        policies = self._store.policies(key.account, "role", role)
        arn = f"arn:aws:sts::{key.account}:assumed-role/{role}/{key.name}"
        principal = Principal(key.account, arn, "role", None, policies)
        ask = delivery_ask(target, key.account)
        context = RequestContext(key.account, key.region, request_id, arn, "", {}, principal)
        try:
            self.require([ask], context)
        finally:
            self.note(context.environ, request_id, ask.action, 0)

    def remember(self, context: RequestContext, ask: Ask, decision: Decision) -> None:
        """Have noted what somebody else has decided."""
        self._remember(context, Asked(context.principal, ask, decision))

    def _asked(self, ask: Ask, context: RequestContext) -> Asked:
        principal = context.principal
        if not (self._verifies or self._holds(context)):
            return Asked(principal, ask, _NOTHING_ASKED)
        policy, tags = self._about(ask)
        keys = {**self._keys(context), **tags}
        return Asked(principal, ask, decide(principal, ask, policy, keys))

    def _about(self, ask: Ask) -> tuple[Document | None, dict[str, str]]:
        """The policy of a resource, and its tags as condition keys."""
        if ask.of is None:
            return None, {}
        if not isinstance(ask.of, FunctionReference):
            key, number = ask.of
            version = self._catalog.layers.layer(key).versions.get(number)
            statements = list(version.policy.statements.values()) if version else []
            return {"Version": "2012-10-17", "Statement": statements}, {}
        function = self._catalog.find(ask.of.key)
        if function is None:
            return None, {}
        policy = function.policies.get(ask.of.qualifier or LATEST)
        tags = {f"aws:ResourceTag/{name}": value for name, value in function.tags.items()}
        return policy.document if policy else None, tags

    def _keys(self, context: RequestContext) -> dict[str, str]:
        """The condition keys that every request has."""
        now = self._clock.wall()
        environ = context.environ
        keys = {
            "aws:CurrentTime": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "aws:EpochTime": str(int(now)),
            "aws:SecureTransport": "false",
            "aws:RequestedRegion": context.region,
        }
        if source := source_of(environ):
            keys["aws:SourceIp"] = source
        if agent := environ.get("HTTP_USER_AGENT"):
            keys["aws:UserAgent"] = agent
        return keys

    # what was decided

    def _settle(self, context: RequestContext, asked: Asked) -> None:
        if self._note is not None:
            self._remember(context, asked)
        if not asked.decision.allowed and self._holds(context):
            raise denied(*asked[:2], asked.decision.reason)

    def _holds(self, context: RequestContext) -> bool:
        """Whether a denial is one."""
        is_function = INSIDE in context.environ and context.principal.kind == "role"
        return self.enforces or is_function

    def _remember(self, context: RequestContext, asked: Asked) -> None:
        context.environ[_ASKED] = asked  # type: ignore[index]

    def note(
        self,
        environ: Mapping[str, Any],
        request_id: str,
        action: str,
        status: int,
        error: FnboxError | None = None,
    ) -> None:
        """Have a request noted that was answered, unless it was refused before anybody was asked;
        `action` is what one was about whose sender is not known."""
        if self._note is None:
            return
        asked: Asked | None = environ.get(_ASKED)
        if asked is None:
            if not isinstance(error, _REFUSALS):
                return
            claimed = Principal("", ANYTHING, "anonymous", claimed_key(environ))
            asked = Asked(claimed, Ask(action, ANYTHING, ""), Decision(False, str(error)))
        principal, ask, decision = asked
        refused = DENIED if self.enforces or isinstance(error, _REFUSALS) else WOULD_BE_DENIED
        self._note(
            Entry(
                self._clock.wall(),
                request_id,
                principal.arn,
                principal.account,
                principal.access_key,
                source_of(environ),
                ask.action,
                ask.resource,
                ALLOWED if decision.allowed else refused,
                decision.reason,
                status,
            )
        )


def claimed_key(environ: Mapping[str, Any]) -> str | None:
    """The access key that a request says it is signed with."""
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    key = header.partition("Credential=")[2].partition("/")[0]
    return key[:128] or None
