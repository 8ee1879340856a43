"""What a flood of log costs: the control plane's memory and disk, and another function's calls.

python -m tests.bench.log_flood [--mib 2048] [--kind lines|endless|binary|records]
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import click

from tests.support.flood import KINDS, flood
from tests.support.instance import Instance
from tests.support.memory import MIB


@click.command()
@click.option("--mib", default=2048)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, default=KINDS[:3])
def main(mib: int, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder:
            instance = Instance(Path(folder) / "state").start()
            try:
                seen = flood(instance, kind, mib)
            finally:
                instance.stop()
        calls = len(seen.latencies)
        load = os.getloadavg()[0]
        figures = {
            "kind": kind,
            "mib": mib,
            "seconds": round(seen.seconds, 1),
            "load": round(load, 1),
            "other_calls": calls,
            "p50_alone_ms": round(seen.alone[len(seen.alone) // 2] * 1000, 1),
            "p50_ms": round(seen.latencies[calls // 2] * 1000, 1),
            "p99_ms": round(seen.latencies[calls * 99 // 100] * 1000, 1),
            "max_ms": round(seen.latencies[-1] * 1000, 1),
            "memory_grown_mib": seen.grown // MIB,
            "disk_mib": seen.kept // MIB,
        }
        click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
