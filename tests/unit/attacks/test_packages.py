"""No package makes fnbox write where it should not, keep anything of it, or fill its memory.

`tests/unit/test_code_refused.py` has the shapes that the store itself refuses; here they come by
the API, in a function's code and in a layer, with what it costs measured.
"""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import ROLE, Api, open_api, zip_bytes
from tests.support.memory import MIB, grows_by_less_than

UNREADABLE = "Could not unzip uploaded file. Please check your file, then try to upload again."
EOCD = struct.Struct("<4s4H2IH")
CENTRAL = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path / "state")
    yield opened
    opened.close()


def everything(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*") if "db" not in found.name}


def refused(api: Api, folder: Path, package: bytes, mib: int) -> set[str]:
    """The texts of the errors that a function and a layer of it get; nothing is left."""
    before = everything(folder)
    text = base64.b64encode(package).decode()
    create = {"FunctionName": "f", "Role": ROLE, "Runtime": "python3.13", "Handler": "a.b"}
    requests = {
        "/2015-03-31/functions": create | {"Code": {"ZipFile": text}},
        "/2018-10-31/layers/l/versions": {"Content": {"ZipFile": text}},
    }
    texts = set()
    for path, document in requests.items():
        body = json.dumps(document).encode()
        with grows_by_less_than(mib):
            answer = api.request("POST", path, body)
        assert answer.status_code in (400, 413), answer.get_data()[:500]
        found = json.loads(answer.get_data())
        texts.add(found.get("message") or found["Message"])
    assert everything(folder) == before
    return texts


def one(
    name: bytes = b"app.py",
    data: bytes = b"x = 1\n",
    *,
    method: int = 0,
    size: int | None = None,
    packed: int | None = None,
    crc: int | None = None,
    flags: int = 0,
    mode: int = stat.S_IFREG | 0o644,
    extra: bytes = b"",
    offset: int = 0,
    local: bool = True,
) -> tuple[bytes, bytes]:
    """An entry, as its local header with data and as the directory has it: true, or lying."""
    size = len(data) if size is None else size
    packed = len(data) if packed is None else packed
    crc = zlib.crc32(data) if crc is None else crc
    fields = (20, flags, method, 0, 0x21, crc, packed, size, len(name), len(extra))
    begin = LOCAL.pack(b"PK\x03\x04", *fields) + name + extra + data if local else b""
    made = (0x314, *fields, 0, 0, 0, mode << 16, offset)
    return begin, CENTRAL.pack(b"PK\x01\x02", *made) + name + extra


def archive(
    *entries: tuple[bytes, bytes],
    count: int | None = None,
    at: int | None = None,
    length: int | None = None,
    comment: int = 0,
    before: bytes = b"",
) -> bytes:
    """A zip of entries, with what the end of the directory says about it."""
    locals_ = b"".join(begin for begin, _ in entries)
    directory = b"".join(central for _, central in entries)
    count = len(entries) if count is None else count
    length = len(directory) if length is None else length
    at = len(locals_) if at is None else at
    end = EOCD.pack(b"PK\x05\x06", 0, 0, count, count, length, at, comment)
    return locals_ + directory + before + end


def zip64(size: int, packed: int, offset: int) -> bytes:
    """The field of an entry that holds its true numbers, or others."""
    return struct.pack("<HHQQQ", 1, 24, size, packed, offset)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


FULL = 0xFFFFFFFF
HUGE = 2**63 - 1
SMALL_BOMB = deflated(bytes(32 * MIB))
LOCATOR = struct.pack("<4sIQI", b"PK\x06\x07", 0, HUGE, 1)
END64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, HUGE, HUGE, HUGE, HUGE)

LIES = {
    "says it is small": archive(one(data=SMALL_BOMB, method=8, size=10, crc=0)),
    "says it is nothing": archive(one(data=SMALL_BOMB, method=8, size=0, crc=0)),
    "says another checksum": archive(one(crc=1)),
    "says it is stored": archive(one(data=SMALL_BOMB, size=240 * MIB, method=0)),
    "ends early": archive(one(data=SMALL_BOMB[:-1], method=8, size=240 * MIB, crc=0)),
    "is no deflate": archive(one(data=b"\xff" * 100, method=8, size=100)),
    "reaches beyond the zip": archive(one(packed=2**30, size=2**27)),
    "begins beyond the zip": archive(one(offset=2**31)),
    "begins in the directory": archive(one(offset=40)),
    "encrypted": archive(one(flags=1)),
    "strongly encrypted": archive(one(flags=0x41)),
    "patched": archive(one(flags=0x20)),
    "another compression": archive(one(method=12)),
    "compression of the future": archive(one(method=99)),
    "block device": archive(one(mode=stat.S_IFBLK | 0o644), one(b"a")),
    "character device": archive(one(mode=stat.S_IFCHR | 0o644)),
    "fifo": archive(one(mode=stat.S_IFIFO | 0o644)),
    "socket": archive(one(mode=stat.S_IFSOCK | 0o644)),
    "link to a file of the machine": archive(one(data=b"/etc/shadow", mode=stat.S_IFLNK)),
    "link out": archive(one(data=b"../../../instance", mode=stat.S_IFLNK)),
    "absolute path": archive(one(b"/etc/cron.d/a")),
    "path out": archive(one(b"../../../../etc/cron.d/a")),
    "path out at its end": archive(one(b"a/..")),
    "path of dots": archive(one(b"./.././a")),
    "NUL in the name": archive(one(b"app.py\0.txt")),
    "name that is no UTF-8": archive(one(b"\xff\xfe\xc0\xaf", flags=0x800)),
    "name of a surrogate": archive(one(b"\xed\xa0\x80", flags=0x800)),
    "long name": archive(one(b"n" * 65_535)),
    "name too long for a file": archive(one(b"n" * 256)),
    "deep path": archive(one(b"d/" * 30_000 + b"f")),
    "path of too many parts": archive(one(b"d/" * 128 + b"f")),
    "no name": archive(one(b"")),
    "file as a directory": archive(one(b"d/", b"data")),
    "zip64 sizes without measure": archive(
        one(size=FULL, packed=FULL, extra=zip64(HUGE, HUGE, 0))
    ),
    "zip64 sizes that are negative": archive(
        one(size=FULL, packed=FULL, extra=zip64(2**64 - 1, 2**64 - 1, 0))
    ),
    "zip64 offset without measure": archive(
        one(size=FULL, packed=FULL, offset=FULL, extra=zip64(6, 6, HUGE))
    ),
    "zip64 field cut short": archive(one(size=FULL, extra=struct.pack("<HHI", 1, 24, 0))),
    "extra field beyond its end": archive(one(extra=struct.pack("<HH", 1, 60_000))),
    "zip64 directory of another place": archive(one(), count=0xFFFF, before=END64 + LOCATOR),
    "zip64 locator to nowhere": archive(one(), count=0xFFFF, at=FULL, before=LOCATOR),
    "directory beyond the zip": archive(one(), at=2**31),
    "directory larger than the zip": archive(one(), length=2**31),
    "directory that begins before the zip": archive(one(), length=10_000),
    "comment that is not there": archive(one(), comment=0xFFFF)[: -EOCD.size],
    "directory of another zip": archive(one(local=False)),
    "nothing but its end": EOCD.pack(b"PK\x05\x06", 0, 0, 1, 1, 46, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("package", LIES.values(), ids=LIES)
def test_a_zip_that_lies_is_refused(api: Api, tmp_path: Path, package: bytes) -> None:
    assert refused(api, tmp_path, package, mib=48) == {UNREADABLE}


def test_a_bomb_is_refused_by_what_it_says_of_itself(api: Api, tmp_path: Path) -> None:
    """A thousand times as large as what was sent: none of it is inflated."""
    bomb = archive(one(data=SMALL_BOMB, method=8, size=300 * MIB))
    many = [one(b"f%d" % n, SMALL_BOMB, method=8, size=240 * MIB, crc=0) for n in range(3)]
    offsets = 0
    honest = []
    for begin, central in many:
        honest.append((begin, central[:42] + struct.pack("<I", offsets) + central[46:]))
        offsets += len(begin)
    text = {"Unzipped size must be smaller than 262144000 bytes"}
    assert refused(api, tmp_path, bomb, mib=16) == text
    assert refused(api, tmp_path, archive(*honest), mib=16) == text


def test_entries_that_share_their_data_are_refused(api: Api, tmp_path: Path) -> None:
    """How a small zip would become petabytes."""
    begin, central = one(b"a000", data=SMALL_BOMB, method=8, size=MIB, crc=0)
    names = [central[:46] + b"a%03d" % number for number in range(200)]
    package = archive((begin, central), *[(b"", name) for name in names])
    assert refused(api, tmp_path, package, mib=16) == {UNREADABLE}


def test_entries_within_another_are_refused(api: Api, tmp_path: Path) -> None:
    inner, central = one(b"inner", b"x")
    outer, directory = one(b"outer", inner)
    at = len(outer) - len(inner)
    within = central[:42] + struct.pack("<I", at) + central[46:]
    assert refused(api, tmp_path, archive((outer, directory), (b"", within)), 16) == {UNREADABLE}


@pytest.mark.parametrize(
    "names",
    [
        (b"a", b"a"),
        (b"a", b"./a"),
        (b"a/b", b"a//b"),
        (b"a", b"a/"),
        (b"a", b"a/b"),
        (b"a/b", b"a"),
    ],
)
def test_a_path_is_one_thing(api: Api, tmp_path: Path, names: tuple[bytes, bytes]) -> None:
    first, central = one(names[0])
    second = one(names[1], b"" if names[1].endswith(b"/") else b"y", offset=len(first))
    assert refused(api, tmp_path, archive((first, central), second), 16) == {UNREADABLE}


def test_nothing_is_written_through_a_link(api: Api, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link, central = one(b"lib", os.fsencode(outside), mode=stat.S_IFLNK)
    within = one(b"lib/evil", offset=len(link))
    assert refused(api, tmp_path, archive((link, central), within), 16) == {UNREADABLE}
    assert not list(outside.iterdir())


@pytest.mark.parametrize("count", [100_001, 200_000])
def test_entries_without_number_are_refused_unread(api: Api, tmp_path: Path, count: int) -> None:
    _, central = one(b"f", b"")
    package = EOCD.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(central) * count, 0, 0)
    assert refused(api, tmp_path, central * count + package, mib=400) == {UNREADABLE}


def test_directories_that_nobody_listed_count_too(api: Api, tmp_path: Path) -> None:
    """Few entries, and more than a hundred thousand directories."""
    entries = []
    offset = 0
    for number in range(800):
        begin, central = one(b"%d/" % number + b"d/" * 126 + b"f", b"", offset=offset)
        entries.append((begin, central))
        offset += len(begin)
    assert refused(api, tmp_path, archive(*entries), mib=120) == {UNREADABLE}


def test_a_package_in_a_package_is_a_file(api: Api) -> None:
    """Nothing is unpacked that was not asked for."""
    inner = archive(one(data=SMALL_BOMB, method=8, size=240 * MIB))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as outer:
        outer.writestr("inner.zip", inner)
    with grows_by_less_than(32):
        created = api.create("f", Code={"ZipFile": buffer.getvalue()})
    assert created["CodeSize"] == len(buffer.getvalue())


def test_what_is_no_base64_or_too_large_is_refused(api: Api, tmp_path: Path) -> None:
    path = "/2015-03-31/functions"
    body = b'{"FunctionName":"f","Role":"%s","Code":{"ZipFile":"%s"}}'
    before = everything(tmp_path)
    for text in (b"====", b"UEs=\\n", b"\\u0000", b"UEsF!", b"\xc3\xa9"):
        answer = api.request("POST", path, body % (ROLE.encode(), text))
        assert answer.status_code == 400, text
    large = body % (ROLE.encode(), b"A" * 70_000_000)
    with grows_by_less_than(450):
        answer = api.request("POST", path, large)
    assert answer.status_code in (400, 413)
    huge = api.request("POST", path, large + b" " * 200_000)
    assert huge.status_code == 413
    assert everything(tmp_path) == before


def test_a_good_package_still_is(api: Api, tmp_path: Path) -> None:
    """As the helpers above make them, so that what they lie about is all that is wrong."""
    first, central = one(
        b"app.py", deflated(b"x = 1\n"), method=8, size=6, crc=zlib.crc32(b"x = 1\n")
    )
    second = one(b"lib/a", offset=len(first))
    assert api.create("f", Code={"ZipFile": archive((first, central), second)})["CodeSize"]
    assert api.create("g", Code={"ZipFile": zip_bytes()})["CodeSize"]
    assert {path.read_bytes() for path in tmp_path.rglob("app.py")} >= {b"x = 1\n"}
