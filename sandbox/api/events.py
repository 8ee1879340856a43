"""Dead events over HTTP: list, show, retry, purge, under `/_fnbox/events`.

`function` in the query names one function, as Lambda's API takes it, else all are meant; who may
see one account's only sees and changes no others.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request

from sandbox.api.context import read_context
from sandbox.api.pages import only_account
from sandbox.errors import CallerError, NotFound
from sandbox.names import FunctionKey, parse_reference
from sandbox.queue import DeadEvent, DeadEvents
from sandbox.settings import Settings

PAGE = 100
LONGEST_PAGE = 1000


def events_blueprint(dead: DeadEvents, settings: Settings) -> Blueprint:
    """The pages, over a list of dead events."""
    blueprint = Blueprint("events", __name__, url_prefix="/_fnbox/events")

    @blueprint.get("")
    def listed() -> Response:
        """`{"events": […], "count": of all}`, the oldest first, `limit` after the id `after`."""
        limit = request.args.get("limit", PAGE, type=int)
        found = dead.list(
            _function(settings),
            after=request.args.get("after", 0, type=int),
            limit=max(1, min(limit, LONGEST_PAGE)),
            account=only_account(),
        )
        return jsonify(
            events=[document(event) for event in found], count=dead.count(only_account())
        )

    @blueprint.get("/<int:number>")
    def shown(number: int) -> Response:
        """One event, with its `payload` as text: for a message, what could not be delivered."""
        event, payload = dead.show(number, only_account())
        return jsonify(document(event) | {"payload": payload.decode(errors="replace")})

    @blueprint.post("/retry")
    def retried() -> Response:
        return jsonify(retried=dead.retry(_function(settings), only_account()))

    @blueprint.post("/<int:number>/retry")
    def one_retried(number: int) -> Response:
        dead.retry_one(number, only_account())
        return jsonify(retried=1)

    @blueprint.delete("")
    def purged() -> Response:
        return jsonify(purged=dead.purge(_function(settings), only_account()))

    @blueprint.delete("/<int:number>")
    def one_purged(number: int) -> Response:
        dead.purge_one(number, only_account())
        return jsonify(purged=1)

    @blueprint.errorhandler(CallerError)
    def refused(error: CallerError) -> tuple[Response, int]:
        return jsonify(message=error.message), 404 if isinstance(error, NotFound) else 400

    return blueprint


def document(event: DeadEvent) -> dict[str, Any]:
    """A dead event as it is shown; times as ISO 8601, members without a value left out."""
    members = {
        "id": event.id,
        "functionArn": event.reference.arn,
        "requestId": event.request_id,
        "condition": event.condition,
        "reason": event.reason,
        "attempts": event.attempts,
        "kind": event.kind,
        "target": event.target,
        "createdAt": _iso(event.created_at),
        "diedAt": _iso(event.died_at),
        "bytes": event.size,
    }
    return {name: value for name, value in members.items() if value is not None}


def _function(settings: Settings) -> FunctionKey | None:
    name = request.args.get("function")
    if not name:
        return None
    context = read_context(request.environ, "", settings)
    return parse_reference(name, None, account=context.account, region=context.region).key


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
