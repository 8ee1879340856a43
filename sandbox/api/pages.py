"""Who calls what is answered by Flask: CloudWatch Logs, and fnbox's own pages under `/_fnbox/`.

With `FNBOX_IAM=off` everybody may open the pages, as all else; `audit` refuses nobody. Otherwise
they are for the instance's administrator: they show what belongs to all accounts. Two are open: the
health, and the code that an answer of GetFunction points to by a name that cannot be guessed. A
function's log is there for its account's root user too. What makes accounts and keys
(`sandbox.api.access`) always wants the administrator's token, which `Authorization: Bearer …`
carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from sandbox.access.authentication import INSIDE
from sandbox.access.principals import Principal
from sandbox.api.context import new_request_id, read_context, verified
from sandbox.api.refusals import in_words_of, refusal
from sandbox.errors import AccessDenied, CallerError

if TYPE_CHECKING:
    from sandbox.access.authentication import Authentication
    from sandbox.settings import Settings

PAGES = "/_fnbox/"
ACCESS = "/_fnbox/access/"
BODY_BYTES = 4 * 2**20

_LOGS = "logs.cloudwatch_logs"
_OPEN = frozenset({"health", "code"})
"""Flask's names of pages that are everybody's."""
_OF_ACCOUNTS = frozenset({"logs.function_logs"})
"""And of those that show an account's root user its own."""

_FOR_THE_ADMINISTRATOR = (
    "This page is for the administrator of this instance: `fnbox` opens it for whoever can read "
    "its state directory."
)


def ask_who_calls(app: Flask, authentication: Authentication, settings: Settings) -> None:
    """Before `app` answers; `g.principal` is who it is, where anything was asked."""

    def caller(service: str) -> Principal:
        """Raises AuthenticationError."""
        request.max_content_length = BODY_BYTES
        context = read_context(request.environ, "", settings)
        return verified(authentication, context, request.get_data(), service).principal

    def of_logs() -> Response | None:
        try:
            g.principal = caller("logs")
        except CallerError as error:
            worded = in_words_of(request.environ, "logs", error)
            status, headers, body = refusal(request.environ, "logs", *worded, new_request_id())
            return Response(body, status, headers)
        return None

    def of_pages() -> Response | None:
        try:
            g.principal = admitted()
        except CallerError as error:
            answer = jsonify(message=error.message)
            answer.status_code = 403
            answer.headers["x-amzn-ErrorType"] = error.code
            return answer
        return None

    def admitted() -> Principal:
        """Raises CallerError."""
        if authentication.is_administrator(request.environ):
            return authentication.administrator()
        if not request.path.startswith(ACCESS):
            principal = caller("lambda")
            if authentication.mode == "audit" and INSIDE not in request.environ:
                return principal
            if principal.kind == "account" and request.endpoint in _OF_ACCOUNTS:
                return principal
        raise AccessDenied(_FOR_THE_ADMINISTRATOR)

    @app.before_request
    def who_calls() -> Response | None:
        needed = authentication.needed(request.environ)
        try:
            if request.endpoint == _LOGS:
                return of_logs() if needed else None
            if not request.path.startswith(PAGES) or request.endpoint in _OPEN:
                return None
            return of_pages() if needed or request.path.startswith(ACCESS) else None
        except RequestEntityTooLarge:
            return Response(status=413)


def account_shown(asked: str) -> str:
    """The account whose things a page shows where those of `asked` are asked for: an account's root
    user sees its own."""
    principal: Principal | None = g.get("principal")
    return principal.account if principal and principal.kind == "account" else asked
