"""Deployment packages on disk, named by the SHA-256 of their zip.

    <root>/<2 digits>/<sha256>/package.zip   as uploaded
                               tree/         unpacked; never written to again
                               tree.tar      the tree, when it is small
    <root>/tmp/                              what is being made or thrown away

Several packages that lie over one another (layers) are a package too: a tree alone, named by
the SHA-256 of their names.

A directory named by a SHA-256 is complete and on disk: it gets its name only then. Whatever a
crash leaves behind is in `tmp` and goes when the store is opened.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import Path

from sandbox.catalog import package, trees
from sandbox.catalog.records import Code
from sandbox.clock import Clock
from sandbox.threads import run_native

ARCHIVE_LIMIT = 4 * 2**20
"""Bytes of the largest tar that is kept."""

GRACE = 120.0
"""Seconds that a package stays after it was last asked for, though nothing refers to it: between
`put_zip` and the commit that names it, or between resolving a version and starting it."""


class CodeStore:
    """Content-addressed packages under `root`; safe to be used by many threads."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._tmp = root / "tmp"
        self._clock = clock
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        # when each package was last asked for; those of an earlier run are older than any grace
        self._used = dict.fromkeys(run_native(_sweep, root, self._tmp), float("-inf"))

    def put_zip(self, data: bytes, limit: int = package.ZIPPED_LIMIT) -> Code:
        """Keep a package and unpack it, unless it is here already; durable when it returns.

        Raises CallerError or RequestTooLarge, in Lambda's words, for one that cannot be used,
        as with more bytes than `limit`; then nothing of it stays.
        """
        surveyed, code = run_native(_survey, data, limit)
        self._keep(code, partial(_fill, surveyed))
        return code

    def merge(self, packages: Sequence[Code]) -> Code:
        """One tree of several packages, the later over the earlier; durable when it returns.

        It needs the packages only as long as it is being made. One alone is itself.
        """
        if len(packages) == 1:
            return packages[0]
        merged = Code(
            hashlib.sha256("\n".join(each.sha256 for each in packages).encode()).hexdigest(),
            sum(each.size for each in packages),
            sum(each.unpacked_size for each in packages),
        )
        releases = [self.hold(each) for each in packages]
        try:
            sources = [self.tree(each) for each in packages]
            self._keep(merged, lambda made: trees.merge(sources, made / "tree"))
        finally:
            for release in releases:
                release()
        return merged

    def tree(self, code: Code) -> Path:
        """The directory of the unpacked package."""
        return self._use(code) / "tree"

    def archive(self, code: Code) -> Path | None:
        """A tar of the tree, deterministic and owned by root, or None when it is not small."""
        path = self._use(code) / "tree.tar"
        return path if path.exists() else None

    def zip_path(self, code: Code) -> Path:
        """The package as it was uploaded."""
        return self._use(code) / "package.zip"

    def touch(self, code: Code) -> bool:
        """Have a package stay for a while longer; False when it is not here."""
        with self._lock:
            if code.sha256 not in self._used:
                return False
            self._used[code.sha256] = self._clock.monotonic()
            return True

    def hold(self, code: Code) -> Callable[[], None]:
        """Keep a package until the function that is returned is called, once.

        For an environment that has the tree mounted: its calls may outlive the version.
        """
        with self._lock:
            self._held[code.sha256] += 1

        def release() -> None:
            with self._lock:
                self._held[code.sha256] -= 1
                if not self._held[code.sha256]:
                    del self._held[code.sha256]

        return release

    def collect(self, referenced: Container[str]) -> None:
        """Remove the packages whose SHA-256 is not in `referenced`, nor held, nor just used."""
        discarded = []
        with self._lock:
            before = self._clock.monotonic() - GRACE
            for sha256, used in list(self._used.items()):
                if used <= before and sha256 not in referenced and sha256 not in self._held:
                    path = self._tmp / uuid.uuid4().hex
                    self._place(sha256).rename(path)
                    del self._used[sha256]
                    discarded.append(path)
        for path in discarded:
            run_native(shutil.rmtree, path)

    def _place(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    def _use(self, code: Code) -> Path:
        self.touch(code)
        return self._place(code.sha256)

    def _keep(self, code: Code, fill: Callable[[Path], None]) -> None:
        """Have `fill` put what belongs into a package's directory, unless it is here already."""
        final = self._place(code.sha256)
        copy = None
        if not self.touch(code):
            copy = run_native(self._make, fill)
            with self._lock:
                if code.sha256 not in self._used:
                    final.parent.mkdir(exist_ok=True)
                    copy.rename(final)
                    copy = None
                self._used[code.sha256] = self._clock.monotonic()
        run_native(_settle, final, copy)

    def _make(self, fill: Callable[[Path], None]) -> Path:
        """A package's directory, complete and on disk, but still in `tmp`."""
        made = self._tmp / uuid.uuid4().hex
        package.make_directory(made)
        try:
            fill(made)
            package.sync(made)
        except BaseException:
            shutil.rmtree(made)
            raise
        return made


def recount(packages: Counter[str], before: Counter[str], after: Counter[str]) -> bool:
    """Count a record's packages as `after` where they were `before`; True when one is not in
    use any more."""
    packages.update(after)
    for sha256, count in before.items():
        packages[sha256] -= count
        if not packages[sha256]:
            del packages[sha256]
    return not before <= after


def _fill(surveyed: package.Package, made: Path) -> None:
    package.unpack(surveyed, made / "tree")
    if surveyed.archive_size <= ARCHIVE_LIMIT:
        package.write_archive(surveyed, made / "tree", made / "tree.tar")
    (made / "package.zip").write_bytes(surveyed.data)
    package.sync(made / "package.zip")


def _survey(data: bytes, limit: int) -> tuple[package.Package, Code]:
    surveyed = package.survey(data, limit)
    return surveyed, Code(hashlib.sha256(data).hexdigest(), len(data), surveyed.unpacked_size)


def _sweep(root: Path, tmp: Path) -> list[str]:
    """Empty `tmp`; return the packages that are there."""
    if tmp.exists():
        shutil.rmtree(tmp)
    tmp.mkdir(parents=True)
    return [path.name for path in root.glob("??/*")]


def _settle(final: Path, leftover: Path | None) -> None:
    """Make a package's name durable; drop the copy of one who came second."""
    if leftover is not None:
        shutil.rmtree(leftover)
    package.sync(final.parent)
    package.sync(final.parent.parent)
