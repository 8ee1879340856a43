"""What idle environments cost: memory beyond the runtime's own, and CPU time of the instance.

    python -m tests.bench.density [--environments 100] [--seconds 20]

Targets: 200 on 24 GiB; 8 MiB an environment; with 100 of them less than 1 % of one CPU.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.bench.processes import ContainerMemory, container_memory, cpu_seconds, memory_mib, tree
from tests.support.instance import Instance, docker

_AT_ONCE = 4
_CODE = "def handler(event, context): return event"


@click.command()
@click.option("--environments", default=100)
@click.option("--seconds", default=20.0, help="How long the idle instance is watched.")
def main(environments: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder:
        instance = Instance(
            Path(folder) / "state", spares=0, max_environments=environments, keep_alive=3600
        )
        instance.start()
        try:
            before = _available_mib()
            began = time.perf_counter()
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                list(
                    threads.map(
                        lambda number: instance.deploy(_CODE, f"idle-{number}").invoke(),
                        range(environments),
                    )
                )
            took = time.perf_counter() - began
            inits = _inits(instance)
            click.echo(f"{len(inits)} environments after {took:.0f} s")
            _show_memory([container_memory(pid) for pid in inits])
            machine = (before - _available_mib()) / len(inits)
            click.echo(f"the machine's available memory: {machine:.1f} MiB less for each")
            _show_cpu(tree(instance.pid), inits, seconds)
            click.echo(f"the control plane: {memory_mib(tree(instance.pid)):.0f} MiB")
        finally:
            instance.stop()


def _inits(instance: Instance) -> list[int]:
    found = instance.containers()
    return [int(pid) for pid in docker("inspect", "--format={{.State.Pid}}", *found).split()]


def _available_mib() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) / 1024


def _show_memory(found: list[ContainerMemory]) -> None:
    def median(of: Callable[[ContainerMemory], float]) -> float:
        return statistics.median(map(of, found))

    click.echo(
        f"in its cgroup: {median(lambda one: one.used):.1f} MiB each; the runtime's own "
        f"{median(lambda one: one.runtime):.1f}, beyond that {median(lambda one: one.beyond):.1f}: "
        f"the init's {median(lambda one: one.init):.1f}, "
        f"kernel {median(lambda one: one.kernel):.1f}, "
        f"files {median(lambda one: one.cache):.1f}"
    )


def _show_cpu(control_plane: list[int], inits: list[int], seconds: float) -> None:
    before = cpu_seconds(control_plane), cpu_seconds(inits)
    time.sleep(seconds)
    after = cpu_seconds(control_plane), cpu_seconds(inits)
    shares = [100 * (b - a) / seconds for a, b in zip(before, after, strict=True)]
    click.echo(
        f"idle, of one CPU: control plane {shares[0]:.2f} %, all inits together {shares[1]:.2f} %"
    )


if __name__ == "__main__":
    main()
