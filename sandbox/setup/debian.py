"""The Debian that images start from: pulled, or bootstrapped from Debian's packages."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from sandbox.engines.images import DockerImages
from sandbox.errors import StartupError
from sandbox.setup import host
from sandbox.setup.commands import Run, run
from sandbox.setup.progress import Step

_MIRROR = "http://deb.debian.org/debian"
_LEFT_OUT = ("doc", "info", "locale", "man")
_INSTALLING = threading.Lock()
_MERGED_USR = Path("/usr/share/mmdebstrap/hooks/maybe-merged-usr")


def provide(
    suite: str,
    images: DockerImages,
    step: Step,
    *,
    output: Callable[[str], None],
    run: Run = run,
) -> str:
    """Name of an image of the suite that is on the engine now.

    The first of: one that is there, the official one from a registry, one that is bootstrapped
    here, which takes root on Debian or Ubuntu. StartupError when none of them can be had.
    """
    official, own = f"debian:{suite}-slim", f"fnbox/debian:{suite}"
    for reference in (official, own):
        if images.inputs(reference) is not None:
            return reference
    step.working(f"pulling {official}")
    if images.pull(official, output=output):
        return official
    _bootstrap(suite, own, images, step, output, run)
    return own


def _bootstrap(
    suite: str,
    reference: str,
    images: DockerImages,
    step: Step,
    output: Callable[[str], None],
    run: Run,
) -> None:
    here = host.look()
    if not (here.root and here.debian):
        raise StartupError(
            f"no registry answers for debian:{suite}-slim: make that image available to the "
            "Docker Engine, or run once as root on Debian or Ubuntu"
        )
    # Suites are bootstrapped side by side, and apt-get takes no second run of `update`.
    with _INSTALLING:
        if shutil.which("mmdebstrap") is None:
            step.working("installing mmdebstrap")
            host.install(["mmdebstrap", "debian-archive-keyring"], run=run, output=output)
    step.working(f"bootstrapping Debian {suite} from its packages")
    with tempfile.TemporaryDirectory(prefix="fnbox-") as folder:
        archive = Path(folder, "root.tar")
        run(_command(suite, archive), output=output)
        images.import_root(archive, reference)


def _command(suite: str, archive: Path) -> list[str]:
    options = ["--variant=apt", "--format=tar", '--aptopt=Acquire::Languages "none"']
    options += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in _LEFT_OUT]
    if _MERGED_USR.is_dir():
        # Else bookworm brings all of perl, to merge /usr itself.
        options += [f"--hook-dir={_MERGED_USR}", "--include=usr-is-merged"]
    return ["mmdebstrap", *options, suite, str(archive), _MIRROR]
