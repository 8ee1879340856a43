"""The function's code and layers go before the runtime's own packages; then the client runs."""

import os
import sys

_version = f"python{sys.version_info.major}.{sys.version_info.minor}"
sys.path[:1] = [
    "/var/task",
    f"/opt/python/lib/{_version}/site-packages",
    "/opt/python",
    "/var/runtime",
]

from awslambdaric.__main__ import main  # noqa: E402

main([sys.argv[0], os.environ["_HANDLER"]])
