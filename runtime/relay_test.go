package main

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// relayed returns how to connect to a relay, and where it connects to.
func relayed(t *testing.T) (dial func() net.Conn, server net.Listener) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	server, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); listener.Close() })
	go takeIn(listener, path, func(int32) {})
	return func() net.Conn {
		conn, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}, server
}

func accept(t *testing.T, server net.Listener) net.Conn {
	t.Helper()
	conn, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestTheSocketLiesBesideTheChannels(t *testing.T) {
	if got := besideChannel("unix:/fnbox/channel/control.sock"); got != "/fnbox/channel/api.sock" {
		t.Error(got)
	}
}

func TestBytesAndTheirEndGoThroughEitherWay(t *testing.T) {
	dial, server := relayed(t)
	client := dial()
	inside := accept(t, server)
	sent := bytes.Repeat([]byte("request "), 100_000)
	go func() {
		_, _ = client.Write(sent)
		_ = client.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(inside); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes came: %v", len(got), len(sent), err)
	}
	go func() {
		_, _ = inside.Write(sent)
		inside.Close()
	}()
	if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes came back: %v", len(got), len(sent), err)
	}
}

func TestWhoDoesNotReadMakesTheOtherWait(t *testing.T) {
	dial, server := relayed(t)
	client := dial()
	inside := accept(t, server)
	if err := client.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	sent, err := client.Write(make([]byte, 256<<20))
	if err == nil {
		t.Fatalf("%d bytes were taken while nobody read", sent)
	}
	client.Close()
	if got, _ := io.Copy(io.Discard, inside); got != int64(sent) {
		t.Errorf("%d of %d bytes came", got, sent)
	}
}

func TestAConnectionThatFindsNobodyIsClosed(t *testing.T) {
	dial, server := relayed(t)
	server.Close()
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("something came")
	}
}

func TestTheNextConnectionWaitsForTheEndOfAnother(t *testing.T) {
	dial, server := relayed(t)
	var first net.Conn
	for i := 0; i < relayConnections; i++ {
		conn := dial()
		accept(t, server)
		if i == 0 {
			first = conn
		}
	}
	late := dial()
	come := make(chan net.Conn, 1)
	go func() {
		if conn, err := server.Accept(); err == nil {
			come <- conn
		}
	}()
	if _, err := late.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-come:
		t.Fatal("one too many was relayed")
	case <-time.After(50 * time.Millisecond):
	}
	// a reset, which ends both ways
	_ = first.(*net.TCPConn).SetLinger(0)
	first.Close()
	select {
	case <-come:
	case <-time.After(10 * time.Second):
		t.Fatal("the next one was not relayed")
	}
}
