"""The command that shows where the time of an invocation went."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandbox.cli.ask import ask
from sandbox.cli.options import with_settings
from sandbox.settings import Settings

_PATH = "/_fnbox/traces"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_NAME = 48
_BAR = 24
_PIPED_WIDTH = 120
"""Columns."""
_STYLES = {"fault": "red", "error": "red", "throttle": "yellow", "in_progress": "dim"}

Document = dict[str, Any]


@click.command()
@click.argument("identifier", metavar="[REQUEST_ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="X-Ray's segment documents, as JSON.")
@with_settings
def trace(settings: Settings, identifier: str | None, as_json: bool) -> None:
    """Show where the time of an invocation went.

    A trace id, 1-…, shows all invocations of that trace. Without either, lists the latest.
    """
    path = _PATH if identifier is None else f"{_PATH}/{urllib.parse.quote(identifier, safe='')}"
    answer = ask(settings, "GET", path)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    if identifier is None:
        console.print(_list(answer["traces"]))
        return
    for root in _nested(answer["segments"]):
        console.print(_heading(root))
        console.print(_waterfall(root))


def _list(traces: list[Document]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("started", "request id", "function"):
        table.add_column(title, no_wrap=True, overflow="fold")
    table.add_column("ms", justify="right")
    table.add_column("")
    for one in traces:
        duration = one["durationMs"]
        table.add_row(
            _moment(one["startTime"]),
            Text(_plain(one["requestId"])),
            Text(_plain(one["functionArn"].partition(":function:")[2])),
            "…" if duration is None else f"{duration:.2f}",
            Text(" ".join(filter(None, (one["status"] or "runs", one["errorType"])))),
        )
    return table


def _nested(segments: list[Document]) -> list[Document]:
    """Segments below those that they belong to; those that belong to none, the earliest first."""
    places = {span["id"]: span for segment in segments for span, _ in _walk(segment)}
    roots = []
    for segment in segments:
        above = places.get(segment.get("parent_id"))
        # what a function sent may name itself, or what is below it
        if above is None or any(span is above for span, _ in _walk(segment)):
            roots.append(segment)
        else:
            above.setdefault("subsegments", []).append(segment)
    return sorted(roots, key=lambda segment: segment["start_time"])


def _walk(span: Document, ancestors: tuple[bool, ...] = ()) -> Iterator[tuple[Document, str]]:
    """A span and all below it, each with the branches that lead to it."""
    branches = ""
    if ancestors:
        *above, last = ancestors
        branches = "".join("  " if gone else "│ " for gone in above[1:])
        branches += "└ " if last else "├ "
    yield span, branches
    below = sorted(span.get("subsegments", ()), key=lambda one: one["start_time"])
    for number, one in enumerate(below, 1):
        yield from _walk(one, (*(ancestors or (True,)), number == len(below)))


def _heading(root: Document) -> Text:
    words = [_moment(root["start_time"]), root["aws"]["request_id"], root["trace_id"]]
    return Text("  ".join(words), style="bold")


def _waterfall(root: Document) -> Table:
    now = time.time()
    spans = [(span, branches) for span, branches in _walk(root)]
    begin = min(span["start_time"] for span, _ in spans)
    end = max(_end(span, now) for span, _ in spans)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, max_width=_NAME, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, min_width=_BAR)
    table.add_column(overflow="fold")
    for span, branches in spans:
        style = next((_STYLES[flag] for flag in _STYLES if span.get(flag)), "")
        stop = _end(span, now)
        name = _plain(span["name"])
        table.add_row(
            Text.assemble(branches, (name, style), (f" {span.get('origin', '')}", "dim")),
            f"{(stop - span['start_time']) * 1000:.2f} ms",
            Text(_bar(span["start_time"] - begin, stop - begin, end - begin), style or "cyan"),
            Text(_plain(_note(span)), style),
        )
    return table


def _bar(start: float, stop: float, whole: float) -> str:
    """From `start` to `stop` of `whole`, to an eighth of a column; something even of nothing."""
    scale = _BAR * 8 / whole if whole > 0 else 0
    first = min(round(start * scale), _BAR * 8 - 1) // 8
    eighths = max(1, round(stop * scale) - first * 8)
    full, rest = divmod(eighths, 8)
    return " " * first + "█" * full + (_EIGHTHS[rest] if rest else "")


def _note(span: Document) -> str:
    """What else there is to know of a span."""
    words = []
    about = span.get("metadata")
    about = about.get("fnbox") if isinstance(about, dict) else None
    if isinstance(about, dict) and "container" in about:
        words.append(f"{about['container']} container")
    if isinstance(about, dict) and "segments" in about:
        words += [f"{count} segments {what}" for what, count in about["segments"].items() if count]
    words += [flag.replace("_", " ") for flag in _STYLES if span.get(flag)]
    cause = span.get("cause")
    exceptions = cause.get("exceptions") if isinstance(cause, dict) else None
    for exception in exceptions if isinstance(exceptions, list) else ():
        if isinstance(exception, dict):
            told = (exception.get("type"), exception.get("message"))
            words.append(": ".join(str(word) for word in told if word))
    return ", ".join(words)


def _end(span: Document, now: float) -> float:
    start: float = span["start_time"]
    end: float | None = span.get("end_time")
    return max(start, now if end is None else end)


def _plain(text: str) -> str:
    """Without what a terminal would obey, or could not print."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
