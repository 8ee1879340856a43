"""Every setting, and the only reader of the environment and of `fnbox.toml`.

A setting `keep_alive` is read from the variable `FNBOX_KEEP_ALIVE`, else from
`keep_alive = …` in the TOML file that `FNBOX_CONFIG` names (`./fnbox.toml` when
unset and present), else from an alias that users of other tools know.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sandbox import memory
from sandbox.errors import StartupError

_BOOLEANS = {"1": True, "true": True, "0": False, "false": False}


def _setting(
    default: Any,
    doc: str,
    *,
    alias: tuple[str, Callable[[str], Any]] | None = None,
    also: str = "",
    check: Callable[[str], None] | None = None,
    entries: Mapping[str, str] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """`alias`: a variable that others know it by, and how it is read; `also`: another name of its
    own variable; `check` raises ValueError; `entries`: of a mapping,
    variables that each hold the value of one key; `choices`: the only values that there are."""
    factory = default if callable(default) else lambda: default
    metadata: dict[str, Any] = {"doc": doc, "alias": alias, "also": also, "check": check}
    metadata |= {"entries": entries or {}, "choices": choices}
    return field(default_factory=factory, metadata=metadata)


def _own_network(name: str) -> None:
    if name == "host" or name.startswith("container:"):
        raise ValueError("functions share no network with the host's processes or a container's")


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/fnbox")
    return Path.home() / ".local" / "state" / "fnbox"


def _default_max_environments() -> int:
    return max(4, memory.total_bytes() // (100 * 2**20))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an instance of fnbox was told. Times in seconds, sizes as their names say."""

    host: str = _setting("127.0.0.1", "address that the control plane listens on")
    port: int = _setting(4566, "port that the control plane listens on")
    insecure: bool = _setting(
        False,
        "`true`: an address that others can reach may be listened on although `FNBOX_IAM` is not "
        "`enforce`, as with `fnbox up --insecure`: whoever reaches it can run code here",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        "names, as `fnbox,*.example.test`, that requests may have in their Host beside this "
        "machine's own and any address",
    )
    allowed_origins: tuple[str, ...] = _setting(
        (),
        "origins, as `https://app.example.test`, whose web pages may use the API beside those of "
        "this machine's own servers",
    )
    state_dir: Path = _setting(
        _default_state_dir,
        "where functions, queued events, logs and sockets are kept; by default "
        "`/var/lib/fnbox` for root, else `~/.local/state/fnbox`",
    )
    account: str = _setting("000000000000", "account of callers whose access key names none")
    region: str = _setting("us-east-1", "region of callers whose request names none")
    iam: str = _setting(
        "off",
        "whether callers are verified. `off`: whoever says an access key is believed; `enforce`: "
        "who is not signed with a key that `fnbox keys` made, or a function's own, is refused, and "
        "a function URL of AuthType NONE answers only whom a policy allows; `audit`: all is "
        "verified and nobody is refused",
        choices=("off", "audit", "enforce"),
    )
    url_domain: str = _setting(
        "",
        "domain of the FunctionUrls in answers, as `localhost`: "
        "`http://<id>.lambda-url.<region>.<domain>:<port>/`; empty: `/_fnbox/urls/<id>/` instead",
    )
    docker_host: str = _setting(
        "unix:///var/run/docker.sock",
        "address of the Docker Engine",
        alias=("DOCKER_HOST", str),
    )
    keep_alive: float = _setting(
        600.0,
        "seconds that an idle environment is kept",
        alias=("LAMBDA_KEEPALIVE_MS", lambda text: float(text) / 1000),
    )
    environment_timeout: float = _setting(
        20.0,
        "seconds that a container may take from its start until its init reports",
        alias=("LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT", float),
    )
    wait_timeout: float = _setting(
        60.0, "seconds that a call waits for an environment before it is throttled"
    )
    grace: float = _setting(30.0, "seconds that calls in flight may still take after SIGTERM")
    account_concurrency: int = _setting(
        1000, "calls that one account may have running at once in a region"
    )
    account_functions: int = _setting(0, "functions that one account may have; 0: no limit")
    account_code_bytes: int = _setting(
        322_122_547_200, "bytes of packages that one account may have, of functions and layers"
    )
    account_queued_events: int = _setting(
        0, "events of one account that have not ended; what comes on top gets 429; 0: no limit"
    )
    account_memory: int = _setting(
        0, "MiB of memory of the functions that one account may have running at once; 0: no limit"
    )
    audit: bool = _setting(
        False,
        "`true`: `audit.log` in the state directory has every request, also with `FNBOX_IAM=off`; "
        "with `audit` and `enforce` it always has",
    )
    audit_bytes: int = _setting(64 * 2**20, "bytes of audit log kept; the oldest go first")
    max_environments: int = _setting(
        _default_max_environments,
        "environments at most, busy and idle; by default one for each 100 MiB of memory",
    )
    min_free_memory: int = _setting(
        512, "MiB of the machine's memory to keep free: below it idle environments are retired"
    )
    spares: int = _setting(
        1,
        "containers kept booted for each image in use, for quick cold starts; 0: none",
    )
    network: str = _setting(
        "none",
        "network policy of functions: `none`, `internet`, `full`, or the name of a Docker network",
        alias=("LAMBDA_DOCKER_NETWORK", str),
        also="FNBOX_NETWORK_POLICY",
        check=_own_network,
    )
    network_choices: str = _setting(
        "none,internet",
        "which others a function may choose by its tag `fnbox:network`, with commas between them",
    )
    network_dns: str = _setting(
        "1.1.1.1,8.8.8.8", "public name servers that functions with `internet` ask"
    )
    function_api: bool = _setting(
        True,
        "whether functions reach fnbox, whatever their network, at what `AWS_ENDPOINT_URL` says "
        "in their containers",
    )
    cpu: str = _setting(
        "shared",
        "`shared`: weighted by memory, at least one CPU each; `lambda`: exactly memory/1769 CPUs",
    )
    oci_runtime: str = _setting("", "OCI runtime of the containers, as `runsc`; empty: Docker's")
    oci_runtime_choices: str = _setting(
        "runsc",
        "OCI runtimes that a function may choose by its tag `fnbox:oci-runtime` instead, with "
        "commas between them",
    )
    first_uid: int = _setting(100000, "first of the user ids that environments run as, one each")
    runtime_images: dict[str, str] = _setting(
        dict,
        "images to use in place of those that fnbox builds, as `runtime=image,…` or a JSON object",
        alias=("LAMBDA_RUNTIME_IMAGE_MAPPING", str),
    )
    runtime_registry: str = _setting(
        "public.ecr.aws/lambda",
        "where AWS's images of runtimes that fnbox makes none of are pulled from, as "
        "`<registry>/python:3.12`, when they are not here; `none`: they are not",
    )
    substitute_runtimes: bool = _setting(
        True,
        "whether a runtime without an image runs on the nearest version of its language that has "
        "one; the function's log says so",
    )
    endpoints: dict[str, str] = _setting(
        dict,
        "where dead letters and records of events are sent, as `sqs=http://…,sns=http://…` for "
        "`sqs`, `sns`, `events` (EventBridge) and `s3`, which code is read from too; without an "
        "endpoint nothing is sent, but with `--aws` to fnbox itself",
        entries={
            "AWS_ENDPOINT_URL_SQS": "sqs",
            "AWS_ENDPOINT_URL_SNS": "sns",
            "AWS_ENDPOINT_URL_EVENTBRIDGE": "events",
            "AWS_ENDPOINT_URL_EVENTS": "events",
            "AWS_ENDPOINT_URL_S3": "s3",
        },
    )
    aws: bool = _setting(
        False,
        "`true`: other AWS services are offered on the same port, as `fnbox up --aws` does",
    )
    event_retry_scale: float = _setting(
        1.0, "what delays between the runs of an event are multiplied by; 0.01: seconds for minutes"
    )
    event_parallel: int = _setting(
        32, "events that run at once, and messages about their end; one function takes half at most"
    )
    dead_events: int = _setting(
        100_000, "dead events that are kept; when there are more, the oldest are dropped"
    )
    dead_event_bytes: int = _setting(
        2**30, "bytes of their payloads that are kept; the oldest are dropped"
    )
    log_bytes: int = _setting(
        64 * 2**20, "bytes of log kept for each function; the oldest go first"
    )
    traces: int = _setting(1000, "traces of invocations kept in memory; the oldest go first")
    trace_bytes: int = _setting(
        16 * 2**20, "bytes of them, with what functions send to X-Ray; the oldest go first"
    )
    otlp_endpoint: str = _setting(
        "",
        "OpenTelemetry collector that traces are sent to, as `http://127.0.0.1:4318`; needs the "
        "extra `otlp`",
    )
    log_level: str = _setting("INFO", "level of the control plane's own log")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read the settings; raises StartupError with one line about the first that is wrong."""
        environ = os.environ if environ is None else environ
        from_file = _read_file(environ)
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable = f"FNBOX_{item.name.upper()}"
            if not environ.get(variable) and environ.get(item.metadata["also"]):
                variable = item.metadata["also"]
            alias = item.metadata["alias"]
            raw: Any
            if environ.get(variable):
                source, raw = variable, environ[variable]
            elif item.name in from_file:
                source, raw = f"{item.name} in the settings file", from_file.pop(item.name)
            elif alias and environ.get(alias[0]):
                source, raw = alias[0], environ[alias[0]]
                try:
                    raw = alias[1](raw)
                except ValueError as error:
                    raise StartupError(f"{source}: {error}") from error
            elif any(environ.get(name) for name in item.metadata["entries"]):
                source, raw = variable, {}  # its entries follow
            else:
                continue
            from_file.pop(item.name, None)
            try:
                values[item.name] = _convert(str(item.type), raw)
                _choose(values[item.name], item.metadata["choices"])
                if item.metadata["check"]:
                    item.metadata["check"](values[item.name])
            except ValueError as error:
                raise StartupError(f"{source}={raw!r} cannot be used: {error}") from error
            for name, key in item.metadata["entries"].items():
                if environ.get(name):
                    values[item.name].setdefault(key, environ[name])
        if from_file:
            raise StartupError(f"the settings file names no setting of fnbox: {min(from_file)}")
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)

    @property
    def service_endpoints(self) -> dict[str, str]:
        """`endpoints`, and fnbox itself for the others when it offers them."""
        own = dict.fromkeys(("sqs", "sns", "events", "s3"), self.url) if self.aws else {}
        return own | self.endpoints

    @property
    def url(self) -> str:
        """Where clients reach this instance."""
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host
        return f"http://{host}:{self.port}"


def _read_file(environ: Mapping[str, str]) -> dict[str, Any]:
    named = environ.get("FNBOX_CONFIG")
    path = Path(named or "fnbox.toml")
    if not named and not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StartupError(f"the settings file {path} cannot be read: {error}") from error


def _convert(kind: str, raw: Any) -> Any:
    if kind == "Path":
        return Path(str(raw)).expanduser().absolute()
    if kind == "int":
        return int(raw)
    if kind == "float":
        return float(raw)
    if kind == "bool":
        if str(raw).lower() not in _BOOLEANS:
            raise ValueError(f"expected one of {', '.join(_BOOLEANS)}")
        return _BOOLEANS[str(raw).lower()]
    if kind == "dict[str, str]":
        return _mapping(raw)
    if kind == "tuple[str, ...]":
        items = raw if isinstance(raw, list) else str(raw).split(",")
        return tuple(str(item).strip() for item in items if str(item).strip())
    return str(raw)


def _choose(value: Any, choices: tuple[str, ...]) -> None:
    if choices and value not in choices:
        raise ValueError(f"it is one of {', '.join(choices)}")


def _mapping(raw: Any) -> dict[str, str]:
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        import json

        raw = json.loads(raw)
    if isinstance(raw, dict):
        return {str(key): str(value) for key, value in raw.items()}
    pairs = [part.partition("=") for part in str(raw).split(",") if part.strip()]
    if any(not separator for _, separator, _ in pairs):
        raise ValueError("expected name=value pairs")
    return {key.strip(): value.strip() for key, _, value in pairs}
