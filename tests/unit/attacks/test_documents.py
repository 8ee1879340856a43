"""No document makes fnbox break, or take more memory than a few times the document's size."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from tests.support.api import ROLE, Api
from tests.support.memory import grows_by_less_than

FUNCTIONS = "/2015-03-31/functions"
INVOKE = f"{FUNCTIONS}/f/invocations"
CONFIGURATION = f"{FUNCTIONS}/f/configuration"
TAGS = "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:f"
DEEP = 100_000
SYNC = 6_291_456
CODE = 70_167_211


def refused(
    api: Api,
    path: str,
    body: bytes,
    *,
    mib: int,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    status: int = 400,
) -> str:
    """The text of the error that is all that comes of it."""
    with grows_by_less_than(mib):
        answer = api.request(method, path, body, headers)
    assert answer.status_code == status, answer.get_data()[:500]
    assert answer.headers["Content-Type"] == "application/json"
    assert api.service.invoked == []
    document = json.loads(answer.get_data())
    text = document.get("message") or document.get("Message")
    assert isinstance(text, str)
    return text


NESTED = {
    "lists": b"[" * DEEP + b"]" * DEEP,
    "lists without end": b"[" * DEEP,
    "structures": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "both": b'[{"a":' * DEEP + b"1" + b"}]" * DEEP,
    "as large as may be": b"[" * (SYNC // 2) + b"]" * (SYNC // 2),
}


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
def test_a_document_that_is_too_deep_is_refused(api: Api, body: bytes) -> None:
    assert "nesting depth" in refused(api, INVOKE, body, mib=64)
    text = refused(api, FUNCTIONS, body, mib=64)
    assert text.endswith(("nested too deeply.", "too many values."))
    member = b'{"Environment":{"Variables":{"A":%s}}}' % body[: SYNC - 100]
    refused(api, CONFIGURATION, member, mib=64, method="PUT")
    header = {"X-Fnbox-Cognito-Identity": body[:60_000].decode()}
    refused(api, INVOKE, b"{}", mib=64, headers=header)


def test_logs_refuse_it_too(api: Api) -> None:
    headers = {"X-Amz-Target": "Logs_20140328.PutLogEvents"}
    with grows_by_less_than(64):
        answer = api.request("POST", "/", NESTED["lists"], headers)
    assert answer.status_code == 400
    assert "nested too deeply" in answer.get_data(as_text=True)


CROWDS = {
    "structures": b"[" + b"{}," * (CODE // 3 - 2) + b"{}]",
    "lists": b"[" + b"[]," * (CODE // 3 - 2) + b"[]]",
    "members": b"{" + b'"a":0,' * (CODE // 6 - 2) + b'"a":0}',
}


@pytest.mark.parametrize("body", CROWDS.values(), ids=CROWDS)
def test_a_document_of_countless_values_is_refused_unparsed(api: Api, body: bytes) -> None:
    """It would be 25 times as large."""
    assert "too many values" in refused(api, FUNCTIONS, body, mib=100)


def test_a_payload_of_countless_values_is_read_and_not_built(api: Api) -> None:
    body = b"[" + b"{}," * (SYNC // 3 - 2) + b"{}]"
    with grows_by_less_than(64):
        assert api.invoke(payload=body).status_code == 200
    api.service.reset()
    refused(api, INVOKE, body[:-1], mib=64)


@pytest.mark.parametrize(
    "number",
    [b"1" * 6_000_000, b"-" + b"9" * 5000, b"1e999999", b"1e400", b"0." + b"1" * 5_000_000],
    ids=["6 million digits", "5000 digits", "exponent", "out of range", "long fraction"],
)
def test_a_number_without_measure_is_refused_where_one_is_meant(api: Api, number: bytes) -> None:
    refused(api, CONFIGURATION, b'{"MemorySize":%s}' % number, mib=64, method="PUT")
    with grows_by_less_than(64):
        assert api.invoke(payload=number).status_code == 200, "it is the function's"


@pytest.mark.parametrize("number", ["9" * 5000, "1" + "0" * 100_000, "-1", "+1", "1e1", "٣"])
def test_a_number_in_the_query_is_no_better(api: Api, number: str) -> None:
    with grows_by_less_than(64):
        answer = api.request("GET", f"{FUNCTIONS}/?MaxItems={number}")
    assert answer.status_code == 400


TEXTS = {
    "a lone surrogate": rb'"\ud800"',
    "surrogates in the wrong order": rb'"\udc00\ud800"',
    "a broken sequence": b'"\xff\xfe"',
    "an overlong slash": b'"\xc0\xaf"',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_none_is_refused(api: Api, text: bytes) -> None:
    for member in (b'{"Description":%s}', b'{"Environment":{"Variables":{"A":%s}}}'):
        refused(api, CONFIGURATION, member % text, mib=16, method="PUT")
    refused(api, TAGS, b'{"Tags":{"a":%s}}' % text, mib=16)
    refused(api, TAGS, b'{"Tags":{%s:"a"}}' % text, mib=16)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "utf-7"])
def test_a_document_in_another_encoding_is_refused(api: Api, encoding: str) -> None:
    body = json.dumps({"Description": "+AAA-\u00e9"}, ensure_ascii=False).encode(encoding)
    if encoding == "utf-7":
        body = b"+AHsAfQ-"
    refused(api, CONFIGURATION, body, mib=16, method="PUT")
    refused(api, INVOKE, body, mib=16)


def test_of_a_member_that_comes_twice_the_last_is_read_by_all(api: Api) -> None:
    body = b'{"FunctionName":"one","FunctionName":"two"}'
    text = refused(api, FUNCTIONS, body, mib=16)
    assert "functionName" not in text, "the check saw one, and it was valid"
    with grows_by_less_than(16):
        many = b"{" + b'"Description":"a",' * 20_000 + b'"Description":"z"}'
        assert api.request("PUT", CONFIGURATION, many).get_json()["Description"] == "z"
    api.settle()


@pytest.mark.parametrize(
    ("method", "path", "body", "mib"),
    [
        ("PUT", CONFIGURATION, {"Environment": {"Variables": {"A": "x" * 4097}}}, 16),
        ("PUT", CONFIGURATION, {"Environment": {"Variables": {"A": "x" * 6_000_000}}}, 64),
        (
            "PUT",
            CONFIGURATION,
            {"Environment": {"Variables": {f"A{n}": "" for n in range(30_000)}}},
            128,
        ),
        ("PUT", CONFIGURATION, {"Environment": {"Variables": {"A" * 1_000_000: ""}}}, 128),
        ("PUT", CONFIGURATION, {"Environment": {"Variables": {"A\0": "x"}}}, 16),
        ("PUT", CONFIGURATION, {"Layers": ["x" * 100] * 40_000}, 64),
        ("PUT", CONFIGURATION, {"Description": "x" * 6_000_000}, 64),
        ("POST", TAGS, {"Tags": {f"k{n}": "" for n in range(51)}}, 16),
        ("POST", TAGS, {"Tags": {f"k{n}": "" for n in range(30_000)}}, 128),
        ("POST", TAGS, {"Tags": {"k": "x" * 6_000_000}}, 64),
        ("POST", TAGS, {"Tags": {"k" * 1_000_000: "x"}}, 64),
        ("POST", f"{FUNCTIONS}/{'f' * 5000}/versions", {}, 16),
        ("POST", f"{FUNCTIONS}/f/policy", {"StatementId": "s" * 1_000_000}, 64),
    ],
)
def test_what_is_too_large_of_its_kind_is_refused(
    api: Api, method: str, path: str, body: object, mib: int
) -> None:
    text = refused(api, path, json.dumps(body).encode(), mib=mib, method=method)
    assert len(text) < 20_000_000
    assert "A" not in api.boto().get_function_configuration(FunctionName="f").get("Environment", {})


BOMB = gzip.compress(bytes(100 * 2**20))
PACKED = {
    "gzip": BOMB,
    "deflate": zlib.compress(bytes(100 * 2**20)),
    "x-gzip": BOMB,
    "br": b"\x0b\x02\x80",
    "zstd": b"\x28\xb5\x2f\xfd",
    "gzip, gzip": gzip.compress(BOMB),
    "identity, gzip": BOMB,
    "GZIP": BOMB,
}


@pytest.mark.parametrize(("encoding", "body"), PACKED.items(), ids=PACKED)
def test_a_packed_body_is_not_unpacked(api: Api, encoding: str, body: bytes) -> None:
    headers = {"Content-Encoding": encoding}
    for path in (INVOKE, FUNCTIONS, "/2021-11-15/functions/f/response-streaming-invocations"):
        refused(api, path, body, mib=16, headers=headers, status=415)
    with grows_by_less_than(16):
        logs = {**headers, "X-Amz-Target": "Logs_20140328.PutLogEvents"}
        answer = api.request("POST", "/", body, logs)
    assert answer.status_code == 400
    assert encoding.lower() in json.loads(answer.get_data())["message"]


def test_a_policy_of_countless_statements_is_refused(api: Api) -> None:
    policy = json.dumps({"Statement": [{}] * 10_000})
    path = "/2026-07-09/resource-policy/arn:aws:lambda:us-east-1:000000000000:function:f"
    refused(api, path, json.dumps({"Policy": policy}).encode(), mib=32, method="PUT")


def test_after_all_of_it_the_function_is_what_it_was(api: Api) -> None:
    found = api.boto().get_function_configuration(FunctionName="f")
    assert (found["Role"], found["MemorySize"]) == (ROLE, 128)
