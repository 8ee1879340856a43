package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// Answers an event without waiting to hear how that is taken, and ends.
const hasty = `
exec 3<>/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}
printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n' >&3
while IFS= read -r line <&3; line=${line%$'\r'}; [ -n "$line" ]; do
  case $line in *Request-Id:*) id=${line##* };; esac
done
printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nContent-Length: 4\r\n\r\nlast' "$id" >&3
exit 3`

func TestTheAnswerOfARuntimeThatDiesCountsBesideExtensionsToo(t *testing.T) {
	withExtensions(t, map[string]string{"a": idle})
	p := newPeer(t, func(config *configureMeta) {
		extended(config)
		config.Command = []string{"bash", "-c", hasty}
		config.ExternalShutdownMs = 50
	})
	for generation := 1; generation <= 10; generation++ {
		p.send(kindStart, startMeta{generation, "init"}, nil)
		p.register("a", `["SHUTDOWN"]`).next()
		p.states(kindInitialized)
		p.send(kindInvoke, eventOf("one"), nil)
		if _, payload, _ := p.until(kindResult); string(payload) != "last" {
			t.Errorf("%q", payload)
		}
		if meta, _, _ := p.until(kindExited); meta["requestId"] != nil || meta["description"] != "exit status 3" {
			t.Error(meta)
		}
	}
}

// Says when it gets SIGTERM, and goes on.
const stubborn = `trap 'echo term' TERM; echo up; while :; do sleep 0.01; done`

// stubbornRuntime has the runtime ignore SIGTERM, but say so.
func stubbornRuntime(config *configureMeta) {
	extended(config)
	config.Command = []string{"sh", "-c", stubborn}
}

func TestTheRuntimeGetsItsSignalBeforeExtensionsGetTheirEvent(t *testing.T) {
	withExtensions(t, map[string]string{"told": idle, "untold": idle})
	p := newPeer(t, func(config *configureMeta) {
		stubbornRuntime(config)
		config.ExternalShutdownMs = 5000 // of which the runtime has 1.5 s to say what it says
		config.Freeze = true
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	told, untold := p.register("told", `["SHUTDOWN"]`), p.register("untold", `["INVOKE"]`)
	p.up()
	told.next()
	untold.next()
	c := p.call()
	c.get(next)
	p.states(kindInitialized)
	p.send(kindKill, killMeta{1, "TIMEOUT"}, nil)
	if event := told.event(); event["eventType"] != "SHUTDOWN" || event["shutdownReason"] != "TIMEOUT" {
		t.Error(event)
	}
	for output := ""; !strings.Contains(output, "term\n"); {
		f := p.receive()
		if f.kind != kindLog {
			t.Fatalf("a frame of kind %d after %q", f.kind, output)
		}
		output += string(f.payload)
	}
}

func TestARuntimeWithInternalExtensionsHasItsTimeAndNoSignal(t *testing.T) {
	p := newPeer(t, func(config *configureMeta) {
		stubbornRuntime(config)
		config.InternalShutdownMs = 100
	})
	p.start(1)
	p.register("internal", `["INVOKE"]`)
	began := time.Now()
	p.send(kindKill, killMeta{1, "FAILURE"}, nil)
	meta, output := p.end()
	if time.Since(began) < 100*time.Millisecond || strings.Contains(string(output), "term") || meta["cause"] != "killed" {
		t.Error(time.Since(began), string(output), meta)
	}
}

// end receives all up to EXITED: its meta, and the output before it.
func (p *peer) end() (meta map[string]any, output []byte) {
	p.Helper()
	for {
		f := p.receive()
		switch f.kind {
		case kindLog:
			output = append(output, f.payload...)
		case kindExtension:
		default:
			_ = json.Unmarshal(f.meta, &meta)
			return meta, output
		}
	}
}

func TestShutdownEndsTheInitWithItsRun(t *testing.T) {
	ends := fifo(t)
	withExtensions(t, map[string]string{"a": "#!/bin/sh\nread line < " + ends + "\n"})
	p := newPeer(t, func(config *configureMeta) {
		extended(config)
		config.ExternalShutdownMs = 20_000
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	a := p.register("a", `["SHUTDOWN"]`)
	a.next()
	p.send(kindShutdown, struct{}{}, nil)
	if event := a.event(); event["shutdownReason"] != "SPINDOWN" {
		t.Error(event)
	}
	if err := os.WriteFile(ends, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	if _, meta := p.states(kindExited); meta["cause"] != "killed" {
		t.Error(meta)
	}
	err := <-p.ended
	p.ended <- err
	if err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsAnInitThatRunsNothing(t *testing.T) {
	p := newPeer(t, nil)
	p.send(kindShutdown, struct{}{}, nil)
	err := <-p.ended
	p.ended <- err
	if err != nil {
		t.Error(err)
	}
}
