"""A trace as X-Ray would tell it: segment documents, made when somebody looks.

An invocation is two segments, as on AWS. `AWS::Lambda` is the service's: how long the call
was on its way here and waited. `AWS::Lambda::Function` is the function's, with Lambda's own
subsegments Initialization (in the first invocation of an environment, if it happened while
that waited), Invocation and Overhead, and below Invocation what the function has sent.
Routing, Wait and Environment start are fnbox's. Times are Unix times in seconds.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sandbox.traces import xray
from sandbox.traces.record import Startup, Trace
from sandbox.traces.xray import Document

_FLAG = {"throttled": "throttle", "failed": "fault"}
"""What X-Ray calls an ending that is not `error`, the caller's or the function's."""


def trace_id(trace: Trace) -> str:
    """`1-…`: the one that the function was told of, or one of its own when it was told none."""
    root = _field(trace.header, "Root")
    return root or f"1-{int(trace.wall):08x}-{_digest(trace.request_id)[:24]}"


def documents(trace: Trace) -> list[Document]:
    """The segments of a trace, the service's first."""
    service = _service(trace)
    if trace.leased is None:
        return [service]
    return [service, _function(trace, service)]


def summary(trace: Trace) -> dict[str, Any]:
    """A trace in a list of them."""
    ended = trace.ended
    began = _began(trace)
    return {
        "requestId": trace.request_id,
        "traceId": trace_id(trace),
        "functionArn": trace.reference.arn,
        "startTime": _wall(trace, began),
        "durationMs": None if ended is None else round((ended - began) * 1000, 3),
        "status": "accepted" if trace.accepted and trace.status == "success" else trace.status,
        "errorType": trace.error_type,
        "attempt": trace.attempt or None,
    }


def _service(trace: Trace) -> Document:
    began = _began(trace)
    kind = "accept" if trace.accepted else repr(trace.began)
    service = _segment(trace, "AWS::Lambda", began, _id(trace, kind))
    parent = _field(trace.header, "Parent") if trace.parent_given else ""
    if trace.attempt:
        parent = _id(trace, "accept")
    if parent:
        service["parent_id"] = parent
    if trace.leased is None or trace.status == "failed":
        service |= _ending(trace)

    steps = [_span(trace, "Routing", began, trace.routed or trace.ended)]
    if trace.routed is not None and trace.accepted:
        steps.append(_span(trace, "Queue", trace.routed, trace.ended))
    elif trace.routed is not None:
        wait = _span(trace, "Wait", trace.routed, trace.leased or trace.ended)
        if startup := _startup(trace):
            start = _span(trace, "Environment start", startup.began, startup.init_began)
            start["metadata"] = {"fnbox": {"container": "spare" if startup.spare else "new"}}
            wait["subsegments"] = [start]
        steps.append(wait)
    if trace.attempt:
        attempt = _span(trace, f"Attempt #{trace.attempt}", began, trace.ended)
        steps = [attempt | {"subsegments": steps}]
    if trace.enqueued_at is not None:
        dwell = _span(trace, "Dwell Time", began, began) | {"start_time": trace.enqueued_at}
        service["start_time"] = trace.enqueued_at
        steps.insert(0, dwell)
    return service | {"subsegments": steps}


def _function(trace: Trace, service: Document) -> Document:
    assert trace.leased is not None, "a function ran"
    began, steps, ignored = trace.leased, [], 0
    told = _field(trace.header, "Parent")
    if startup := _startup(trace):
        began = startup.init_began
        steps.append(_span(trace, "Initialization", began, startup.init_ended))
        if startup.error_type is not None:
            steps[0] |= {"error": True} | _cause(steps[0]["id"], startup.error_type, "")
    if trace.restarted:
        again = _span(trace, "Initialization", trace.leased, trace.delivered or trace.ended)
        steps.append(again | {"id": _id(trace, f"{trace.began!r} suppressed")})
    if trace.delivered is not None:
        answered = trace.answered or trace.ended
        steps.append(_span(trace, "Invocation", trace.delivered, answered))
        ignored = xray.graft(trace.segments, trace_id(trace), told, steps[-1])
        if answered is not None:
            steps.append(_span(trace, "Overhead", answered, trace.ended))

    # A Parent that nobody else has is this segment: so says the XRAY line in the log.
    own = told and not trace.parent_given and not trace.attempt
    identifier = told if own else _id(trace, f"{trace.began!r} function")
    function = _segment(trace, "AWS::Lambda::Function", began, identifier)
    above = service["subsegments"][-1] if trace.attempt else service
    function |= {"parent_id": above["id"], "subsegments": steps}
    function["aws"] |= {"function_version": trace.version, "environment": trace.environment}
    if trace.dropped or ignored:
        lost = {"dropped": trace.dropped, "ignored": ignored}
        function["metadata"] = {"fnbox": {"segments": lost}}
    return function | _ending(trace)


def _startup(trace: Trace) -> Startup | None:
    """Of the environment, unless it was ready before the call came."""
    startup = trace.startup
    return startup if startup is not None and startup.init_ended > _began(trace) else None


def _segment(trace: Trace, origin: str, start: float, identifier: str) -> Document:
    return _span(trace, trace.reference.key.name, start, trace.ended) | {
        "id": identifier,
        "trace_id": trace_id(trace),
        "origin": origin,
        "resource_arn": trace.reference.arn,
        "aws": {"request_id": trace.request_id},
    }


def _span(trace: Trace, name: str, start: float, end: float | None) -> Document:
    """A part of a trace; one without an end goes on."""
    span: Document = {
        "name": name,
        "id": _id(trace, f"{trace.began!r} {name}"),
        "start_time": _wall(trace, start),
    }
    return span | ({"in_progress": True} if end is None else {"end_time": _wall(trace, end)})


def _ending(trace: Trace) -> Document:
    if trace.status in ("", "success"):
        return {}
    cause = _cause(_id(trace, "cause"), trace.error_type or "", trace.message)
    return {_FLAG.get(trace.status, "error"): True} | cause


def _cause(identifier: str, kind: str, message: str) -> Document:
    return {"cause": {"exceptions": [{"id": identifier, "type": kind, "message": message}]}}


def _began(trace: Trace) -> float:
    return trace.began if trace.received is None else trace.received


def _wall(trace: Trace, at: float) -> float:
    return round(trace.wall + (at - trace.began), 6)


def _field(header: str | None, name: str) -> str:
    """Of `Root=…;Parent=…;Sampled=…`; empty when it is not there."""
    fields = dict(part.partition("=")[::2] for part in (header or "").split(";"))
    return fields.get(name, "")


def _id(trace: Trace, part: str) -> str:
    """The same whenever somebody asks, and for nothing else."""
    return _digest(f"{trace.request_id} {part}")[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
