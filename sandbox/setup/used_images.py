"""The container images that an instance's functions run, whether or not it is up."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sandbox.errors import StorageError


def ids(state_dir: Path) -> set[str]:
    """What each version's image is known by, all that a removal must spare.

    Read beside a control plane that writes. Raises StorageError.
    """
    path = state_dir / "fnbox.db"
    if not path.exists():
        return set()
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT DISTINCT image_id FROM versions").fetchall()
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    return {image for (image,) in rows if image}
