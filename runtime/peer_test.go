package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// The peer of these tests is the control plane; the runtime's HTTP requests come
// from the test as well, while a real child that does nothing stands for it.

type peer struct {
	*testing.T
	conn   net.Conn
	frames *bufio.Reader
	api    string
	ended  chan error
}

func newPeer(t *testing.T, over func(*configureMeta)) *peer {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("starts processes as another user: needs root")
	}
	channel, err := net.Listen("unix", t.TempDir()+"/channel")
	if err != nil {
		t.Fatal(err)
	}
	defer channel.Close()
	near, err := dial("unix:" + channel.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := channel.Accept()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t, far, bufio.NewReader(far), listener.Addr().String(), make(chan error, 1)}
	s, err := newSupervisor(near, listener, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- s.serve() }()
	t.Cleanup(func() {
		_ = far.Close()
		<-p.ended
		s.mu.Lock()
		left := s.run
		s.mu.Unlock()
		if left != nil {
			<-left.done // or it would reap the next test's processes
		}
		_ = listener.Close()
	})
	if f := p.receive(); f.kind != kindHello || string(f.meta) != `{"protocol":1}` {
		t.Fatalf("HELLO: %+v", f)
	}
	config := &configureMeta{
		Command: []string{"sh", "-c", "echo up; exec sleep 1000"}, WorkingDirectory: "/", UID: 65534, GID: 65534,
		ResponseBytes: 1000, Environment: map[string]string{"PATH": "/usr/bin:/bin"},
	}
	if over != nil {
		over(config)
	}
	p.send(kindConfigure, config, nil)
	return p
}

func (p *peer) send(kind byte, meta any, payload []byte) {
	p.Helper()
	text, _ := json.Marshal(meta)
	data := append(appendFrame(nil, kind, text, len(payload)), payload...)
	if _, err := p.conn.Write(data); err != nil {
		p.Fatal(err)
	}
}

func (p *peer) receive() frame {
	p.Helper()
	f, err := readFrame(p.frames)
	if err != nil {
		p.Fatal(err)
	}
	return f
}

// start returns when the runtime, which says so, is up.
func (p *peer) start(generation int) {
	p.Helper()
	p.send(kindStart, startMeta{generation, "init"}, nil)
	p.up()
}

// up returns when the runtime has said that it is.
func (p *peer) up() {
	p.Helper()
	if f := p.receive(); string(f.payload) != "up\n" {
		p.Fatalf("%+v", f)
	}
}

// until returns the meta of the next frame of a kind, its payload, and the output before it.
func (p *peer) until(kind byte) (meta map[string]any, payload, output []byte) {
	p.Helper()
	for {
		f := p.receive()
		if f.kind == kind {
			if err := json.Unmarshal(f.meta, &meta); err != nil {
				p.Fatal(err)
			}
			return meta, f.payload, output
		}
		if f.kind != kindLog {
			p.Fatalf("a frame of kind %d: %s", f.kind, f.meta)
		}
		output = append(output, f.payload...)
	}
}

// A caller is one keep-alive connection of the runtime.
type caller struct {
	*peer
	conn   net.Conn
	reader *bufio.Reader
}

func (p *peer) call() *caller {
	p.Helper()
	conn, err := net.Dial("tcp4", p.api)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = conn.Close() })
	return &caller{p, conn, bufio.NewReader(conn)}
}

func (c *caller) write(text string) {
	c.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.Fatal(err)
	}
}

func (c *caller) answer() (int, http.Header, string) {
	c.Helper()
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

func (c *caller) get(path string) {
	c.Helper()
	c.write("GET /2018-06-01/" + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
}

func (c *caller) post(path, header, body string) (int, string) {
	c.Helper()
	c.write(fmt.Sprintf("POST /2018-06-01/%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s",
		path, header, len(body), body))
	status, _, text := c.answer()
	return status, strings.TrimSpace(text)
}

func (c *caller) expect(status int, body string) func(int, string) {
	return func(gotStatus int, gotBody string) {
		c.Helper()
		if gotStatus != status || gotBody != body {
			c.Errorf("got %d %s\nwant %d %s", gotStatus, gotBody, status, body)
		}
	}
}

const next = "runtime/invocation/next"

func refusalBody(kind, message string) string {
	return fmt.Sprintf(`{"errorMessage":"%s","errorType":"%s"}`, message, kind)
}

func notAllowed(from, to state) string {
	return refusalBody("InvalidStateTransition", fmt.Sprintf("State transition from %s to %s failed "+
		"for runtime. Error: State transition is not allowed", from, to))
}

func eventOf(id string) invokeMeta {
	return invokeMeta{RequestID: id, DeadlineMs: 12, InvokedFunctionArn: "arn"}
}
