"""Function names, ARNs and qualifiers.

Source: the Invoke API's name rules. A name arrives as `name`, `name:qualifier`,
`ACCOUNT:name`, `ACCOUNT:function:name`, `REGION:ACCOUNT:function:name` or a full ARN.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sandbox.errors import CallerError, NotFound

LATEST = "$LATEST"
LATEST_PUBLISHED = "$LATEST.PUBLISHED"
"""The version without a number: what was published last with `PublishTo`."""

_NAME = re.compile(
    r"(?:arn:(?P<partition>aws[a-zA-Z-]*)?:lambda:)?"
    r"(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?"
    r"(?:(?P<account>\d{12}):)?"
    r"(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_.]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)


class FunctionKey(NamedTuple):
    """What identifies a function: names are unique within an account and a region."""

    account: str
    region: str
    name: str

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    def qualified(self, qualifier: str | None) -> str:
        """The ARN, with `:qualifier` when one is given."""
        return f"{self.arn}:{qualifier}" if qualifier else self.arn


class FunctionReference(NamedTuple):
    """What a caller named: a function, and maybe which of its versions."""

    key: FunctionKey
    qualifier: str | None

    @property
    def arn(self) -> str:
        """As the caller addressed it; this is what a handler sees as invoked_function_arn."""
        return self.key.qualified(self.qualifier)


def parse_reference(
    text: str, qualifier: str | None, *, account: str, region: str
) -> FunctionReference:
    """Read a `FunctionName` and a `Qualifier`.

    `account` and `region` are the caller's and fill what the name leaves out.
    Raises CallerError when both carry a qualifier and they differ, NotFound for
    another region. A text the model's pattern would refuse never gets here.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise CallerError(f"The function name {text!r} cannot be read.")
    named = match["qualifier"]
    if named and qualifier and named != qualifier:
        raise CallerError(
            "The derived qualifier from the function name does not match the specified qualifier."
        )
    if match["region"] and match["region"] != region:
        raise NotFound(
            f"Functions from '{match['region']}' are not reachable in this region ('{region}')"
        )
    key = FunctionKey(match["account"] or account, region, match["name"])
    return FunctionReference(key, qualifier or named)


def function_of_arn(arn: str) -> FunctionReference:
    """The function, and maybe its qualifier, that a full ARN names. Raises CallerError."""
    match = _NAME.fullmatch(arn)
    if match is None or match["region"] is None or match["account"] is None:
        raise CallerError(f"The function ARN {arn!r} cannot be read.")
    key = FunctionKey(match["account"], match["region"], match["name"])
    return FunctionReference(key, match["qualifier"])
