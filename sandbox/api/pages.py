"""Who calls what is answered by Flask: CloudWatch Logs, and fnbox's own pages under `/_fnbox/`.

CloudWatch Logs asks the caller's policies as Lambda does. With `FNBOX_IAM=off` everybody may open
the pages, as all else; `audit` refuses nobody. Otherwise an account's root user, and whoever its
policies let, sees of logs, traces and dead events what is its account's; the rest is for the
instance's administrator. Two pages are open: the health, and the code that an answer of
GetFunction points to, for ten minutes. What makes accounts and keys (`sandbox.api.access`) always
wants the administrator's token, which `Authorization: Bearer …` carries.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from sandbox.access.actions import TAGGING, log_ask
from sandbox.access.decisions import ANYTHING, Ask, Decision
from sandbox.access.principals import believed
from sandbox.api.context import (
    RequestContext,
    new_request_id,
    read_context,
    verified,
)
from sandbox.api.refusals import in_words_of, refusal
from sandbox.errors import AccessDenied, CallerError
from sandbox.http.wire import INSIDE

if TYPE_CHECKING:
    from sandbox.access.authentication import Authentication
    from sandbox.api.authorization import Authorization
    from sandbox.settings import Settings

PAGES = "/_fnbox/"
ACCESS = "/_fnbox/access/"
BODY_BYTES = 4 * 2**20
TARGET = "Logs_20140328."

_LOGS = "logs.cloudwatch_logs"
_OPEN = frozenset({"health", "code"})
"""Flask's names of pages that are everybody's."""
_PAGE = "fnbox:OpenPage"
"""What opening one of the administrator's is called in the audit log."""

_FOR_THE_ADMINISTRATOR = (
    "This page is for the administrator of this instance: `fnbox` opens it for whoever can read "
    "its state directory."
)


def ask_who_calls(
    app: Flask, authentication: Authentication, authorization: Authorization, settings: Settings
) -> None:
    """Before `app` answers; `g.principal` is who it is, where anything was asked."""

    def caller(service: str) -> RequestContext:
        """Raises AuthenticationError."""
        request.max_content_length = BODY_BYTES
        context = read_context(request.environ, "", settings)
        body = request.get_data()
        request.environ["wsgi.input"] = io.BytesIO(body)  # whoever answers reads it for itself
        return verified(authentication, context, body, service)

    def of_logs() -> Response | None:
        operation = request.headers.get("X-Amz-Target", "").removeprefix(TARGET)
        g.noted = f"logs:{operation}"
        try:
            context = caller("logs")
            g.principal = context.principal
            authorization.require([_log_asked(operation, context)], context)
        except CallerError as error:
            g.failure = error
            worded = in_words_of(request.environ, "logs", error)
            status, headers, body = refusal(request.environ, "logs", *worded, new_request_id())
            return Response(body, status, headers)
        return None

    def of_pages() -> Response | None:
        g.noted = _PAGE
        try:
            g.principal = admitted().principal
        except CallerError as error:
            g.failure = error
            answer = jsonify(message=error.message)
            answer.status_code = 403
            answer.headers["x-amzn-ErrorType"] = error.code
            return answer
        return None

    def admitted() -> RequestContext:
        """Raises CallerError."""
        page = Ask(_PAGE, f"{request.method} {request.path}", settings.account)
        if authentication.is_administrator(request.environ):
            context = read_context(request.environ, "", settings, authentication.administrator())
            authorization.remember(context, page, Decision(True, "administrator"))
            return context
        inside = INSIDE in request.environ
        if request.path.startswith(ACCESS):
            context = read_context(request.environ, "", settings, believed(settings.account))
            asked = None
        else:
            context = caller("lambda")
            asked = _page_asked(context)
        if asked is not None and (not inside or context.principal.kind == "account"):
            authorization.require([asked], context)
            if inside or authorization.enforces:
                g.only = context.account
            return context
        authorization.remember(context, page, Decision(False, _FOR_THE_ADMINISTRATOR))
        lenient = authentication.mode != "enforce" and not request.path.startswith(ACCESS)
        if inside or not lenient:
            raise AccessDenied(_FOR_THE_ADMINISTRATOR)
        return context

    @app.before_request
    def who_calls() -> Response | None:
        needed = authorization.asks(request.environ)
        try:
            if request.endpoint == _LOGS:
                return of_logs() if needed else None
            if not request.path.startswith(PAGES) or request.endpoint in _OPEN:
                return None
            return of_pages() if needed or request.path.startswith(ACCESS) else None
        except RequestEntityTooLarge:
            return Response(status=413)

    @app.after_request
    def noted(response: Response) -> Response:
        if action := g.get("noted"):
            request_id = response.headers.get("x-amzn-RequestId") or new_request_id()
            status, failure = response.status_code, g.get("failure")
            authorization.note(request.environ, request_id, action, status, failure)
        return response


def account_shown(asked: str) -> str:
    """The account whose things a page shows where those of `asked` are asked for: who may see no
    other's sees its own."""
    return only_account() or asked


def only_account() -> str | None:
    """The account whose things alone a page may show."""
    only: str | None = g.get("only")
    return only


def _log_asked(operation: str, context: RequestContext) -> Ask:
    """As `sandbox.api.logs` reads the same request."""
    try:
        given = json.loads(request.get_data())
    except (ValueError, RecursionError):
        given = None  # refused before anything is done
    members: dict[str, Any] = given if isinstance(given, dict) else {}
    by_tag = operation in TAGGING  # other members are no member of the request, and not read
    names = ("resourceArn", "logGroupName") if by_tag else ("logGroupName", "logGroupIdentifier")
    group = next((str(members[name]) for name in names if members.get(name)), "")
    stream = members.get("logStreamName") or ""
    return _of_group(operation, context, context.region, group, str(stream))


def _of_group(
    operation: str, context: RequestContext, region: str, group: str, stream: str = ""
) -> Ask:
    """`group` is a name or an ARN, which may be another account's."""
    account = context.account
    if group.startswith("arn:") and group.count(":") >= 6:
        parts = group.split(":")
        account, group = parts[4], parts[6]
    return log_ask(operation, account, region, group, stream)


def _page_asked(context: RequestContext) -> Ask | None:
    """What a page asks for that shows an account its own; None for the administrator's."""
    blueprint, _, name = (request.endpoint or "").partition(".")
    account = context.account
    if blueprint == "logs":
        group = request.args.get("group", f"/aws/lambda/{(request.view_args or {})['function']}")
        region = request.args.get("region", context.region)
        return _of_group("FilterLogEvents", context, region, group)
    if blueprint == "traces":
        action = "xray:GetTraceSummaries" if name == "listed" else "xray:BatchGetTraces"
        return Ask(action, ANYTHING, account)
    if blueprint == "events":
        action = "fnbox:GetDeadEvents" if request.method == "GET" else "fnbox:ChangeDeadEvents"
        return Ask(action, ANYTHING, account)
    return None
