package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKILLIsHeardThoughTheControlPlaneReadsNothing(t *testing.T) {
	path := fifo(t)
	p := newPeer(t, func(config *configureMeta) {
		// more than the channel and the pipe hold, so the last words come after the wait
		config.Command = []string{"sh", "-c", "exec 3>" + path + "; while :; do echo flood; done"}
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	alive, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	channel, _ := p.conn.(syscall.Conn).SyscallConn()
	for before := -1; ; time.Sleep(20 * time.Millisecond) { // until nothing more comes
		unread := 0
		_ = channel.Control(func(fd uintptr) { unread = waiting(int(fd)) })
		if unread > 0 && unread == before {
			break
		}
		before = unread
	}
	p.send(kindKill, killMeta{Generation: 1}, nil)
	_, _ = io.Copy(io.Discard, alive) // ends when the runtime is dead
	if meta, _, _ := p.until(kindExited); meta["cause"] != "killed" {
		t.Error(meta)
	}
}

func TestABodyThatIsSlowToComeHoldsUpNobody(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c, other := p.call(), p.call()
	c.get(next)
	p.until(kindInitialized)
	p.send(kindInvoke, eventOf("one"), nil)
	c.answer()
	c.write("POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nContent-Length: 8\r\n\r\nhalf")
	for i := 0; i < 2; i++ { // the loop has another goroutine by the second
		other.get("ping")
		if _, _, body := other.answer(); body != "pong" {
			t.Error(body)
		}
	}
	c.write("half")
	if _, payload, _ := p.until(kindResult); string(payload) != "halfhalf" {
		t.Errorf("%q", payload)
	}
	if status, _, _ := c.answer(); status != 202 {
		t.Error(status)
	}
	c.get(next)
	p.send(kindInvoke, eventOf("two"), []byte("2"))
	if _, _, body := c.answer(); body != "2" {
		t.Error(body)
	}
}

func TestARuntimeThatNeverStopsSendingHoldsUpNobody(t *testing.T) {
	post := "POST /2018-06-01/runtime/invocation/none/response HTTP/1.1\r\n"
	slowly := func(c *caller, text string) error {
		time.Sleep(100 * time.Microsecond)
		_, err := io.WriteString(c.conn, text)
		return err
	}
	at := func(c *caller, text string) error {
		_, err := io.WriteString(c.conn, strings.Repeat(text, 1000))
		return err
	}
	for name, what := range map[string]struct {
		first, then string
		send        func(*caller, string) error
	}{
		"requests":      {"", "GET /2018-06-01/ping HTTP/1.1\r\n\r\n", at},
		"a body":        {post + "Content-Length: 1000000000000\r\n\r\n", "x", at},
		"chunks":        {post + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", at},
		"drops":         {post + "Content-Length: 1000000\r\n\r\n", "x", slowly},
		"a head, drops": {post + "X: ", "x", slowly},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, nil)
			p.start(1)
			c := p.call()
			c.write(what.first)
			go func() { _, _ = io.Copy(io.Discard, c.conn) }()
			under, over := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(over)
				for i := 0; what.send(c, what.then) == nil; i++ {
					if i == 20 {
						close(under)
					}
				}
			}()
			<-under
			p.send(kindKill, killMeta{Generation: 1}, nil)
			if meta, _, _ := p.until(kindExited); meta["cause"] != "killed" {
				t.Error(meta)
			}
			<-over
		})
	}
}

func TestAConnectionThatIsNotKeptEndsAfterItsEvent(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	for i, event := range [][]byte{[]byte("small"), large} {
		c, id := p.call(), fmt.Sprint(i)
		c.write("GET /2018-06-01/" + next + " HTTP/1.1\r\nConnection: close\r\n\r\n")
		if i == 0 {
			p.until(kindInitialized)
		}
		p.send(kindInvoke, eventOf(id), event)
		if _, _, body := c.answer(); body != string(event) {
			t.Errorf("%d bytes of %d", len(body), len(event))
		}
		if _, err := c.reader.ReadByte(); err != io.EOF {
			t.Error(err)
		}
		other := p.call()
		other.expect(202, `{"status":"OK"}`)(other.post("runtime/invocation/"+id+"/response", "", ""))
		p.until(kindResult)
	}
}

// fifo returns the path of one that everybody may use.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0); err != nil {
		t.Fatal(err)
	}
	for what, mode := range map[string]os.FileMode{
		path: 0o666, filepath.Dir(path): 0o755, filepath.Dir(filepath.Dir(path)): 0o755,
	} {
		if err := os.Chmod(what, mode); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestOutputIsRelayedWhileTheFunctionStillRuns(t *testing.T) {
	path := fifo(t)
	p := newPeer(t, func(config *configureMeta) {
		config.Command = []string{"sh", "-c", "echo up; exec cat " + path}
	})
	p.start(1)
	text, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	c := p.call()
	c.get(next)
	p.until(kindInitialized)
	p.send(kindInvoke, eventOf("one"), nil)
	c.answer()
	for _, line := range []string{"one\n", "two\n"} { // at first nobody listens, then the loop does
		fmt.Fprint(text, line)
		if f := p.receive(); f.kind != kindLog || string(f.payload) != line {
			t.Errorf("%+v", f)
		}
	}
}

func TestARuntimeWithNothingToDoIsStoppedAndContinued(t *testing.T) {
	p := newPeer(t, func(config *configureMeta) {
		config.Command = []string{"sh", "-c", "echo $$; exec sleep 1000"}
		config.Freeze = true
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	pid := strings.TrimSpace(string(p.receive().payload))
	state := func() string {
		text, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(text[bytes.IndexByte(text, ')')+1:]))[0]
	}
	c := p.call()
	c.get(next)
	p.until(kindInitialized)
	for _, id := range []string{"one", "two"} {
		for state() != "T" {
			time.Sleep(time.Millisecond)
		}
		p.send(kindInvoke, eventOf(id), nil)
		c.answer()
		for state() == "T" { // the event is there just before
			time.Sleep(time.Millisecond)
		}
		c.expect(202, `{"status":"OK"}`)(c.post("runtime/invocation/"+id+"/response", "", ""))
		p.until(kindResult)
		c.get(next)
	}
}
