"""What is refused takes no memory once it is answered."""

from __future__ import annotations

import http.client
from contextlib import closing

from tests.support.instance import Instance
from tests.support.memory import MIB, resident

BROKEN = b'"' + b"x" * 6_000_000
PATH = "/2015-03-31/functions/none/invocations"


def test_refused_bodies_do_not_pile_up(instance: Instance) -> None:
    """The whole of it is read, and decoded in a native thread, to say what is wrong with it."""
    with closing(http.client.HTTPConnection("127.0.0.1", instance.port, timeout=60)) as client:
        sizes = []
        for _ in range(60):
            client.request("POST", PATH, BROKEN)
            answer = client.getresponse()
            assert (answer.status, b"Unexpected end" in answer.read()) == (400, True)
            sizes.append(resident(instance.worker))
    grown = sizes[-1] - sizes[9]
    assert grown < 100 * MIB, f"{grown // MIB} MiB more after 50 times 6 MB"
