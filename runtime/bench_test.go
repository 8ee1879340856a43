package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// go test -bench . : one POST of 100 bytes over loopback, the answer read whole.

func benchmarkPost(b *testing.B, address string) {
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	body := fmt.Sprintf("%0100d", 1)
	message := []byte("POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\r\nHost: x\r\n" +
		"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n" + body)
	buffer := make([]byte, 4096)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := conn.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := reader.Read(buffer); err != nil { // one write, so one read
			b.Fatal(err)
		}
	}
}

func BenchmarkOurs(b *testing.B) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s, err := newSupervisor(&socket{fd: -1}, listener, func(error) {})
	if err != nil {
		b.Fatal(err)
	}
	s.config = &configureMeta{}
	s.run = &run{state: started, clients: map[int]*client{}, output: &output{fd: -1}, done: make(chan struct{})}
	s.loop.watch(s.arrivals)
	go s.loop.run()
	benchmarkPost(b, listener.Addr().String())
	_ = listener.Close()
}

func BenchmarkNetHTTP(b *testing.B) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", jsonType)
		w.WriteHeader(400)
		_, _ = w.Write(failure("InvalidRequestID", "Invalid request ID"))
	})}
	go func() { _ = server.Serve(listener) }()
	benchmarkPost(b, listener.Addr().String())
	_ = server.Close()
}
