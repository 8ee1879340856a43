"""The same function in every language, told by its event what to do.

`do` is one of: `echo` (returns the event), `raise`, `sleep`, `exit`, `fill` (takes memory
until there is none), `print` (two lines, one of them of two lines where the language's own
logger is used), `context`, `large` (a string of `size` characters).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PYTHON = """
import os, time

def handler(event, context):
    do = event["do"]
    if do == "raise":
        raise ValueError("boom é")
    if do == "sleep":
        time.sleep(60)
    if do == "exit":
        os._exit(7)
    if do == "fill":
        kept = []
        while True:
            kept.append(b"x" * 2**20)
    if do == "print":
        print("first line é")
        print("second line")
    if do == "context":
        return {
            "request_id": context.aws_request_id,
            "arn": context.invoked_function_arn,
            "name": context.function_name,
            "version": context.function_version,
            "memory": int(context.memory_limit_in_mb),
            "group": context.log_group_name,
            "stream": context.log_stream_name,
            "remaining": context.get_remaining_time_in_millis(),
            "client": context.client_context.custom if context.client_context else None,
        }
    if do == "large":
        return "x" * event["size"]
    return event
"""

NODEJS = """
exports.handler = async (event, context) => {
  switch (event.do) {
    case "raise": throw new RangeError("boom é");
    case "sleep": await new Promise((resolve) => setTimeout(resolve, 60000)); break;
    case "exit": process.exit(7);
    case "fill": for (const kept = [];;) kept.push(Buffer.alloc(2 ** 20, "x"));
    case "print": console.log("first line é"); console.log("second line"); break;
    case "context": return {
      request_id: context.awsRequestId,
      arn: context.invokedFunctionArn,
      name: context.functionName,
      version: context.functionVersion,
      memory: Number(context.memoryLimitInMB),
      group: context.logGroupName,
      stream: context.logStreamName,
      remaining: context.getRemainingTimeInMillis(),
      client: context.clientContext ? context.clientContext.custom : null,
    };
    case "large": return "x".repeat(event.size);
  }
  return event;
};
"""

RUBY = """
def handler(event:, context:)
  case event['do']
  when 'raise' then raise ArgumentError, 'boom é'
  when 'sleep' then sleep 60
  when 'exit' then exit! 7
  when 'fill'
    kept = []
    loop { kept << 'x' * 2**20 }
  when 'print'
    puts 'first line é'
    puts 'second line'
  when 'context'
    return {
      request_id: context.aws_request_id,
      arn: context.invoked_function_arn,
      name: context.function_name,
      version: context.function_version,
      memory: context.memory_limit_in_mb.to_i,
      group: context.log_group_name,
      stream: context.log_stream_name,
      remaining: context.get_remaining_time_in_millis,
      client: context.client_context && context.client_context['custom']
    }
  when 'large' then return 'x' * event['size']
  end
  event
end
"""

JAVA = """
package example;

import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

public class Handler implements RequestHandler<Map<String, Object>, Object> {
    @Override
    public Object handleRequest(Map<String, Object> event, Context context) {
        switch ((String) event.get("do")) {
            case "raise":
                throw new IllegalArgumentException("boom é");
            case "sleep":
                try {
                    Thread.sleep(60_000);
                } catch (InterruptedException error) {
                    throw new IllegalStateException(error);
                }
                break;
            case "exit":
                System.exit(7);
            case "fill":
                List<byte[]> kept = new ArrayList<>();
                while (true) {
                    kept.add(new byte[1 << 20]);
                }
            case "print":
                System.out.println("first line é");
                context.getLogger().log("second line\\n");
                break;
            case "context":
                ClientContext client = context.getClientContext();
                Map<String, Object> told = new LinkedHashMap<>();
                told.put("request_id", context.getAwsRequestId());
                told.put("arn", context.getInvokedFunctionArn());
                told.put("name", context.getFunctionName());
                told.put("version", context.getFunctionVersion());
                told.put("memory", context.getMemoryLimitInMB());
                told.put("group", context.getLogGroupName());
                told.put("stream", context.getLogStreamName());
                told.put("remaining", context.getRemainingTimeInMillis());
                told.put("client", client == null ? null : client.getCustom());
                return told;
            case "large":
                return "x".repeat((Integer) event.get("size"));
        }
        return event;
    }
}
"""

GO = """
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type event struct {
	Do   string `json:"do"`
	Size int    `json:"size"`
}

func answer(body []byte, headers http.Header) (any, bool) {
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		panic(err)
	}
	switch e.Do {
	case "raise":
		return map[string]any{"errorType": "errorString", "errorMessage": "boom é"}, false
	case "sleep":
		time.Sleep(time.Minute)
	case "exit":
		os.Exit(7)
	case "fill":
		for kept := [][]byte{}; ; {
			kept = append(kept, bytes.Repeat([]byte("x"), 1<<20))
		}
	case "print":
		fmt.Println("first line é")
		fmt.Println("second line")
	case "context":
		deadline, _ := strconv.ParseInt(headers.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
		memory, _ := strconv.Atoi(os.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
		client := map[string]any{}
		_ = json.Unmarshal([]byte(headers.Get("Lambda-Runtime-Client-Context")), &client)
		return map[string]any{
			"request_id": headers.Get("Lambda-Runtime-Aws-Request-Id"),
			"arn":        headers.Get("Lambda-Runtime-Invoked-Function-Arn"),
			"name":       os.Getenv("AWS_LAMBDA_FUNCTION_NAME"),
			"version":    os.Getenv("AWS_LAMBDA_FUNCTION_VERSION"),
			"memory":     memory,
			"group":      os.Getenv("AWS_LAMBDA_LOG_GROUP_NAME"),
			"stream":     os.Getenv("AWS_LAMBDA_LOG_STREAM_NAME"),
			"remaining":  deadline - time.Now().UnixMilli(),
			"client":     client["custom"],
		}, true
	case "large":
		return strings.Repeat("x", e.Size), true
	}
	return json.RawMessage(body), true
}

func main() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		next, err := http.Get(api + "next")
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(next.Body)
		next.Body.Close()
		result, ok := answer(body, next.Header)
		path := map[bool]string{true: "/response", false: "/error"}[ok]
		document, _ := json.Marshal(result)
		id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		done, err := http.Post(api+id+path, "application/json", bytes.NewReader(document))
		if err != nil {
			panic(err)
		}
		done.Body.Close()
	}
}
"""

BASH = """#!/bin/bash
# One curl for the event and one for the answer, as AWS's own tutorial does it.
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
field() { sed -n "s/^$1: *\\\\(.*\\\\)\\r\\$/\\\\1/Ip" /tmp/headers; }
while true; do
  curl -sS -D /tmp/headers -o /tmp/event "$api/next"
  id="$(field Lambda-Runtime-Aws-Request-Id)"
  path=response
  cp /tmp/event /tmp/answer
  case "$(cat /tmp/event)" in
    *'"raise"'*) path=error; echo '{"errorType":"Oops","errorMessage":"boom é"}' >/tmp/answer;;
    *'"sleep"'*) sleep 60;;
    *'"exit"'*) exit 7;;
    *'"fill"'*) kept="$(head -c 1G /dev/zero | tr '\\0' x)";;
    *'"print"'*) echo 'first line é'; echo 'second line';;
    *'"context"'*)
      deadline="$(field Lambda-Runtime-Deadline-Ms)"
      client="$(field Lambda-Runtime-Client-Context)"
      client="${client#*\\"custom\\":}"
      printf '{"request_id":"%s","arn":"%s","name":"%s","version":"%s","memory":%d,' "$id" \\
        "$(field Lambda-Runtime-Invoked-Function-Arn)" "$AWS_LAMBDA_FUNCTION_NAME" \\
        "$AWS_LAMBDA_FUNCTION_VERSION" "$AWS_LAMBDA_FUNCTION_MEMORY_SIZE" >/tmp/answer
      printf '"group":"%s","stream":"%s","remaining":%d,"client":%s}' \\
        "$AWS_LAMBDA_LOG_GROUP_NAME" "$AWS_LAMBDA_LOG_STREAM_NAME" \\
        "$((deadline - $(date +%s%3N)))" "${client%\\}}" >>/tmp/answer;;
    *'"large"'*)
      size="$(sed 's/.*"size": *\\([0-9]*\\).*/\\1/' /tmp/event)"
      { echo -n '"'; head -c "$size" /dev/zero | tr '\\0' x; echo -n '"'; } >/tmp/answer;;
  esac
  curl -sS -o /dev/null -X POST --data-binary @/tmp/answer "$api/$id/$path"
done
"""


@dataclass(frozen=True)
class Language:
    """A runtime, and the function in its language."""

    runtime: str
    files: Mapping[str, str]
    error_type: str
    """What its `raise` is called by callers."""
    handler: str = "handler.handler"
    compiled: bool = False
    """Whether the files are sources, for a compiler."""
    memory_error: str = "Runtime.OutOfMemory"
    """What its `fill` is called."""


LANGUAGES = (
    Language("python3.13", {"handler.py": PYTHON}, "ValueError"),
    Language("python3.11", {"handler.py": PYTHON}, "ValueError"),
    Language("nodejs24.x", {"handler.js": NODEJS}, "RangeError"),
    Language("nodejs22.x", {"handler.js": NODEJS}, "RangeError"),
    Language("nodejs20.x", {"handler.js": NODEJS}, "RangeError"),
    Language("ruby3.3", {"handler.rb": RUBY}, "Function<ArgumentError>"),
    Language("provided.al2023", {"bootstrap": BASH}, "Oops"),
    *(
        Language(
            runtime,
            {"Handler.java": JAVA},
            "java.lang.IllegalArgumentException",
            handler="example.Handler",
            compiled=True,
            memory_error="java.lang.OutOfMemoryError",
        )
        for runtime in ("java21", "java17")
    ),
    Language("provided.al2", {"main.go": GO}, "errorString", compiled=True),
)
