package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func observed(config *configureMeta) {
	extended(config)
	config.Environment["AWS_LAMBDA_INITIALIZATION_TYPE"] = "on-demand"
	config.Environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = "128"
	config.Environment["AWS_LAMBDA_LOG_STREAM_NAME"] = "stream"
	config.RuntimeVersion, config.RuntimeVersionArn = "python:3.13", "arn:runtime"
	config.TimeoutMs, config.ActiveTracing = 3000, true
	config.ExternalShutdownMs = 20_000 // for a machine that is slow: no test waits for its end
}

// subscribe has an extension subscribe to all there is, at an HTTP server of the test's.
func (m *member) subscribe(l *listening, types string, timeoutMs int) (int, string) {
	m.Helper()
	body := fmt.Sprintf(`{"schemaVersion":"2025-01-29","types":["%s"],"buffering":{"timeoutMs":%d},
		"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:%d"}}`,
		strings.ReplaceAll(types, " ", `","`), timeoutMs, l.port())
	m.write(fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\nLambda-Extension-Identifier: %s\r\nContent-Length: %d\r\n\r\n%s",
		telemetryPath, m.id, len(body), body))
	status, _, text := m.answer()
	return status, text
}

// upTo returns what has been delivered, up to the first event of a type.
func (l *listening) upTo(kind string) (events []telemetryLine) {
	for {
		for _, event := range <-l.batches {
			events = append(events, event)
			if event.Type == kind {
				return events
			}
		}
	}
}

func kinds(events []telemetryLine) string {
	var all []string
	for _, event := range events {
		all = append(all, strings.TrimPrefix(event.Type, "platform."))
	}
	return strings.Join(all, " ")
}

func recordOf(t *testing.T, events []telemetryLine, kind string) (record map[string]any) {
	t.Helper()
	for _, event := range events {
		if event.Type == "platform."+kind {
			if err := json.Unmarshal(event.Record, &record); err != nil {
				t.Fatal(err)
			}
			return record
		}
	}
	t.Fatalf("no %s in %s", kind, kinds(events))
	return nil
}

// expect compares a record, in which all numbers are 0 and all times empty.
func expect(t *testing.T, got map[string]any, want string) {
	t.Helper()
	var wanted map[string]any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	if vague := vaguely(got); !reflect.DeepEqual(vague, any(wanted)) {
		text, _ := json.Marshal(vague)
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func vaguely(value any) any {
	switch value := value.(type) {
	case float64:
		return 0.0
	case []any:
		for i := range value {
			value[i] = vaguely(value[i])
		}
	case map[string]any:
		for name := range value {
			value[name] = vaguely(value[name])
			if name == "start" {
				value[name] = ""
			}
		}
	}
	return value
}

func TestAnInternalExtensionIsToldOfItsFunction(t *testing.T) {
	p, l := newPeer(t, observed), listenHTTP(t)
	p.start(1)
	m := p.register("x", `["INVOKE"]`)
	if status, body := m.subscribe(l, "platform function", 25); status != 200 || body != `"OK"` {
		t.Fatal(status, body)
	}
	m.next()
	runtime := p.call()
	runtime.get(next)
	p.states(kindInitialized)
	events := l.upTo("platform.initReport")
	want := "initStart function telemetrySubscription initRuntimeDone extension initReport"
	if got := kinds(events); got != want {
		t.Fatal(got)
	}
	expect(t, recordOf(t, events, "initStart"), `{"initializationType":"on-demand","phase":"init",
		"functionName":"f","functionVersion":"7","runtimeVersion":"python:3.13",
		"runtimeVersionArn":"arn:runtime","instanceId":"stream","instanceMaxMemory":0}`)
	expect(t, recordOf(t, events, "initRuntimeDone"),
		`{"initializationType":"on-demand","phase":"init","status":"success"}`)
	expect(t, recordOf(t, events, "initReport"), `{"initializationType":"on-demand","phase":"init",
		"status":"success","metrics":{"durationMs":0}}`)

	const traced = `"tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1-2;Parent=3;Sampled=1"}`
	for i, id := range []string{"1", "2"} {
		meta := eventOf(id)
		meta.TraceID = "Root=1-2;Parent=3;Sampled=1;Lineage=4"
		p.send(kindInvoke, meta, []byte("event"))
		m.event()
		m.next()
		runtime.answer()
		runtime.post("runtime/invocation/"+id+"/error", "", "body")
		runtime.get(next)
		p.until(kindResult)
		p.until(kindDone)
		events = l.upTo("platform.report")
		if got := kinds(events); got != "start runtimeDone report" {
			t.Fatal(got)
		}
		expect(t, recordOf(t, events, "start"),
			`{"requestId":"`+id+`","version":"7","functionArn":"arn",`+traced+`}`)
		expect(t, recordOf(t, events, "runtimeDone"), `{"requestId":"`+id+`","status":"failure",
			"errorType":"Function.Unknown","metrics":{"durationMs":0,"producedBytes":0},"spans":[
			{"name":"responseLatency","start":"","durationMs":0},
			{"name":"responseDuration","start":"","durationMs":0},
			{"name":"runtimeOverhead","start":"","durationMs":0}],`+traced+`}`)
		initMs := []string{`,"initDurationMs":0`, ""}[i]
		expect(t, recordOf(t, events, "report"), `{"requestId":"`+id+`","status":"failure",
			"errorType":"Function.Unknown","metrics":{"durationMs":0,"billedDurationMs":0,
			"memorySizeMB":0,"maxMemoryUsedMB":0`+initMs+`},"spans":[
			{"name":"extensionOverhead","start":"","durationMs":0}],`+traced+`}`)
	}
	late := &member{p.call(), m.id}
	if status, body := late.subscribe(l, "function", 25); status != 403 || !strings.Contains(body, "SubscriptionClosed") {
		t.Fatal(status, body)
	}
}

func TestOnlyAnExtensionThatHasRegisteredSubscribes(t *testing.T) {
	p, l := newPeer(t, observed), listenHTTP(t)
	p.start(1)
	m := &member{caller: p.call()}
	for id, want := range map[string]string{
		"":        "Extension.MissingExtensionIdentifier",
		"x":       "Extension.InvalidExtensionIdentifier",
		newUUID(): "Extension.UnknownExtensionIdentifier",
	} {
		m.id = id
		if status, body := m.subscribe(l, "function", 25); status != 403 || !strings.Contains(body, want) {
			t.Error(status, body)
		}
	}
	m = p.register("x", `[]`)
	if status, body := m.subscribe(l, "all", 25); status != 400 ||
		body != `{"errorMessage":"type \"all\" is not supported","errorType":"ValidationError"}`+"\n" {
		t.Error(status, body)
	}
	m.write("GET " + telemetryPath + "/ HTTP/1.1\r\nHost: x\r\n\r\n")
	if status, _, _ := m.answer(); status != 405 {
		t.Error(status)
	}
}

// observe starts a function with an external extension, which has subscribed, and returns it
// with an event for the runtime.
func observe(t *testing.T, phase string, command ...string) (*peer, *listening, *caller) {
	withExtensions(t, map[string]string{"a": "#!/bin/sh\necho of the extension\nexec sleep 1000\n"})
	p := newPeer(t, func(config *configureMeta) {
		observed(config)
		if command != nil {
			config.Command = command
		}
	})
	l := listenHTTP(t)
	p.send(kindStart, startMeta{1, phase}, nil)
	m := p.register("a", `["INVOKE","SHUTDOWN"]`)
	if status, body := m.subscribe(l, "platform function extension", 25); status != 200 {
		t.Fatal(status, body)
	}
	m.next()
	runtime := p.call()
	runtime.get(next)
	p.states(kindInitialized)
	l.upTo("platform.initReport")
	p.send(kindInvoke, eventOf("1"), nil)
	runtime.answer()
	return p, l, runtime
}

func TestATimeoutIsToldBeforeTheEnd(t *testing.T) {
	p, l, _ := observe(t, "init")
	p.send(kindKill, killMeta{1, "TIMEOUT"}, nil)
	events := l.upTo("platform.report")
	for _, kind := range []string{"runtimeDone", "report"} {
		got := recordOf(t, events, kind)
		metrics := got["metrics"].(map[string]any)
		if got["status"] != "timeout" || got["errorType"] != nil || metrics["durationMs"] != 3000.0 {
			t.Error(kind, got)
		}
	}
}

func TestACrashIsToldWithTheLastLines(t *testing.T) {
	directory := t.TempDir()
	for _, above := range []string{directory, filepath.Dir(directory)} {
		_ = os.Chmod(above, 0o755) // the runtime has another user
	}
	trigger := directory + "/trigger"
	if err := syscall.Mkfifo(trigger, 0o666); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(trigger, 0o666)
	_, l, _ := observe(t, "init", "sh", "-c", "read line < "+trigger+"; printf 'last words'; exit 3")
	if err := os.WriteFile(trigger, []byte("now\n"), 0); err != nil {
		t.Fatal(err)
	}
	events := l.upTo("platform.report")
	got := recordOf(t, events, "report")
	if got["status"] != "error" || got["errorType"] != "Runtime.ExitError" {
		t.Error(got)
	}
	if got := kinds(events); !strings.HasSuffix(got, "function runtimeDone report") {
		t.Error(got)
	}
}

func TestAnInvocationThatBeganWithTheRuntimeLastsSinceThen(t *testing.T) {
	s := &supervisor{config: &configureMeta{TimeoutMs: 3000}}
	r := &run{started: noon, delayed: true}
	inv := &invocation{delivered: noon.Add(time.Second)}
	inv.account.took = 5
	if got := s.duration(r, inv); got != 1005 {
		t.Error(got)
	}
	r.delayed = false
	if got := s.duration(r, inv); got != 5 {
		t.Error(got)
	}
}

func TestTheBytesOfAResponseAreTold(t *testing.T) {
	p, l, runtime := observe(t, "init")
	runtime.post("runtime/invocation/1/response", "", "12345")
	p.until(kindResult)
	runtime.get(next)
	got := recordOf(t, l.upTo("platform.runtimeDone"), "runtimeDone")
	if metrics := got["metrics"].(map[string]any); got["status"] != "success" || metrics["producedBytes"] != 5.0 {
		t.Error(got)
	}
}

func TestBillingRoundsWhatIsPrinted(t *testing.T) {
	for want, durations := range map[int64][]float64{
		4: {3.01, 0}, 3: {3.004, 0}, 214: {133.61, 80}, 1: {0.01, 0}, 13: {12.005, 0}, 16: {16.005, 0},
	} {
		if got := billed(durations...); got != want {
			t.Errorf("%v: %d, want %d", durations, got, want)
		}
	}
}

func TestDurationsAreWholeMicroseconds(t *testing.T) {
	for duration, want := range map[time.Duration]float64{1_164_960: 1.165, 1_164_499: 1.164, 3_000_000: 3} {
		if got := inMs(duration); got != want {
			t.Errorf("%v: %v, want %v", duration, got, want)
		}
	}
}

func TestErrorTypesThatARuntimeMayReport(t *testing.T) {
	for sent, want := range map[string]string{
		"Runtime.ImportModuleError": "Runtime.ImportModuleError", "Function.My": "Function.My",
		"": "x", "Runtime.": "x", "Runtime.a": "x", "Other.Kind": "x", "Function.A1": "x", "Function.A": "x",
	} {
		if got := reportedType(sent, "x"); got != want {
			t.Errorf("%q: %q", sent, got)
		}
	}
}

func TestWhatIsLeftIsDeliveredBeforeSHUTDOWN(t *testing.T) {
	before := lastDelivery
	lastDelivery = 10 * time.Second // which ends with the delivery, however slow the machine is
	t.Cleanup(func() { lastDelivery = before })
	withExtensions(t, map[string]string{"a": idle})
	p := newPeer(t, observed)
	l := listenHTTP(t, 500, 500) // so that it takes longer than the end of the runtime
	p.send(kindStart, startMeta{1, "init"}, nil)
	m := p.register("a", `["SHUTDOWN"]`)
	if status, body := m.subscribe(l, "platform", never30s); status != 200 {
		t.Fatal(status, body)
	}
	m.next()
	p.call().get(next)
	p.states(kindInitialized)
	p.send(kindShutdown, nil, nil)
	if event := m.event(); event["shutdownReason"] != "SPINDOWN" {
		t.Fatal(event)
	}
	select {
	case batch := <-l.batches:
		if got := kinds(batch); !strings.HasSuffix(got, "initReport") {
			t.Error(got)
		}
	default:
		t.Error("SHUTDOWN came first")
	}
}
