from __future__ import annotations

import pytest

from sandbox.errors import CallerError, NotFound
from sandbox.names import FunctionKey, FunctionReference, parse_reference

ACCOUNT, REGION = "000000000000", "us-east-1"
KEY = FunctionKey(ACCOUNT, REGION, "f")
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"


def parse(text: str, qualifier: str | None = None) -> FunctionReference:
    return parse_reference(text, qualifier, account=ACCOUNT, region=REGION)


@pytest.mark.parametrize(
    "text", ["f", f"{ACCOUNT}:f", f"{ACCOUNT}:function:f", f"{REGION}:{ACCOUNT}:function:f", ARN]
)
@pytest.mark.parametrize("qualifier", [None, "1", "live", "$LATEST"])
def test_every_form_of_a_name_means_the_same_function(text: str, qualifier: str | None) -> None:
    expected = FunctionReference(KEY, qualifier)
    assert parse(text, qualifier) == expected
    assert parse(f"{text}:{qualifier}" if qualifier else text) == expected
    assert parse(f"{text}:{qualifier}" if qualifier else text, qualifier) == expected


def test_a_name_and_a_query_that_disagree_on_the_qualifier_are_refused() -> None:
    with pytest.raises(CallerError, match="The derived qualifier from the function name does not"):
        parse("f:1", "2")


def test_another_region_cannot_be_reached() -> None:
    with pytest.raises(NotFound, match=r"from 'eu-west-1' are not .* region \('us-east-1'\)"):
        parse("arn:aws:lambda:eu-west-1:000000000000:function:f")


def test_another_account_is_kept_as_named() -> None:
    assert parse("111122223333:function:f").key.account == "111122223333"


def test_an_arn_without_a_name_is_a_function_called_function() -> None:
    assert parse(f"arn:aws:lambda:{REGION}:{ACCOUNT}:function").key.name == "function"


def test_a_reference_prints_as_it_was_addressed() -> None:
    assert parse("f").arn == ARN
    assert parse("f", "live").arn == f"{ARN}:live"
