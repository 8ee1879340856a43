"""What functions write, in real containers: every line of a call in its tail, records whole,
and a flood that hurts nobody else."""

from __future__ import annotations

import boto3
import pytest

from tests.bench.log_tails import call_often
from tests.docker.conftest import Deploy, Start
from tests.support.chatty import SOURCE
from tests.support.flood import KINDS, flood
from tests.support.instance import Instance
from tests.support.memory import MIB

pytestmark = pytest.mark.docker


def test_a_tail_is_what_the_function_printed_and_nothing_else(deploy: Deploy) -> None:
    assert call_often(deploy(SOURCE, MemorySize=256), calls=200, concurrency=8) == []


def events(instance: Instance, name: str) -> list[str]:
    """The messages of a function's log, one for each event."""
    logs = boto3.client(
        "logs",
        endpoint_url=instance.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    try:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    finally:
        logs.close()
    return [event["message"] for event in found]


def test_a_traceback_is_one_event_and_ends_as_on_aws(deploy: Deploy, instance: Instance) -> None:
    function = deploy(
        'def handler(event, context):\n    print("a")\n    raise ValueError("b\\nc")\n'
    )
    answer = function.invoke()
    traceback = (
        "[ERROR] ValueError: b\nc\nTraceback (most recent call last):\n"
        '\u00a0\u00a0File "/var/task/handler.py", line 3, in handler\n'
        '\u00a0\u00a0\u00a0\u00a0raise ValueError("b\\nc")'
    )
    assert f"\na\n{traceback}END RequestId: {answer.request_id}\n" in answer.log
    assert traceback in events(instance, function.name)


def test_prints_and_records_keep_the_order_of_writing(deploy: Deploy) -> None:
    function = deploy("""
import logging, sys
def handler(event, context):
    for i in range(300):
        print(f"[{i}.0]", file=(sys.stdout, sys.stderr)[i % 2])
        logging.warning(f"[{i}.1]")
""")
    seen = function.invoke().log.split("\n")[1:-3]
    assert len(seen) > 60
    expected = [f"[{i}.{part}]" for i in range(300) for part in (0, 1)][-len(seen) :]
    assert [line.rpartition("\t")[2] for line in seen] == expected


GARBAGE = r"""
import os
def handler(event, context):
    os.write(62, b"\xa5\x5a\x00\x03\xff\xff\xff\xffmore than can be\n")
    os.write(62, b"no record\n")
    os.write(62, b"\xa5\x5a\x00\x0f\x00\x00\x00\x99" + bytes(8) + b"cut short")
    return "survived"
"""


def test_what_is_no_record_is_output(deploy: Deploy) -> None:
    function = deploy(GARBAGE)
    for _ in range(3):
        answer = function.invoke()
        assert answer.document == "survived"
        assert "more than can be\nno record\n" in answer.log
        assert "cut short" in answer.log
        assert answer.log.count(f"START RequestId: {answer.request_id}") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_is_bounded_and_another_function_answers_meanwhile(start: Start, kind: str) -> None:
    instance = start(log_bytes=16 * MIB)
    seen = flood(instance, kind, 30 if kind == "records" else 300)
    assert len(seen.latencies) > 10
    assert seen.grown < 96 * MIB
    assert seen.kept < 20 * MIB
