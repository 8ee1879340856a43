"""A function that says a lot, and whether a LogResult is what it says it printed."""

from __future__ import annotations

import re

from sandbox.invocation import LOG_TAIL_BYTES

SOURCE = """
import logging, os, random, sys

def handler(event, context):
    choose = random.Random(event["seed"])
    said = []
    for number in range(choose.randint(1, 500)):
        text = f"{event['name']}-{number} " + "x" * choose.randrange(200)
        way = choose.choice(("print", "print", "error", "write", "record", "event"))
        if way == "print":
            print(text)
        elif way == "error":
            print(text, file=sys.stderr)
        elif way == "write":
            os.write(choose.choice((1, 2)), f"{text}\\n".encode())
        elif way == "record":
            logging.warning(text)
        else:
            text += "\\n  and more"
            logging.warning(text)
        said.append((way in ("record", "event"), text))
    return said
"""

_REPORT = re.compile(rb"REPORT RequestId: (\S+)\tDuration: [^\n]*\t\n")
_INIT_START = re.compile(rb"INIT_START [^\n]*\n")
_TIME = "\0" * len("2026-02-11T10:00:00.000Z")


def problem(tail: bytes, request_id: str, said: list[tuple[bool, str]]) -> str:
    """What is wrong with a tail; empty when it is right to the byte, but for times.

    `said` is what the function answered, in its order: whether it was a record, and the text.
    """
    body, end, report = tail.rpartition(f"END RequestId: {request_id}\n".encode())
    match = _REPORT.fullmatch(report)
    if not end or not match or match[1].decode() != request_id:
        return f"no END and REPORT of its own at its end: {tail[-300:]!r}"
    texts = [f"START RequestId: {request_id} Version: $LATEST\n"]
    for recorded, text in said:
        texts.append(f"[WARNING]\t{_TIME}\t{request_id}\t{text}\n" if recorded else f"{text}\n")
    wanted = "".join(texts).encode()
    if len(tail) < LOG_TAIL_BYTES:
        before = body[: -len(wanted)]
        if len(body) < len(wanted) or (before and not _INIT_START.fullmatch(before)):
            return f"{len(body)} bytes and not {len(wanted)}: {body[:300]!r}"
        body = body[len(before) :]
    elif len(body) > len(wanted):  # the cut is in INIT_START
        body = body[-len(wanted) :]
    for here, there in zip(reversed(body), reversed(wanted), strict=False):
        if there and here != there:
            return f"something else is in it: {body[:300]!r}"
    return ""
