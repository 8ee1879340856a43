package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The Extensions API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html.
// External extensions are processes of the init's, internal ones live in the runtime's.

const (
	extensionsPrefix = "/2020-01-01/extension/"
	maxExtensions    = 10
)

// What an extension may do next, in the words of Lambda's messages and log lines.
type extensionState string

const (
	extensionStarted    extensionState = "Started"
	extensionRegistered extensionState = "Registered"
	extensionReady      extensionState = "Ready"   // waits in GET /event/next
	extensionRunning    extensionState = "Running" // has an event
	extensionInitError  extensionState = "InitError"
	extensionExitError  extensionState = "ExitError"
	extensionExited     extensionState = "Exited"
	extensionNotStarted extensionState = "LaunchError"
)

type extensionEvent int

const (
	onRegister   extensionEvent = iota // POST /register
	onWait                             // GET /event/next
	onEvent                            // an event was given to it
	onInitFailed                       // POST /init/error
	onExitFailed                       // POST /exit/error
	onDeath                            // its process is dead, and nobody has ended it
)

var extensionTransitions = map[extensionState]map[extensionEvent]extensionState{
	extensionStarted: {onRegister: extensionRegistered, onDeath: extensionExited},
	extensionRegistered: {onWait: extensionReady, onInitFailed: extensionInitError,
		onExitFailed: extensionExitError, onDeath: extensionExited},
	extensionReady: {onEvent: extensionRunning, onExitFailed: extensionExitError, onDeath: extensionExited},
	extensionRunning: {onWait: extensionReady, onExitFailed: extensionExitError,
		onDeath: extensionExited},
	extensionInitError: {onInitFailed: extensionInitError}, // the first error counts
	extensionExitError: {onExitFailed: extensionExitError},
}

var extensionAims = map[extensionEvent]extensionState{
	onRegister: extensionRegistered, onWait: extensionReady,
	onInitFailed: extensionInitError, onExitFailed: extensionExitError,
}

func (s *extensionState) move(e extensionEvent) bool {
	to, allowed := extensionTransitions[*s][e]
	if allowed {
		*s = to
	}
	return allowed
}

// An extension is one that was started, or that the runtime has registered. Everything is
// guarded by the supervisor's lock.
type extension struct {
	name      string
	id        string // once it has registered
	events    []string
	state     extensionState
	errorType string  // of its log line
	parked    *client // waits in GET /event/next
	event     []byte  // that it has not been given yet
	process   process // of an external one
}

func (e *extension) internal() bool { return e.process.pid == 0 }

func (e *extension) wants(event string) bool {
	for _, wanted := range e.events {
		if wanted == event {
			return true
		}
	}
	return false
}

// awaited says whether the platform waits for it to ask for an event.
func (e *extension) awaited() bool {
	return e.state == extensionStarted || e.state == extensionRegistered || e.state == extensionRunning
}

// awaits says whether the run waits for an extension: to be initialized, or to be done
// with the invocation. The caller holds the supervisor's lock.
func (r *run) awaits() bool {
	for _, e := range r.extensions {
		if e.awaited() {
			return true
		}
	}
	return false
}

// initOver says whether it is too late to register, or to subscribe to anything: the
// runtime has asked for its first event, or the run is at its end. The caller holds the
// supervisor's lock.
func (r *run) initOver() bool { return r.stopping || r.state != started }

type refusal struct {
	status        int
	kind, message string
}

func forbidden(kind, message string, values ...any) *refusal {
	return &refusal{403, kind, fmt.Sprintf(message, values...)}
}

func (c *client) refuseBy(req *request, refused *refusal) bool {
	return c.refuse(req, refused.status, refused.kind, refused.message)
}

// identify finds the extension that a request says it comes from, or how it is refused.
// The caller holds the supervisor's lock.
func (r *run) identify(req *request) (*extension, *refusal) {
	const header = "Lambda-Extension-Identifier"
	id := strings.ToLower(req.header.get(header))
	switch {
	case id == "":
		return nil, forbidden("Extension.MissingExtensionIdentifier", "Missing %s header", header)
	case !isUUID(id):
		return nil, forbidden("Extension.InvalidExtensionIdentifier", "Invalid %s", header)
	}
	for _, e := range r.extensions {
		if e.id == id {
			return e, nil
		}
	}
	return nil, forbidden("Extension.UnknownExtensionIdentifier", "Unknown extension %s", id)
}

func (e *extension) refusal(event extensionEvent, who string) *refusal {
	return forbidden("Extension.InvalidExtensionState",
		"State transition from %s to %s failed for extension %s. Error: State transition is not allowed",
		e.state, extensionAims[event], who)
}

// routeOther answers what is not the Runtime API's.
func (s *supervisor) routeOther(c *client, req *request) bool {
	method, answer := "POST", func() bool { return false }
	switch verb, ours := cutPrefix(req.path, extensionsPrefix); {
	case !ours:
		method = ""
	case verb == "register":
		answer = func() bool { return s.register(c, req) }
	case verb == "event/next":
		method, answer = "GET", func() bool { return s.nextEvent(c, req) }
	case verb == "init/error":
		answer = func() bool { return s.extensionError(c, req, onInitFailed, "Extension.InitError") }
	case verb == "exit/error":
		answer = func() bool { return s.extensionError(c, req, onExitFailed, "Extension.ExitError") }
	default:
		method = ""
	}
	if api := telemetryAPIs[strings.TrimSuffix(req.path, "/")]; api != nil {
		method, answer = "PUT", func() bool { return s.subscribe(c, req, api) }
	}
	return c.dispatch(req, method, answer)
}

func (s *supervisor) register(c *client, req *request) bool {
	name := req.header.get("Lambda-Extension-Name")
	body, ok, keep := c.small(req)
	if !ok {
		return keep
	}
	if name == "" {
		return c.refuse(req, 403, "Extension.InvalidExtensionName", "Empty extension name")
	}
	var asked struct {
		Events []string `json:"events"`
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		return c.refuse(req, 400, "InvalidRequestFormat", err.Error())
	}
	s.mu.Lock()
	e, refused := s.enrol(c.run, name, asked.Events)
	config := s.config
	s.mu.Unlock()
	if refused != nil {
		return c.refuseBy(req, refused)
	}
	answer := struct {
		AccountID       string `json:"accountId,omitempty"`
		FunctionName    string `json:"functionName"`
		FunctionVersion string `json:"functionVersion"`
		Handler         string `json:"handler"`
	}{
		FunctionName:    config.Environment["AWS_LAMBDA_FUNCTION_NAME"],
		FunctionVersion: config.Environment["AWS_LAMBDA_FUNCTION_VERSION"],
		Handler:         config.Environment["_HANDLER"],
	}
	if hasToken(req.header.get("Lambda-Extension-Accept-Feature"), "accountId") {
		answer.AccountID = config.AccountID
	}
	return c.answerWith(req, 200, jsonType, "Lambda-Extension-Identifier: ", e.id, marshal(answer))
}

// enrol registers an extension. The caller holds the lock.
func (s *supervisor) enrol(r *run, name string, events []string) (*extension, *refusal) {
	var e *extension
	for _, known := range r.extensions {
		if known.name == name {
			e = known
		}
	}
	for _, event := range events {
		if event != "INVOKE" && event != "SHUTDOWN" {
			return nil, forbidden("Extension.InvalidEventType", "%s: unknown event", event)
		}
		if event == "SHUTDOWN" && (e == nil || e.internal()) {
			return nil, forbidden("Extension.InvalidEventType", "%s: not for an internal extension", event)
		}
	}
	switch {
	case e != nil && e.internal():
		return nil, forbidden("Extension.InvalidExtensionState", "Extension with this name already registered")
	case e == nil && r.initOver():
		return nil, forbidden("Extension.RegistrationClosed", "Extension registration closed already")
	case e == nil && len(r.extensions) >= maxExtensions:
		return nil, forbidden("Extension.TooManyExtensions", "Extension limit (%d) reached", maxExtensions)
	case e == nil:
		e = &extension{name: name, state: extensionStarted}
		r.extensions = append(r.extensions, e)
	}
	if r.initOver() || !e.state.move(onRegister) {
		return nil, e.refusal(onRegister, name)
	}
	e.id, e.events = newUUID(), append([]string{}, events...)
	s.startRuntimeLast(r)
	return e, nil
}

// nextEvent parks the extension until there is an event for it.
func (s *supervisor) nextEvent(c *client, req *request) bool {
	if !c.settle(req) {
		return false
	}
	r := c.run
	s.mu.Lock()
	e, refused := r.identify(req)
	if refused == nil && e.event == nil {
		again := e.state == extensionReady && e.parked == nil // it has lost its connection
		if !again && !e.state.move(onWait) {
			refused = e.refusal(onWait, e.id)
		}
	}
	if refused != nil {
		s.mu.Unlock()
		return c.refuseBy(req, refused)
	}
	e.parked, c.extension = c, e
	c.parked, c.last = true, req.last
	s.hand(e)
	s.mu.Unlock()
	s.initialize(r)
	return s.resume(r, true)
}

// give is the one way to an extension of an event. The caller holds the lock.
func (s *supervisor) give(e *extension, event []byte) {
	e.event = event
	e.state.move(onEvent)
	s.hand(e)
}

// hand gives an extension the event that waits for it, if it has asked. The caller holds
// the lock.
func (s *supervisor) hand(e *extension) {
	if e.parked == nil || e.event == nil {
		return
	}
	head := appendHead(nil, 200, jsonType, len(e.event))
	head = appendField(head, "Lambda-Extension-Event-Identifier: ", newUUID())
	c, event := e.parked, e.event
	e.parked, e.event = nil, nil
	s.deliver(c, append(head, "\r\n"...), event)
}

// The events, as extensions get them.
type (
	invokeEvent struct {
		EventType          string  `json:"eventType"`
		DeadlineMs         int64   `json:"deadlineMs"`
		RequestID          string  `json:"requestId"`
		InvokedFunctionArn string  `json:"invokedFunctionArn"`
		Tracing            tracing `json:"tracing"`
	}
	tracing struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	shutdownEvent struct {
		EventType      string `json:"eventType"`
		ShutdownReason string `json:"shutdownReason"`
		DeadlineMs     int64  `json:"deadlineMs"`
	}
)

// tellInvoke gives an invocation to the extensions that want to know of it: it is over
// when they have asked for the next. The caller holds the lock.
func (s *supervisor) tellInvoke(r *run, inv *invocation) {
	event := marshal(invokeEvent{"INVOKE", inv.meta.DeadlineMs, inv.meta.RequestID,
		inv.meta.InvokedFunctionArn, tracing{"X-Amzn-Trace-Id", inv.meta.TraceID}})
	for _, e := range r.extensions {
		if e.wants("INVOKE") && e.state == extensionReady {
			r.followed, r.answered = inv, false
			s.give(e, event)
		}
	}
}

// finished returns the invocation that is over now: the runtime and every extension that
// was told of it have asked for the next. The caller holds the lock.
func (r *run) finished() *invocation {
	inv := r.followed
	if !r.answered || r.state != ready || r.stopping || r.awaits() {
		return nil
	}
	r.followed = nil
	return inv
}

// tellDone says that an invocation is over which extensions had to do with.
func (s *supervisor) tellDone(r *run, inv *invocation) {
	r.drain()
	s.segments.drain()
	_, peak := s.meter.sample()
	s.channel.send(kindDone, doneMeta{inv.meta.RequestID, inv.account.took, peak}, nil)
}

func (s *supervisor) extensionError(c *client, req *request, event extensionEvent, kind string) bool {
	const header = "Lambda-Extension-Function-Error-Type"
	if _, err := c.read(req, keepBody); err != nil && err != errTooLarge {
		c.complain(err)
		return false
	}
	r, errorType := c.run, req.header.get(header)
	s.mu.Lock()
	e, refused := r.identify(req)
	switch {
	case refused != nil:
	case errorType == "":
		refused = forbidden("Extension.MissingHeader", "%s not found", header)
	case !e.state.move(event):
		refused = e.refusal(event, e.id)
	case e.errorType == "":
		e.errorType = errorType
	}
	s.mu.Unlock()
	if refused != nil {
		return c.refuseBy(req, refused)
	}
	open := c.answer(req, 202, jsonType, accepted)
	s.mu.Lock()
	s.fail(r, e, kind)
	s.mu.Unlock()
	return open
}

// initialize ends the initialization, if the runtime and every extension have asked for
// an event.
func (s *supervisor) initialize(r *run) {
	s.mu.Lock()
	if r.initialized || r.state == started || r.stopping || r.awaits() {
		s.mu.Unlock()
		return
	}
	r.initialized = true
	duration := since(r.started)
	if r.phase == "init" && s.initializationType() == "on-demand" {
		r.initMs = duration
	}
	s.mu.Unlock()
	r.drain()
	s.announceAll(r)
	s.tellInitReport(r, duration)
	s.channel.send(kindInitialized, initializedMeta{r.generation, duration}, nil)
}

// announceAll tells what has become of the extensions, at the end of an initialization,
// whether or not it went well.
func (s *supervisor) announceAll(r *run) {
	s.mu.Lock()
	extensions := make([]extensionMeta, 0, len(r.extensions))
	for _, e := range r.extensions {
		extensions = append(extensions, extensionMeta{e.name, string(e.state), append([]string{}, e.events...), e.errorType})
	}
	s.mu.Unlock()
	for _, meta := range extensions {
		s.announce(r, meta)
	}
}

// announce is where every platform event about an extension begins.
func (s *supervisor) announce(r *run, meta extensionMeta) {
	r.telemetry.tell("extension", &platformRecord{
		Name: meta.Name, State: meta.State, Events: &meta.Events, ErrorType: meta.ErrorType,
	})
	s.channel.hold(kindExtension, meta, nil)
}

func newUUID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // the kernel has no other answer
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := 0; i < len(text); i++ {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (text[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdef", rune(text[i])) {
			return false
		}
	}
	return true
}

func unixMs(at time.Time) int64 { return at.UnixNano() / int64(time.Millisecond) }
