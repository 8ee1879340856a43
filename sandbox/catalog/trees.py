"""Several unpacked packages as one tree: what a function finds at /opt.

Files are hard links to those of the packages, which nobody ever writes to, so that a tree takes
hardly any room. Whatever the packages hold, nothing is written outside of the new tree: no
symbolic link is ever followed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from sandbox.catalog.package import make_directory, sync


def merge(trees: Iterable[Path], into: Path) -> None:
    """Make `into`, which must not exist, of all trees: of what several have, the last one's.

    Directories are merged; where one tree has a directory and another has none, the later thing
    takes the place of the other, with all that is in it. On disk when it returns.
    """
    make_directory(into)
    for tree in trees:
        _lay(tree, into)
    for directory, _, _ in os.walk(into):
        sync(Path(directory))


def _lay(tree: Path, over: Path) -> None:
    """Put what is in a directory over what is in another."""
    with os.scandir(tree) as entries:
        for entry in entries:
            target = over / entry.name
            is_directory = entry.is_dir(follow_symlinks=False)
            found = _kind(target)
            if found and not (is_directory and stat.S_ISDIR(found)):
                _remove(target, found)
                found = 0
            if is_directory:
                if not found:
                    make_directory(target)
                _lay(Path(entry.path), target)
            elif entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
            else:
                _link(Path(entry.path), target)


def _kind(path: Path) -> int:
    """The mode of what is there, 0 for nothing."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _remove(path: Path, kind: int) -> None:
    if stat.S_ISDIR(kind):
        shutil.rmtree(path)
    else:
        path.unlink()


def _link(file: Path, target: Path) -> None:
    """The same file, or a copy where the file system has no hard links, or no more of this one."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)
        sync(target)
