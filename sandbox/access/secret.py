"""The instance's secret: 32 bytes in a file that only its owner may read.

Every other secret comes from it: those of access keys, the keys that sign sessions, the
administrator's token. So none of them is stored, and all of them outlive a restart. Whoever can
read this file is the administrator.
"""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import b64encode
from pathlib import Path

from sandbox.errors import StartupError

_FILE = "secret"
_BYTES = 32


class InstanceSecret:
    """What secrets are derived from."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def derived(self, purpose: str, of: str = "") -> bytes:
        """32 bytes that nobody can guess who does not have the secret."""
        return hmac.digest(self._value, f"{purpose}\n{of}".encode(), "sha256")

    def secret_key(self, access_key: str, salt: str) -> str:
        """The secret access key that belongs to an id: 40 characters, as AWS's."""
        return b64encode(self.derived("secret access key", f"{access_key}\n{salt}")[:30]).decode()

    @property
    def administrator_token(self) -> str:
        """What opens the pages of the instance's administrator."""
        return self.derived("administrator").hex()


def instance_secret(state_dir: Path) -> InstanceSecret:
    """The secret of an instance, made with the first one who asks. Raises StartupError."""
    path = state_dir / _FILE
    value = read_secret(state_dir)
    if value is not None:
        return value
    # whole or not at all, and never readable by others, not even for a moment
    scratch = path.with_name(f"{_FILE}.{os.getpid()}")
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(secrets.token_hex(_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise StartupError(f"the instance's secret cannot be written: {error}") from error
    made = read_secret(state_dir)
    assert made is not None, "it has just been written"
    return made


def read_secret(state_dir: Path) -> InstanceSecret | None:
    """The secret, if there is one and this user may read it. Raises StartupError for a broken
    one: to make another would end every key."""
    path = state_dir / _FILE
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != _BYTES:
        raise StartupError(f"{path} is not the secret of an instance; put its copy back")
    return InstanceSecret(value)
