"""The example function, deployed and invoked both ways with the real AWS CLI."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from sandbox.errors import StartupError
from sandbox.settings import Settings
from sandbox.setup import recipes
from sandbox.setup.commands import Run, run
from sandbox.setup.deploy import (
    Code,
    deploy,
    environment,
    lambda_client,
    own_keys,
    pack,
    translated,
)
from sandbox.setup.progress import Progress

NAME = "my-function"
_ANSWER = Path("response.json")
_PAYLOAD = '{ "name": "Bob" }'
_INVOKE = ["lambda", "invoke", "--function-name", NAME]

_NEXT = """
Try next:
  eval "$(fnbox env)"                        any AWS client of this shell talks to fnbox
  fnbox invoke my-function --payload '{ "name": "Ada" }'
  fnbox logs -f my-function
  fnbox deploy FOLDER --name NAME --handler file.function
"""


def show(
    settings: Settings, progress: Progress, say: Callable[[str], None], *, run: Run = run
) -> None:
    """Deploy the example when it is not there as it is here, and invoke it.

    The commands and what they print go to `say`, a line each. StartupError when one fails.
    """
    with progress.step(f"function {NAME}") as step:
        code = Code(pack(recipes.sources() / "images" / "hello"), None)
        configuration = {"Runtime": "python3.13", "Handler": "handler.greet"}
        with translated(settings):
            if not deploy(lambda_client(settings), NAME, code, configuration).changed:
                step.skip("deployed")
    aws = _find_aws()
    base = [*_INVOKE, "--payload", _PAYLOAD]
    if run([aws, "--version"]).startswith("aws-cli/2"):
        base += ["--cli-binary-format", "raw-in-base64-out"]
    keys = {} if settings.iam == "off" else own_keys(settings)
    variables = [f"{name}={value}" for name, value in (environment(settings) | keys).items()]
    for options in ([], ["--invocation-type", "Event"]):
        arguments = [*base, *options, str(_ANSWER)]
        say("")
        say("$ " + shlex.join(["aws", *arguments]))
        # A profile or a pager of the user's own has no part in the example.
        output = run(["env", "-u", "AWS_PROFILE", "AWS_PAGER=", *variables, aws, *arguments])
        say(output.rstrip())
        if not options:
            say(f"$ cat {_ANSWER}")
            say(_ANSWER.read_text().rstrip())
    say(_NEXT.rstrip())
    if shutil.which("fnbox") is None:
        say(f'  (after: export PATH="{Path(sys.executable).parent}:$PATH")')


def _find_aws() -> str:
    """The AWS CLI that was installed with fnbox, else the user's."""
    beside = Path(sys.executable).parent / "aws"
    found = str(beside) if beside.is_file() else shutil.which("aws")
    if found is None:
        raise StartupError("the AWS CLI is missing: run `pip install awscli`")
    return found
