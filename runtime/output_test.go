package main

import (
	"bytes"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
)

func newTestOutput(t *testing.T, send func([]byte)) (*output, *os.File) {
	t.Helper()
	o, fd, err := newOutput(&loop{}, send)
	if err != nil {
		t.Fatal(err)
	}
	writer := os.NewFile(uintptr(fd), "writer")
	t.Cleanup(func() { _ = writer.Close(); o.close() })
	return o, writer
}

func TestADrainSendsAllThatWasWritten(t *testing.T) {
	var sent bytes.Buffer
	o, writer := newTestOutput(t, func(data []byte) { sent.Write(data) })
	go func() {
		for o.relay() {
			(&socket{fd: o.fd}).await(pollIn)
		}
	}()
	for round := 0; round < 2000; round++ {
		line := bytes.Repeat([]byte{byte('a' + round%26)}, 1+round%300)
		if _, err := writer.Write(line); err != nil {
			t.Fatal(err)
		}
		o.drain()
		o.mu.Lock()
		if !bytes.HasSuffix(sent.Bytes(), line) {
			t.Fatalf("round %d: the line is missing", round)
		}
		o.mu.Unlock()
	}
}

func TestADrainEndsThoughTheWriterNeverDoes(t *testing.T) {
	var sent int64
	o, writer := newTestOutput(t, func(data []byte) { atomic.AddInt64(&sent, int64(len(data))) })
	full := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		block := make([]byte, 4096)
		for i := 0; ; i++ {
			if i == 16 {
				close(full) // the pipe holds 64 KiB: the next write waits for a reader
			}
			if _, err := writer.Write(block); err != nil {
				return
			}
		}
	}()
	<-full
	o.drain()
	if n := atomic.LoadInt64(&sent); n == 0 || n > 1<<20 {
		t.Errorf("one drain sent %d bytes", n)
	}
	o.close() // the writer ends with EPIPE
	<-stopped
}

func TestOnlyTheInitsEndOfThePipeIsNonBlocking(t *testing.T) {
	o, writer := newTestOutput(t, func([]byte) {})
	for fd, want := range map[uintptr]bool{uintptr(o.fd): true, writer.Fd(): false} {
		flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
		if got := flags&syscall.O_NONBLOCK != 0; got != want {
			t.Errorf("descriptor %d: non-blocking is %v", fd, got)
		}
		closes, _, _ := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0)
		if closes&syscall.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d survives exec", fd)
		}
	}
}
