package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// The Runtime API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
// Statuses and bodies are those of AWS's own emulator.

const (
	apiPrefix  = "/2018-06-01/"
	maxClients = 256     // more than any runtime has, fewer than descriptors
	keepBody   = 1 << 20 // larger buffers are let go after use
	jsonType   = "application/json"
	textType   = "text/plain; charset=utf-8"
)

var accepted = []byte("{\"status\":\"OK\"}\n")

// A client is one connection of the runtime.
type client struct {
	conn   *net.TCPConn
	raw    syscall.RawConn
	stream *stream
	run    *run

	out      []byte        // the answer that is being written
	space    []byte        // for bodies
	answered chan struct{} // one signal for each time it was parked
}

// listen gives access to the listener's socket, past net.Listener: what has arrived
// has to be taken in at one moment, namely when the runtime has died.
func listen(listener net.Listener) (syscall.RawConn, error) {
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, err
	}
	var copied uintptr
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		copied, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, errno
	}
	return os.NewFile(copied, "listener").SyscallConn()
}

func (s *supervisor) accept() {
	err := s.arrivals.Read(func(fd uintptr) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.takeIn(int(fd))
		return false // and wait for the next
	})
	if !errors.Is(err, os.ErrClosed) {
		s.abandon(err)
	}
}

// takeIn admits every connection that has arrived. The caller holds the lock.
func (s *supervisor) takeIn(listener int) {
	for {
		fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err == syscall.EINTR || err == syscall.ECONNABORTED {
			continue
		}
		if err != nil {
			return // EAGAIN: that was the last
		}
		file := os.NewFile(uintptr(fd), "runtime")
		if conn, err := net.FileConn(file); err == nil {
			s.admit(conn.(*net.TCPConn))
		}
		_ = file.Close()
	}
}

// admit makes a connection the run's. The caller holds the lock.
func (s *supervisor) admit(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	r := s.run
	if err != nil || r == nil || r.over || len(r.clients) >= maxClients {
		_ = conn.Close()
		return
	}
	c := &client{
		conn: conn, raw: raw, stream: newStream(conn), run: r, answered: make(chan struct{}, 1),
	}
	r.clients[c] = struct{}{}
	r.served.Add(1)
	go s.serveClient(c)
}

func (s *supervisor) serveClient(c *client) {
	defer s.dismiss(c)
	for {
		req, err := c.stream.request()
		if err != nil {
			c.complain(err)
			return
		}
		if !s.route(c, req) {
			return
		}
	}
}

func (s *supervisor) dismiss(c *client) {
	_ = c.conn.Close()
	s.mu.Lock()
	delete(c.run.clients, c)
	for i, waiting := range c.run.parked {
		if waiting == c {
			c.run.parked = append(c.run.parked[:i], c.run.parked[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	c.run.served.Done()
}

// route answers one request and says whether the connection goes on.
func (s *supervisor) route(c *client, req *request) bool {
	path, ours := cutPrefix(req.path, apiPrefix)
	invocation, ofInvocation := cutPrefix(path, "runtime/invocation/")
	id, verb, _ := strings.Cut(invocation, "/")
	method, answer := "POST", func() bool { return false }
	switch {
	case !ours:
		method = ""
	case path == "runtime/invocation/next":
		method, answer = "GET", func() bool { return s.next(c, req) }
	case ofInvocation && verb == "response":
		answer = func() bool { return s.finish(c, req, id, onResponse) }
	case ofInvocation && verb == "error":
		answer = func() bool { return s.finish(c, req, id, onError) }
	case path == "runtime/init/error":
		answer = func() bool { return s.initError(c, req) }
	case path == "ping":
		method, answer = "GET", func() bool { return c.answer(req, 200, textType, []byte("pong")) }
	default:
		method = ""
	}
	switch method {
	case "":
		return c.answer(req, 404, textType, []byte("404 page not found\n"))
	case req.method:
		return answer()
	}
	return c.answer(req, 405, textType, nil)
}

// next parks the client until there is an event.
func (s *supervisor) next(c *client, req *request) bool {
	if !c.settle(req) {
		return false
	}
	r := c.run
	s.mu.Lock()
	before := r.state
	if !r.state.move(onNext) {
		s.mu.Unlock()
		return c.refuse(req, 403, "InvalidStateTransition", before.refusal(onNext))
	}
	if before == started {
		s.mu.Unlock()
		duration := since(r.started)
		r.drain()
		s.channel.send(kindInitialized, initializedMeta{r.generation, duration}, nil)
		s.mu.Lock()
	}
	r.parked = append(r.parked, c)
	s.mu.Unlock()
	s.settleBroken(r)
	s.resume(r, true)

	// reading on tells of a client that leaves; a request that it sends too early
	// stays in the buffer until the event is out
	if c.stream.await() != nil {
		return false
	}
	select {
	case <-c.answered:
		return !req.last
	case <-r.done:
		return false
	}
}

// finish reads the runtime's answer and ends the invocation.
func (s *supervisor) finish(c *client, req *request, id string, e event) bool {
	r := c.run
	s.mu.Lock()
	if refused := r.objection(req, id, e); refused != nil {
		s.mu.Unlock()
		return refused(c)
	}
	inv := r.current
	limit := s.config.ResponseBytes
	s.mu.Unlock()
	if e == onResponse && streams(req) && inv.meta.StreamBytes > 0 {
		return s.relay(c, req, inv)
	}

	payload, err := c.read(req, limit)
	switch err {
	case nil:
		outcome := "response"
		if e == onError {
			outcome = "error"
		}
		meta, payload := midway(req, inv.result(outcome, req), payload)
		s.conclude(r, meta, payload)
		return s.resume(r, c.answer(req, 202, jsonType, accepted))
	case errTooLarge:
		s.conclude(r, inv.result("tooLarge", req), nil)
		return s.resume(r, c.refuseSize(req, limit))
	}
	s.mu.Lock()
	r.state.move(onTruncated)
	s.mu.Unlock()
	s.resume(r, false)
	c.complain(err)
	return false
}

// result is the meta of a RESULT; the request is the one that ended the invocation,
// or nil when none did.
func (inv *invocation) result(outcome string, req *request) resultMeta {
	meta := resultMeta{
		RequestID: inv.meta.RequestID, Outcome: outcome, DurationMs: since(inv.delivered),
	}
	if req != nil {
		meta.ErrorType = req.header.get("Lambda-Runtime-Function-Error-Type")
		meta.ContentType = req.header.get("Content-Type")
	}
	return meta
}

// midway makes an error of a response that failed while it was on its way, which
// its trailers say.
func midway(req *request, meta resultMeta, payload []byte) (resultMeta, []byte) {
	errorType := req.body.trailers.get("Lambda-Runtime-Function-Error-Type")
	if errorType == "" {
		return meta, payload
	}
	meta.Outcome, meta.ErrorType = "error", errorType
	payload, _ = base64.StdEncoding.DecodeString(
		req.body.trailers.get("Lambda-Runtime-Function-Error-Body"))
	return meta, payload
}

// conclude ends the invocation with a RESULT, after all output that came before.
func (s *supervisor) conclude(r *run, meta resultMeta, payload []byte) {
	r.drain()
	s.segments.drain()
	_, meta.MaxMemoryBytes = s.meter.sample()
	s.mu.Lock()
	r.current = nil
	r.state.move(onAnswered)
	if len(r.parked) > 0 { // it asked for the next while it answered
		r.state.move(onNext)
	}
	s.mu.Unlock()
	s.channel.send(kindResult, meta, payload)
}

// resume does what the runtime's new state allows, and says what it is told: it ends
// the service of a request.
func (s *supervisor) resume(r *run, open bool) bool {
	s.mu.Lock()
	s.advance(r)
	s.mu.Unlock()
	return open
}

func streams(req *request) bool {
	return req.header.get("Lambda-Runtime-Function-Response-Mode") == "streaming"
}

// objection returns the answer to a POST that may not end the invocation, or nil
// when the POST has claimed it. The caller holds the supervisor's lock.
func (r *run) objection(req *request, id string, e event) func(*client) bool {
	refuse := func(status int, kind, message string) func(*client) bool {
		return func(c *client) bool { return c.refuse(req, status, kind, message) }
	}
	attempt := req.header.get("Lambda-Runtime-Invocation-Id")
	mode := req.header.get("Lambda-Runtime-Function-Response-Mode")
	switch {
	case id != r.latest || id == "":
		return refuse(400, "InvalidRequestID", "Invalid request ID")
	case r.current != nil && attempt != "" && attempt != r.current.meta.InvocationID:
		return refuse(400, "InvalidInvocationId", "Invalid invocation ID")
	case e == onResponse && mode != "" && mode != "streaming":
		return refuse(400, "InvalidFunctionResponseMode", "Invalid function response mode")
	}
	if before := r.state; !r.state.move(e) {
		return refuse(403, "InvalidStateTransition", before.refusal(e))
	}
	return nil
}

func (s *supervisor) initError(c *client, req *request) bool {
	r := c.run
	s.mu.Lock()
	before := r.state
	moved := r.state.move(onInitError)
	limit := s.config.ResponseBytes
	s.mu.Unlock()
	if !moved {
		return c.refuse(req, 403, "InvalidStateTransition", before.refusal(onInitError))
	}
	payload, err := c.read(req, limit)
	if err != nil && err != errTooLarge {
		s.mu.Lock()
		r.state.move(onTruncated)
		s.mu.Unlock()
		c.complain(err)
		return false
	}
	r.drain()
	errorType := req.header.get("Lambda-Runtime-Function-Error-Type")
	s.channel.send(kindInitError, initErrorMeta{r.generation, errorType}, payload)
	if err == errTooLarge {
		return c.refuseSize(req, limit)
	}
	return c.answer(req, 202, jsonType, accepted)
}

func (r *run) drain() { r.output.drain() }

// read reads a body whole; it is valid until the next one is read.
func (c *client) read(req *request, limit int64) ([]byte, error) {
	if err := c.proceed(req); err != nil {
		return nil, err
	}
	payload, err := req.body.all(limit, c.space)
	if cap(payload) <= keepBody {
		c.space = payload
	}
	return payload, err
}

// proceed asks for the body where the client waits to be asked.
func (c *client) proceed(req *request) error {
	if req.expects {
		req.expects = false
		if _, err := c.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return errTruncated
		}
	}
	return nil
}

// settle leaves nothing of a request unread, unless the connection ends anyway. It
// says whether the client is to be answered.
func (c *client) settle(req *request) bool {
	if req.expects {
		req.last = true // refused before it was sent
		return true
	}
	return req.body.discard() == nil
}

func (c *client) refuse(req *request, status int, kind, message string) bool {
	return c.answer(req, status, jsonType, failure(kind, message))
}

func (c *client) refuseSize(req *request, limit int64) bool {
	return c.refuse(req, 413, "RequestEntityTooLarge",
		fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", limit))
}

func failure(kind, message string) []byte {
	text, err := json.Marshal(struct {
		ErrorMessage string `json:"errorMessage"`
		ErrorType    string `json:"errorType"`
	}{message, kind})
	if err != nil {
		panic(err) // two strings always marshal
	}
	return append(text, '\n')
}

// complain answers what was no whole request, where somebody may be listening.
func (c *client) complain(err error) {
	req := &request{last: true, body: &body{ended: true}}
	switch err {
	case errTruncated:
		c.refuse(req, 400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
	case errMalformed:
		c.answer(req, 400, textType, []byte("400 Bad Request"))
	case errHeaderSize:
		c.answer(req, 431, textType, []byte("431 Request Header Fields Too Large"))
	case errEncoding:
		c.answer(req, 501, textType, []byte("501 Not Implemented"))
	}
}

var reasons = map[int]string{
	200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 413: "Request Entity Too Large",
	431: "Request Header Fields Too Large", 501: "Not Implemented",
}

// answer writes headers and body in one write (two cost clients 10 ms) and says
// whether the connection goes on.
func (c *client) answer(req *request, status int, contentType string, body []byte) bool {
	if !c.settle(req) {
		return false
	}
	out := appendHead(c.out[:0], status, contentType, len(body))
	if req.last {
		out = append(out, "Connection: close\r\n"...)
	}
	c.out = append(append(out, "\r\n"...), body...)
	_, err := c.conn.Write(c.out)
	return err == nil && !req.last
}

func appendHead(out []byte, status int, contentType string, size int) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(append(out, ' '), reasons[status]...)
	out = appendField(out, "\r\nContent-Type: ", contentType)
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(size), 10)
	return append(out, "\r\n"...)
}

// appendField appends a header field unless it is empty. A control character, as a
// line break in a caller's JSON, would end the field: it becomes a space.
func appendField(out []byte, name, value string) []byte {
	if value == "" {
		return out
	}
	out = append(out, name...)
	for i := 0; i < len(value); i++ {
		if b := value[i]; b < ' ' || b == 0x7f {
			out = append(out, ' ')
		} else {
			out = append(out, b)
		}
	}
	return append(out, "\r\n"...)
}

// eventHead is what precedes an event in the answer to GET /next.
func eventHead(meta *invokeMeta, size int) []byte {
	out := appendHead(make([]byte, 0, 1024), 200, jsonType, size)
	out = appendField(out, "Lambda-Runtime-Aws-Request-Id: ", meta.RequestID)
	out = appendField(out, "Lambda-Runtime-Deadline-Ms: ", strconv.FormatInt(meta.DeadlineMs, 10))
	out = appendField(out, "Lambda-Runtime-Invoked-Function-Arn: ", meta.InvokedFunctionArn)
	out = appendField(out, "Lambda-Runtime-Trace-Id: ", meta.TraceID)
	out = appendField(out, "Lambda-Runtime-Client-Context: ", meta.ClientContext)
	out = appendField(out, "Lambda-Runtime-Cognito-Identity: ", meta.CognitoIdentity)
	out = appendField(out, "Lambda-Runtime-Aws-Tenant-Id: ", meta.TenantID)
	out = appendField(out, "Lambda-Runtime-Invocation-Id: ", meta.InvocationID)
	return append(out, "\r\n"...)
}

// deliver writes an event without waiting for the runtime to take it: the caller
// is the one who hears of KILL. What does not fit is written in the background.
func (c *client) deliver(head, payload []byte) {
	rest := net.Buffers{head, payload}
	if len(head)+len(payload) <= copyLimit {
		c.out = append(append(c.out[:0], head...), payload...)
		written := 0
		_ = c.raw.Write(func(fd uintptr) bool {
			written, _ = syscall.Write(int(fd), c.out)
			return true
		})
		if written == len(c.out) {
			c.answered <- struct{}{}
			return
		}
		if written < 0 {
			written = 0
		}
		rest = net.Buffers{c.out[written:]}
	}
	go func() {
		_, _ = rest.WriteTo(c.conn) // reading tells of a client that has left
		c.answered <- struct{}{}
	}()
}
