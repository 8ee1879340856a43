"""Events, and what stands around a dispatcher that runs them."""

from __future__ import annotations

import threading
from collections import Counter

from sandbox.invocation import Invocation, Outcome
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import Policy

KEY = FunctionKey("000000000000", "us-east-1", "f")
GOOD = Outcome(b"{}", None, "$LATEST", b"", 1.0)
BAD = Outcome(b"{}", "Unhandled", "$LATEST", b"", 1.0)


def key(name: str) -> FunctionKey:
    return KEY._replace(name=name)


def invocation(name: str = "f", payload: bytes = b"{}", qualifier: str | None = None) -> Invocation:
    return Invocation(FunctionReference(key(name), qualifier), payload, trace_id="Root=1-2-3")


class Policies:
    """Stands for the catalog: what is configured now."""

    def __init__(self) -> None:
        self.now = Policy()
        self.asked: list[tuple[FunctionReference, str | None]] = []

    def __call__(self, reference: FunctionReference, executed_version: str | None) -> Policy:
        self.asked.append((reference, executed_version))
        return self.now


class Runner:
    """Stands for the service: answers what a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Outcome | Exception] = []
        self.ran: list[Invocation] = []
        self.gate = threading.Event()
        self.gate.set()
        self._changed = threading.Condition()

    def __call__(self, asked: Invocation) -> Outcome:
        with self._changed:
            self.ran.append(asked)
            answer = self.answers.pop(0) if self.answers else GOOD
            self._changed.notify_all()
        assert self.gate.wait(10)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ran) >= count, 10)

    def names(self) -> Counter[str]:
        return Counter(asked.reference.key.name for asked in self.ran)
