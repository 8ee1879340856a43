"""A runtime that streams: a `bootstrap` in Python, and packages with one.

Lambda's client for Python cannot stream; this speaks the Runtime API itself. A function
is `handler.py` with `handler(event, stream)`, which calls `stream.write(bytes)`; its
CONTENT_TYPE, if it has one, is that of the response.
"""

from __future__ import annotations

import io
import zipfile

RUNTIME = "provided.al2023"
IMAGE = "fnbox/python3.13:latest"

BOOTSTRAP = """\
#!/usr/bin/env python3
import base64, http.client, json, os

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
INVOCATION = "/2018-06-01/runtime/invocation/"
ERROR = "Lambda-Runtime-Function-Error-"


class Stream:
    def __init__(self, request_id):
        self.connection = http.client.HTTPConnection(API)
        self.connection.putrequest("POST", INVOCATION + request_id + "/response")
        self.connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        self.connection.putheader("Transfer-Encoding", "chunked")
        self.connection.putheader("Trailer", ERROR + "Type, " + ERROR + "Body")
        self.connection.putheader("Content-Type", CONTENT_TYPE)
        self.connection.endheaders()

    def write(self, data):
        self.connection.send(b"%x\\r\\n%s\\r\\n" % (len(data), data))

    def end(self, error=None):
        trailers = ""
        if error is not None:
            name = type(error).__name__
            document = {"errorMessage": str(error), "errorType": name}
            body = base64.b64encode(json.dumps(document).encode()).decode()
            trailers = f"{ERROR}Type: Function.{name}\\r\\n{ERROR}Body: {body}\\r\\n"
        self.connection.send(b"0\\r\\n" + trailers.encode() + b"\\r\\n")
        self.connection.getresponse().read()


import handler as function

handler, CONTENT_TYPE = function.handler, getattr(function, "CONTENT_TYPE", "text/plain")
connection = http.client.HTTPConnection(API)
while True:
    connection.request("GET", INVOCATION + "next")
    answer = connection.getresponse()
    event = json.loads(answer.read())
    stream = Stream(answer.headers["Lambda-Runtime-Aws-Request-Id"])
    try:
        handler(event, stream)
        stream.end()
    except OSError as error:
        print("the response was cut:", error, flush=True)
    except Exception as error:
        stream.end(error)
    stream.connection.close()
"""


def package(source: str) -> bytes:
    """A deployment package with the runtime, and this `handler.py`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o755 << 16
        archive.writestr(bootstrap, BOOTSTRAP)
        archive.writestr("handler.py", source)
    return buffer.getvalue()
