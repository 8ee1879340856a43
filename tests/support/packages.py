"""Deployment packages of any shape, and a look at what was made of them."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path


def zipped(*entries: tuple[str | zipfile.ZipInfo, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, str]:
    return entry(name, stat.S_IFLNK | 0o777), target


def everything_below(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*")}


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


GOOD = zipped(("app.py", "x = 1\n"), ("lib/util.py", "y = 2\n"))
