"""The companion's own process: moto's server on a socket that it is handed.

`python -m sandbox.aws.server DESCRIPTOR`. It ends on SIGTERM, and when its standard input does:
a control plane that was killed leaves no companion behind.
"""

from __future__ import annotations

import logging
import os
import sys
import threading


def main() -> None:
    descriptor = int(sys.argv[1])
    threading.Thread(target=_end_with_input, daemon=True).start()
    # errors, and no line for each request: nobody rotates this log
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    make_server(
        "unix://aws.sock",  # its family; the socket itself is there
        0,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=MotoRequestHandler,
        fd=descriptor,
    ).serve_forever()


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
