package main

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A daemon is a segments that listens, and what it has sent.
type daemon struct {
	*segments
	sdk     net.Conn
	sent    []string
	dropped int
}

func newDaemon(t testing.TB) *daemon {
	t.Helper()
	d := &daemon{}
	d.segments = &segments{lock: (*sync.Mutex).Lock, send: func(meta segmentMeta, data []byte) { // under the lock
		d.dropped += meta.Dropped
		if meta.Dropped == 0 {
			d.sent = append(d.sent, string(data))
		}
	}}
	if err := d.listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	address, err := syscall.Getsockname(d.fd)
	if err != nil {
		t.Fatal(err)
	}
	port := address.(*syscall.SockaddrInet4).Port
	d.sdk, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.sdk.Close() })
	return d
}

// told is what has been sent since it was last asked for: the socket's own goroutine sends too.
func (d *daemon) told() (sent []string, dropped int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sent, dropped = d.sent, d.dropped
	d.sent, d.dropped = nil, 0
	return sent, dropped
}

// write sends a datagram and returns once it has been taken.
func (d *daemon) write(t *testing.T, data string) {
	t.Helper()
	if _, err := d.sdk.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	d.drain()
}

func TestDatagramsArePassedOnAsTheyAre(t *testing.T) {
	d := newDaemon(t)
	d.allow()
	large := strings.Repeat("x", 65507)
	for _, data := range []string{"{}\n{}", "", "\x00\xff", large} {
		d.write(t, data)
	}
	sent, dropped := d.told()
	if got := strings.Join(sent, "|"); got != "{}\n{}||\x00\xff|"+large || dropped != 0 {
		t.Errorf("%.40q, %d dropped", got, dropped)
	}
}

func TestAFloodCostsNoMoreThanAnInvocationMaySend(t *testing.T) {
	d := newDaemon(t)
	d.write(t, "before the first invocation")
	if sent, dropped := d.told(); len(sent) != 0 || dropped != 1 {
		t.Error(sent, dropped)
	}
	for round := 1; round <= 2; round++ {
		d.allow()
		for i := 0; i < invocationSegments+200; i++ {
			d.write(t, "small")
		}
		if sent, dropped := d.told(); len(sent) != invocationSegments || dropped != 200 {
			t.Errorf("%d sent, %d dropped", len(sent), dropped)
		}
	}
	d.allow()
	large := string(bytes.Repeat([]byte("x"), 60_000))
	for i := 0; i < 20; i++ {
		d.write(t, large)
	}
	if sent, dropped := d.told(); len(sent) != invocationSegmentBytes/len(large) || len(sent)+dropped != 20 {
		t.Errorf("%d sent, %d dropped", len(sent), dropped)
	}
}

func TestASocketThatNobodyListensOnHasNothingToDrain(t *testing.T) {
	(&segments{}).drain()
}

// What an invocation without segments pays.
func BenchmarkDrainOfNothing(b *testing.B) {
	d := newDaemon(b)
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		d.drain()
	}
}
