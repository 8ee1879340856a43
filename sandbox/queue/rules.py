"""What becomes of an event: when it runs again, and how it ends. Pure.

Lambda's rules for asynchronous invocation: a function that fails runs twice more, after one and
two minutes; a call that is refused, or that the platform fails, is put off from one second up to
five minutes; what has not succeeded six hours after its acceptance is given up. An event invoke
configuration changes the numbers, and a function whose reserved concurrency is 0 runs no event.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import json
from typing import NamedTuple

from sandbox.catalog import Catalog
from sandbox.errors import CallerError, Conflict, NotFound, RecursiveInvocation, TooManyRequests
from sandbox.invocation import Outcome
from sandbox.names import LATEST, FunctionReference
from sandbox.queue.store import Event

RETRY_DELAYS = (60.0, 120.0)
"""Seconds before a function that failed runs again."""
BACK_OFF = (1.0, 300.0)
"""Seconds before a call that was refused is tried again: at first, and at most."""
MAXIMUM_AGE = 21_600.0
"""Seconds after which an event is given up."""

SUCCESS = "Success"
RETRIES_EXHAUSTED = "RetriesExhausted"
EVENT_AGE_EXCEEDED = "EventAgeExceeded"
ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"
RECURSIVE_INVOCATION = "RecursiveInvocation"
"""That the function has called itself too often. The name is ours: no record shows AWS's."""

_STATUS = ((TooManyRequests, 429), (NotFound, 404), (Conflict, 409), (CallerError, 400))


class Policy(NamedTuple):
    """What is configured for the events of a qualifier."""

    retries: int = len(RETRY_DELAYS)
    """After a function error."""
    maximum_age: float = MAXIMUM_AGE
    on_success: str | None = None
    on_failure: str | None = None
    dead_letter: str | None = None
    """ARNs of those who are told."""
    blocked: bool = False
    """Whether the function's reserved concurrency is 0."""


class Again(NamedTuple):
    """An event is to run again."""

    delay: float
    """Seconds from now, before they are scaled."""
    refused: bool
    """Whether this run does not count as an attempt."""


class Ending(NamedTuple):
    """An event is done with."""

    condition: str
    """As Lambda's records name it."""
    runs: int
    outcome: Outcome | None = None
    """Of the last run, when the event ended with it."""
    status: int = 200
    """HTTP status that a synchronous call would have got."""
    message: str = ""
    """Why it failed."""


def policy_of(
    catalog: Catalog, reference: FunctionReference, executed_version: str | None = None
) -> Policy:
    """What is configured now; the dead-letter queue is that of the version which ran, if any."""
    try:
        function = catalog.function(reference.key)
    except NotFound:
        return Policy()
    policy = Policy(blocked=function.reserved_concurrency == 0)
    config = function.event_configs.get(reference.qualifier or LATEST)
    if config is not None:
        policy = policy._replace(on_success=config.on_success, on_failure=config.on_failure)
        if config.maximum_retry_attempts is not None:
            policy = policy._replace(retries=config.maximum_retry_attempts)
        if config.maximum_event_age is not None:
            policy = policy._replace(maximum_age=float(config.maximum_event_age))
    alias = function.aliases.get(reference.qualifier or LATEST)
    name = executed_version or (alias.function_version if alias else reference.qualifier or LATEST)
    if name in function.versions:
        dead_letter = function.versions[name].configuration.get("DeadLetterConfig", {})
        policy = policy._replace(dead_letter=dead_letter.get("TargetArn"))
    return policy


def age(event: Event, now: float, scale: float) -> float:
    """Seconds since an event's acceptance, as if no delay had been scaled.

    So a scale makes nothing old or young: what is given up for its age with Lambda's delays is
    given up after as many runs with shorter ones.
    """
    slept = sum(RETRY_DELAYS[: event.attempts - 1])
    slept += sum(back_off(number) for number in range(event.refusals))
    return now - event.enqueued_at + slept * (1 - scale)


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row and one more."""
    first, most = BACK_OFF
    # 2 to the 20th is more than any delay
    return min(most, first * float(2 ** min(failures, 20)))


def before(event: Event, policy: Policy, aged: float) -> Ending | None:
    """How an event ends that is not to run at all; None when it is."""
    runs = event.attempts - 1
    if policy.blocked:
        return Ending(ZERO_RESERVED_CONCURRENCY, runs, status=429, message="Rate Exceeded.")
    if runs > policy.retries:
        # also when the control plane ended during its attempts: nothing is known of the last
        message = "The invocation ended without a result."
        return Ending(RETRIES_EXHAUSTED, runs, status=500, message=message)
    if aged > policy.maximum_age:
        message = f"The event is older than {policy.maximum_age:g} seconds."
        return Ending(EVENT_AGE_EXCEEDED, runs, status=500, message=message)
    return None


def after(event: Event, policy: Policy, aged: float, result: Outcome | Exception) -> Again | Ending:
    """What becomes of an event that ran, or that met an error."""
    if isinstance(result, Exception):
        return _after_error(event, policy, aged, result)
    if result.function_error is None:
        return Ending(SUCCESS, event.attempts, result)
    ending = Ending(RETRIES_EXHAUSTED, event.attempts, result, 200, error_message(result))
    if event.attempts > policy.retries:
        return ending
    delay = RETRY_DELAYS[event.attempts - 1]
    if aged + delay > policy.maximum_age:
        return ending._replace(condition=EVENT_AGE_EXCEEDED)
    return Again(delay, refused=False)


def _after_error(event: Event, policy: Policy, aged: float, error: Exception) -> Again | Ending:
    """Refusals are tried again within the event's age, but for those that would only repeat."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    ending = Ending(RETRIES_EXHAUSTED, event.attempts - 1, None, status, str(error))
    if isinstance(error, RecursiveInvocation):
        return ending._replace(condition=RECURSIVE_INVOCATION)
    if status in (400, 404):
        return ending
    delay = back_off(event.refusals)
    if aged + delay > policy.maximum_age:
        return ending._replace(condition=EVENT_AGE_EXCEEDED)
    return Again(delay, refused=True)


def error_message(outcome: Outcome) -> str:
    """The `errorMessage` of a function that failed, or all that it answered."""
    text = bytes(outcome.payload).decode(errors="replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    found = document.get("errorMessage") if isinstance(document, dict) else None
    return found if isinstance(found, str) else text
