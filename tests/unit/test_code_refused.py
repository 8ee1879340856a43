"""Packages that nobody vouches for: what the store refuses, and leaves nothing of."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from sandbox.catalog import CodeStore, package
from sandbox.errors import CallerError, RequestTooLarge
from tests.support.packages import GOOD, entry, everything_below, link, zipped

UNREADABLE = "Could not unzip uploaded file. Please check your file, then try to upload again."


def lying(offset: int, value: bytes) -> bytes:
    """A good zip whose directory says something else at `offset` of its only entry."""
    data = bytearray(zipped(("app.py", "x = 1\n" * 100)))
    at = data.index(b"PK\x01\x02") + offset
    data[at : at + len(value)] = value
    return bytes(data)


def overlapping() -> bytes:
    """Two entries of the directory that share one entry's data."""
    data = bytearray(zipped(("a.py", "x"), ("b.py", "x")))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    return bytes(data)


def with_trailing_data() -> bytes:
    """An entry whose deflated data ends before it should."""
    deflated = zlib.compress(b"x", wbits=-15) + b"rest"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("f", deflated)
    data = bytearray(buffer.getvalue())
    at = data.index(b"PK\x01\x02")
    data[at + 10 : at + 12] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    data[at + 16 : at + 20] = struct.pack("<I", zlib.crc32(b"x"))
    data[at + 24 : at + 28] = struct.pack("<I", 1)
    return bytes(data)


def stored_with(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("f", "x")
    return buffer.getvalue()


BAD = {
    "not a zip": b"these are no bytes of a zip",
    "a truncated zip": GOOD[:-30],
    "a zip without its beginning": GOOD[40:],
    "a path out of the tree": zipped(("../evil", "x")),
    "a path out of the tree and back": zipped(("a/../../evil", "x")),
    "an absolute path": zipped(("/evil", "x")),
    "a link out of the tree": zipped(link("l", "../evil"), ("f", "x")),
    "an absolute link": zipped(link("l", "/etc/passwd")),
    "a link out of the tree by way of another": zipped(
        link("a/b/up", ".."), link("l", "a/b/up/../../evil"), ("f", "x")
    ),
    "a file written through a link": zipped(link("d", "."), ("d/evil", "x")),
    "a file written through a later link": zipped(("d/evil", "x"), link("d", ".")),
    "links in a circle": zipped(link("a", "b"), link("b", "a")),
    "a link without a target": zipped(link("a", ""), ("f", "x")),
    "a link with a NUL": zipped(link("a", "b\0c"), ("f", "x")),
    "a fifo": zipped((entry("p", stat.S_IFIFO | 0o644), "")),
    "a device": zipped((entry("p", stat.S_IFCHR | 0o644), "")),
    "a file below a file": zipped(("a", "x"), ("a/b", "x")),
    "a file where a directory is": zipped(("a/b", "x"), ("a", "x")),
    "the same path in two spellings": zipped(("a/b", "x"), ("a//./b", "y")),
    "a directory with data": zipped(("a/", "x"), ("f", "x")),
    "a name that no file system has": zipped(("n" * 256, "x")),
    "a path that no file system has": zipped(("/".join(["n" * 200] * 20), "x")),
    "a file without a name": zipped(("./", ""), (".", "x")),
    "a name with a NUL": zipped(("abcd", "x")).replace(b"abcd", b"ab\0d"),
    "a wrong checksum": lying(16, b"\0\0\0\0"),
    "a size that is too small": lying(24, struct.pack("<I", 10)),
    "a size that is too large": lying(24, struct.pack("<I", 10_000)),
    "a deflated size that is too small": lying(20, struct.pack("<I", 5)),
    "a deflated size beyond the end": lying(20, struct.pack("<I", 10_000)),
    "an offset beyond the end": lying(42, struct.pack("<I", 10_000)),
    "an encrypted entry": lying(8, struct.pack("<H", 1)),
    "a bzip2 entry": stored_with(zipfile.ZIP_BZIP2),
    "an LZMA entry": stored_with(zipfile.ZIP_LZMA),
    "entries that share data": overlapping(),
    "data behind the end of a stream": with_trailing_data(),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_a_bad_package_is_refused_and_leaves_nothing(
    packages: CodeStore, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(CallerError) as refusal:
        packages.put_zip(data)
    assert refusal.value.message == UNREADABLE
    assert everything_below(tmp_path) == {"code", "code/tmp"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_comes_twice_is_refused(packages: CodeStore) -> None:
    with pytest.raises(CallerError, match="Could not unzip"):
        packages.put_zip(zipped(("a", "x"), ("a", "y")))


@pytest.mark.parametrize("data", [b"", zipped(), zipped(("only/", ""), ("dirs/", ""))])
def test_a_package_without_files_is_refused(packages: CodeStore, data: bytes) -> None:
    with pytest.raises(CallerError, match="Uploaded file must be a non-empty zip"):
        packages.put_zip(data)


def test_a_zip_over_50_mib_is_too_large(packages: CodeStore) -> None:
    with pytest.raises(RequestTooLarge) as refusal:
        packages.put_zip(bytes(52_428_801))
    assert refusal.value.message == "Zipped size must be smaller than 52428800 bytes"


def test_a_package_that_says_it_is_too_large_is_refused_unread(packages: CodeStore) -> None:
    with pytest.raises(CallerError) as refusal:
        packages.put_zip(lying(24, struct.pack("<I", 262_144_001)))
    assert refusal.value.message == "Unzipped size must be smaller than 262144000 bytes"


def test_more_entries_than_the_limit_are_refused(
    packages: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "ENTRIES_LIMIT", 10)
    packages.put_zip(zipped(*((f"f{number}", "") for number in range(10))))
    with pytest.raises(CallerError, match="Could not unzip"):
        packages.put_zip(zipped(*((f"f{number}", "") for number in range(11))))


def test_directories_that_are_only_implied_count_too(
    packages: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "ENTRIES_LIMIT", 10)
    with pytest.raises(CallerError, match="Could not unzip"):
        packages.put_zip(zipped(("/".join("abcdefghijk"), "x")))
