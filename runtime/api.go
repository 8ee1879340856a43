package main

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
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

// route answers one request and says whether the connection goes on.
func (s *supervisor) route(c *client, req *request) bool {
	if goesOn, ok := s.routeBeside(c, req); ok {
		return goesOn
	}
	path, ours := cutPrefix(req.path, apiPrefix)
	if !ours {
		return s.routeOther(c, req)
	}
	invocation, ofInvocation := cutPrefix(path, "runtime/invocation/")
	id, verb, _ := strings.Cut(invocation, "/")
	method, answer := "POST", func() bool { return false }
	switch {
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
	return c.dispatch(req, method, answer)
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
	r.parked = append(r.parked, c)
	c.parked, c.last = true, req.last
	if before == started {
		s.tellInitRuntimeDone(r, "success", "")
	}
	s.tellIdle(r)
	s.mu.Unlock()
	if before == started {
		s.initialize(r)
	}
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
	if r.telemetry.wants(platformStream) {
		inv.account.answering = time.Now()
	}
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
	s.note(r, meta, payload)
	r.current = nil
	r.state.move(onAnswered)
	if len(r.parked) > 0 { // it asked for the next while it answered
		r.state.move(onNext)
	}
	s.tellIdle(r)
	followed := r.followed != nil
	s.mu.Unlock()
	s.channel.send(kindResult, meta, payload)
	if followed {
		s.mu.Lock()
		r.answered = true
		s.mu.Unlock()
	}
}

// resume does what the runtime's new state allows, and says what it is told: it ends
// the service of a request.
func (s *supervisor) resume(r *run, open bool) bool {
	var over *invocation
	s.mu.Lock()
	s.advance(r)
	if r.followed != nil {
		over = r.finished()
	}
	if over != nil {
		over.account.took = since(over.delivered)
		s.tellReport(r)
	}
	s.mu.Unlock()
	if over != nil {
		s.tellDone(r, over)
	}
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
	s.mu.Lock()
	r.initType = reportedType(errorType, "Runtime.Unknown")
	s.tellInitRuntimeDone(r, "error", r.initType)
	s.mu.Unlock()
	s.channel.send(kindInitError, initErrorMeta{r.generation, errorType}, payload)
	if err == errTooLarge {
		return c.refuseSize(req, limit)
	}
	return c.answer(req, 202, jsonType, accepted)
}

func (r *run) drain() {
	if r.extensionOutput != nil {
		r.extensionOutput.drain()
	}
	r.output.drain()
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
