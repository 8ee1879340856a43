"""Extensions of real functions that subscribe to the Telemetry API, or to the Logs API.

The extension in Python keeps what it is told in /tmp, which the function can read; the one
in bash prints it, and it comes back in the function's log.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support.instance import Answer, Deploy, Function, Instance
from tests.support.telemetry import BASH, PYTHON, SHAPES, layer, wrong

HANDLER = """
import json, os, socket, time
def told(path):  # so far, in whole lines
    text = open(path).read() if os.path.exists(path) else ""
    return text[:text.rfind("\\n") + 1]
def handler(event, context):
    if "await" in event:  # until the extensions have been told
        path, wanted = event["await"]
        while wanted not in (text := told(path)):
            time.sleep(0.01)
        return text
    if "print" in event:
        print(*event["print"], sep="\\n", end=event.get("end", "\\n"))
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "resolve" in event:
        return [socket.gethostbyname(name) for name in event["resolve"]]
    return "done"
"""


def subscription(**over: Any) -> str:
    """What the extension in Python asks for, and where it listens."""
    request = {
        "path": "/2022-07-01/telemetry",
        "schemaVersion": "2025-01-29",
        "types": ["platform", "function", "extension"],
        "buffering": {"timeoutMs": 25},
        "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/events"},
        "listen": 4243,
    }
    return json.dumps(request | over)


def extended(
    instance: Instance, deploy: Deploy, *, members: dict[str, Any] | None = None, **over: Any
) -> Function:
    """A function with the extension in Python, which keeps its events in /tmp/keep."""
    files = {"extensions/keep": PYTHON, "extensions/keep-config/subscription": subscription(**over)}
    arn = instance.client.publish_layer_version(
        LayerName="keep", Content={"ZipFile": layer(files)}
    )["LayerVersionArn"]
    return deploy(HANDLER, Layers=[arn], **(members or {}))


def kept(function: Function, wanted: str) -> list[dict[str, Any]]:
    """All the extension has been told, once `wanted` is in it."""
    text = function.invoke({"await": ["/tmp/keep", wanted]}).document
    return [json.loads(line) for line in text.splitlines()]


def reported(answer: Answer) -> str:
    """The beginning of an invocation's report, as it is kept."""
    return f'"platform.report", "record": {{"requestId": "{answer.request_id}"'


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def of(events: list[dict[str, Any]], kind: str) -> list[Any]:
    return [event["record"] for event in events if event["type"] == kind]


def test_an_extension_is_told_all_that_happens_to_its_function(
    instance: Instance, deploy: Deploy
) -> None:
    function = extended(instance, deploy)
    first = function.invoke({"print": ["one", "two"]})
    second = function.invoke({})
    events = kept(function, reported(second))
    assert [name for name in types(events) if name != "extension"][:11] == [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
        "platform.start",
        "function",
        "function",
        "platform.runtimeDone",
        "platform.report",
        "platform.start",
    ]
    assert not [
        complaint
        for event in events
        if event["type"] in SHAPES
        for complaint in wrong(event["record"], SHAPES[event["type"]], event["type"])
    ]
    assert of(events, "function") == ["one", "two"]
    assert of(events, "extension") == ["extension says (200, '\"OK\"')"]
    assert of(events, "platform.extension") == [
        {"name": "keep", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}
    ]
    start, done, report = (
        of(events, f"platform.{kind}")[0] for kind in ("start", "runtimeDone", "report")
    )
    for record in (start, done, report):
        assert record["requestId"] == first.request_id
    assert done["metrics"]["producedBytes"] == len(first.body)
    assert [span["name"] for span in done["spans"]] == [
        "responseLatency",
        "responseDuration",
        "runtimeOverhead",
    ]
    assert [span["name"] for span in report["spans"]] == ["extensionOverhead"]
    # the log says the same
    metrics = report["metrics"]
    assert f"Duration: {metrics['durationMs']:.2f} ms" in first.log
    assert f"Billed Duration: {metrics['billedDurationMs']} ms" in first.log
    assert f"Init Duration: {metrics['initDurationMs']:.2f} ms" in first.log
    report = of(events, "platform.report")[-1]
    assert report["requestId"] == second.request_id
    assert "initDurationMs" not in report["metrics"]
    log = function.log()
    assert "TELEMETRY\tName: keep\tState: Subscribed\tTypes: [Platform, Function, Extension]" in log
    assert "extension says (200" in log


def test_lines_come_over_tcp_and_only_of_the_streams_asked_for(
    instance: Instance, deploy: Deploy
) -> None:
    function = extended(
        instance,
        deploy,
        types=["function"],
        destination={"protocol": "TCP", "port": 4244},
        listen=4244,
    )
    function.invoke({"print": ["over tcp"], "end": ""})
    events = kept(function, "over tcp")
    assert (types(events), of(events, "function")) == (["function"], ["over tcp"])


def test_the_logs_api_tells_what_it_always_did(instance: Instance, deploy: Deploy) -> None:
    function = extended(
        instance,
        deploy,
        path="/2020-08-15/logs",
        schemaVersion="2021-03-18",
        destination={"protocol": "HTTP", "URI": "http://sandbox:4243"},
    )
    first = function.invoke({"print": ["{}"]})
    events = kept(function, "platform.report")
    assert of(events, "platform.runtimeDone")[0] == {
        "requestId": first.request_id,
        "status": "success",
    }
    assert of(events, "platform.end") == [{"requestId": first.request_id}]
    assert of(events, "platform.logsSubscription")[0]["state"] == "Subscribed"
    assert of(events, "function") == ["{}"]
    assert "LOGS\tName: keep\tState: Subscribed" in function.log()


def test_json_lines_are_objects_under_the_json_format(instance: Instance, deploy: Deploy) -> None:
    function = extended(instance, deploy, members={"LoggingConfig": {"LogFormat": "JSON"}})
    function.invoke({"print": ['{"a": 1}', "text"]})
    assert of(kept(function, "platform.report"), "function") == [{"a": 1}, "text"]
    assert '"type":"platform.telemetrySubscription"' in function.log()


def test_subscriptions_are_refused_that_are_late_or_wrong(
    instance: Instance, deploy: Deploy
) -> None:
    function = extended(instance, deploy, late=True)
    function.invoke({})
    assert function.await_log("too late") == (
        'too late (403, \'{"errorMessage":"Telemetry API subscription is closed",'
        '"errorType":"Telemetry.SubscriptionClosed"}\\n\')\n'
    )
    function = extended(
        instance,
        deploy,
        types=[],
        destination={"protocol": "HTTP", "URI": "http://sandbox.localdomain"},
    )
    function.invoke({})
    assert function.await_log("extension says") == (
        'extension says (400, \'{"errorMessage":"URI port is not provided; '
        'types should not be empty","errorType":"ValidationError"}\\n\')\n'
    )


def test_how_invocations_fail_is_told_before_the_environment_ends(
    instance: Instance, deploy: Deploy
) -> None:
    function = extended(instance, deploy, members={"Timeout": 4}, lingers=1)
    function.invoke({"raise": "boom"})
    function.invoke({"exit": 3})
    function.invoke({"sleep": 60})
    # /tmp outlives the runtime and its extensions
    events = kept(function, '"initializationType": "on-demand", "phase": "invoke"')
    for kind in ("runtimeDone", "report"):
        records = of(events, f"platform.{kind}")
        assert [(each["status"], each.get("errorType")) for each in records] == [
            ("failure", "Function.Unknown"),
            ("error", "Runtime.ExitError"),
            ("timeout", None),
        ]
        assert records[2]["metrics"]["durationMs"] == 4000


def test_what_an_extension_does_not_take_is_dropped_and_told(
    instance: Instance, deploy: Deploy
) -> None:
    function = extended(
        instance,
        deploy,
        types=["function"],
        # The last batch may be less than a full one, which leaves when its time is over.
        buffering={"maxItems": 1000, "timeoutMs": 100},
        deaf=True,
    )
    function.invoke({"print": ["line"] * 5000})
    events = kept(function, "platform.logsDropped")
    (dropped,) = of(events, "platform.logsDropped")
    assert wrong(dropped, SHAPES["platform.logsDropped"]) == []
    taken = len(of(events, "function"))
    assert taken + dropped["droppedRecords"] == 5000
    assert 2000 <= taken <= 3000  # what is on its way has left its place to others


def test_a_bash_extension_logs_telemetry(instance: Instance, deploy: Deploy) -> None:
    arn = instance.client.publish_layer_version(
        LayerName="bash", Content={"ZipFile": layer({"extensions/telemetry.sh": BASH})}
    )["LayerVersionArn"]
    function = deploy(HANDLER, Layers=[arn])
    first = function.invoke({"print": ["hello"]})
    function.invoke({"await": ["/tmp/told", "platform.report"]})
    told = function.await_log('"type":"platform.report"')
    assert json.loads(told.removeprefix("told: "))["record"]["requestId"] == first.request_id
    assert '"type":"function","record":"hello"}' in function.log()


INTERNAL = """
import http.client, http.server, json, os, queue, threading
told = queue.SimpleQueue()

def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.headers

class Batch(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            told.put(event)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("sandbox.localdomain", 4243), Batch)
threading.Thread(target=server.serve_forever, daemon=True).start()
me = call("POST", "/2020-01-01/extension/register", {"events": []},
          **{"Lambda-Extension-Name": "inside"})["Lambda-Extension-Identifier"]
destination = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"}
call("PUT", "/2022-07-01/telemetry",
     {"schemaVersion": "2022-12-13", "types": ["platform"],
      "destination": destination, "buffering": {"timeoutMs": 25}},
     **{"Lambda-Extension-Identifier": me})
threading.Thread(target=call, args=("GET", "/2020-01-01/extension/event/next"),
                 kwargs={"Lambda-Extension-Identifier": me}, daemon=True).start()

def handler(event, context):
    events = []
    while not events or events[-1]["type"] != event:
        events.append(told.get())
    return [each["type"] for each in events]
"""


def test_a_runtime_subscribes_for_an_extension_of_its_own(deploy: Deploy) -> None:
    function = deploy(INTERNAL)
    assert function.invoke("platform.start").document == [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
        "platform.start",
    ]
    assert function.invoke("platform.start").document == [
        "platform.runtimeDone",
        "platform.report",
        "platform.start",
    ]


def test_an_environment_knows_its_own_name(instance: Instance, deploy: Deploy) -> None:
    names = ["sandbox.localdomain", "sandbox"]
    assert deploy(HANDLER).invoke({"resolve": names}).document == ["127.0.0.1"] * 2
