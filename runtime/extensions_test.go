package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// As for the runtime, real processes that do nothing stand for extensions, and the test
// sends their requests.

const idle = "#!/bin/sh\nexec sleep 1000\n"

// withExtensions lays out external extensions, by name and content.
func withExtensions(t *testing.T, files map[string]string) {
	t.Helper()
	before := extensionsDirectory
	directory, err := os.MkdirTemp("", "extensions")
	if err != nil {
		t.Fatal(err)
	}
	extensionsDirectory = directory
	t.Cleanup(func() {
		extensionsDirectory = before
		_ = os.RemoveAll(directory)
	})
	_ = os.Chmod(directory, 0o755)
	for name, content := range files {
		mode := os.FileMode(0o755)
		if strings.HasPrefix(name, "data") {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func extended(config *configureMeta) {
	config.AccountID = "123456789012"
	config.InternalShutdownMs, config.ExternalShutdownMs = 500, 2000
	config.Environment["AWS_LAMBDA_FUNCTION_NAME"] = "f"
	config.Environment["AWS_LAMBDA_FUNCTION_VERSION"] = "7"
	config.Environment["_HANDLER"] = "app.handler"
}

// A member is an extension's connection.
type member struct {
	*caller
	id string
}

func (c *caller) ask(method, path, header, body string) (int, http.Header, string) {
	c.Helper()
	c.write(fmt.Sprintf("%s /2020-01-01/extension/%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s",
		method, path, header, len(body), body))
	return c.answer()
}

func (p *peer) register(name, events string) *member {
	p.Helper()
	m := &member{caller: p.call()}
	status, header, body := m.ask("POST", "register", "Lambda-Extension-Name: "+name+"\r\n", `{"events":`+events+`}`)
	if m.id = header.Get("Lambda-Extension-Identifier"); status != 200 || !isUUID(m.id) {
		p.Fatal(status, header, body)
	}
	return m
}

func (m *member) next() {
	m.Helper()
	m.write("GET /2020-01-01/extension/event/next HTTP/1.1\r\nLambda-Extension-Identifier: " + m.id + "\r\n\r\n")
}

// event is the answer to next.
func (m *member) event() map[string]any {
	m.Helper()
	status, header, body := m.answer()
	var event map[string]any
	if err := json.Unmarshal([]byte(body), &event); status != 200 || err != nil ||
		!isUUID(header.Get("Lambda-Extension-Event-Identifier")) {
		m.Fatal(status, header, body)
	}
	return event
}

func (m *member) fail(path, errorType string) int {
	m.Helper()
	header := "Lambda-Extension-Identifier: " + m.id + "\r\n"
	if errorType != "" {
		header += "Lambda-Extension-Function-Error-Type: " + errorType + "\r\n"
	}
	status, _, _ := m.ask("POST", path, header, "{}")
	return status
}

// states receives what is told of extensions, up to the frame of a kind, and its meta.
func (p *peer) states(kind byte) (states []extensionMeta, last map[string]any) {
	p.Helper()
	for {
		f := p.receive()
		switch f.kind {
		case kind:
			if err := json.Unmarshal(f.meta, &last); err != nil {
				p.Fatal(err)
			}
			return states, last
		case kindExtension:
			var meta extensionMeta
			if err := json.Unmarshal(f.meta, &meta); err != nil {
				p.Fatal(err)
			}
			states = append(states, meta)
		case kindLog:
		default:
			p.Fatalf("a frame of kind %d: %s", f.kind, f.meta)
		}
	}
}

func (p *peer) sees(got []extensionMeta, want ...extensionMeta) {
	p.Helper()
	if !reflect.DeepEqual(got, want) {
		p.Errorf("got %+v\nwant %+v", got, want)
	}
}

var both = []string{"INVOKE", "SHUTDOWN"}

func TestTheRuntimeStartsWhenEveryExtensionHasRegistered(t *testing.T) {
	withExtensions(t, map[string]string{"a": idle, "b": idle})
	p := newPeer(t, extended)
	p.send(kindStart, startMeta{1, "init"}, nil)
	a := p.register("a", `["INVOKE","SHUTDOWN"]`)
	b := p.register("b", `[]`)
	p.up()
	c := p.call()
	c.get(next)
	a.next()
	b.next()
	states, meta := p.states(kindInitialized)
	p.sees(states, extensionMeta{"a", "Ready", both, ""}, extensionMeta{"b", "Ready", []string{}, ""})
	if meta["generation"] != 1.0 {
		t.Error(meta)
	}
	late := &member{p.call(), a.id}
	late.next() // beside the one that waits
	status, header, body := late.answer()
	late.refused(403, "Extension.InvalidExtensionState")(status, header, body)
	if status := late.fail("init/error", "X.Y"); status != 403 {
		t.Error(status)
	}
	late.refused(403, "Extension.RegistrationClosed")(
		late.ask("POST", "register", "Lambda-Extension-Name: late\r\n", `{"events":[]}`))
}

func TestAnInvocationIsDoneWhenItsExtensionsAre(t *testing.T) {
	withExtensions(t, map[string]string{"a": idle, "b": idle})
	p := newPeer(t, extended)
	p.send(kindStart, startMeta{1, "init"}, nil)
	a, b := p.register("a", `["INVOKE"]`), p.register("b", `["SHUTDOWN"]`)
	c := p.call()
	b.next()
	a.next()
	c.get(next)
	p.states(kindInitialized)
	for _, id := range []string{"one", "two"} {
		meta := eventOf(id)
		meta.TraceID = "Root=1"
		p.send(kindInvoke, meta, []byte("event"))
		want := map[string]any{"eventType": "INVOKE", "deadlineMs": 12.0, "requestId": id,
			"invokedFunctionArn": "arn",
			"tracing":            map[string]any{"type": "X-Amzn-Trace-Id", "value": "Root=1"}}
		if event := a.event(); !reflect.DeepEqual(event, want) {
			t.Error(event)
		}
		if _, _, body := c.answer(); body != "event" {
			t.Error(body)
		}
		c.post("runtime/invocation/"+id+"/response", "", "answer")
		if meta, payload, _ := p.until(kindResult); meta["requestId"] != id || string(payload) != "answer" {
			t.Error(meta)
		}
		if id == "one" { // either may be the last
			c.get(next)
			a.next()
		} else {
			a.next()
			c.get(next)
		}
		if meta, _, _ := p.until(kindDone); meta["requestId"] != id || meta["durationMs"].(float64) <= 0 {
			t.Error(meta)
		}
	}
}

func TestARuntimeThatDiesLeavesExtensionsTheirTime(t *testing.T) {
	ends := fifo(t)
	withExtensions(t, map[string]string{"a": "#!/bin/sh\nread line < " + ends + "\n"})
	p := newPeer(t, func(config *configureMeta) {
		extended(config)
		config.ExternalShutdownMs = 20_000
		config.Command = []string{"sh", "-c", "read line < /proc/self/fd/0; exit 3"}
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	before := time.Now()
	a := p.register("a", `["SHUTDOWN"]`)
	a.next()
	event := a.event()
	deadline := int64(event["deadlineMs"].(float64))
	if event["eventType"] != "SHUTDOWN" || event["shutdownReason"] != "FAILURE" ||
		deadline < unixMs(before)+20_000 || deadline > unixMs(time.Now())+20_000 {
		t.Error(event)
	}
	if err := os.WriteFile(ends, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	states, meta := p.states(kindExited)
	if len(states) != 1 || meta["cause"] != "exit" || meta["description"] != "exit status 3" {
		t.Error(meta)
	}
}

func TestEveryStepOfAnExtensionIsInTheTable(t *testing.T) {
	all := []extensionState{extensionStarted, extensionRegistered, extensionReady, extensionRunning,
		extensionInitError, extensionExitError, extensionExited, extensionNotStarted}
	const G, R, N, I, X, D = extensionRegistered, extensionReady, extensionRunning,
		extensionInitError, extensionExitError, extensionExited
	want := map[extensionEvent][]extensionState{ // "" for what is refused
		onRegister:   {G, "", "", "", "", "", "", ""},
		onWait:       {"", R, "", R, "", "", "", ""},
		onEvent:      {"", "", N, "", "", "", "", ""},
		onInitFailed: {"", I, "", "", I, "", "", ""},
		onExitFailed: {"", X, X, X, "", X, "", ""},
		onDeath:      {D, D, D, D, "", "", "", ""},
	}
	for event, row := range want {
		for i, from := range all {
			to := from
			if moved := to.move(event); moved != (row[i] != "") || moved && to != row[i] || !moved && to != from {
				t.Errorf("%s, event %d: %s", from, event, to)
			}
		}
	}
}

// refused says what is not refused as it should be.
func (c *caller) refused(want int, kind string) func(int, http.Header, string) {
	return func(status int, _ http.Header, body string) {
		c.Helper()
		var text struct{ ErrorType, ErrorMessage string }
		if err := json.Unmarshal([]byte(body), &text); err != nil || status != want || text.ErrorType != kind || text.ErrorMessage == "" {
			c.Errorf("%d %s, not %s", status, body, kind)
		}
	}
}

func TestWhatAnExtensionMayNotDoIsRefused(t *testing.T) {
	withExtensions(t, map[string]string{"a": idle})
	p := newPeer(t, extended)
	p.send(kindStart, startMeta{1, "init"}, nil)
	c := p.call()
	name := func(name string) string { return "Lambda-Extension-Name: " + name + "\r\n" }
	id := func(id string) string { return "Lambda-Extension-Identifier: " + id + "\r\n" }
	const why = "Lambda-Extension-Function-Error-Type: X.Y\r\n"
	c.refused(403, "Extension.InvalidExtensionName")(c.ask("POST", "register", "", `{"events":[]}`))
	c.refused(400, "InvalidRequestFormat")(c.ask("POST", "register", name("a"), `{"events":`))
	c.refused(403, "Extension.InvalidEventType")(c.ask("POST", "register", name("a"), `{"events":["OTHER"]}`))
	c.refused(403, "Extension.InvalidEventType")(c.ask("POST", "register", name("internal"), `{"events":["SHUTDOWN"]}`))
	c.refused(413, "RequestEntityTooLarge")(c.ask("POST", "register", name("a"), strings.Repeat("x", keepBody+1)))
	for method, path := range map[string]string{"GET": "register", "POST": "event/next"} {
		if status, _, _ := c.ask(method, path, "", ""); status != 405 {
			t.Error(method, path, status)
		}
	}
	if status, _, _ := c.ask("POST", "nothing", "", ""); status != 404 {
		t.Error(status)
	}

	status, header, body := c.ask("POST", "register",
		name("a")+"Lambda-Extension-Accept-Feature: other, accountId\r\n", `{"events":["INVOKE"]}`)
	if status != 200 || body != `{"accountId":"123456789012","functionName":"f","functionVersion":"7","handler":"app.handler"}` {
		t.Error(status, body)
	}
	a := &member{c, header.Get("Lambda-Extension-Identifier")}
	c.refused(403, "Extension.InvalidExtensionState")(c.ask("POST", "register", name("a"), `{"events":[]}`))
	for path, method := range map[string]string{"event/next": "GET", "init/error": "POST", "exit/error": "POST"} {
		c.refused(403, "Extension.MissingExtensionIdentifier")(c.ask(method, path, why, ""))
		c.refused(403, "Extension.InvalidExtensionIdentifier")(c.ask(method, path, why+id("no-uuid"), ""))
		c.refused(403, "Extension.UnknownExtensionIdentifier")(c.ask(method, path, why+id(newUUID()), ""))
	}
	c.refused(403, "Extension.MissingHeader")(c.ask("POST", "init/error", id(a.id), ""))
	c.refused(403, "Extension.MissingHeader")(c.ask("POST", "exit/error", id(a.id), ""))

	for number := 1; number < maxExtensions; number++ {
		status, _, body := c.ask("POST", "register", name(fmt.Sprint("internal-", number)), `{"events":[]}`)
		if status != 200 || body != `{"functionName":"f","functionVersion":"7","handler":"app.handler"}` {
			t.Fatal(number, status, body)
		}
	}
	c.refused(403, "Extension.InvalidExtensionState")(c.ask("POST", "register", name("internal-1"), `{"events":[]}`))
	c.refused(403, "Extension.TooManyExtensions")(c.ask("POST", "register", name("internal-10"), `{"events":[]}`))
}

func TestAnExtensionThatHasLostItsConnectionMayAskAgain(t *testing.T) {
	withExtensions(t, map[string]string{"a": idle})
	p := newPeer(t, extended)
	p.send(kindStart, startMeta{1, "init"}, nil)
	a := p.register("a", `["INVOKE"]`)
	a.next()
	c := p.call()
	c.get(next)
	p.states(kindInitialized)
	_ = a.conn.Close()
	p.send(kindInvoke, eventOf("one"), nil)
	c.answer()
	for {
		again := &member{p.call(), a.id}
		again.next()
		status, _, body := again.answer()
		if status == 200 {
			if !strings.Contains(body, `"requestId":"one"`) {
				t.Error(body)
			}
			return
		}
		again.refused(403, "Extension.InvalidExtensionState")(status, nil, body) // not yet noticed
	}
}

func TestNothingIsStoppedWhileAnExtensionIsBusy(t *testing.T) {
	withExtensions(t, map[string]string{"a": "#!/bin/sh\necho $$\nexec sleep 1000\n"})
	p := newPeer(t, func(config *configureMeta) {
		extended(config)
		config.Freeze = true
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	pid := strings.TrimSpace(string(p.receive().payload))
	stopped := func() bool {
		text, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text), ") T ")
	}
	untilStopped := func() {
		for deadline := time.Now().Add(10 * time.Second); !stopped(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("it goes on")
			}
		}
	}
	a := p.register("a", `["INVOKE"]`)
	a.next()
	c := p.call()
	c.get(next)
	p.states(kindInitialized)
	untilStopped()
	p.send(kindInvoke, eventOf("one"), nil)
	a.event()
	c.answer()
	c.post("runtime/invocation/one/response", "", "answer")
	c.get(next)
	p.until(kindResult)
	c2 := p.call() // what is heard after that next shows that time has passed for it
	for began := time.Now(); time.Since(began) < 4*freezeAfter; {
		c2.get("ping")
		c2.answer()
		if stopped() {
			t.Fatal("it was stopped within the invocation")
		}
	}
	a.next()
	p.until(kindDone)
	untilStopped()
}
