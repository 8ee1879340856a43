"""Extensions that subscribe to telemetry, as layers, and what its events have to look like."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Mapping
from typing import Any

PYTHON = """#!/var/lang/bin/python3
# Keeps every event, and whatever it was asked to show, in a file of its own.
import http.client, http.server, json, os, socketserver, sys, threading, time
NAME, CONFIG = os.path.basename(__file__), json.load(open(__file__ + "-config/subscription"))
BASE = os.environ["AWS_LAMBDA_RUNTIME_API"]
kept = open("/tmp/" + NAME, "a", buffering=1)

def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(BASE)
    connection.request(method, path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text

class Batch(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kept.write("".join(json.dumps(event) + "\\n" for event in events))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"OK")
    def log_message(self, *_):
        pass

class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            kept.write(line.decode())

def listen():
    if CONFIG["destination"]["protocol"] == "HTTP":
        server = http.server.ThreadingHTTPServer(("sandbox.localdomain", CONFIG["listen"]), Batch)
    else:
        server = socketserver.ThreadingTCPServer(("sandbox.localdomain", CONFIG["listen"]), Lines)
    threading.Thread(target=server.serve_forever, daemon=True).start()

if not CONFIG.get("deaf"):
    listen()

_, headers, _ = call("POST", "/2020-01-01/extension/register",
                     {"events": ["INVOKE", "SHUTDOWN"]}, **{"Lambda-Extension-Name": NAME})
me = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
print("extension says", call("PUT", CONFIG["path"], CONFIG, **me)[::2], flush=True)
while True:
    _, _, event = call("GET", "/2020-01-01/extension/event/next", **me)
    if json.loads(event)["eventType"] == "SHUTDOWN":
        time.sleep(CONFIG.get("lingers", 0))  # for what is late
        break
    if CONFIG.get("deaf") is False:
        listen()
    if "deaf" in CONFIG:  # during the first invocation
        CONFIG["deaf"] = False if CONFIG["deaf"] else None
    if CONFIG.get("late"):
        print("too late", call("PUT", CONFIG["path"], CONFIG, **me)[::2], flush=True)
"""

BASH = r"""#!/bin/bash
# Prints what it is told to its own log. perl listens, which bash cannot.
name=${0##*/}
export LC_ALL=C
call() {  # METHOD PATH BODY HEADER: the answer, without carriage returns
    exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/:/\/}"
    printf '%s\r\n' "$1 $2 HTTP/1.1" "Host: lambda" "Connection: close" "$4" \
        "Content-Length: ${#3}" "" >&3
    printf '%s' "$3" >&3
    tr -d '\r' <&3
}
exec 4< <(exec perl -MIO::Socket::INET -e '
    $| = 1;
    my $port = IO::Socket::INET->new(LocalAddr => "127.0.0.1:4444", Listen => 5);
    print "ready\n";
    my $peer = $port->accept;
    print "told: $_" while <$peer>;')
read -r -u 4 _
registered=$(call POST /2020-01-01/extension/register '{"events":["INVOKE","SHUTDOWN"]}' \
    "Lambda-Extension-Name: $name")
id=$(sed -n 's/^Lambda-Extension-Identifier: //p' <<<"$registered")
call PUT /2022-07-01/telemetry '{"schemaVersion": "2022-07-01",
    "types": ["platform", "function"], "buffering": {"timeoutMs": 25},
    "destination": {"protocol": "TCP", "port": 4444}}' "Lambda-Extension-Identifier: $id" >/dev/null
tee /tmp/told <&4 &
while event=$(call GET /2020-01-01/extension/event/next '' "Lambda-Extension-Identifier: $id"); do
    [[ $event == *SHUTDOWN* ]] && break
done
"""


def layer(files: Mapping[str, str]) -> bytes:
    """A layer of these files, all of which may be run."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | 0o755) << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


_TEXT, _NUMBER, _COUNT = str, (int, float), int
_STATUS = ("success", "failure", "error", "timeout")
_KINDS = ("on-demand", "provisioned-concurrency", "snap-start", "lambda-managed-instances")
_PHASES = ("init", "invoke", "snap-start")
_SPAN = {"name": _TEXT, "start": _TEXT, "durationMs": _NUMBER}
_TRACING = {"spanId?": _TEXT, "type": ("X-Amzn-Trace-Id",), "value": _TEXT}

SHAPES: dict[str, Any] = {
    "platform.initStart": {
        "initializationType": _KINDS,
        "phase": _PHASES,
        "functionName": _TEXT,
        "functionVersion": _TEXT,
        "runtimeVersion?": _TEXT,
        "runtimeVersionArn?": _TEXT,
        "instanceId?": _TEXT,
        "instanceMaxMemory?": _COUNT,
        "tracing?": _TRACING,
    },
    "platform.initRuntimeDone": {
        "initializationType": _KINDS,
        "phase": _PHASES,
        "status": _STATUS,
        "errorType?": _TEXT,
        "spans?": [_SPAN],
    },
    "platform.initReport": {
        "initializationType": _KINDS,
        "phase": _PHASES,
        "status": _STATUS,
        "errorType?": _TEXT,
        "metrics": {"durationMs": _NUMBER},
        "spans?": [_SPAN],
    },
    "platform.start": {
        "requestId": _TEXT,
        "version?": _TEXT,
        "functionArn?": _TEXT,
        "tenantId?": _TEXT,
        "tracing?": _TRACING,
    },
    "platform.runtimeDone": {
        "requestId": _TEXT,
        "tenantId?": _TEXT,
        "status": _STATUS,
        "errorType?": _TEXT,
        "metrics": {"durationMs": _NUMBER, "producedBytes?": _COUNT},
        "spans?": [_SPAN],
        "tracing?": _TRACING,
    },
    "platform.report": {
        "requestId": _TEXT,
        "tenantId?": _TEXT,
        "status": _STATUS,
        "errorType?": _TEXT,
        "metrics": {
            "durationMs": _NUMBER,
            "billedDurationMs": _COUNT,
            "memorySizeMB": _COUNT,
            "maxMemoryUsedMB": _COUNT,
            "initDurationMs?": _NUMBER,
        },
        "spans?": [_SPAN],
        "tracing?": _TRACING,
    },
    "platform.extension": {"name": _TEXT, "state": _TEXT, "events": [_TEXT], "errorType?": _TEXT},
    "platform.telemetrySubscription": {"name": _TEXT, "state": _TEXT, "types": [_TEXT]},
    "platform.logsSubscription": {"name": _TEXT, "state": _TEXT, "types": [_TEXT]},
    "platform.logsDropped": {"reason": _TEXT, "droppedRecords": _COUNT, "droppedBytes": _COUNT},
    "platform.end": {"requestId": _TEXT},
    "platform.fault": _TEXT,
    "extension": _TEXT,
}
"""Record by event type, from the schema of 2025-01-29; the last but two are the Logs API's. A
tuple of texts lists what may be; a `?` marks what may be absent."""


def wrong(value: Any, shape: Any, path: str = "record") -> list[str]:
    """What of a value is not as the shape says."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{path} is no object: {value!r}"]
        names = {name.rstrip("?"): name for name in shape}
        found = [f"{path}.{name} is not known" for name in value if name not in names]
        for name, key in names.items():
            if name in value:
                found += wrong(value[name], shape[key], f"{path}.{name}")
            elif not key.endswith("?"):
                found.append(f"{path}.{name} is missing")
        return found
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{path} is no array: {value!r}"]
        return [
            each for i, item in enumerate(value) for each in wrong(item, shape[0], f"{path}[{i}]")
        ]
    if isinstance(shape, tuple) and isinstance(shape[0], str):
        return [] if value in shape else [f"{path} is {value!r}"]
    good = isinstance(value, shape) and not isinstance(value, bool)
    return [] if good else [f"{path} is {value!r}"]
