"""What its trace costs an invocation when nobody looks.

Takes the steps that the API, the service and an environment take for a call, with their
notes and without, in turns, on the threads that the control plane has. No container, no
network: the difference is the trace's, store and all.

    python -m tests.bench.trace_cost [--calls 100000] [--rounds 7]
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import statistics  # noqa: E402

import click  # noqa: E402

from sandbox.clock import SystemClock  # noqa: E402
from sandbox.invocation import Invocation  # noqa: E402
from sandbox.names import FunctionKey, FunctionReference  # noqa: E402
from sandbox.traces.documents import documents  # noqa: E402
from sandbox.traces.record import Trace  # noqa: E402
from sandbox.traces.store import Traces  # noqa: E402
from tests.bench.processes import microseconds  # noqa: E402

REFERENCE = FunctionReference(FunctionKey("000000000000", "us-east-1", "my-function"), None)
HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
CLOCK = SystemClock()
NOBODY = Trace()


def without() -> None:
    """What a call makes anyway."""
    Invocation(REFERENCE, b"{}", "request", trace_id=HEADER, trace=NOBODY)


def with_(traces: Traces) -> Trace:
    """And what it notes: as `api.invoke`, `service` and `environment` do."""
    received = CLOCK.monotonic()
    invocation = Invocation(REFERENCE, b"{}", "request", trace_id=HEADER)
    trace = invocation.trace
    trace.received = received
    trace.parent_given = False
    with traces.of(invocation):
        trace.version = "$LATEST"
        trace.routed = traces.now()
        trace.leased = CLOCK.monotonic()
        trace.environment = "0123456789ab"
        trace.startup = None
        trace.delivered = CLOCK.monotonic()
        trace.answered = CLOCK.monotonic()
        trace.status = "success"
        trace.error_type = None
    return trace


@click.command()
@click.option("--calls", default=100_000)
@click.option("--rounds", default=7)
def main(calls: int, rounds: int) -> None:
    traces = Traces(CLOCK, count=1000, max_bytes=16 * 2**20)
    kept = [with_(traces) for _ in range(1000)]
    differences = [
        microseconds(lambda: with_(traces), calls) - microseconds(without, calls)
        for _ in range(rounds)
    ]
    figures = {
        "microseconds_a_call": round(statistics.median(differences), 2),
        "lowest": round(min(differences), 2),
        "highest": round(max(differences), 2),
        "microseconds_to_read_one": round(microseconds(lambda: documents(kept[0]), 1000), 1),
    }
    click.echo(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
