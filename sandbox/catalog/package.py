"""Deployment packages: reading a zip that nobody vouches for.

`survey` decides from the headers alone whether a package may be unpacked, and `unpack` writes it
to a fresh directory. Whatever the zip says, nothing is written outside of that directory, no more
than the limits below is inflated, and what cannot be used is a CallerError in Lambda's words.
Limits and texts: Lambda's quotas, CreateFunction, UpdateFunctionCode.
"""

from __future__ import annotations

import calendar
import codecs
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.errors import CallerError, RequestTooLarge

ZIPPED_LIMIT = 52_428_800
"""Of a package in a request."""
UNZIPPED_LIMIT = 262_144_000
S3_ZIPPED_LIMIT = UNZIPPED_LIMIT
"""Of one from S3, for which Lambda has no limit but that."""


def zipped_limit(source: Mapping[str, object]) -> int:
    """Of the package in a request's Code or Content, which may have been read from S3."""
    return S3_ZIPPED_LIMIT if "S3Bucket" in source else ZIPPED_LIMIT


ENTRIES_LIMIT = 100_000
"""Files and directories; the limit is ours."""

_CHUNK = 256 * 1024
_LINKS_LIMIT = 4 * 2**20  # bytes of all targets together
_LINK_HOPS = 40
_NAME_LIMIT = 255
_PATH_LIMIT = 3000  # leaves room for the directory that the tree is in
_DEPTH_LIMIT = 128  # every directory's path is kept, and has as many parts
_CENTRAL_SIGNATURE = b"PK\x01\x02"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED_OR_PATCHED = 0x1 | 0x20 | 0x40
_EPOCH = 315_532_800  # 1980-01-01, the first day a zip can say

# zipfile decodes names with it: loaded now, since an import takes locks that greenlets share
codecs.lookup("cp437")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory or symbolic link of a package."""

    path: tuple[str, ...]
    """Parts of the relative path; never empty, no part is `..`."""
    kind: int
    """S_IFREG, S_IFDIR or S_IFLNK."""
    mode: int
    """Permissions as they will be on disk."""
    modified: int
    """Seconds since the epoch."""
    size: int = 0
    start: int = 0
    """Where its data is in the zip,"""
    stop: int = 0
    """and where it ends."""
    deflated: bool = False
    checksum: int = 0
    """CRC-32 of the data."""
    target: str = ""
    """Of a symbolic link."""


@dataclass(frozen=True, slots=True)
class Package:
    """A surveyed zip, ready to be unpacked."""

    data: memoryview
    entries: tuple[Entry, ...]
    """Sorted by path: a directory comes before what is in it, and none is left out."""
    unpacked_size: int

    @property
    def archive_size(self) -> int:
        """Bytes that a tar of the tree takes, nearly."""
        return 512 * sum(1 - (-entry.size // 512) for entry in self.entries)


def survey(data: bytes, limit: int = ZIPPED_LIMIT) -> Package:
    """Check all that can be checked before anything is written.

    Raises RequestTooLarge for a zip of more bytes than `limit`, else CallerError.
    """
    if len(data) > limit:
        raise RequestTooLarge(f"Zipped size must be smaller than {limit} bytes")
    if not data:
        raise _empty()
    # ZipFile reads the whole directory into memory, however many entries it has
    if data.count(_CENTRAL_SIGNATURE) > ENTRIES_LIMIT:
        raise _unreadable()
    try:
        entries = _entries(memoryview(data))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise _unreadable() from error
    if all(entry.kind == stat.S_IFDIR for entry in entries.values()):
        raise _empty()
    size = sum(entry.size for entry in entries.values())
    if size > UNZIPPED_LIMIT:
        raise CallerError(f"Unzipped size must be smaller than {UNZIPPED_LIMIT} bytes")
    entries |= _links(memoryview(data), entries)
    return Package(memoryview(data), tuple(entries[path] for path in sorted(entries)), size)


def unpack(package: Package, into: Path) -> None:
    """Write a package to the directory `into`, which must not exist, and wait for the disk.

    Raises CallerError when an entry's data is not what its header says.
    """
    synced = [into]
    make_directory(into)
    for entry in package.entries:
        path = into.joinpath(*entry.path)
        if entry.kind == stat.S_IFDIR:
            make_directory(path)
        elif entry.kind == stat.S_IFLNK:
            os.symlink(entry.target, path)
            continue
        else:
            _write_file(package.data, entry, path)
        synced.append(path)
    # when all is written: the first wait makes most of the others short
    for path in synced:
        sync(path)


def write_archive(package: Package, tree: Path, path: Path) -> None:
    """Write the unpacked tree as a tar: the same bytes for the same package, owned by root."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for entry in package.entries:
            item = tarfile.TarInfo("/".join(entry.path))
            item.mode, item.mtime = entry.mode, entry.modified
            if entry.kind == stat.S_IFDIR:
                item.type = tarfile.DIRTYPE
                archive.addfile(item)
            elif entry.kind == stat.S_IFLNK:
                item.type, item.linkname = tarfile.SYMTYPE, entry.target
                archive.addfile(item)
            else:
                item.size = entry.size
                with open(tree.joinpath(*entry.path), "rb") as source:
                    archive.addfile(item, source)
    sync(path)


def make_directory(path: Path) -> None:
    """Make a directory that everyone can enter, as environments have user ids of their own."""
    path.mkdir()
    path.chmod(0o755)


def sync(path: Path) -> None:
    """Wait until a file's or a directory's content is on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable() -> CallerError:
    return CallerError(
        "Could not unzip uploaded file. Please check your file, then try to upload again."
    )


def _empty() -> CallerError:
    return CallerError("Uploaded file must be a non-empty zip")


def _entries(data: memoryview) -> dict[tuple[str, ...], Entry]:
    """All entries by path, with the directories that the zip does not list."""
    entries: dict[tuple[str, ...], Entry] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        end = archive.start_dir
    spans: list[tuple[int, int]] = []
    for info in infos:
        entry = _entry(data, info)
        spans.append((info.header_offset, entry.stop))
        if not entry.path and entry.kind == stat.S_IFDIR:
            continue  # the tree itself, as `./`
        _place(entry, entries)
    _check_overlaps(spans, end)
    return entries


def _entry(data: memoryview, info: zipfile.ZipInfo) -> Entry:
    signature, name_size, extra_size = _LOCAL_HEADER.unpack_from(data, info.header_offset)
    if signature != _LOCAL_SIGNATURE:
        raise zipfile.BadZipFile("no entry where the directory says")
    if info.flag_bits & _ENCRYPTED_OR_PATCHED:
        raise zipfile.BadZipFile("encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile("an unusual compression")
    start = info.header_offset + _LOCAL_HEADER.size + name_size + extra_size
    mode = info.external_attr >> 16
    kind = stat.S_IFDIR if info.orig_filename.endswith("/") else stat.S_IFMT(mode) or stat.S_IFREG
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise zipfile.BadZipFile("a special file")
    if kind == stat.S_IFDIR and info.file_size:
        raise zipfile.BadZipFile("a directory with data")
    return Entry(
        _parts(info.orig_filename),
        kind,
        _permissions(kind, mode),
        _modified(info),
        info.file_size,
        start,
        start + info.compress_size,
        info.compress_type == zipfile.ZIP_DEFLATED,
        info.CRC,
    )


def _parts(name: str) -> tuple[str, ...]:
    if name.startswith("/") or "\0" in name or len(name.encode()) > _PATH_LIMIT:
        raise zipfile.BadZipFile("a name that cannot be")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or len(parts) > _DEPTH_LIMIT:
        raise zipfile.BadZipFile("a path that cannot be")
    if any(len(part.encode()) > _NAME_LIMIT for part in parts):
        raise zipfile.BadZipFile("a name that cannot be")
    return parts


def _permissions(kind: int, mode: int) -> int:
    """The permissions on disk for those in the zip.

    Context: on Lambda a file that its zip says others may not read cannot be imported.
    Choice: everyone may read here, and run what the owner may run.
    Reason: zips made in code (Python's `writestr` says 0600) are common in tests.
    Cost: a package that would fail on Lambda with "permission denied" runs here.
    Nobody but root may ever write, and set-user-id bits are dropped.
    """
    if kind != stat.S_IFREG or mode & 0o100:
        return 0o755
    return 0o644


def _modified(info: zipfile.ZipInfo) -> int:
    try:
        return calendar.timegm(info.date_time)
    except ValueError:  # day 0 of month 0 is how some tools say "none"
        return _EPOCH


def _place(entry: Entry, entries: dict[tuple[str, ...], Entry]) -> None:
    """Add an entry and its parents; every path is one thing, and only directories hold others."""
    known = entries.get(entry.path)
    if known is None or known.kind == entry.kind == stat.S_IFDIR:
        entries[entry.path] = entry
    else:
        raise zipfile.BadZipFile("a path that comes twice")
    for length in range(len(entry.path) - 1, 0, -1):
        parent = entry.path[:length]
        known = entries.get(parent)
        if known is not None and known.kind != stat.S_IFDIR:
            raise zipfile.BadZipFile("a path below a file or a link")
        if known is not None:
            break
        entries[parent] = Entry(parent, stat.S_IFDIR, 0o755, _EPOCH)
    if not entry.path or len(entries) > ENTRIES_LIMIT:
        raise zipfile.BadZipFile("too many entries, or one without a name")


def _check_overlaps(spans: list[tuple[int, int]], end: int) -> None:
    """Entries that share data are how a small zip becomes petabytes."""
    position = 0
    for start, stop in sorted(spans):
        if start < position:
            raise zipfile.BadZipFile("entries overlap")
        position = stop
    if position > end:
        raise zipfile.BadZipFile("an entry reaches into the directory")


def _links(
    data: memoryview, entries: Mapping[tuple[str, ...], Entry]
) -> dict[tuple[str, ...], Entry]:
    """The symbolic links with their targets read, none of which leads out of the tree."""
    links = {path: entry for path, entry in entries.items() if entry.kind == stat.S_IFLNK}
    if sum(entry.size for entry in links.values()) > _LINKS_LIMIT:
        raise _unreadable()
    for path, entry in links.items():
        target = os.fsdecode(b"".join(_content(data, entry)))
        links[path] = replace(entry, target=target)
    if not all(_stays_inside(path, links) for path in links):
        raise _unreadable()
    return links


def _stays_inside(link: tuple[str, ...], links: Mapping[tuple[str, ...], Entry]) -> bool:
    """Whether a link, followed through other links of the tree, ends in it (or nowhere in it)."""
    place = list(link[:-1])
    ahead = [link[-1]]
    hops = 0
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not place:
                return False
            place.pop()
            continue
        place.append(part)
        found = links.get(tuple(place))
        if found is not None:
            hops += 1
            target = found.target
            unusable = not target or target.startswith("/") or "\0" in target
            if unusable or len(os.fsencode(target)) > _PATH_LIMIT or hops > _LINK_HOPS:
                return False
            place.pop()
            ahead.extend(reversed(target.split("/")))
    return True


def _content(data: memoryview, entry: Entry) -> Iterator[bytes | memoryview]:
    """An entry's data, inflated piece by piece and checked against what its header says."""
    packed = data[entry.start : entry.stop]
    size = checksum = 0
    for piece in _inflate(packed) if entry.deflated else [packed]:
        size += len(piece)
        if size > entry.size:
            break
        checksum = zlib.crc32(piece, checksum)
        yield piece
    if size != entry.size or checksum != entry.checksum:
        raise _unreadable()


def _inflate(packed: memoryview) -> Iterator[bytes]:
    """Raw deflate in pieces of bounded size, whatever they inflate to."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, len(packed), _CHUNK):
            left: bytes | memoryview = packed[start : start + _CHUNK]
            while left and not inflater.eof:
                yield inflater.decompress(left, _CHUNK)
                left = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as error:
        raise _unreadable() from error
    if not inflater.eof or inflater.unused_data:
        raise _unreadable()


def _write_file(data: memoryview, entry: Entry, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb", buffering=0) as file:
        for piece in _content(data, entry):
            file.write(piece)
        os.fchmod(descriptor, entry.mode)
        os.utime(descriptor, (entry.modified, entry.modified))
