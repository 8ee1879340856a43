"""Packages that nobody vouches for, and what the store makes of good ones."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path

import pytest

from sandbox.catalog import Code, CodeStore, code_store, package
from sandbox.catalog.code_store import GRACE
from sandbox.clock import FakeClock
from sandbox.errors import CallerError, RequestTooLarge

UNREADABLE = "Could not unzip uploaded file. Please check your file, then try to upload again."


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> CodeStore:
    return CodeStore(tmp_path / "code", clock)


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


def test_a_package_is_kept_as_uploaded_and_unpacked(store: CodeStore) -> None:
    code = store.put_zip(GOOD)
    assert code == Code(hashlib.sha256(GOOD).hexdigest(), len(GOOD), 12)
    assert store.zip_path(code).read_bytes() == GOOD
    assert everything_below(store.tree(code)) == {"app.py", "lib", "lib/util.py"}
    assert (store.tree(code) / "lib/util.py").read_text() == "y = 2\n"


def test_the_same_package_again_is_the_same_code(store: CodeStore) -> None:
    code = store.put_zip(GOOD)
    inode = store.tree(code).stat().st_ino
    assert store.put_zip(GOOD) == code
    assert store.tree(code).stat().st_ino == inode


def test_the_tar_of_a_small_tree_belongs_to_root_and_is_the_same_every_time(
    store: CodeStore, tmp_path: Path
) -> None:
    data = zipped(("b/run", "#!"), ("a.py", "x"), link("l", "b/run"), (entry("x", 0o700), ""))
    first = store.archive(store.put_zip(data))
    other_store = CodeStore(tmp_path / "other", FakeClock())
    second = other_store.archive(other_store.put_zip(data))
    assert first is not None
    assert second is not None
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["a.py", "b", "b/run", "l", "x"]
    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    assert [oct(member.mode) for member in members] == [
        "0o644",
        "0o755",
        "0o644",
        "0o755",
        "0o755",
    ]


def test_a_large_tree_has_no_tar(store: CodeStore) -> None:
    code = store.put_zip(zipped(("big", bytes(4 * 2**20 + 1))))
    assert store.archive(code) is None
    assert (store.tree(code) / "big").stat().st_size == 4 * 2**20 + 1


def test_many_empty_files_have_no_tar(store: CodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_store, "ARCHIVE_LIMIT", 4096)
    code = store.put_zip(zipped(*((f"f{number}", "") for number in range(9))))
    assert code.unpacked_size == 0
    assert store.archive(code) is None


@pytest.mark.parametrize(
    ("mode", "on_disk"),
    [
        (0, 0o644),
        (0o600, 0o644),
        (0o400, 0o644),
        (0o666, 0o644),
        (0o700, 0o755),
        (0o755, 0o755),
        (0o611, 0o644),
        (0o6755, 0o755),
    ],
)
def test_everyone_may_read_and_only_root_may_write(
    store: CodeStore, mode: int, on_disk: int
) -> None:
    code = store.put_zip(zipped((entry("file", mode), "x")))
    assert permissions(store.tree(code) / "file") == on_disk


def test_directories_can_be_entered_whatever_the_zip_and_the_umask_say(store: CodeStore) -> None:
    umask = os.umask(0o077)
    try:
        code = store.put_zip(zipped((entry("d/", stat.S_IFDIR | 0o700), ""), ("d/e/f", "x")))
    finally:
        os.umask(umask)
    tree = store.tree(code)
    modes = [permissions(path) for path in (tree.parent, tree, tree / "d", tree / "d/e")]
    assert modes == [0o755] * 4
    assert permissions(tree / "d/e/f") == 0o644


def test_a_file_keeps_its_date(store: CodeStore) -> None:
    info = zipfile.ZipInfo("f", (2024, 2, 29, 12, 30, 2))
    tree = store.tree(store.put_zip(zipped((info, "x"))))
    assert (tree / "f").stat().st_mtime == 1709209802


def test_a_date_that_does_not_exist_does_no_harm(store: CodeStore) -> None:
    data = bytearray(zipped(("f", "x")))
    at = data.index(b"PK\x01\x02")
    data[at + 12 : at + 16] = bytes(4)
    tree = store.tree(store.put_zip(bytes(data)))
    assert (tree / "f").stat().st_mtime == 315532800


def test_links_within_the_tree_are_kept(store: CodeStore) -> None:
    data = zipped(
        ("lib/real.so.1", "elf"),
        link("lib/real.so", "real.so.1"),
        link("up", "lib/../lib/./real.so"),
        link("lib/back", "../up"),
        link("dangling", "lib/none"),
        link("here", "."),
    )
    tree = store.tree(store.put_zip(data))
    assert (tree / "lib/back").read_text() == "elf"
    assert os.readlink(tree / "up") == "lib/../lib/./real.so"
    assert os.readlink(tree / "dangling") == "lib/none"


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
    store: CodeStore, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(CallerError) as refusal:
        store.put_zip(data)
    assert refusal.value.message == UNREADABLE
    assert everything_below(tmp_path) == {"code", "code/tmp"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_comes_twice_is_refused(store: CodeStore) -> None:
    with pytest.raises(CallerError, match="Could not unzip"):
        store.put_zip(zipped(("a", "x"), ("a", "y")))


@pytest.mark.parametrize("data", [b"", zipped(), zipped(("only/", ""), ("dirs/", ""))])
def test_a_package_without_files_is_refused(store: CodeStore, data: bytes) -> None:
    with pytest.raises(CallerError, match="Uploaded file must be a non-empty zip"):
        store.put_zip(data)


def test_a_zip_over_50_mib_is_too_large(store: CodeStore) -> None:
    with pytest.raises(RequestTooLarge) as refusal:
        store.put_zip(bytes(52_428_801))
    assert refusal.value.message == "Zipped size must be smaller than 52428800 bytes"


def test_a_package_that_says_it_is_too_large_is_refused_unread(store: CodeStore) -> None:
    with pytest.raises(CallerError) as refusal:
        store.put_zip(lying(24, struct.pack("<I", 262_144_001)))
    assert refusal.value.message == "Unzipped size must be smaller than 262144000 bytes"


def test_more_entries_than_the_limit_are_refused(
    store: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "ENTRIES_LIMIT", 10)
    store.put_zip(zipped(*((f"f{number}", "") for number in range(10))))
    with pytest.raises(CallerError, match="Could not unzip"):
        store.put_zip(zipped(*((f"f{number}", "") for number in range(11))))


def test_directories_that_are_only_implied_count_too(
    store: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "ENTRIES_LIMIT", 10)
    with pytest.raises(CallerError, match="Could not unzip"):
        store.put_zip(zipped(("/".join("abcdefghijk"), "x")))


def test_what_a_crash_left_is_swept_and_what_was_kept_is_found(
    tmp_path: Path, clock: FakeClock
) -> None:
    root = tmp_path / "code"
    code = CodeStore(root, clock).put_zip(GOOD)
    (root / "tmp" / "half").mkdir()
    (root / "tmp" / "half" / "file").write_text("x")
    again = CodeStore(root, clock)
    assert everything_below(root / "tmp") == set()
    assert again.put_zip(GOOD) == code
    again.collect({code.sha256})
    assert again.tree(code).is_dir()


def test_a_package_that_nothing_refers_to_is_collected_after_a_while(
    store: CodeStore, clock: FakeClock, tmp_path: Path
) -> None:
    code, kept = store.put_zip(GOOD), store.put_zip(zipped(("other.py", "")))
    store.collect({kept.sha256})
    assert store.tree(code).is_dir()
    clock.advance(GRACE)
    store.collect({kept.sha256})
    assert not store.tree(code).exists()
    assert store.tree(kept).is_dir()
    assert everything_below(tmp_path / "code" / "tmp") == set()
    assert store.put_zip(GOOD) == code
    assert store.tree(code).is_dir()


def test_a_package_that_was_just_used_is_not_collected(store: CodeStore, clock: FakeClock) -> None:
    code = store.put_zip(GOOD)
    clock.advance(GRACE)
    store.put_zip(GOOD)
    store.collect(set())
    assert store.tree(code).is_dir()


def test_a_package_is_held_until_the_last_holder_lets_go(
    store: CodeStore, clock: FakeClock
) -> None:
    code = store.put_zip(GOOD)
    releases = [store.hold(code), store.hold(code)]
    for release in releases:
        clock.advance(GRACE)
        store.collect(set())
        assert store.zip_path(code).exists()
        release()
    clock.advance(GRACE)
    store.collect(set())
    assert not store.zip_path(code).exists()


def test_puts_and_collections_at_once_never_lose_a_package(tmp_path: Path) -> None:
    class Hurried(FakeClock):
        """Every look at it is past any grace."""

        def monotonic(self) -> float:
            self.advance(GRACE * 2)
            return super().monotonic()

    store = CodeStore(tmp_path / "code", Hurried())
    done = threading.Event()

    def collect() -> None:
        while not done.is_set():
            store.collect(set())

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for _ in range(25):
            code = store.put_zip(GOOD)
            assert code.size == len(GOOD)
    finally:
        done.set()
        collector.join()
    store.put_zip(GOOD)
    assert (store.tree(code) / "app.py").read_text() == "x = 1\n"
    assert everything_below(tmp_path / "code" / "tmp") == set()


def test_many_puts_of_one_package_at_once_make_one(store: CodeStore, tmp_path: Path) -> None:
    codes: list[Code] = []
    threads = [threading.Thread(target=lambda: codes.append(store.put_zip(GOOD))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(codes) == 8
    assert len(set(codes)) == 1
    assert everything_below(tmp_path / "code" / "tmp") == set()


def test_packages_are_merged_and_the_later_one_wins(store: CodeStore) -> None:
    first = store.put_zip(
        zipped(
            ("kept", "1"),
            ("both/one", "1"),
            ("both/two", "1"),
            ("file", "1"),
            ("directory/x", "1"),
            link("link", "both"),
            link("turns", "kept"),
            link("dir", "directory"),
        )
    )
    second = store.put_zip(
        zipped(
            ("both/two", "2"),
            (entry("both/run", 0o100755), "2"),
            ("file/x", "2"),
            ("directory", "2"),
            ("link/y", "2"),
            link("turns", "file"),
            ("dir", "2"),
        )
    )
    merged = store.merge([first, second])
    assert merged.unpacked_size == first.unpacked_size + second.unpacked_size
    tree = store.tree(merged)
    assert {name: (tree / name).read_text() for name in files_of(tree)} == {
        "kept": "1",
        "both/one": "1",
        "both/two": "2",
        "both/run": "2",
        "file/x": "2",
        "directory": "2",
        "link/y": "2",
        "dir": "2",
    }
    assert os.readlink(tree / "turns") == "file"
    assert permissions(tree / "both/run") == 0o755
    assert permissions(tree / "both") == permissions(tree) == 0o755
    # the packages are as they were
    assert (store.tree(first) / "both/two").read_text() == "1"
    assert not (store.tree(first) / "both/run").exists()


def files_of(tree: Path) -> set[str]:
    return {
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_merging_writes_through_no_link(store: CodeStore) -> None:
    """Each package keeps to its own tree; one over the other, a link may lead out of it."""
    inside = store.put_zip(zipped(("a/b/file", "1"), link("a/out", "b/../..")))
    turned = store.put_zip(zipped(link("a/b", "..")))
    through = store.put_zip(zipped(("a/out/escaped", "3")))
    tree = store.tree(store.merge([inside, turned, through]))
    assert everything_below(tree.parent) == {
        *("tree", "tree/a", "tree/a/b", "tree/a/out", "tree/a/out/escaped")
    }
    assert not (tree / "a/out").is_symlink()


def test_a_merged_tree_is_made_once_for_packages_in_an_order(
    store: CodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (store.put_zip(zipped(("file", text))) for text in "12")
    assert store.merge([one]) == one
    merged, turned = store.merge([one, two]), store.merge([two, one])
    assert merged.sha256 != turned.sha256
    assert (store.tree(merged) / "file").read_text() == "2"
    assert (store.tree(turned) / "file").read_text() == "1"
    monkeypatch.setattr(code_store.trees, "merge", lambda *_: 1 // 0)
    assert store.merge([one, two]) == merged
    again = CodeStore(tmp_path / "code", FakeClock())
    assert again.merge([one, two]) == merged


def test_a_merged_tree_shares_its_files_and_outlives_its_packages(
    store: CodeStore, clock: FakeClock
) -> None:
    one, two = (store.put_zip(zipped((name, "text"))) for name in "ab")
    merged = store.merge([one, two])
    file = store.tree(merged) / "a"
    assert file.samefile(store.tree(one) / "a")
    clock.advance(GRACE + 1)
    store.collect({merged.sha256})
    assert not store.touch(one)
    assert file.read_text() == "text"
    clock.advance(GRACE + 1)
    store.collect(set())
    assert not file.exists()


def test_files_are_copied_where_they_cannot_be_linked(
    store: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMLINK, "too many links")

    monkeypatch.setattr(os, "link", refuse)
    one, two = (store.put_zip(zipped((entry(name, 0o100755), name))) for name in "ab")
    tree = store.tree(store.merge([one, two]))
    assert (tree / "a").read_text() == "a"
    assert permissions(tree / "b") == 0o755


def test_a_merge_that_fails_leaves_nothing(store: CodeStore, tmp_path: Path) -> None:
    one, two = (store.put_zip(zipped((name, ""))) for name in "ab")
    shutil.rmtree(store.tree(two))
    with pytest.raises(FileNotFoundError):
        store.merge([one, two])
    assert list((tmp_path / "code/tmp").iterdir()) == []
