"""What SECURITY.md promises names a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECURITY = (ROOT / "SECURITY.md").read_text()


def promises() -> list[str]:
    """The rows of the tables whose last column is headed `test`."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", SECURITY, re.MULTILINE):
        head, _, *rows = table.splitlines()
        if head.endswith("| test |"):
            found += rows
    return found


def test_every_promise_names_its_test() -> None:
    assert len(promises()) > 20
    for row in promises():
        assert row.split("|")[-2].strip().startswith(("`", "the same")), row


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|runtime)/[^`]+)`", SECURITY))))
def test_the_tests_that_are_named_are_there(path: str) -> None:
    assert (ROOT / path).exists()
