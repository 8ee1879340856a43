"""A hostile function: a runtime of its own, which runs what its event says.

It has the Runtime API in its hands (`ask`, `respond`), and tells the name of the error that
something was refused with (`refused`).
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.support.instance import Function, docker

RUNTIME = """#!/usr/bin/env python3
import ctypes, errno, http.client, json, os, signal, socket, stat, struct, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
HOST = os.environ["AWS_LAMBDA_RUNTIME_API"]
API = "/2018-06-01/runtime"

def ask(method, path, body=None, headers={}, api=None):
    api = api or http.client.HTTPConnection(HOST, timeout=10)
    api.request(method, path, body, headers)
    answer = api.getresponse()
    return answer.status, answer.read().decode(), answer.headers

def respond(request, body, api=None):
    return ask("POST", f"{API}/invocation/{request}/response", json.dumps(body), api=api)[0]

def refused(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

def syscall(number, *arguments):
    ctypes.set_errno(0)
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    if libc.syscall(number, *wide) == -1:
        raise OSError(ctypes.get_errno(), str(number))

main = http.client.HTTPConnection(HOST)
kept = {}
while True:
    _, event, headers = ask("GET", f"{API}/invocation/next", api=main)
    request = headers["Lambda-Runtime-Aws-Request-Id"]
    scope = {**globals(), "answered": False}
    try:
        exec(json.loads(event), scope)
    except Exception as error:
        scope["result"] = repr(error)
    if not scope["answered"]:
        respond(request, scope["result"], main)
"""

HOST_SECRET = uuid.uuid4().hex
FUNCTION_SECRET = uuid.uuid4().hex


def run(function: Function, code: str) -> Any:
    """What the code leaves in `result`, inside the function."""
    answer = function.invoke(code)
    assert answer.error is None, answer.body
    return answer.document


def value(function: Function, expression: str) -> Any:
    return run(function, f"result = {expression}")


def inspect(function: Function) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", value(function, "socket.gethostname()")))[
        0
    ]
    return found
