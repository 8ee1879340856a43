from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from sandbox.errors import StartupError
from sandbox.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def table() -> str:
    """The README's table of settings, as it has to be."""
    rows = ["| setting | default | also | is |", "|---|---|---|---|"]
    defaults = Settings()
    for item in fields(Settings):
        value = getattr(defaults, item.name)
        computed = item.name in ("state_dir", "max_environments") or value in ("", {}, ())
        default = "" if computed else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
        alias = item.metadata["alias"]
        others = [alias[0]] if alias else list(item.metadata["entries"])
        others = [*filter(None, [item.metadata["also"]]), *others]
        also = " ".join(f"`{other}`" for other in others)
        name = f"`FNBOX_{item.name.upper()}`"
        rows.append(f"| {name} | {default} | {also} | {item.metadata['doc']} |")
    return "\n".join(rows)


def test_the_readme_documents_every_setting() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text()
    begin, end = text.index("<!-- settings: "), text.index("<!-- end of settings -->")
    begin = text.index("\n", begin) + 1
    if os.environ.get("WRITE_README"):
        readme.write_text(f"{text[:begin]}{table()}\n{text[end:]}")
    assert text[begin:end] == f"{table()}\n", "run with WRITE_README=1"


def test_only_settings_reads_the_environment() -> None:
    allowed = {ROOT / "sandbox" / "settings.py"}
    readers = {
        path
        for path in (ROOT / "sandbox").rglob("*.py")
        if re.search(r"os\.environ|os\.getenv", path.read_text())
    }
    assert readers - allowed == set()


def test_a_variable_wins_over_the_file_and_the_file_over_an_alias(tmp_path: Path) -> None:
    file = tmp_path / "fnbox.toml"
    file.write_text("keep_alive = 20\nport = 5000\n")
    environ = {"FNBOX_CONFIG": str(file), "LAMBDA_KEEPALIVE_MS": "5000"}
    assert Settings.load(environ).keep_alive == 20
    assert Settings.load(environ | {"FNBOX_KEEP_ALIVE": "30"}).keep_alive == 30
    assert Settings.load({"LAMBDA_KEEPALIVE_MS": "5000"}).keep_alive == 5
    assert Settings.load(environ, port=6000).port == 6000
    assert Settings.load(environ).port == 5000


def test_the_network_policy_has_three_names(tmp_path: Path) -> None:
    environ = {"LAMBDA_DOCKER_NETWORK": "mine"}
    assert Settings.load(environ).network == "mine"
    environ["FNBOX_NETWORK_POLICY"] = "internet"
    assert Settings.load(environ).network == "internet"
    environ["FNBOX_NETWORK"] = "full"
    assert Settings.load(environ).network == "full"


@pytest.mark.parametrize(
    "text", ["python3.9=own:1, nodejs22.x=own:2", '{"python3.9": "own:1", "nodejs22.x": "own:2"}']
)
def test_images_are_named_as_pairs_or_as_json(text: str) -> None:
    expected = {"python3.9": "own:1", "nodejs22.x": "own:2"}
    assert Settings.load({"FNBOX_RUNTIME_IMAGES": text}).runtime_images == expected
    assert Settings.load({"LAMBDA_RUNTIME_IMAGE_MAPPING": text}).runtime_images == expected


def test_endpoints_are_also_known_by_the_variables_of_the_sdks() -> None:
    environ = {"AWS_ENDPOINT_URL_SQS": "http://a", "AWS_ENDPOINT_URL_EVENTBRIDGE": "http://b"}
    assert Settings.load(environ).endpoints == {"sqs": "http://a", "events": "http://b"}
    environ["FNBOX_ENDPOINTS"] = "sqs=http://own:1,s3=http://own:2"
    assert Settings.load(environ).endpoints == {
        "sqs": "http://own:1",
        "s3": "http://own:2",
        "events": "http://b",
    }


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"FNBOX_PORT": "many"}, "FNBOX_PORT='many' cannot be used"),
        ({"FNBOX_RUNTIME_IMAGES": "python3.9"}, "FNBOX_RUNTIME_IMAGES='python3.9' cannot be used"),
        ({"FNBOX_IAM": "on"}, "FNBOX_IAM='on' cannot be used: it is one of off, audit, enforce"),
        ({"LAMBDA_DOCKER_NETWORK": "host"}, "LAMBDA_DOCKER_NETWORK='host' cannot be used"),
        ({"LAMBDA_KEEPALIVE_MS": "long"}, "LAMBDA_KEEPALIVE_MS: "),
        ({"FNBOX_CONFIG": "/nowhere/fnbox.toml"}, "/nowhere/fnbox.toml cannot be read"),
    ],
)
def test_a_setting_that_cannot_be_read_is_one_line_that_names_it(
    environ: dict[str, str], message: str
) -> None:
    with pytest.raises(StartupError) as caught:
        Settings.load(environ)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_in_the_file_that_is_no_setting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("keep_alvie = 20\n")
    with pytest.raises(StartupError, match="no setting of fnbox: keep_alvie"):
        Settings.load({"FNBOX_CONFIG": str(file)})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("False", False)])
def test_a_switch_is_true_or_false(text: str, value: bool) -> None:
    assert Settings.load({"FNBOX_AWS": text}).aws is value


def test_with_other_services_here_what_has_no_endpoint_goes_to_them() -> None:
    environ = {"FNBOX_PORT": "5000", "AWS_ENDPOINT_URL_SQS": "http://a"}
    assert Settings.load(environ).service_endpoints == {"sqs": "http://a"}
    own = "http://127.0.0.1:5000"
    assert Settings.load(environ, aws=True).service_endpoints == {
        "sqs": "http://a",
        "sns": own,
        "events": own,
        "s3": own,
    }
