"""Traces of recent invocations over HTTP, under `/_fnbox/traces`."""

from __future__ import annotations

import json

from flask import Blueprint, Response, jsonify, request

from sandbox.api.pages import only_account
from sandbox.threads import run_native
from sandbox.traces.documents import documents, summary
from sandbox.traces.record import Trace
from sandbox.traces.store import Traces

PAGE = 20
LONGEST_PAGE = 1000
MOST = 100
"""Invocations of one trace that are shown, the latest."""


def traces_blueprint(traces: Traces) -> Blueprint:
    """The pages, over the traces that are kept."""
    blueprint = Blueprint("traces", __name__, url_prefix="/_fnbox/traces")

    @blueprint.get("")
    def listed() -> Response:
        """`{"traces": […]}`, the latest `limit`."""
        limit = request.args.get("limit", PAGE, type=int)
        found = traces.recent(max(1, min(limit, LONGEST_PAGE)), only_account())
        return jsonify(traces=[summary(trace) for trace in found])

    @blueprint.get("/<identifier>")
    def shown(identifier: str) -> Response:
        """`{"segments": […]}`: X-Ray's documents of a request id, or of a trace id `1-…`."""
        found = traces.find(identifier, only_account())
        if not found:
            absent = jsonify(message=f"No trace is kept of {identifier}.")
            absent.status_code = 404
            return absent
        return Response(run_native(_written, found[-MOST:]), content_type="application/json")

    return blueprint


def _written(found: list[Trace]) -> str:
    return json.dumps({"segments": [one for trace in found for one in documents(trace)]})
