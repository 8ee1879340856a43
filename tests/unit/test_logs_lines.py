"""The platform's lines against captures of CloudWatch logs, byte for byte."""

from __future__ import annotations

import re

import pytest

from sandbox.logs import lines

ID = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"


def test_init_start_names_the_runtime_version():
    arn = "arn:aws:lambda:us-east-1::runtime:" + "0" * 64
    assert lines.init_start("python:3.12.mainlinev2.v27", arn) == (
        b"INIT_START Runtime Version: python:3.12.mainlinev2.v27\tRuntime Version ARN: "
        + arn.encode()
        + b"\n"
    )


def test_start_and_end():
    assert lines.start(ID, "$LATEST") == f"START RequestId: {ID} Version: $LATEST\n".encode()
    assert lines.end(ID) == f"END RequestId: {ID}\n".encode()


def test_a_warm_report_ends_with_a_tab():
    text = lines.report(ID, duration_ms=3.006, memory_size=128, max_memory_used=36)
    assert (
        text
        == (
            f"REPORT RequestId: {ID}\tDuration: 3.01 ms\tBilled Duration: 4 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 36 MB\t\n"
        ).encode()
    )


def test_a_cold_report_bills_its_initialization():
    text = lines.report(
        ID, duration_ms=133.61, memory_size=128, max_memory_used=36, init_duration_ms=80.0
    )
    assert (
        text
        == (
            f"REPORT RequestId: {ID}\tDuration: 133.61 ms\tBilled Duration: 214 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 80.00 ms\t\n"
        ).encode()
    )


def test_a_timeout_report_has_no_tab_after_its_status():
    text = lines.report(ID, duration_ms=3000, memory_size=128, max_memory_used=36, status="timeout")
    assert (
        text
        == (
            f"REPORT RequestId: {ID}\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 36 MB\tStatus: timeout\n"
        ).encode()
    )


def test_init_duration_precedes_the_status():
    text = lines.report(
        ID,
        duration_ms=3000,
        memory_size=128,
        max_memory_used=36,
        init_duration_ms=402.04,
        status="timeout",
    )
    assert text.endswith(b"\tInit Duration: 402.04 ms\tStatus: timeout\n")
    assert b"\tBilled Duration: 3403 ms\t" in text


def test_a_crash_report_names_the_error_type():
    text = lines.report(
        ID,
        duration_ms=12.52,
        memory_size=128,
        max_memory_used=30,
        status="error",
        error_type="Runtime.ExitError",
    )
    assert (
        text
        == (
            f"REPORT RequestId: {ID}\tDuration: 12.52 ms\tBilled Duration: 13 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 30 MB\t"
            "Status: error\tError Type: Runtime.ExitError\n"
        ).encode()
    )


def test_a_restored_report_bills_the_restoration():
    text = lines.report(
        ID,
        duration_ms=149.2,
        memory_size=512,
        max_memory_used=90,
        restored=lines.Restored(509.12, 163),
    )
    assert b"\tBilled Duration: 313 ms\t" in text
    assert text.endswith(b"\tRestore Duration: 509.12 ms\tBilled Restore Duration: 163 ms\t\n")


def test_a_traced_report_has_a_second_line():
    traced = lines.Traced("1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8", True)
    xray = (
        "XRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\tSegmentId: 53995c3f42cd8ad8\t"
        "Sampled: true\t\n"
    )
    plain = lines.report(
        ID, duration_ms=1, memory_size=128, max_memory_used=36, init_duration_ms=542.01,
        traced=traced,
    )  # fmt: skip
    assert plain.decode().endswith(f"\tInit Duration: 542.01 ms\t\n{xray}")
    failed = lines.report(
        ID, duration_ms=1, memory_size=128, max_memory_used=36, status="timeout", traced=traced
    )
    assert failed.decode().endswith(f"\tStatus: timeout\n{xray}")


def test_init_report():
    assert lines.init_report(9999.56, phase="init", status="timeout") == (
        b"INIT_REPORT Init Duration: 9999.56 ms\tPhase: init\tStatus: timeout\n"
    )
    assert lines.init_report(
        1236.04, phase="invoke", status="error", error_type="Runtime.ExitError"
    ) == (
        b"INIT_REPORT Init Duration: 1236.04 ms\tPhase: invoke\tStatus: error\t"
        b"Error Type: Runtime.ExitError\n"
    )


@pytest.mark.parametrize(
    ("duration", "init", "billed"),
    [
        (3.01, 0.0, 4),
        (3000.0, 0.0, 3000),
        (133.61, 80.0, 214),
        (3.10, 542.01, 546),
        (3000.0, 402.04, 3403),
        (0.1, 0.9, 1),  # 1.0000000000000002 with floats of other sizes
        (1.1, 2.9, 4),
        (2.001, 0.0, 2),
        (12.005, 0.0, 13),  # printed as 12.01
        (16.005, 0.0, 16),  # and as 16.00
    ],
)
def test_billed_duration_rounds_up_what_is_printed(duration, init, billed):
    assert lines.billed_duration_ms(duration, init) == billed


def test_a_stream_is_named_by_date_version_and_chance():
    at = 1770804000.0  # 2026-02-11T10:00:00Z
    first, second = lines.stream_name("$LATEST", at), lines.stream_name("$LATEST", at)
    assert re.fullmatch(r"2026/02/11/\[\$LATEST\][0-9a-f]{32}", first)
    assert first != second
    assert re.fullmatch(r"2026/02/11/f\[7\][0-9a-f]{32}", lines.stream_name("7", at, function="f"))
