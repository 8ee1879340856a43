"""Every way that an invocation can end, in one table.

Each row is run twice: by a scripted init that reports what `runtime/PROTOCOL.md` says
it would, and by a real container that runs `source`. Both have to give the same
answer and the same lines of the platform. Source: the function error payloads of the
Invoke API and the log lines of their invocations.

In `payload` and `log` ID stands for the request id; in `log` N stands for a measured
number and TIME for a time. `log` holds the platform's lines and what begins with `user:`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.environments.channel import Frame, FrameKind
from tests.support.scripted_init import MIB, Reaction, exited, nothing, result

START = "START RequestId: ID Version: $LATEST"
END = "END RequestId: ID"
INIT_START = "INIT_START Runtime Version: python:3.13\tRuntime Version ARN: ARN"
MEMORY = "Memory Size: 128 MB\tMax Memory Used: N MB"
REPORT = f"REPORT RequestId: ID\tDuration: N ms\tBilled Duration: N ms\t{MEMORY}\t"
COLD = f"{REPORT}Init Duration: N ms\t"


def failing(error_type: str) -> str:
    return f"Status: error\tError Type: {error_type}"


def platform_error(error_type: str, text: str) -> str:
    return f'{{"errorType":"{error_type}","errorMessage":"RequestId: ID Error: {text}"}}'


@dataclass(frozen=True)
class Scenario:
    name: str
    source: str
    """`handler.py`, whose `handler` is run."""
    script: Mapping[FrameKind, Reaction]
    """What a scripted init reports in place of it."""
    payload: str
    log: tuple[str, ...]
    function_error: str | None = "Unhandled"
    handler: str = "handler.handler"
    runtime: str = "python3.13"
    timeout: int = 3
    event: bytes = b'{"a": 1}'
    logging: Mapping[str, str] = field(default_factory=dict)
    """What LoggingConfig says beside the log group."""
    tenant: str | None = None
    """Whose call it is; the function isolates tenants when it is somebody's."""
    after: str = field(default="")
    """The payload of the invocation after this one, with the event `"again"`; empty: as this."""


def patient(scenario: Any) -> Any:
    """As it is for a real container, where a runtime that starts again within a call takes long.

    A timeout that is reached is 3 s in place of 1 s, in every text; all else has 10 s.
    """
    if scenario.timeout != 1:
        return replace(scenario, timeout=10)

    def later(text: Any) -> Any:
        return text.replace("1.00 seconds", "3.00 seconds") if isinstance(text, str) else text

    members = {
        name: later(getattr(scenario, name))
        for name in ("payload", "details", "after")
        if hasattr(scenario, name)
    }
    if hasattr(scenario, "log"):
        members["log"] = tuple(map(later, scenario.log))
    return replace(scenario, timeout=3, **members)


def says(line: bytes, then: Callable[[Frame], list[Frame]]) -> Reaction:
    def reaction(frame: Frame) -> list[Frame]:
        return [Frame(FrameKind.LOG, {}, line), *then(frame)]

    return reaction


def posts(body: str, outcome: str = "error") -> Reaction:
    def reaction(invoke: Frame) -> list[Frame]:
        text = body.replace("ID", invoke.meta["requestId"])
        return [result(invoke, text.encode(), outcome)]

    return reaction


def platform_event(kind: str, record: str) -> str:
    return f'{{"time":"TIME","type":"platform.{kind}","record":{{{record}}}}}'


INITIALIZATION = '"initializationType":"on-demand","phase":"init"'
JSON_INIT_START = platform_event(
    "initStart",
    f'{INITIALIZATION},"runtimeVersion":"python:3.13","runtimeVersionArn":"ARN",'
    '"functionName":"NAME","functionVersion":"$LATEST","instanceId":"STREAM",'
    '"instanceMaxMemory":134217728',
)
JSON_START = platform_event("start", '"requestId":"ID","functionArn":"ARN","version":"$LATEST"')
TENANT = '"tenantId":"blue @ 1"'
METRICS = (
    '"metrics":{"durationMs":N,"billedDurationMs":N,"memorySizeMB":128,"maxMemoryUsedMB":N,'
    '"initDurationMs":N}'
)


def json_line(level: str, text: str) -> str:
    return f'{{"timestamp": "2026-02-11T10:00:00Z", "level": "{level}", "message": "{text}"}}'


def json_report(status: str, metrics: str = METRICS) -> str:
    return platform_event("report", f'"requestId":"ID",{metrics},"status":{status}')


def json_done(status: str) -> str:
    metrics = '"metrics":{"durationMs":N,"producedBytes":N}'
    return platform_event("runtimeDone", f'"requestId":"ID","status":{status},{metrics}')


def json_init(status: str, phase: str = "init") -> tuple[str, str]:
    known = f'"initializationType":"on-demand","phase":"{phase}","status":{status}'
    return (
        platform_event("initRuntimeDone", known),
        platform_event("initReport", f'{known},"metrics":{{"durationMs":N}}'),
    )


def unless_again(reaction: Reaction, answer: bytes = b'"fine"') -> Reaction:
    """The invocation after goes well."""

    def chosen(invoke: Frame) -> list[Frame] | None:
        if bytes(invoke.payload) == b'"again"':
            return [result(invoke, answer)]
        return reaction(invoke)

    return chosen


class Dying:
    """Reports that the runtime ended, with the generation of the latest START."""

    def __init__(self, cause: str, description: str, memory: int = 20 * MIB) -> None:
        self.generation = 0
        self.cause, self.description, self.memory = cause, description, memory

    def start(self, frame: Frame) -> list[Frame]:
        self.generation = frame.meta["generation"]
        known = {"generation": self.generation, "durationMs": 30.0}
        return [Frame(FrameKind.INITIALIZED, known)]

    def dies(self, frame: Frame) -> list[Frame]:
        if frame.kind is FrameKind.START:
            self.generation = frame.meta["generation"]
        return [
            exited(
                self.generation,
                self.cause,
                self.description,
                maxMemoryBytes=self.memory,
                **({"requestId": frame.meta["requestId"]} if "requestId" in frame.meta else {}),
            )
        ]

    def during_invocation(self) -> dict[FrameKind, Reaction]:
        return {FrameKind.START: self.start, FrameKind.INVOKE: unless_again(self.dies)}


def dies(cause: str, description: str, memory: int = 20 * MIB) -> dict[FrameKind, Reaction]:
    return Dying(cause, description, memory).during_invocation()


def init_error(error_type: str, body: str) -> dict[FrameKind, Reaction]:
    def fails(start: Frame) -> list[Frame]:
        generation = start.meta["generation"]
        meta = {"generation": generation, "errorType": error_type}
        return [
            Frame(FrameKind.INIT_ERROR, meta, body.encode()),
            exited(generation, "exit", "exit status 1"),
        ]

    return {FrameKind.START: fails}


def ended(status: str) -> tuple[str, ...]:
    """The platform's lines of a first invocation that the platform ended."""
    return INIT_START, START, END, f"{REPORT}Init Duration: N ms\t{status}"


def never_started(error_type: str, first: str = INIT_START) -> tuple[str, ...]:
    status = failing(error_type)
    lines = (
        first,
        f"INIT_REPORT Init Duration: N ms\tPhase: init\t{status}",
        f"INIT_REPORT Init Duration: N ms\tPhase: invoke\t{status}",
        START,
        END,
        f"{REPORT}{status}",
    )
    return tuple(line for line in lines if line)


FINE = 'def handler(event, context):\n    if event == "again":\n        return "fine"\n'
TOO_MUCH = """\
    import time
    kept = b"x" * 400_000_000
    time.sleep(60)  # what is used is looked at from time to time
    return len(kept)
"""

EXCEPTION = (
    '{"errorMessage": "boom", "errorType": "ValueError", "requestId": "ID", "stackTrace": '
    '["  File \\"/var/task/handler.py\\", line 4, in handler\\n'
    '    raise ValueError(\\"boom\\")\\n"]}'
)
UNSERIALISABLE = (
    '{"errorMessage": "Unable to marshal response: Object of type set is not JSON serializable", '
    '"errorType": "Runtime.MarshalError", "requestId": "ID", "stackTrace": []}'
)
NO_MODULE = (
    "{\"errorMessage\": \"Unable to import module 'nowhere': No module named 'nowhere'\", "
    '"errorType": "Runtime.ImportModuleError", "requestId": "", "stackTrace": []}'
)
NO_HANDLER = (
    "{\"errorMessage\": \"Handler 'nope' missing on module 'handler'\", "
    '"errorType": "Runtime.HandlerNotFound", "requestId": "", "stackTrace": []}'
)
BAD_HANDLER = (
    '{"errorMessage": "Bad handler \'handler\': not enough values to unpack (expected 2, got 1)", '
    '"errorType": "Runtime.MalformedHandlerName", "requestId": "", "stackTrace": []}'
)
SYNTAX_ERROR = (
    '{"errorMessage": "Syntax error in module \'handler\': invalid syntax (handler.py, line 2)", '
    '"errorType": "Runtime.UserCodeSyntaxError", "requestId": "", "stackTrace": '
    '["  File \\"/var/task/handler.py\\" Line 2\\n        retrun 1\\n"]}'
)
TOO_LARGE = (
    '{"errorMessage":"Response payload size exceeded maximum allowed payload size '
    '(6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}'
)
TIMED_OUT = platform_error("Sandbox.Timedout", "Task timed out after 1.00 seconds")
NO_BOOTSTRAP = platform_error(
    "Runtime.InvalidEntrypoint",
    "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]",
)


def exit_error(text: str, error_type: str = "Runtime.ExitError") -> str:
    return platform_error(error_type, text)


SCENARIOS = [
    Scenario(
        "a function that returns its event",
        'def handler(event, context):\n    print("user: hello")\n    return event\n',
        {FrameKind.INVOKE: says(b"user: hello\n", lambda invoke: [result(invoke, b'{"a": 1}')])},
        '{"a": 1}',
        (INIT_START, START, "user: hello", END, COLD),
        function_error=None,
        after='{"a": 1}',
        event=b'{"a": 1}',
    ),
    Scenario(
        "an exception",
        FINE + '    raise ValueError("boom")\n',
        {FrameKind.INVOKE: unless_again(posts(EXCEPTION))},
        EXCEPTION,
        (INIT_START, START, END, COLD),
        after='"fine"',
    ),
    Scenario(
        "a result that is not JSON",
        FINE + "    return {1, 2}\n",
        {FrameKind.INVOKE: unless_again(posts(UNSERIALISABLE))},
        UNSERIALISABLE,
        (INIT_START, START, END, COLD),
        after='"fine"',
    ),
    Scenario(
        "a response over the limit",
        FINE + "    return 'x' * 6_291_555\n",
        {FrameKind.INVOKE: unless_again(posts("", "tooLarge"))},
        TOO_LARGE,
        ended(failing("Function.ResponseSizeTooLarge")),
        after='"fine"',
    ),
    Scenario(
        "a timeout",
        FINE + "    while True:\n        pass\n",
        {FrameKind.INVOKE: unless_again(nothing)},
        TIMED_OUT,
        ended("Status: timeout"),
        timeout=1,
        after='"fine"',
    ),
    Scenario(
        "exit status 0",
        FINE + "    import os\n    os._exit(0)\n",
        dies("exit", ""),
        exit_error("Runtime exited without providing a reason"),
        ended(failing("Runtime.ExitError")),
        after='"fine"',
    ),
    Scenario(
        "exit status 3",
        FINE + "    import os\n    os._exit(3)\n",
        dies("exit", "exit status 3"),
        exit_error("Runtime exited with error: exit status 3"),
        ended(failing("Runtime.ExitError")),
        after='"fine"',
    ),
    Scenario(
        "a signal",
        FINE + "    import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)\n",
        dies("exit", "signal: segmentation fault"),
        exit_error("Runtime exited with error: signal: segmentation fault"),
        ended(failing("Runtime.ExitError")),
        after='"fine"',
    ),
    Scenario(
        "more memory than the function has",
        FINE + TOO_MUCH,
        dies("outOfMemory", "signal: killed", 128 * MIB),
        exit_error("Runtime exited with error: signal: killed", "Runtime.OutOfMemory"),
        ended(failing("Runtime.OutOfMemory")),
        after='"fine"',
    ),
    Scenario(
        "a module that is not there",
        FINE,
        init_error("Runtime.ImportModuleError", NO_MODULE),
        NO_MODULE,
        never_started("Runtime.ImportModuleError"),
        handler="nowhere.handler",
    ),
    Scenario(
        "a function that is not in the module",
        FINE,
        init_error("Runtime.HandlerNotFound", NO_HANDLER),
        NO_HANDLER,
        never_started("Runtime.HandlerNotFound"),
        handler="handler.nope",
    ),
    Scenario(
        "a handler without a dot",
        FINE,
        init_error("Runtime.MalformedHandlerName", BAD_HANDLER),
        BAD_HANDLER,
        never_started("Runtime.MalformedHandlerName"),
        handler="handler",
    ),
    Scenario(
        "a syntax error",
        "def handler(event, context):\n    retrun 1\n",
        init_error("Runtime.UserCodeSyntaxError", SYNTAX_ERROR),
        SYNTAX_ERROR,
        never_started("Runtime.UserCodeSyntaxError"),
    ),
    Scenario(
        "a runtime that exits while it starts",
        "import os\nos._exit(1)\n",
        {FrameKind.START: Dying("exit", "exit status 1").dies},
        exit_error("Runtime exited with error: exit status 1"),
        never_started("Runtime.ExitError"),
    ),
    Scenario(
        "no bootstrap",
        FINE,
        {
            FrameKind.START: Dying(
                "invalidEntrypoint",
                "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]",
            ).dies
        },
        NO_BOOTSTRAP,
        never_started("Runtime.InvalidEntrypoint", first=""),
        runtime="provided.al2023",
    ),
    Scenario(
        "JSON: lines and events of the default levels",
        f"def handler(event, context):\n    print('user: text')\n"
        f"    print('{json_line('DEBUG', 'no')}')\n    print('{json_line('INFO', 'yes')}')\n"
        "    return event\n",
        {
            FrameKind.INVOKE: says(
                f"user: text\n{json_line('DEBUG', 'no')}\n{json_line('INFO', 'yes')}\n".encode(),
                lambda invoke: [result(invoke, b'{"a": 1}')],
            )
        },
        '{"a": 1}',
        (
            JSON_INIT_START,
            JSON_START,
            "user: text",
            json_line("INFO", "yes"),
            json_report('"success"'),
        ),
        function_error=None,
        logging={"LogFormat": "JSON"},
        after='{"a": 1}',
    ),
    Scenario(
        "JSON: every event of the platform",
        "def handler(event, context):\n    return event\n",
        {FrameKind.INVOKE: lambda invoke: [result(invoke, b'{"a": 1}')]},
        '{"a": 1}',
        (
            JSON_INIT_START,
            *json_init('"success"'),
            JSON_START,
            json_done('"success"'),
            json_report('"success"'),
        ),
        function_error=None,
        logging={"LogFormat": "JSON", "SystemLogLevel": "DEBUG"},
        after='{"a": 1}',
    ),
    Scenario(
        "JSON: a tenant's call",
        "def handler(event, context):\n    return context.tenant_id\n",
        {FrameKind.INVOKE: lambda invoke: [result(invoke, b'"blue @ 1"')]},
        '"blue @ 1"',
        (
            JSON_INIT_START,
            *json_init('"success"'),
            platform_event(
                "start", f'"requestId":"ID","functionArn":"ARN","version":"$LATEST",{TENANT}'
            ),
            json_done('"success"').replace('"ID"', f'"ID",{TENANT}'),
            json_report('"success"').replace('"ID"', f'"ID",{TENANT}'),
        ),
        function_error=None,
        logging={"LogFormat": "JSON", "SystemLogLevel": "DEBUG"},
        tenant="blue @ 1",
        after='"blue @ 1"',
    ),
    Scenario(
        "JSON: a timeout, of which only warnings are wanted",
        FINE + "    while True:\n        pass\n",
        {FrameKind.INVOKE: unless_again(nothing)},
        TIMED_OUT,
        (json_done('"timeout"'), json_report('"timeout"')),
        timeout=1,
        logging={"LogFormat": "JSON", "SystemLogLevel": "WARN"},
        after='"fine"',
    ),
    Scenario(
        "JSON: an exception",
        FINE + '    raise ValueError("boom")\n',
        {FrameKind.INVOKE: unless_again(posts(EXCEPTION))},
        EXCEPTION,
        (
            JSON_INIT_START,
            JSON_START,
            json_done('"failure","errorType":"Function.Unknown"'),
            json_report('"failure","errorType":"Function.Unknown"'),
        ),
        logging={"LogFormat": "JSON", "ApplicationLogLevel": "FATAL"},
        after='"fine"',
    ),
    Scenario(
        "JSON: a module that is not there",
        FINE,
        init_error("Runtime.ImportModuleError", NO_MODULE),
        NO_MODULE,
        (
            JSON_INIT_START,
            *json_init('"error","errorType":"Runtime.ImportModuleError"'),
            *json_init('"error","errorType":"Runtime.ImportModuleError"', "invoke"),
            JSON_START,
            json_done('"error","errorType":"Runtime.ImportModuleError"'),
            json_report(
                '"error","errorType":"Runtime.ImportModuleError"',
                METRICS.replace(',"initDurationMs":N', ""),
            ),
        ),
        handler="nowhere.handler",
        logging={"LogFormat": "JSON", "ApplicationLogLevel": "FATAL"},
    ),
]
