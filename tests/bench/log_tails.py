"""Whether LogResult is complete and free of other invocations' lines, always.

Calls a chatty function (1 to 500 lines each: stdout, stderr and logging), several calls
at a time, and compares each tail with what the function says that it printed.

    python -m tests.bench.log_tails [--calls 2000] [--concurrency 8]
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.support.chatty import SOURCE, problem
from tests.support.instance import Function, Instance


def call(function: Function, seed: int) -> str:
    """One call, and what is wrong with its tail: nothing, as a rule."""
    event = json.dumps({"seed": seed, "name": f"{seed:x}"})
    answer = function.instance.client.invoke(
        FunctionName=function.name, Payload=event, LogType="Tail"
    )
    said = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        return f"the function failed: {said}"
    tail = base64.b64decode(answer["LogResult"])
    return problem(tail, answer["ResponseMetadata"]["RequestId"], said)


def call_often(function: Function, calls: int, concurrency: int) -> list[str]:
    """The problems found."""
    with ThreadPoolExecutor(concurrency) as threads:
        found = threads.map(lambda seed: call(function, seed), range(calls))
        return [problem for problem in found if problem]


@click.command()
@click.option("--calls", default=2000)
@click.option("--concurrency", default=8)
def main(calls: int, concurrency: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder:
        instance = Instance(Path(folder) / "state").start()
        try:
            function = instance.deploy(SOURCE, MemorySize=256)
            began = time.perf_counter()
            problems = call_often(function, calls, concurrency)
            seconds = time.perf_counter() - began
        finally:
            instance.stop()
    for wrong in problems[:10]:
        click.echo(wrong, err=True)
    figures = {
        "calls": calls,
        "concurrency": concurrency,
        "right": calls - len(problems),
        "seconds": round(seconds, 1),
    }
    click.echo(json.dumps(figures))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
