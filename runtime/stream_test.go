package main

import (
	"fmt"
	"strings"
	"testing"
)

// streaming has an invocation whose response is being streamed, with the runtime's
// other connection.
func streaming(t *testing.T, limit, window int64) (p *peer, c, other *caller) {
	t.Helper()
	p = newPeer(t, nil)
	p.start(1)
	c, other = p.call(), p.call()
	c.get(next)
	p.until(kindInitialized)
	meta := eventOf("one")
	meta.StreamBytes, meta.WindowBytes = limit, window
	p.send(kindInvoke, meta, nil)
	c.answer()
	c.write("POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nContent-Type: a/b\r\n" +
		"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n")
	return p, c, other
}

func (c *caller) chunk(data string) {
	c.Helper()
	c.write(fmt.Sprintf("%x\r\n%s\r\n", len(data), data))
}

// chunks returns the payloads of the next CHUNKs, of so many bytes together.
func (p *peer) chunks(size int) (payload string) {
	p.Helper()
	for len(payload) < size {
		f := p.receive()
		if f.kind != kindChunk {
			p.Fatalf("a frame of kind %d after %d of %d bytes: %s", f.kind, len(payload), size, f.meta)
		}
		payload += string(f.payload)
	}
	return payload
}

func TestAStreamedResponseIsRelayedAsItComes(t *testing.T) {
	p, c, _ := streaming(t, 1000, 1000)
	c.write("4\r\nhalf") // not even the chunk is over
	if f := p.receive(); f.kind != kindChunk || string(f.payload) != "half" ||
		string(f.meta) != `{"contentType":"a/b"}` {
		t.Error(f)
	}
	c.write("\r\n")
	c.chunk("whole")
	if f := p.receive(); f.kind != kindChunk || string(f.payload) != "whole" || len(f.meta) != 0 {
		t.Error(f)
	}
	c.write("0\r\n\r\n")
	meta, payload, _ := p.until(kindResult)
	if meta["outcome"] != "response" || meta["contentType"] != "a/b" || len(payload) != 0 {
		t.Error(meta, payload)
	}
	if status, _, _ := c.answer(); status != 202 {
		t.Error(status)
	}
	p.send(kindInvoke, eventOf("two"), []byte("2"))
	c.get(next)
	if _, _, body := c.answer(); body != "2" {
		t.Error(body)
	}
}

func TestNoMoreIsUnderWayThanTheWindow(t *testing.T) {
	p, c, other := streaming(t, 1000, 10)
	c.chunk(strings.Repeat("a", 25))
	if got := p.chunks(10); len(got) != 10 {
		t.Error(got)
	}
	other.get("ping") // all else goes on
	if status, _, _ := other.answer(); status != 200 {
		t.Error(status)
	}
	p.send(kindMore, moreMeta{"another", 1000}, nil)
	p.send(kindMore, moreMeta{"one", 7}, nil)
	if got := p.chunks(7); len(got) != 7 {
		t.Error(got)
	}
	p.send(kindMore, moreMeta{"one", 100}, nil)
	if got := p.chunks(8); len(got) != 8 {
		t.Error(got)
	}
	c.write("0\r\nLambda-Runtime-Function-Error-Type: Function.Midway\r\n" +
		"Lambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\r\n\r\n")
	meta, payload, _ := p.until(kindResult)
	if meta["outcome"] != "error" || meta["errorType"] != "Function.Midway" || string(payload) != `{"a":1}` {
		t.Error(meta, string(payload))
	}
}

func TestAStreamOverItsLimitIsCut(t *testing.T) {
	p, c, _ := streaming(t, 10, 1000)
	c.chunk("0123456789")
	p.chunks(10)
	c.chunk("a")
	if meta, payload, _ := p.until(kindResult); meta["outcome"] != "tooLarge" || len(payload) != 0 {
		t.Error(meta, payload)
	}
	if status, _, _ := c.answer(); status != 413 {
		t.Error(status)
	}
	if _, err := c.reader.ReadByte(); err == nil {
		t.Error("the connection is open")
	}
	again := p.call()
	again.get(next)
	p.send(kindInvoke, eventOf("two"), []byte("2"))
	if _, _, body := again.answer(); body != "2" {
		t.Error(body)
	}
}

func TestAStreamOfExactlyItsLimitIsWhole(t *testing.T) {
	p, c, _ := streaming(t, 10, 1000)
	c.chunk("0123456789")
	p.chunks(10)
	c.write("0\r\n\r\n")
	if meta, _, _ := p.until(kindResult); meta["outcome"] != "response" {
		t.Error(meta)
	}
}

func TestAStreamThatBrokeOffEndsWhenTheRuntimeAsksForTheNext(t *testing.T) {
	p, c, other := streaming(t, 1000, 1000)
	c.chunk("half")
	p.chunks(4)
	_ = c.conn.Close()
	// refused: the response has begun
	other.expect(403, notAllowed(responding, failing))(other.post("runtime/invocation/one/error", "", "{}"))
	other.get(next)
	if meta, _, _ := p.until(kindResult); meta["outcome"] != "truncated" || meta["requestId"] != "one" {
		t.Error(meta)
	}
	p.send(kindInvoke, eventOf("two"), []byte("2"))
	if _, _, body := other.answer(); body != "2" {
		t.Error(body)
	}
}

func TestAStreamThatWaitsForRoomEndsWithItsRuntime(t *testing.T) {
	p, c, _ := streaming(t, 1000, 5)
	c.chunk("0123456789")
	p.chunks(5)
	p.send(kindKill, killMeta{Generation: 1}, nil)
	if meta, _, _ := p.until(kindExited); meta["requestId"] != "one" || meta["cause"] != "killed" {
		t.Error(meta)
	}
}
