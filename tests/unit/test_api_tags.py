"""Tags, through boto3 and on the wire."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.support.api import ARN, Api, error_of, refusal


def test_tags_are_set_read_and_removed(api: Api, client: Any) -> None:
    api.create(Tags={"a": "1"})
    client.tag_resource(Resource=ARN, Tags={"b": "2", "c": "3"})
    client.untag_resource(Resource=ARN, TagKeys=["a", "c"])
    assert client.list_tags(Resource=ARN)["Tags"] == {"b": "2"}


def test_a_tag_chooses_a_network_of_those_that_may_be_chosen(api: Api, client: Any) -> None:
    said = (
        "The tag fnbox:network may be none, internet here, not 'full': "
        "FNBOX_NETWORK_CHOICES lists what functions may choose."
    )
    expected = (400, "InvalidParameterValueException", said)
    assert refusal(lambda: api.create(Tags={"fnbox:network": "full"})) == expected
    api.create(Tags={"fnbox:network": "internet"})
    assert refusal(lambda: client.tag_resource(Resource=ARN, Tags={"fnbox:network": "full"})) == (
        expected
    )
    assert client.list_tags(Resource=ARN)["Tags"] == {"fnbox:network": "internet"}


def test_what_lambda_refuses_of_tags(api: Api, client: Any) -> None:
    api.create()
    assert refusal(lambda: client.tag_resource(Resource=f"{ARN}:1", Tags={"a": "b"})) == (
        400,
        "InvalidParameterValueException",
        "Tags on function aliases and versions are not supported. Please specify a function ARN.",
    )
    assert refusal(lambda: client.tag_resource(Resource=ARN, Tags={})) == (
        400,
        "InvalidParameterValueException",
        "An error occurred and the request cannot be processed.",
    )
    many = {str(number): "" for number in range(51)}
    assert refusal(lambda: client.tag_resource(Resource=ARN, Tags=many))[2] == (
        "Number of tags exceeds resource tag limit."
    )
    mapping = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-" + "0" * 17
    assert refusal(lambda: client.list_tags(Resource=mapping))[0] == 404
    answer = api.request("DELETE", f"/2017-03-31/tags/{quote(ARN, safe='')}")
    assert error_of(answer)[2]["message"] == (
        "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: "
        "Member must not be null"
    )
