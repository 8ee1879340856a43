package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
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
	conn   *socket
	stream *stream
	run    *run

	out   []byte // the answer that is being written
	space []byte // for bodies

	// Guarded by the supervisor's lock.
	watched bool // by the loop
	held    bool // somebody deals with its requests
	parked  bool // it waits in GET /next, or for the rest of its event
	writing bool // the rest of its event is being written
	early   bool // it has sent more, or has left, before it had its event whole
	last    bool // it leaves once it has its event
}

// listen gives access to the listener's socket, past net.Listener: what has arrived
// has to be taken in at one moment, namely when the runtime has died.
func listen(listener net.Listener) (fd int, err error) {
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return -1, err
	}
	var copied uintptr
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		copied, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return -1, err
	}
	if errno != 0 {
		return -1, errno
	}
	return int(copied), nil
}

// takeIn admits every connection that has arrived. The caller holds the lock.
func (s *supervisor) takeIn() {
	for {
		fd, _, err := syscall.Accept4(s.arrivals, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err == syscall.EINTR || err == syscall.ECONNABORTED {
			continue
		}
		if err != nil {
			return // EAGAIN: that was the last
		}
		s.admit(fd)
	}
}

// admit makes a connection the run's. The caller holds the lock.
func (s *supervisor) admit(fd int) {
	r := s.run
	if r == nil || r.over || len(r.clients) >= maxClients {
		_ = syscall.Close(fd)
		return
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	conn := &socket{fd: fd, stepAside: s.loop.stepAside}
	c := &client{conn: conn, stream: newStream(conn), run: r}
	r.clients[fd] = c
	r.served.Add(1)
	s.watch(c)
}

// watch has the loop tell when the client has sent something. The caller holds the lock.
func (s *supervisor) watch(c *client) {
	if !c.watched {
		c.watched = true
		s.loop.watch(c.conn.fd)
	}
}

// unwatch ends that. The caller holds the lock.
func (s *supervisor) unwatch(c *client) {
	if c.watched {
		c.watched = false
		s.loop.unwatch(c.conn.fd)
	}
}

// hear deals with a client that has sent something, or has left.
func (s *supervisor) hear(c *client) {
	s.mu.Lock()
	if !c.parked {
		c.held = true
		c.conn.waited = false
		s.mu.Unlock()
		s.serveClient(c)
		return
	}
	// A request that it sends too early stays where it is until the event is out.
	left := c.conn.ended()
	c.early = c.writing || !left
	c.held = !c.early
	s.unwatch(c)
	s.mu.Unlock()
	if c.held {
		s.dismiss(c)
	}
}

// serveClient answers a client that is held, for as long as it asks.
func (s *supervisor) serveClient(c *client) {
	for {
		req, err := c.stream.request()
		if err != nil {
			c.complain(err)
			s.dismiss(c)
			return
		}
		if req.body.chunked || req.body.left > keepBody {
			s.loop.stepAside() // it may never end
		}
		if !s.route(c, req) {
			s.dismiss(c)
			return
		}
		if !s.goesOn(c) {
			return
		}
		s.loop.stepAside() // nor may the requests that it sends ahead
	}
}

// goesOn says whether a client that was answered is to be asked at once for more. It is
// let go otherwise.
func (s *supervisor) goesOn(c *client) bool {
	s.mu.Lock()
	unread := c.stream.r < c.stream.w
	switch {
	case c.parked && unread:
		c.early, c.held = true, false
		s.unwatch(c)
	case !c.parked && c.last:
		s.mu.Unlock()
		s.dismiss(c)
		return false
	case !c.parked && unread:
		s.mu.Unlock()
		return true
	default:
		c.held = false
		s.watch(c)
	}
	s.mu.Unlock()
	return false
}

// dismiss closes the connection of a client that is held.
func (s *supervisor) dismiss(c *client) {
	s.mu.Lock()
	s.unwatch(c)
	delete(c.run.clients, c.conn.fd)
	for i, waiting := range c.run.parked {
		if waiting == c {
			c.run.parked = append(c.run.parked[:i], c.run.parked[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	_ = c.conn.Close()
	c.run.served.Done()
}

// route answers one request and says whether the connection goes on.
func (s *supervisor) route(c *client, req *request) bool {
	if goesOn, ok := s.routeBeside(c, req); ok {
		return goesOn
	}
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
	c.parked, c.last = true, req.last
	s.mu.Unlock()
	s.settleBroken(r)
	return s.resume(r, true)
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

// deliver writes an event without waiting for the runtime to take it: what does not fit
// is written in the background. The caller holds the lock.
func (s *supervisor) deliver(c *client, head, payload []byte) {
	n, errno := writeNow(c.conn.fd, head, payload)
	if n == len(head)+len(payload) || errno != 0 && errno != syscall.EAGAIN {
		s.delivered(c) // reading tells of a client that has left
		return
	}
	if n < len(head) {
		head = head[n:]
	} else {
		head, payload = nil, payload[n-len(head):]
	}
	c.writing = true
	go func() {
		_, _ = c.conn.writeBoth(head, payload)
		s.mu.Lock()
		c.writing = false
		s.delivered(c)
		s.mu.Unlock()
	}()
}

// delivered lets a client go on that has its event. The caller holds the lock.
func (s *supervisor) delivered(c *client) {
	c.parked = false
	if c.held || !c.early && !c.last {
		return
	}
	leaves := c.last
	c.held, c.early = true, false
	s.unwatch(c)
	go func() {
		if leaves {
			s.dismiss(c)
		} else {
			s.serveClient(c)
		}
	}()
}
