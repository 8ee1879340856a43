package main

import (
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What becomes of the function, told to those who have subscribed to it. The log tells the
// same in its own way, from the frames that the control plane gets.

// An account is what the last events of an invocation say of it.
type account struct {
	answering time.Time // its POST began
	answered  time.Time // it has its RESULT
	idle      time.Time // the runtime asked for the next
	produced  int64     // bytes
	took      float64   // ms, as the control plane is told
	followed  bool      // by extensions
	status    string
	errorType string
}

func (s *supervisor) newTelemetry() *telemetry {
	t := newTelemetry(s.config.Environment["AWS_LAMBDA_LOG_FORMAT"] == "JSON")
	t.beside = s.loop.beside
	return t
}

func (s *supervisor) initializationType() string {
	return s.config.Environment["AWS_LAMBDA_INITIALIZATION_TYPE"]
}

func (s *supervisor) memorySizeMB() int64 {
	size, _ := strconv.ParseInt(s.config.Environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], 10, 64)
	return size
}

// tellInitStart begins what is told of a run. The caller holds the lock.
func (s *supervisor) tellInitStart(r *run) {
	config := s.config
	r.telemetry.tell("initStart", &platformRecord{
		InitializationType: s.initializationType(), Phase: r.phase,
		FunctionName:    config.Environment["AWS_LAMBDA_FUNCTION_NAME"],
		FunctionVersion: config.Environment["AWS_LAMBDA_FUNCTION_VERSION"],
		RuntimeVersion:  config.RuntimeVersion, RuntimeVersionArn: config.RuntimeVersionArn,
		InstanceID:        config.Environment["AWS_LAMBDA_LOG_STREAM_NAME"],
		InstanceMaxMemory: s.memorySizeMB() << 20,
	})
}

// tellInitRuntimeDone is told once: the first status counts.
func (s *supervisor) tellInitRuntimeDone(r *run, status, errorType string) {
	if !r.initTold {
		r.initTold = true
		r.telemetry.tell("initRuntimeDone", &platformRecord{
			InitializationType: s.initializationType(), Phase: r.phase, Status: status, ErrorType: errorType,
		})
	}
}

// tellInitReport ends the init phase, and with it that of subscriptions.
func (s *supervisor) tellInitReport(r *run, durationMs float64) {
	s.reportInit(r, durationMs, "success", "")
	r.telemetry.close()
}

func (s *supervisor) reportInit(r *run, durationMs float64, status, errorType string) {
	r.telemetry.tell("initReport", &platformRecord{
		InitializationType: s.initializationType(), Phase: r.phase, Status: status, ErrorType: errorType,
		Metrics: &platformMetrics{DurationMs: milliseconds(durationMs)},
	})
}

// tellStart tells that the runtime has its event. The caller holds the lock.
func (s *supervisor) tellStart(r *run, inv *invocation) {
	if r.telemetry.wants(platformStream) {
		r.telemetry.tell("start", &platformRecord{
			RequestID: inv.meta.RequestID, FunctionArn: inv.meta.InvokedFunctionArn,
			Version:  s.config.Environment["AWS_LAMBDA_FUNCTION_VERSION"],
			TenantID: inv.meta.TenantID, Tracing: s.tracing(inv),
		})
	}
}

// note keeps what the RESULT says. The caller holds the lock.
func (s *supervisor) note(r *run, meta resultMeta, payload []byte) {
	r.telemetry.endLines(functionStream)
	inv := r.current
	if !r.telemetry.wants(platformStream) || !inv.account.idle.IsZero() {
		return
	}
	r.untold = inv
	a := &inv.account
	a.answered, a.produced, a.status = time.Now(), a.produced+int64(len(payload)), "success"
	a.took, a.followed = meta.DurationMs, r.followed == inv
	switch meta.Outcome {
	case "error":
		a.status, a.errorType = "failure", reportedType(meta.ErrorType, "Function.Unknown")
	case "tooLarge":
		a.status, a.errorType = "error", "Function.ResponseSizeTooLarge"
	case "truncated":
		a.status, a.errorType = "error", "Runtime.TruncatedResponse"
	}
}

// tellIdle tells that the runtime is done, if it is: with nobody else to wait for, the
// invocation is over. The caller holds the lock.
func (s *supervisor) tellIdle(r *run) {
	switch {
	case r.untold == nil:
	case r.stopping:
		s.tellReport(r)
	case r.state == ready:
		s.tellRuntimeDone(r)
		if !r.untold.account.followed {
			s.tellReport(r)
		}
	}
}

// tellRuntimeDone tells how the runtime fared, once it is done. The caller holds the lock.
func (s *supervisor) tellRuntimeDone(r *run) {
	inv := r.untold
	if inv == nil || !inv.account.idle.IsZero() {
		return
	}
	a := &inv.account
	a.idle = time.Now()
	produced := int(a.produced)
	record := &platformRecord{
		RequestID: inv.meta.RequestID, TenantID: inv.meta.TenantID,
		Status: a.status, ErrorType: a.errorType, Tracing: s.tracing(inv),
		Metrics: &platformMetrics{DurationMs: s.duration(r, inv), ProducedBytes: &produced},
	}
	if !a.answering.IsZero() {
		record.Spans = []platformSpan{
			newSpan("responseLatency", inv.delivered, a.answering),
			newSpan("responseDuration", a.answering, a.answered),
			newSpan("runtimeOverhead", a.answered, a.idle),
		}
	}
	r.telemetry.tell("runtimeDone", record)
	if a.status == "error" || a.status == "timeout" {
		text := "RequestId: " + inv.meta.RequestID + "\tStatus: " + a.status
		if a.errorType != "" {
			text += "\tErrorType: " + a.errorType
		}
		r.telemetry.tell("fault", &platformRecord{Reason: text})
	}
	r.telemetry.tell("end", &platformRecord{RequestID: inv.meta.RequestID})
}

// tellReport ends what is told of an invocation. The caller holds the lock.
func (s *supervisor) tellReport(r *run) {
	inv := r.untold
	if inv == nil {
		return
	}
	s.tellRuntimeDone(r)
	r.untold = nil
	a := &inv.account
	now := time.Now()
	duration := s.duration(r, inv)
	size := s.memorySizeMB()
	_, peak := s.meter.sample()
	used := (peak + 1<<20 - 1) >> 20
	if used > size || a.errorType == "Runtime.OutOfMemory" {
		used = size
	}
	init := r.initMs
	r.initMs = 0
	record := &platformRecord{
		RequestID: inv.meta.RequestID, TenantID: inv.meta.TenantID,
		Status: a.status, ErrorType: a.errorType, Tracing: s.tracing(inv),
		Metrics: &platformMetrics{
			DurationMs: duration, BilledDurationMs: billed(float64(duration), init),
			MemorySizeMB: size, MaxMemoryUsedMB: &used, InitDurationMs: milliseconds(init),
		},
	}
	if a.followed {
		record.Spans = []platformSpan{newSpan("extensionOverhead", a.idle, now)}
	}
	r.telemetry.tell("report", record)
	r.delayed = false
}

// tellDemise tells what is still untold when a run comes to its end, and has all that is told
// leave: of an initialization that did not succeed, of the invocation that ends with it. The
// caller holds the lock.
func (s *supervisor) tellDemise(r *run) {
	defer r.telemetry.hurry()
	status, errorType := s.demise(r)
	r.telemetry.endLines(functionStream)
	inv := r.current
	switch {
	case r.reason == "SPINDOWN":
	case !r.initialized:
		s.tellInitRuntimeDone(r, status, errorType)
		s.reportInit(r, since(r.started), status, errorType)
	case r.state == responding || r.state == failing: // it has answered before it died
		return
	case inv != nil && !inv.delivered.IsZero() && r.telemetry.wants(platformStream):
		a := &inv.account
		a.answering, a.answered = time.Time{}, time.Now()
		a.took, a.followed = since(inv.delivered), r.followed == inv
		r.untold = inv
	}
	if r.untold != nil && r.reason != "SPINDOWN" {
		r.untold.account.status, r.untold.account.errorType = status, errorType
	}
	s.tellReport(r)
}

// At the end extensions get so much time to take what they have not been told yet, before they
// get SHUTDOWN, after which many listen to nothing.
var lastDelivery = 100 * time.Millisecond

// heldBack says whether SHUTDOWN is to wait for that. The caller holds the lock.
func (s *supervisor) heldBack(r *run, now time.Time) bool {
	external := false
	for _, e := range r.extensions {
		external = external || e.id != "" && e.process.lives()
	}
	if r.heldUntil.IsZero() {
		r.heldUntil = now.Add(lastDelivery)
	}
	if !external || until(r.heldUntil, now) == 0 || !r.telemetry.busy() {
		return false
	}
	r.stepAt = r.heldUntil
	return true
}

// goOn goes on with the end of a run that has been held back.
func (s *supervisor) goOn(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.stopping && !r.telling && !r.over && !r.runs() {
		s.step(r, time.Now())
		s.loop.ring()
	}
}

// demise says what a run comes to its end of. The caller holds the lock.
func (s *supervisor) demise(r *run) (status, errorType string) {
	switch {
	case r.reason == "TIMEOUT" && r.initType == "":
		return "timeout", ""
	case r.initType != "":
		return "error", r.initType
	case r.errorType != "":
		return "error", r.errorType
	case r.cause == "outOfMemory", r.dead && r.exit.Signaled() &&
		r.exit.Signal() == syscall.SIGKILL && s.meter.oomKills() > r.oomKills:
		return "error", "Runtime.OutOfMemory"
	case r.cause == "invalidEntrypoint":
		return "error", "Runtime.InvalidEntrypoint"
	case r.cause == "invalidWorkingDir":
		return "error", "Runtime.InvalidWorkingDir"
	}
	return "error", "Runtime.ExitError"
}

// duration is that of an invocation so far. It begins with the START where that happened inside
// of it; one that was late has lasted as long as it may.
func (s *supervisor) duration(r *run, inv *invocation) milliseconds {
	switch {
	case inv.account.status == "timeout":
		return milliseconds(s.config.TimeoutMs)
	case r.delayed:
		return milliseconds(inv.account.took + inMs(inv.delivered.Sub(r.started)))
	}
	return milliseconds(inv.account.took)
}

// tracing is what events tell of a trace that is sampled, of a function with active tracing.
func (s *supervisor) tracing(inv *invocation) *platformTracing {
	if !s.config.ActiveTracing {
		return nil
	}
	parts := map[string]string{}
	for _, part := range strings.Split(inv.meta.TraceID, ";") {
		name, value, _ := strings.Cut(part, "=")
		parts[name] = value
	}
	if parts["Sampled"] != "1" || parts["Root"] == "" || parts["Parent"] == "" {
		return nil
	}
	return &platformTracing{"X-Amzn-Trace-Id",
		"Root=" + parts["Root"] + ";Parent=" + parts["Parent"] + ";Sampled=1"}
}

// billed is in whole ms, rounded up, of durations as they are printed: with two decimals.
func billed(durations ...float64) int64 {
	hundredths := 0.0
	for _, ms := range durations {
		printed, _ := strconv.ParseFloat(strconv.FormatFloat(ms, 'f', 2, 64), 64)
		hundredths += math.Round(printed * 100)
	}
	return int64(math.Ceil(hundredths / 100))
}

// reportedType is the type that a runtime has sent, if it is one.
func reportedType(sent, otherwise string) string {
	for _, category := range []string{"Runtime.", "Function."} {
		if reason, ours := cutPrefix(sent, category); ours && len(reason) > 1 &&
			reason[0] >= 'A' && reason[0] <= 'Z' && strings.Trim(reason, letters) == "" {
			return sent
		}
	}
	return otherwise
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
