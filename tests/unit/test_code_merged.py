"""Trees that the store merges of several packages."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from sandbox.catalog import CodeStore, code_store
from sandbox.catalog.code_store import GRACE
from sandbox.clock import FakeClock
from tests.support.packages import entry, everything_below, link, permissions, zipped


def test_packages_are_merged_and_the_later_one_wins(packages: CodeStore) -> None:
    first = packages.put_zip(
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
    second = packages.put_zip(
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
    merged = packages.merge([first, second])
    assert merged.unpacked_size == first.unpacked_size + second.unpacked_size
    tree = packages.tree(merged)
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
    assert (packages.tree(first) / "both/two").read_text() == "1"
    assert not (packages.tree(first) / "both/run").exists()


def files_of(tree: Path) -> set[str]:
    return {
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_merging_writes_through_no_link(packages: CodeStore) -> None:
    """Each package keeps to its own tree; one over the other, a link may lead out of it."""
    inside = packages.put_zip(zipped(("a/b/file", "1"), link("a/out", "b/../..")))
    turned = packages.put_zip(zipped(link("a/b", "..")))
    through = packages.put_zip(zipped(("a/out/escaped", "3")))
    tree = packages.tree(packages.merge([inside, turned, through]))
    assert everything_below(tree.parent) == {
        *("tree", "tree/a", "tree/a/b", "tree/a/out", "tree/a/out/escaped")
    }
    assert not (tree / "a/out").is_symlink()


def test_a_merged_tree_is_made_once_for_packages_in_an_order(
    packages: CodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (packages.put_zip(zipped(("file", text))) for text in "12")
    assert packages.merge([one]) == one
    merged, turned = packages.merge([one, two]), packages.merge([two, one])
    assert merged.sha256 != turned.sha256
    assert (packages.tree(merged) / "file").read_text() == "2"
    assert (packages.tree(turned) / "file").read_text() == "1"
    monkeypatch.setattr(code_store.trees, "merge", lambda *_: 1 // 0)
    assert packages.merge([one, two]) == merged
    again = CodeStore(tmp_path / "code", FakeClock())
    assert again.merge([one, two]) == merged


def test_a_merged_tree_shares_its_files_and_outlives_its_packages(
    packages: CodeStore, clock: FakeClock
) -> None:
    one, two = (packages.put_zip(zipped((name, "text"))) for name in "ab")
    merged = packages.merge([one, two])
    file = packages.tree(merged) / "a"
    assert file.samefile(packages.tree(one) / "a")
    clock.advance(GRACE + 1)
    packages.collect({merged.sha256})
    assert not packages.touch(one)
    assert file.read_text() == "text"
    clock.advance(GRACE + 1)
    packages.collect(set())
    assert not file.exists()


def test_files_are_copied_where_they_cannot_be_linked(
    packages: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMLINK, "too many links")

    monkeypatch.setattr(os, "link", refuse)
    one, two = (packages.put_zip(zipped((entry(name, 0o100755), name))) for name in "ab")
    tree = packages.tree(packages.merge([one, two]))
    assert (tree / "a").read_text() == "a"
    assert permissions(tree / "b") == 0o755


def test_a_merge_that_fails_leaves_nothing(packages: CodeStore, tmp_path: Path) -> None:
    one, two = (packages.put_zip(zipped((name, ""))) for name in "ab")
    shutil.rmtree(packages.tree(two))
    with pytest.raises(FileNotFoundError):
        packages.merge([one, two])
    assert list((tmp_path / "code/tmp").iterdir()) == []
