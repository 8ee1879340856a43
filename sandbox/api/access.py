"""Accounts, access keys and roles over HTTP, for the instance's administrator alone.

Under `/_fnbox/access`; bodies and answers are JSON, and a secret is only in the answers about one
key. An account is named by its number or its name; where none is named the instance's own is meant.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify, request

from sandbox.access.store import AccessKey, AccessStore, Account, Identity
from sandbox.errors import CallerError, Conflict, NotFound

_STATUS = {NotFound: HTTPStatus.NOT_FOUND, Conflict: HTTPStatus.CONFLICT}


def access_blueprint(store: AccessStore) -> Blueprint:
    """The pages, over a store; `sandbox.api.pages` says who may open them."""
    blueprint = Blueprint("access", __name__, url_prefix="/_fnbox/access")

    def listed() -> str | None:
        """The account that a list is asked for; None: all."""
        named = request.args.get("account")
        return store.account(named).account if named else None

    @blueprint.get("/accounts")
    def accounts() -> Response:
        return jsonify(accounts=[account_document(one) for one in store.accounts()])

    @blueprint.post("/accounts")
    def create_account() -> Response:
        given = _given(name=str, account=str)
        if "name" not in given:
            raise CallerError("The account needs a name.")
        return jsonify(account_document(store.create_account(given["name"], given.get("account"))))

    @blueprint.delete("/accounts/<named>")
    def delete_account(named: str) -> Response:
        return jsonify(account_document(store.delete_account(named)))

    @blueprint.put("/accounts/<named>/limits")
    def limit(named: str) -> Response:
        return jsonify(account_document(store.limit(named, _given())))

    @blueprint.get("/keys")
    def keys() -> Response:
        return jsonify(keys=[key_document(one) for one in store.keys(listed())])

    @blueprint.post("/keys")
    def create_key() -> Response:
        given = _given(account=str, user=str, policy=dict)
        made = store.create_key(given.get("account"), given.get("user"), given.get("policy"))
        return jsonify(_with_secret(made))

    @blueprint.get("/keys/<access_key>")
    def key(access_key: str) -> Response:
        found = store.key(access_key)
        if found is None:
            raise NotFound(f"There is no access key {access_key}.")
        return jsonify(_with_secret(found))

    @blueprint.delete("/keys/<access_key>")
    def delete_key(access_key: str) -> Response:
        return jsonify(key_document(store.delete_key(access_key)))

    @blueprint.post("/keys/<access_key>/<any(enable, disable):verb>")
    def activate_key(access_key: str, verb: str) -> Response:
        return jsonify(key_document(store.activate_key(access_key, active=verb == "enable")))

    @blueprint.get("/roles")
    def roles() -> Response:
        return jsonify(roles=[role_document(one) for one in store.roles(listed())])

    @blueprint.put("/roles/<name>")
    def put_role(name: str) -> Response:
        given = _given(policy=dict)
        made = store.put_role(request.args.get("account"), name, given.get("policy"))
        return jsonify(role_document(made))

    @blueprint.delete("/roles/<name>")
    def delete_role(name: str) -> Response:
        store.delete_role(request.args.get("account"), name)
        return jsonify({})

    @blueprint.errorhandler(CallerError)
    def refused(error: CallerError) -> tuple[Response, int]:
        status = _STATUS.get(type(error), HTTPStatus.BAD_REQUEST)
        return jsonify(message=error.message), status

    return blueprint


def account_document(account: Account) -> dict[str, Any]:
    return {
        "account": account.account,
        "name": account.name,
        "createdAt": _iso(account.created_at),
        "limits": asdict(account.limits),
    }


def key_document(key: AccessKey) -> dict[str, Any]:
    return {
        "accessKeyId": key.access_key,
        "account": key.account,
        "user": key.user_name,
        "status": "Active" if key.active else "Inactive",
        "createdAt": _iso(key.created_at),
    }


def role_document(role: Identity) -> dict[str, Any]:
    return {
        "account": role.account,
        "name": role.name,
        "arn": f"arn:aws:iam::{role.account}:role/{role.name}",
        "policies": list(role.policies),
        "createdAt": _iso(role.created_at),
    }


def _with_secret(key: AccessKey) -> dict[str, Any]:
    return {**key_document(key), "secretAccessKey": key.secret_key}


def _given(**kinds: type) -> dict[str, Any]:
    """The members of a request's body, those of `kinds` as they have to be. Raises CallerError."""
    given = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise CallerError("The body is not a JSON object.")
    for name, value in list(given.items()):
        if name in kinds and value is None:
            del given[name]
        elif name in kinds and not isinstance(value, kinds[name]):
            raise CallerError(f"{name} is not what it has to be.")
    return given


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
