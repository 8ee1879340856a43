"""A function brought up to date through Lambda's own API, from a folder, a ZIP or an image."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.access.secret import read_secret
from sandbox.access.sessions import Sessions
from sandbox.clock import SystemClock
from sandbox.errors import CallerError, FnboxError, StartupError
from sandbox.settings import Settings

ACCESS_KEY = "test"
DEFAULT_RUNTIME = "python3.13"
_ROLE = "arn:aws:iam::000000000000:role/fnbox"
_KEY_SECONDS = 3600
_NEVER_PACKED = {"__pycache__", ".git", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
# The oldest time that a ZIP can hold: equal folders give equal packages.
_TIME = (1980, 1, 1, 0, 0, 0)
# Functions are Active within milliseconds here, and botocore's waiters ask each second. Half an
# hour for an image that is pulled.
_WAITER = {"Delay": 0.05, "MaxAttempts": 36_000}


class Code(NamedTuple):
    """What a function is made of: the content of a ZIP, or the name of an image."""

    zip_file: bytes | None
    image_uri: str | None

    def members(self) -> dict[str, Any]:
        """As CreateFunction's `Code` and UpdateFunctionCode take it."""
        if self.image_uri is not None:
            return {"ImageUri": self.image_uri}
        return {"ZipFile": self.zip_file}

    def matches(self, configuration: Mapping[str, Any]) -> bool:
        """Whether a function, as GetFunction shows it, has this code already."""
        if self.zip_file is None:
            return False  # an image's tag may have moved
        digest = base64.b64encode(hashlib.sha256(self.zip_file).digest()).decode()
        return bool(configuration.get("CodeSha256") == digest)


def environment(settings: Settings) -> dict[str, str]:
    """Variables that make any AWS client talk to this instance."""
    return {
        "AWS_ENDPOINT_URL": settings.url,
        "AWS_ENDPOINT_URL_LAMBDA": settings.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_DEFAULT_REGION": settings.region,
    }


def own_keys(settings: Settings) -> dict[str, str]:
    """Variables with keys of the root user of the instance's account, for an hour.

    Who can read the instance's secret can make them; others use their own, and where they have
    none what `environment` says, which is believed with `FNBOX_IAM=off`.
    """
    secret = read_secret(settings.state_dir)
    if secret is not None:
        made = Sessions(secret, SystemClock()).issue(settings.account, None, "fnbox", _KEY_SECONDS)
        return made.variables()
    from botocore.credentials import EnvProvider

    found = EnvProvider().load()
    if found is None:
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": ACCESS_KEY}
    return {
        "AWS_ACCESS_KEY_ID": found.access_key,
        "AWS_SECRET_ACCESS_KEY": found.secret_key,
        **({"AWS_SESSION_TOKEN": found.token} if found.token else {}),
    }


def lambda_client(settings: Settings) -> Any:
    """botocore's client of this instance; it waits for a call as long as the call takes."""
    import botocore.config
    import botocore.session

    keys = own_keys(settings)
    return botocore.session.get_session().create_client(
        "lambda",
        endpoint_url=settings.url,
        region_name=settings.region,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys.get("AWS_SESSION_TOKEN"),
        config=botocore.config.Config(
            read_timeout=None,
            connect_timeout=5,
            tcp_keepalive=True,
            proxies={},
            retries={"total_max_attempts": 1},
        ),
    )


@contextmanager
def translated(settings: Settings) -> Iterator[None]:
    """botocore's exceptions become ours: one line each."""
    import botocore.exceptions

    try:
        yield
    except botocore.exceptions.ClientError as error:
        detail = error.response["Error"]
        raise CallerError(f"{detail['Code']}: {detail['Message']}") from error
    except botocore.exceptions.EndpointConnectionError as error:
        raise StartupError(f"nothing answers at {settings.url}: run `fnbox up`") from error
    except botocore.exceptions.BotoCoreError as error:
        raise FnboxError(" ".join(str(error).split())) from error


def pack(path: Path) -> bytes:
    """A ZIP's own content, or a folder as a ZIP: equal files give equal bytes.

    CallerError when there is nothing to pack.
    """
    if path.is_file() and zipfile.is_zipfile(path):
        return path.read_bytes()
    files = list(_files(path)) if path.is_dir() else []
    if not files:
        raise CallerError(f"{path} is neither a ZIP file nor a folder with files in it")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(path).as_posix(), _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            executable = file.stat().st_mode & 0o100
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, file.read_bytes())
    return buffer.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _NEVER_PACKED.intersection(path.relative_to(folder).parts):
            yield path


class Deployed(NamedTuple):
    configuration: dict[str, Any]
    """The function's, as GetFunctionConfiguration answers."""
    changed: bool


def deploy(client: Any, name: str, code: Code, configuration: Mapping[str, Any]) -> Deployed:
    """Create the function, or update what differs, and wait until it is Active.

    `configuration` holds members of CreateFunction; what is absent stays as it is.
    Raises what botocore raises.
    """
    try:
        found = client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        _create(client, name, code, configuration)
        changed = True
    else:
        changed = _update(client, name, code, configuration, found)
    return Deployed(client.get_function_configuration(FunctionName=name), changed)


def _create(client: Any, name: str, code: Code, configuration: Mapping[str, Any]) -> None:
    kind = {"PackageType": "Image"}
    if code.image_uri is None:
        kind = {"PackageType": "Zip", "Runtime": DEFAULT_RUNTIME}
    client.create_function(
        FunctionName=name, Role=_ROLE, Code=code.members(), **{**kind, **configuration}
    )
    _wait(client, "function_active_v2", name)


def _update(
    client: Any, name: str, code: Code, configuration: Mapping[str, Any], found: Mapping[str, Any]
) -> bool:
    differing = {
        member: value for member, value in configuration.items() if _shown(found, member) != value
    }
    if differing:
        client.update_function_configuration(FunctionName=name, **differing)
        _wait(client, "function_updated_v2", name)
    if not code.matches(found):
        client.update_function_code(FunctionName=name, **code.members())
        _wait(client, "function_updated_v2", name)
        return True
    return bool(differing)


def _wait(client: Any, waiter: str, name: str) -> None:
    """Until it is settled; FnboxError with Lambda's reason when it has failed."""
    import botocore.exceptions

    try:
        client.get_waiter(waiter).wait(FunctionName=name, WaiterConfig=_WAITER)
    except botocore.exceptions.WaiterError as error:
        found = client.get_function_configuration(FunctionName=name)
        for status in "State", "LastUpdateStatus":
            if found.get(status) == "Failed":
                raise FnboxError(f"{name} has failed: {found[f'{status}Reason']}") from error
        raise


def _shown(configuration: Mapping[str, Any], member: str) -> Any:
    """A member of CreateFunction as GetFunction shows it."""
    if member == "ImageConfig":
        return configuration.get("ImageConfigResponse", {}).get("ImageConfig")
    return configuration.get(member)
