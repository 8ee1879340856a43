"""What the store makes of good packages, and how long it keeps them."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from sandbox.catalog import Code, CodeStore, code_store
from sandbox.catalog.code_store import GRACE
from sandbox.clock import FakeClock
from tests.support.packages import GOOD, entry, everything_below, link, permissions, zipped


def test_a_package_is_kept_as_uploaded_and_unpacked(packages: CodeStore) -> None:
    code = packages.put_zip(GOOD)
    assert code == Code(hashlib.sha256(GOOD).hexdigest(), len(GOOD), 12)
    assert packages.zip_path(code).read_bytes() == GOOD
    assert everything_below(packages.tree(code)) == {"app.py", "lib", "lib/util.py"}
    assert (packages.tree(code) / "lib/util.py").read_text() == "y = 2\n"


def test_the_same_package_again_is_the_same_code(packages: CodeStore) -> None:
    code = packages.put_zip(GOOD)
    inode = packages.tree(code).stat().st_ino
    assert packages.put_zip(GOOD) == code
    assert packages.tree(code).stat().st_ino == inode


def test_the_tar_of_a_small_tree_belongs_to_root_and_is_the_same_every_time(
    packages: CodeStore, tmp_path: Path
) -> None:
    data = zipped(("b/run", "#!"), ("a.py", "x"), link("l", "b/run"), (entry("x", 0o700), ""))
    first = packages.archive(packages.put_zip(data))
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


def test_a_large_tree_has_no_tar(packages: CodeStore) -> None:
    code = packages.put_zip(zipped(("big", bytes(4 * 2**20 + 1))))
    assert packages.archive(code) is None
    assert (packages.tree(code) / "big").stat().st_size == 4 * 2**20 + 1


def test_many_empty_files_have_no_tar(packages: CodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_store, "ARCHIVE_LIMIT", 4096)
    code = packages.put_zip(zipped(*((f"f{number}", "") for number in range(9))))
    assert code.unpacked_size == 0
    assert packages.archive(code) is None


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
    packages: CodeStore, mode: int, on_disk: int
) -> None:
    code = packages.put_zip(zipped((entry("file", mode), "x")))
    assert permissions(packages.tree(code) / "file") == on_disk


def test_directories_can_be_entered_whatever_the_zip_and_the_umask_say(packages: CodeStore) -> None:
    umask = os.umask(0o077)
    try:
        code = packages.put_zip(zipped((entry("d/", stat.S_IFDIR | 0o700), ""), ("d/e/f", "x")))
    finally:
        os.umask(umask)
    tree = packages.tree(code)
    modes = [permissions(path) for path in (tree.parent, tree, tree / "d", tree / "d/e")]
    assert modes == [0o755] * 4
    assert permissions(tree / "d/e/f") == 0o644


def test_a_file_keeps_its_date(packages: CodeStore) -> None:
    info = zipfile.ZipInfo("f", (2024, 2, 29, 12, 30, 2))
    tree = packages.tree(packages.put_zip(zipped((info, "x"))))
    assert (tree / "f").stat().st_mtime == 1709209802


def test_a_date_that_does_not_exist_does_no_harm(packages: CodeStore) -> None:
    data = bytearray(zipped(("f", "x")))
    at = data.index(b"PK\x01\x02")
    data[at + 12 : at + 16] = bytes(4)
    tree = packages.tree(packages.put_zip(bytes(data)))
    assert (tree / "f").stat().st_mtime == 315532800


def test_links_within_the_tree_are_kept(packages: CodeStore) -> None:
    data = zipped(
        ("lib/real.so.1", "elf"),
        link("lib/real.so", "real.so.1"),
        link("up", "lib/../lib/./real.so"),
        link("lib/back", "../up"),
        link("dangling", "lib/none"),
        link("here", "."),
    )
    tree = packages.tree(packages.put_zip(data))
    assert (tree / "lib/back").read_text() == "elf"
    assert os.readlink(tree / "up") == "lib/../lib/./real.so"
    assert os.readlink(tree / "dangling") == "lib/none"


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
    packages: CodeStore, clock: FakeClock, tmp_path: Path
) -> None:
    code, kept = packages.put_zip(GOOD), packages.put_zip(zipped(("other.py", "")))
    packages.collect({kept.sha256})
    assert packages.tree(code).is_dir()
    clock.advance(GRACE)
    packages.collect({kept.sha256})
    assert not packages.tree(code).exists()
    assert packages.tree(kept).is_dir()
    assert everything_below(tmp_path / "code" / "tmp") == set()
    assert packages.put_zip(GOOD) == code
    assert packages.tree(code).is_dir()


def test_a_package_that_was_just_used_is_not_collected(
    packages: CodeStore, clock: FakeClock
) -> None:
    code = packages.put_zip(GOOD)
    clock.advance(GRACE)
    packages.put_zip(GOOD)
    packages.collect(set())
    assert packages.tree(code).is_dir()


def test_a_package_is_held_until_the_last_holder_lets_go(
    packages: CodeStore, clock: FakeClock
) -> None:
    code = packages.put_zip(GOOD)
    releases = [packages.hold(code), packages.hold(code)]
    for release in releases:
        clock.advance(GRACE)
        packages.collect(set())
        assert packages.zip_path(code).exists()
        release()
    clock.advance(GRACE)
    packages.collect(set())
    assert not packages.zip_path(code).exists()


def test_a_package_that_goes_right_after_it_was_found_is_made_again_the_next_time(
    packages: CodeStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = packages.put_zip(GOOD)
    touch = packages.touch

    def overtaken(code: Code) -> bool:
        found = touch(code)
        clock.advance(GRACE)
        packages.collect(set())
        return found

    with monkeypatch.context() as patch:
        patch.setattr(packages, "touch", overtaken)
        assert packages.put_zip(GOOD) == code
    clock.advance(GRACE)
    packages.collect(set())
    assert packages.put_zip(GOOD) == code
    assert packages.tree(code).is_dir()


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


def test_many_puts_of_one_package_at_once_make_one(packages: CodeStore, tmp_path: Path) -> None:
    codes: list[Code] = []
    threads = [
        threading.Thread(target=lambda: codes.append(packages.put_zip(GOOD))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(codes) == 8
    assert len(set(codes)) == 1
    assert everything_below(tmp_path / "code" / "tmp") == set()
