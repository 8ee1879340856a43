package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// External extensions as processes: how they are started, and the shutdown phase, in which
// the runtime and they get to know that they end. Where no extension has registered there
// is none: everything is killed at once.

var extensionsDirectory = "/opt/extensions"

// Of the phase that external extensions get, so much is for the runtime before them.
const runtimeShare = 0.3

// Of a signal that is sent while all threads are stopped, or wake up, any may become aware. It
// is the main thread that languages have to wake with it, and that the kernel prefers else.
const thawAfter = 5 * time.Millisecond

// A process is one that the init has started.
type process struct {
	pid  int
	dead bool
	exit syscall.WaitStatus
}

func (p *process) lives() bool { return p.pid > 0 && !p.dead }

// signal signals the process and what it has left in its group.
func (p *process) signal(signal syscall.Signal) {
	if p.lives() {
		_ = syscall.Kill(-p.pid, signal)
	}
}

// notForExtensions are the variables that a runtime has and extensions have not.
var notForExtensions = map[string]bool{
	"AWS_EXECUTION_ENV": true, "AWS_LAMBDA_LOG_GROUP_NAME": true,
	"AWS_LAMBDA_LOG_STREAM_NAME": true, "AWS_XRAY_CONTEXT_MISSING": true,
	"AWS_XRAY_DAEMON_ADDRESS": true, "LAMBDA_RUNTIME_DIR": true, "LAMBDA_TASK_ROOT": true,
	"_AWS_XRAY_DAEMON_ADDRESS": true, "_AWS_XRAY_DAEMON_PORT": true, "_HANDLER": true,
	recordsName: true,
}

func extensionEnviron(config *configureMeta, api string) []string {
	var list []string
	for _, item := range environ(config, api) {
		if name, _, _ := strings.Cut(item, "="); !notForExtensions[name] {
			list = append(list, item)
		}
	}
	return list
}

// extensionFiles lists what is to be started: every file, as on AWS, so that one which
// cannot be executed is told of.
func extensionFiles() []string {
	entries, err := os.ReadDir(extensionsDirectory)
	if err != nil {
		return nil
	}
	var files []string
	for _, entry := range entries {
		file := filepath.Join(extensionsDirectory, entry.Name())
		if info, err := os.Stat(file); err != nil || !info.IsDir() {
			files = append(files, file)
		}
	}
	sort.Strings(files)
	return files
}

// launch starts the external extensions; the runtime is started when all have registered.
// The caller holds the lock.
func (s *supervisor) launch(r *run, files []string) error {
	lines := &wholeLines{send: func(data []byte) {
		r.telemetry.print(extensionStream, data)
		s.channel.hold(kindLog, logMeta{Holds: "lines"}, data)
	}}
	var writer int
	var err error
	if r.extensionOutput, writer, err = newOutput(s.loop, lines.write); err != nil {
		return err
	}
	r.extensionLines = lines
	defer syscall.Close(writer)
	s.listenTo(r.extensionOutput)
	environment := extensionEnviron(s.config, s.listener.Addr().String())
	directory := s.config.WorkingDirectory
	if info, err := os.Stat(directory); err != nil || !info.IsDir() {
		directory = "/" // it is the runtime that is told of
	}
	output := []uintptr{uintptr(writer), uintptr(writer)}
	for _, file := range files {
		e := &extension{name: filepath.Base(file), state: extensionStarted}
		r.extensions = append(r.extensions, e)
		if len(r.extensions) > maxExtensions {
			s.failToLaunch(r, e, "TooManyExtensions", fmt.Sprintf("Extension limit (%d) reached", maxExtensions))
			return nil
		}
		e.process.pid, err = fork(s.config, file, []string{file}, directory, environment, output)
		if err != nil {
			errorType := "UnknownError"
			if errors.Is(err, os.ErrPermission) {
				errorType = "PermissionDenied"
			}
			s.failToLaunch(r, e, errorType, fmt.Sprintf("fork/exec %s: %v", file, err))
			return nil
		}
	}
	return nil
}

func (s *supervisor) failToLaunch(r *run, e *extension, errorType, description string) {
	e.state, e.errorType, e.process.pid = extensionNotStarted, errorType, 0
	r.description = description
	s.fail(r, e, "Extension.LaunchError")
}

// startRuntimeLast starts the runtime once every external extension has registered. The
// caller holds the lock.
func (s *supervisor) startRuntimeLast(r *run) {
	if r.pid != 0 || r.stopping {
		return
	}
	for _, e := range r.extensions {
		if e.state == extensionStarted {
			return
		}
	}
	if refused := s.startRuntime(r); refused != nil {
		r.cause, r.description = refused.cause, refused.description
		s.shutDown(r, "FAILURE")
	}
}

// fail ends the run because of an extension, of the first one that is to blame. The caller
// holds the lock.
func (s *supervisor) fail(r *run, e *extension, kind string) {
	if r.cause == "" && !r.dead && !r.stopping {
		r.cause, r.blamed, r.errorType = "extension", e, kind
	}
	s.shutDown(r, "FAILURE")
}

// why describes what ended a run.
func (r *run) why() string {
	status := r.exit
	switch {
	case r.description != "":
		return r.description
	case r.blamed == nil:
		return describe(status)
	case !r.blamed.internal():
		status = r.blamed.process.exit
	}
	if status.Signaled() {
		return describe(status)
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

// stop ends a run because the control plane says so. The caller holds the lock.
func (s *supervisor) stop(r *run, reason string) {
	if r.cause == "" && !r.dead {
		r.cause = "killed"
	}
	s.shutDown(r, reason)
}

// overrun ends a run whose processes hold too much memory: the runtime first, so that
// extensions have their time if that was enough. The caller holds the lock.
func (s *supervisor) overrun(r *run) {
	if len(r.extensions) == 0 || !r.runs() {
		s.killRun("outOfMemory")
		return
	}
	if r.cause == "" {
		r.cause = "outOfMemory"
	}
	_ = syscall.Kill(-r.pid, syscall.SIGKILL) // that it dies begins the shutdown phase
}

// runs says whether the runtime lives.
func (r *run) runs() bool { return r.pid > 0 && !r.dead }

// shutDown begins the end of a run. The caller holds the lock.
func (s *supervisor) shutDown(r *run, reason string) {
	if r.stopping {
		return
	}
	r.stopping, r.reason = true, reason
	if r.runs() {
		r.state = stopping // but what the dead have sent still counts
	}
	s.tellDemise(r)
	var ms int64
	external := false
	for _, e := range r.extensions {
		if e.id != "" && ms == 0 {
			ms = s.config.InternalShutdownMs
		}
		if e.id != "" && !e.internal() {
			ms, external = s.config.ExternalShutdownMs, true
		}
	}
	if ms == 0 {
		r.signal(syscall.SIGKILL)
		return
	}
	now, left := time.Now(), time.Duration(ms)*time.Millisecond
	r.killAt, r.stepAt = now.Add(left), now
	r.freezeAt, r.lookAt = time.Time{}, now.Add(pause(0))
	s.listenTo(r.output)
	if r.frozen {
		r.frozen = false
		r.signal(syscall.SIGCONT)
		r.telemetry.resume()
		r.stepAt = now.Add(thawAfter)
	}
	if !external {
		s.tellShutdown(r) // nobody: the runtime goes on until its time is up
	}
	s.step(r, now)
	s.loop.ring()
}

// step goes on with the shutdown phase: when a process has died, or it is time. The caller
// holds the lock.
func (s *supervisor) step(r *run, now time.Time) {
	early := until(r.stepAt, now) != 0
	switch {
	case until(r.killAt, now) == 0:
		r.stepAt = time.Time{}
		r.signal(syscall.SIGKILL)
	case r.telling:
		if !r.lives() {
			r.signal(syscall.SIGKILL) // what they have left
		}
	case !r.runs():
		s.tellShutdown(r)
	case early:
	case !r.asked:
		r.asked = true
		_ = syscall.Kill(-r.pid, syscall.SIGTERM)
		r.stepAt = now.Add(time.Duration(float64(r.killAt.Sub(now)) * runtimeShare))
	default:
		_ = syscall.Kill(-r.pid, syscall.SIGKILL)
		s.tellShutdown(r)
	}
}

// tellShutdown gives the external extensions their last event; those that do not want it
// end here. The caller holds the lock.
func (s *supervisor) tellShutdown(r *run) {
	if s.heldBack(r, time.Now()) {
		return
	}
	r.telling, r.stepAt = true, r.killAt
	event := marshal(shutdownEvent{"SHUTDOWN", r.reason, unixMs(r.killAt)})
	for _, e := range r.extensions {
		switch {
		case !e.process.lives():
		case e.id != "" && e.wants("SHUTDOWN"):
			s.give(e, event)
		case e.state != extensionInitError && e.state != extensionExitError: // these end themselves
			e.process.signal(syscall.SIGKILL)
		}
	}
	if !r.lives() {
		r.signal(syscall.SIGKILL)
	}
}

// lives says whether anything that was started is left. The caller holds the lock.
func (r *run) lives() bool {
	for _, e := range r.extensions {
		if e.process.lives() {
			return true
		}
	}
	return r.runs()
}

// signal signals every process of the run.
func (r *run) signal(signal syscall.Signal) {
	signalAll(r.pid, signal)
	for _, e := range r.extensions {
		if e.process.lives() {
			signalAll(e.process.pid, signal)
		}
	}
}

// bury notes that a process has died. The caller holds the lock.
func (s *supervisor) bury(r *run, pid int, status syscall.WaitStatus) {
	external := false
	for _, e := range r.extensions {
		if pid == e.process.pid {
			e.process.dead, e.process.exit = true, status
			if !r.stopping {
				if e.state.move(onDeath) {
					e.errorType = "Extension.Crash"
				}
				s.fail(r, e, "Extension.Crash")
			}
		}
		external = external || e.process.lives()
	}
	if pid == r.pid {
		r.exit, r.dead = status, true
	}
	switch {
	case pid == r.pid && !external:
		s.killRun("") // a runtime takes with it what it has left
	case pid == r.pid && !r.stopping:
		s.shutDown(r, "FAILURE")
	case r.stopping && !r.killAt.IsZero():
		s.step(r, time.Now())
	}
}

// wholeLines passes lines on when they are whole.
type wholeLines struct {
	send func([]byte)
	held []byte
}

func (l *wholeLines) write(data []byte) {
	end := len(data)
	for end > 0 && data[end-1] != '\n' {
		end--
	}
	if end > 0 {
		l.held = append(l.held, data[:end]...)
		l.flush()
	}
	l.held = append(l.held, data[end:]...)
	if len(l.held) > copyLimit {
		l.flush()
	}
}

// flush passes on what there is.
func (l *wholeLines) flush() {
	if len(l.held) > 0 {
		l.send(l.held)
		l.held = l.held[:0]
	}
}
