package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A listening is an extension's HTTP server; it answers with the statuses given, then 200.
type listening struct {
	*httptest.Server
	batches chan []telemetryLine
	heads   chan http.Header
}

type telemetryLine struct {
	Time, Type string
	Record     json.RawMessage
}

func listenHTTP(t *testing.T, statuses ...int) *listening {
	l := &listening{batches: make(chan []telemetryLine, 100), heads: make(chan http.Header, 100)}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(statuses) > 0 {
			w.WriteHeader(statuses[0])
			statuses = statuses[1:]
			return
		}
		var batch []telemetryLine
		if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "thanks")
		l.heads <- r.Header
		l.batches <- batch
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listening) port() int { return l.Listener.Addr().(*net.TCPAddr).Port }

func newTestTelemetry(t *testing.T, objects bool) *telemetry {
	tel := newTelemetry(objects)
	tel.delivered = func() {}
	t.Cleanup(tel.end)
	return tel
}

func to(port int, types string, timeoutMs int) subscription {
	text := fmt.Sprintf(`{"schemaVersion":"2022-12-13","types":["%s"],
		"buffering":{"timeoutMs":%d,"maxItems":1000},
		"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:%d/in"}}`,
		strings.ReplaceAll(types, " ", `","`), timeoutMs, port)
	sub, wrong := parseSubscription(telemetryAPIs[telemetryPath], []byte(text))
	if wrong != "" {
		panic(wrong)
	}
	return sub
}

func words(batch []telemetryLine) string {
	var all []string
	for _, line := range batch {
		all = append(all, line.Type+string(line.Record))
	}
	return strings.Join(all, " ")
}

const never30s = 30000

func TestABatchGoesOutWhenItsTimeIsOver(t *testing.T) {
	tel, l := newTestTelemetry(t, false), listenHTTP(t)
	tel.subscribe("1", "x", to(l.port(), "function", 25))
	tel.pause() // or a slow machine might send what is there in between
	tel.print(functionStream, []byte("a\nb"))
	tel.print(functionStream, []byte("c\nd"))
	tel.resume()
	if got := words(<-l.batches); got != `function"a" function"bc"` {
		t.Fatal(got)
	}
	head := <-l.heads
	if head.Get("Content-Type") != "application/json" || len(head.Get("Sequence-Id")) != 44 {
		t.Fatal(head)
	}
}

func TestABatchGoesOutWhenItIsFull(t *testing.T) {
	tel, l := newTestTelemetry(t, false), listenHTTP(t)
	tel.subscribe("1", "x", to(l.port(), "function", never30s))
	tel.close()
	tel.print(functionStream, []byte(strings.Repeat("line\n", 1000)))
	if got := len(<-l.batches); got != 1000 {
		t.Fatal(got)
	}
	half := strings.Repeat("x", 200<<10) + "\n"
	tel.print(functionStream, []byte(half+half))
	if got := len(<-l.batches); got != 1 {
		t.Fatal(got) // both would be more than maxBytes
	}
}

func TestASubscriberGetsWhatHappenedBeforeItsSubscription(t *testing.T) {
	tel, l := newTestTelemetry(t, false), listenHTTP(t)
	tel.tell("initStart", &platformRecord{Phase: "init"})
	tel.print(functionStream, []byte("early\n"))
	tel.subscribe("1", "x", to(l.port(), "platform function", never30s))
	tel.hurry()
	want := `platform.initStart{"phase":"init"} function"early" ` +
		`platform.telemetrySubscription{"name":"x","state":"Subscribed","types":["platform","function"]}`
	if got := words(<-l.batches); got != want {
		t.Fatal(got)
	}
}

func TestOnlyTheStreamsAskedForAreDelivered(t *testing.T) {
	tel, l := newTestTelemetry(t, true), listenHTTP(t)
	tel.subscribe("1", "x", to(l.port(), "extension", never30s))
	tel.print(functionStream, []byte("no\n"))
	tel.tell("start", &platformRecord{RequestID: "1"})
	tel.print(extensionStream, []byte("{\"a\":1}\n"))
	tel.hurry()
	if got := words(<-l.batches); got != `extension{"a":1}` {
		t.Fatal(got)
	}
}

func TestRecordsAreOneEventEach(t *testing.T) {
	tel, l := newTestTelemetry(t, true), listenHTTP(t)
	tel.subscribe("1", "x", to(l.port(), "function", never30s))
	tel.records(nil, []byte("one\ntwo\n"))
	tel.records([]int{8, 7}, []byte("a\nb\nc\nd\n{\"a\":1}"))
	tel.print(functionStream, []byte("unfinished"))
	tel.endLines(functionStream)
	tel.hurry()
	want := `function"one" function"two" function"a\nb\nc\nd\n" function{"a":1} function"unfinished"`
	if got := words(<-l.batches); got != want {
		t.Fatal(got)
	}
}

func TestWithoutSubscribersNothingIsWantedAfterInit(t *testing.T) {
	tel := newTestTelemetry(t, false)
	tel.tell("initStart", &platformRecord{Phase: "init"})
	tel.close()
	for _, stream := range streamNames {
		if tel.wants(stream) {
			t.Fatalf("%d is wanted", stream)
		}
	}
	tel.tell("start", &platformRecord{RequestID: "1"})
	if tel.backlog != nil {
		t.Fatal("something is kept")
	}
}

func TestADeliveryThatFailsIsTriedAgain(t *testing.T) {
	tel, l := newTestTelemetry(t, false), listenHTTP(t, 500, 404)
	tel.subscribe("1", "x", to(l.port(), "function", 25))
	tel.print(functionStream, []byte("a\n"))
	if got := words(<-l.batches); got != `function"a"` {
		t.Fatal(got)
	}
}

func TestASubscriberMayListenAfterItSubscribed(t *testing.T) {
	tel := newTestTelemetry(t, false)
	spare, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := spare.Addr().String()
	sub := to(spare.Addr().(*net.TCPAddr).Port, "function", 25)
	_ = spare.Close()
	sub.method = ""
	tel.subscribe("1", "x", sub)
	tel.print(functionStream, []byte("a\nb\n"))
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		t.Skip("the port was taken meanwhile:", err)
	}
	defer listener.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for _, want := range []string{`"record":"a"}`, `"record":"b"}`} {
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), want) {
			t.Fatal(lines.Text())
		}
	}
	tel.print(functionStream, []byte("c\n")) // over the same connection
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), `"record":"c"}`) {
		t.Fatal(lines.Text())
	}
}

func TestWhatASubscriberDoesNotTakeIsDroppedAndTold(t *testing.T) {
	tel, l := newTestTelemetry(t, false), listenHTTP(t)
	tel.subscribe("1", "x", to(l.port(), "platform function", never30s))
	tel.close()
	tel.pause() // nobody takes anything
	tel.print(functionStream, []byte(strings.Repeat("line\n", 2500)))
	tel.resume()
	tel.hurry()
	count, last := 0, telemetryLine{}
	for count < 2001 {
		batch := <-l.batches
		count += len(batch)
		last = batch[len(batch)-1]
	}
	var dropped struct {
		Reason                       string
		DroppedRecords, DroppedBytes int
	}
	if err := json.Unmarshal(last.Record, &dropped); err != nil || count != 2001 {
		t.Fatal(count, err)
	}
	const each = len(`{"time":"2026-02-11T12:00:00.007Z","type":"function","record":"line"}`)
	// one place of 2,000 is taken by the event of the subscription
	if last.Type != "platform.logsDropped" || dropped.DroppedRecords != 501 ||
		dropped.DroppedBytes != 501*each || dropped.Reason == "" {
		t.Fatalf("%s %+v", last.Type, dropped)
	}
}

func TestNothingLeavesWhileTheProcessesAreStopped(t *testing.T) {
	tel, l := newTestTelemetry(t, false), listenHTTP(t)
	tel.subscribe("1", "x", to(l.port(), "function", 25))
	tel.close()
	tel.pause()
	tel.print(functionStream, []byte("a\n"))
	tel.mu.Lock()
	wait := tel.subscribers[0].wait(time.Now().Add(time.Hour))
	tel.mu.Unlock()
	if wait != forever {
		t.Fatal(wait)
	}
	tel.resume()
	if got := words(<-l.batches); got != `function"a"` {
		t.Fatal(got)
	}
}

func TestSubscriptionsAreClosedAfterInit(t *testing.T) {
	tel := newTestTelemetry(t, false)
	tel.close()
	refused := tel.subscribe("1", "x", to(4000, "function", 25))
	if refused == nil || *refused != (refusal{403, "Telemetry.SubscriptionClosed", "Telemetry API subscription is closed"}) {
		t.Fatal(refused)
	}
}

func TestASecondSubscriptionReplacesTheFirst(t *testing.T) {
	tel, first, second := newTestTelemetry(t, false), listenHTTP(t), listenHTTP(t)
	tel.subscribe("1", "x", to(first.port(), "function", never30s))
	if refused := tel.subscribe("1", "x", to(second.port(), "function", never30s)); refused != nil {
		t.Fatal(refused)
	}
	tel.print(functionStream, []byte("a\n"))
	tel.hurry()
	if got := words(<-second.batches); got != `function"a"` {
		t.Fatal(got)
	}
	other := to(second.port(), "function", never30s)
	other.api = telemetryAPIs[logsPath]
	if refused := tel.subscribe("1", "x", other); refused == nil ||
		refused.kind != "Logs.ValidationError" || !strings.Contains(refused.message, "Telemetry API already") {
		t.Fatal(refused)
	}
}
