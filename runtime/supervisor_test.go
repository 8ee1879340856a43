package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

func TestAnInvocationFromEventToResult(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c := p.call()
	c.get(next)
	if meta, _, _ := p.until(kindInitialized); meta["generation"] != 1.0 {
		t.Error(meta)
	}
	meta := eventOf("one")
	meta.ClientContext = "{\r\n\"a\":\"ü\"}"
	p.send(kindInvoke, meta, []byte("event"))
	status, header, body := c.answer()
	if status != 200 || body != "event" || header.Get("Content-Type") != "application/json" {
		t.Error(status, header, body)
	}
	for name, want := range map[string]string{
		"Aws-Request-Id": "one", "Deadline-Ms": "12", "Invoked-Function-Arn": "arn",
		"Client-Context": `{  "a":"ü"}`, "Trace-Id": "", "Invocation-Id": "",
	} {
		if got := header.Get("Lambda-Runtime-" + name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	c.expect(202, `{"status":"OK"}`)(c.post("runtime/invocation/one/response", "Content-Type: a/b\r\n", "answer"))
	result, payload, _ := p.until(kindResult)
	if result["requestId"] != "one" || result["outcome"] != "response" || result["contentType"] != "a/b" ||
		result["durationMs"].(float64) <= 0 || string(payload) != "answer" {
		t.Error(result, string(payload))
	}
	p.send(kindInvoke, eventOf("two"), []byte("2")) // before the runtime has asked
	c.get(next)
	if _, _, body := c.answer(); body != "2" {
		t.Error(body)
	}
	c.expect(202, `{"status":"OK"}`)(c.post("runtime/invocation/two/error",
		"Lambda-Runtime-Function-Error-Type: Function.X\r\n", "{}"))
	if result, _, _ := p.until(kindResult); result["outcome"] != "error" || result["errorType"] != "Function.X" {
		t.Error(result)
	}
}

func TestWhatARuntimeMayNotDoIsRefused(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c, other := p.call(), p.call()
	response := "runtime/invocation/one/response"
	badID := refusalBody("InvalidRequestID", "Invalid request ID")
	c.expect(400, badID)(c.post(response, "", "early"))
	c.get("ping")
	if status, _, body := c.answer(); status != 200 || body != "pong" {
		t.Error(status, body)
	}
	c.get(next)
	p.until(kindInitialized)
	other.expect(403, notAllowed(ready, initFailed))(other.post("runtime/init/error", "", "late"))
	meta := eventOf("one")
	meta.InvocationID = "try-1"
	p.send(kindInvoke, meta, []byte("event"))
	c.answer()
	c.get(next) // once more: the same event
	if _, header, body := c.answer(); body != "event" || header.Get("Lambda-Runtime-Aws-Request-Id") != "one" {
		t.Error(header, body)
	}
	c.expect(400, badID)(c.post("runtime/invocation/two/response", "", "another's"))
	c.expect(400, refusalBody("InvalidFunctionResponseMode", "Invalid function response mode"))(
		c.post(response, "Lambda-Runtime-Function-Response-Mode: buffered\r\n", ""))
	c.expect(400, refusalBody("InvalidInvocationId", "Invalid invocation ID"))(
		c.post(response, "Lambda-Runtime-Invocation-Id: try-0\r\n", ""))
	c.expect(202, `{"status":"OK"}`)(c.post(response, "Lambda-Runtime-Invocation-Id: try-1\r\n", "ok"))
	p.until(kindResult)
	c.expect(403, notAllowed(responded, responding))(c.post(response, "", "again"))
	other.get(next)
	p.send(kindInvoke, eventOf("two"), nil)
	other.answer()
	c.expect(400, badID)(c.post(response, "", "much later"))

	for path, want := range map[string]int{"nothing": 404, "runtime/invocation/two/nothing": 404,
		"runtime/init/error": 405, "runtime/invocation/two/response": 405} {
		c.get(path)
		if status, _, _ := c.answer(); status != want {
			t.Errorf("GET %s: %d", path, status)
		}
	}
	status, _ := c.post(next, "", "body")
	if status != 405 {
		t.Error(status)
	}
}

func TestAResponseThatIsTooLargeIsRefusedAndReported(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c := p.call()
	c.get(next)
	p.until(kindInitialized)
	large := strings.Repeat("x", 1<<20)
	for id, header := range map[string]string{"plain": "", "asks": "Expect: 100-continue\r\n"} {
		p.send(kindInvoke, eventOf(id), nil)
		if _, header, _ := c.answer(); header.Get("Lambda-Runtime-Aws-Request-Id") != id {
			t.Error(header)
		}
		c.write(fmt.Sprintf("POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\n%s"+
			"Content-Length: %d\r\n\r\n", id, header, len(large)))
		if header != "" {
			if status, _, _ := c.answer(); status != 100 {
				t.Error(status)
			}
		}
		c.write(large)
		status, _, body := c.answer()
		c.expect(413, refusalBody("RequestEntityTooLarge",
			"Exceeded maximum allowed payload size (1000 bytes)."))(status, strings.TrimSpace(body))
		if meta, payload, _ := p.until(kindResult); meta["outcome"] != "tooLarge" || len(payload) != 0 {
			t.Error(meta, payload)
		}
		c.get(next)
	}
}

func TestAStreamedResponseThatFailsMidwayIsAnError(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c := p.call()
	c.get(next)
	p.until(kindInitialized)
	p.send(kindInvoke, eventOf("one"), nil)
	c.answer()
	c.write("POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\n" +
		"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n" +
		"Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n" +
		"4\r\nhalf\r\n0\r\nLambda-Runtime-Function-Error-Type: Function.Midway\r\n" +
		"Lambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\r\n\r\n")
	if status, _, _ := c.answer(); status != 202 {
		t.Error(status)
	}
	meta, payload, _ := p.until(kindResult)
	if meta["outcome"] != "error" || meta["errorType"] != "Function.Midway" || string(payload) != `{"a":1}` {
		t.Error(meta, string(payload))
	}
}

func TestATruncatedResponseEndsNothing(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c := p.call()
	c.get(next)
	p.until(kindInitialized)
	p.send(kindInvoke, eventOf("one"), nil)
	c.answer()
	cut := p.call()
	cut.write("POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")
	_ = cut.conn.(*net.TCPConn).CloseWrite()
	status, _, body := cut.answer()
	cut.expect(400, refusalBody("TruncatedHTTPRequest", "HTTP request detected as truncated"))(
		status, strings.TrimSpace(body))
	c.expect(202, `{"status":"OK"}`)(c.post("runtime/invocation/one/response", "", "whole"))
	if _, payload, _ := p.until(kindResult); string(payload) != "whole" {
		t.Error(string(payload))
	}
}

func TestRequestsSentTooEarlyWaitForTheirTurn(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c := p.call()
	c.get(next)
	c.get("ping")
	p.until(kindInitialized)
	p.send(kindInvoke, eventOf("one"), []byte("event"))
	for _, want := range []string{"event", "pong"} {
		if _, _, body := c.answer(); body != want {
			t.Error(body)
		}
	}
}

func TestALargeEventIsDeliveredToASlowReader(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c := p.call()
	c.get(next)
	p.until(kindInitialized)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	p.send(kindInvoke, eventOf("one"), large)
	p.send(kindKill, killMeta{Generation: 0}, nil) // stale; that it is read shows that nothing is held up
	if _, _, body := c.answer(); body != string(large) {
		t.Errorf("%d bytes of %d", len(body), len(large))
	}
}

func TestARuntimeThatLeavesNextIsForgotten(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	gone := p.call()
	gone.get(next)
	p.until(kindInitialized)
	_ = gone.conn.Close()
	c := p.call()
	c.get(next)
	p.send(kindInvoke, eventOf("one"), []byte("event"))
	if _, _, body := c.answer(); body != "event" {
		t.Error(body)
	}
}

func TestAKilledRuntimeMayBeStartedAgain(t *testing.T) {
	p := newPeer(t, nil)
	for generation := 1; generation <= 3; generation++ {
		p.start(generation)
		c := p.call()
		c.get(next)
		p.until(kindInitialized)
		p.send(kindInvoke, eventOf("one"), nil)
		c.answer()
		p.send(kindKill, killMeta{Generation: generation - 1}, nil) // of the one before: ignored
		p.send(kindKill, killMeta{Generation: generation}, nil)
		meta, _, _ := p.until(kindExited)
		if meta["generation"] != float64(generation) || meta["cause"] != "killed" ||
			meta["description"] != "signal: killed" || meta["requestId"] != "one" {
			t.Error(meta)
		}
		if _, err := c.reader.ReadByte(); err != io.EOF {
			t.Error("the connection of a dead runtime is open:", err)
		}
	}
}

func TestAnInitErrorPrecedesTheExit(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c := p.call()
	c.expect(202, `{"status":"OK"}`)(c.post("runtime/init/error",
		"Lambda-Runtime-Function-Error-Type: Runtime.Bad\r\n", "why"))
	if meta, payload, _ := p.until(kindInitError); meta["errorType"] != "Runtime.Bad" || string(payload) != "why" {
		t.Error(meta, string(payload))
	}
	c.expect(403, notAllowed(initFailed, initFailed))(c.post("runtime/init/error", "", "why"))
	c.get(next)
	if status, _, _ := c.answer(); status != 403 {
		t.Error(status)
	}
}

// A whole runtime in a shell: what it says before its answer is out before the result.
const shell = `
exec 3<>/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}
while :; do
  printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n' >&3
  while IFS= read -r line <&3; line=${line%$'\r'}; [ -n "$line" ]; do
    case $line in *Request-Id:*) id=${line##* };; esac
  done
  for ((i = 0; i < 3000; i++)); do echo "$id line $i"; done
  echo "$id the end" >&2
  printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nContent-Length: 0\r\n\r\n' "$id" >&3
  while IFS= read -r line <&3; [ "$line" != $'\r' ]; do :; done
  read -r line <&3
done`

func TestAllOutputPrecedesTheResult(t *testing.T) {
	p := newPeer(t, func(config *configureMeta) {
		config.Command = []string{"bash", "-c", shell}
		config.Freeze = true
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	p.until(kindInitialized)
	for round := 0; round < 5; round++ {
		id := fmt.Sprint("id-", round)
		p.send(kindInvoke, eventOf(id), nil)
		meta, _, output := p.until(kindResult)
		lines := strings.Count(string(output), id)
		if lines != 3001 || !strings.Contains(string(output), id+" the end\n") || meta["requestId"] != id {
			t.Errorf("%d lines, %v", lines, meta)
		}
	}
}

// A record, and one that is only begun, beside output of both kinds.
const recorder = `
echo before
printf '\245\132\000\027\000\000\000\010\000\000\000\000\000\000\000\001one\ntwo\n' >&$_LAMBDA_TELEMETRY_LOG_FD
printf '\245\132\000\003\000\000\000\011\000\000\000\000\000\000\000\001cut' >&$_LAMBDA_TELEMETRY_LOG_FD
exit 3`

func TestRecordsOfAProcessThatDiedPrecedeItsExit(t *testing.T) {
	p := newPeer(t, func(config *configureMeta) {
		config.Command = []string{"bash", "-c", recorder}
		config.TelemetryLog = true
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	for _, want := range []string{": before\n", `{"holds":"events","sizes":[8]}: one` + "\ntwo\n", `{"holds":"events","sizes":[3]}: cut`} {
		if f := p.receive(); f.kind != kindLog || string(f.meta)+": "+string(f.payload) != want {
			t.Errorf("%d %s: %q, not %q", f.kind, f.meta, f.payload, want)
		}
	}
	if meta, _, _ := p.until(kindExited); meta["description"] != "exit status 3" {
		t.Error(meta)
	}
}

func TestADescriptorForRecordsIsThereOnlyWhereItWasAskedFor(t *testing.T) {
	for asked, want := range map[bool]string{false: ":none\n", true: "62:there\n"} {
		p := newPeer(t, func(config *configureMeta) {
			config.Command = []string{"sh", "-c", `[ -e /proc/$$/fd/62 ] && it=there || it=none
				echo "$_LAMBDA_TELEMETRY_LOG_FD:$it"`}
			config.TelemetryLog = asked
		})
		p.send(kindStart, startMeta{1, "init"}, nil)
		if _, _, output := p.until(kindExited); string(output) != want {
			t.Errorf("%q", output)
		}
	}
}

func TestAnExitIsReportedWithAllOutput(t *testing.T) {
	p := newPeer(t, func(config *configureMeta) {
		// the grandchild would hold the pipe open for long
		config.Command = []string{"sh", "-c", "sleep 1000 & echo last words; exit 3"}
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	meta, _, output := p.until(kindExited)
	if meta["cause"] != "exit" || meta["description"] != "exit status 3" || string(output) != "last words\n" {
		t.Error(meta, string(output))
	}
	p.send(kindInvoke, eventOf("one"), nil) // crosses the EXITED: dropped
	p.send(kindStart, startMeta{2, "init"}, nil)
	if meta, _, _ := p.until(kindExited); meta["generation"] != 2.0 || meta["requestId"] != nil {
		t.Error(meta)
	}
}

func TestABrokenProtocolEndsTheInit(t *testing.T) {
	for name, breach := range map[string]func(*peer){
		"a second CONFIGURE":         func(p *peer) { p.send(kindConfigure, &configureMeta{UID: 1, GID: 1}, nil) },
		"a frame of the init's":      func(p *peer) { p.send(kindHello, helloMeta{1}, nil) },
		"a START during a run":       func(p *peer) { p.send(kindStart, startMeta{2, "init"}, nil) },
		"a meta that is no object":   func(p *peer) { p.send(kindKill, []int{1}, nil) },
		"an INVOKE in an invocation": func(p *peer) { p.send(kindInvoke, eventOf("a"), nil); p.send(kindInvoke, eventOf("b"), nil) },
	} {
		t.Run(name, func(t *testing.T) { // one run at a time: there is one wait loop
			p := newPeer(t, nil)
			p.start(1)
			breach(p)
			err := <-p.ended
			p.ended <- err
			if err == nil {
				t.Error("no error")
			}
		})
	}
}
