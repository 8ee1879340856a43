"""From the rounds' figures to a table and a JSON document."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.bench.measures import Round


class Row(NamedTuple):
    """A figure of fnbox beside another one, and how the two should compare."""

    what: str
    unit: str
    figure: str
    other: str
    wanted: str = ""


AGAINST_RIE = (
    Row("1 client, p50", "ms", "fnbox.warm_p50", "rie.warm_p50", "≤ 0.7"),
    Row("1 client, p99", "ms", "fnbox.warm_p99", "rie.warm_p99", "≤ 1.0"),
    Row("1 client", "calls/s", "fnbox.rate_1", "rie.rate_1"),
    Row("8 clients", "calls/s", "fnbox.rate_8", "rie.rate_8", "≥ 1.5"),
    Row("32 clients", "calls/s", "fnbox.rate_32", "rie.rate_32"),
    Row("cold, spare", "ms", "fnbox.cold_with_spare", "rie.cold", "≤ 0.25"),
    Row("cold, no spare", "ms", "fnbox.cold_without_spare", "rie.cold", "≤ 1.0"),
    Row("100 kB, p50", "ms", "fnbox.100_kb_p50", "rie.100_kb_p50", "≤ 0.8"),
    Row("6 MB, p50", "ms", "fnbox.6_mb_p50", "rie.6_mb_p50", "≤ 1.0"),
)
AGAINST_OTHERS = (
    Row("Tail : no Tail, p50", "ms", "fnbox.with_tail", "fnbox.without_tail", "≤ 1.05"),
    Row("32 clients : 8", "calls/s", "fnbox.rate_32", "fnbox.rate_8", "≥ 1.0"),
    Row("cold, spare : bare", "ms", "fnbox.cold_with_spare", "engine.start"),
    Row("cold, no spare : bare", "ms", "fnbox.cold_without_spare", "engine.start"),
)


class Result(NamedTuple):
    figure: float
    other: float
    ratio: float
    """The median of the rounds' ratios: what disturbed a round disturbed both sides."""
    lowest: float
    highest: float
    """The rounds' ratios lie between these."""


def summarize(row: Row, rounds: Sequence[Round]) -> Result:
    pairs = [(figures[row.figure], figures[row.other]) for figures in rounds]
    ratios = [figure / other for figure, other in pairs]
    return Result(
        statistics.median(figure for figure, _ in pairs),
        statistics.median(other for _, other in pairs),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )


def document(rounds: Sequence[Round], about: dict[str, Any]) -> dict[str, Any]:
    """Everything, for programs."""
    rows = [
        row._asdict() | {"values": summarize(row, rounds)._asdict()}
        for row in (*AGAINST_RIE, *AGAINST_OTHERS)
    ]
    return {**about, "rows": rows, "rounds": list(rounds)}


def show(rounds: Sequence[Round], console: Console) -> None:
    """Everything, for people."""
    console.print(_table(AGAINST_RIE, rounds, "fnbox", "RIE"))
    console.print(_table(AGAINST_OTHERS, rounds, "this", "that"))


def _table(rows: Sequence[Row], rounds: Sequence[Round], figure: str, other: str) -> Table:
    table = Table()
    table.add_column("")
    for heading in (figure, other, "ratio", "range"):
        table.add_column(heading, justify="right")
    table.add_column("wanted")
    for row in rows:
        result = summarize(row, rounds)
        table.add_row(
            f"{row.what} [{row.unit}]".replace("[", r"\["),
            _number(result.figure),
            _number(result.other),
            f"{result.ratio:.2f}",
            f"{result.lowest:.2f} … {result.highest:.2f}",
            row.wanted,
        )
    return table


def _number(value: float) -> str:
    """Three digits that count."""
    digits = max(0, 3 - len(str(int(value)))) if value >= 1 else 2
    return f"{value:,.{digits}f}"
