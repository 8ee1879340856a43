package main

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"
)

// A run is the life of a runtime and all it leaves, from START to EXITED.
type run struct {
	generation int
	pid        int
	started    time.Time
	output     *output
	writer     int   // the runtime's end of it, until that is started; then -1
	oomKills   int64 // of the container when the run began

	state   state
	current *invocation // has no RESULT yet
	latest  string      // id of the invocation that was delivered last
	parked  []*client   // wait in GET /next
	frozen  bool

	extensions      []*extension
	extensionOutput *output // nil without external ones
	extensionLines  *wholeLines
	initialized     bool        // the control plane has been told
	followed        *invocation // extensions were told of it, and it is not over
	answered        bool        // its RESULT has been sent

	telemetry *telemetry
	phase     string      // START's
	delayed   bool        // it began inside its first invocation, which is not over
	initTold  bool        // that the runtime has been initialized, or has failed to be
	initType  string      // of the error that the runtime has reported instead
	initMs    float64     // of an initialization that the next report is to tell of
	untold    *invocation // its report is still to come
	heldUntil time.Time   // SHUTDOWN, so that telemetry comes before it

	// When the loop is to do what; zero: not at all.
	freezeAt time.Time
	listenAt time.Time // to its output, if nothing drains it before
	lookAt   time.Time // at the memory
	stepAt   time.Time // in the shutdown phase

	stopping bool      // the shutdown phase has begun
	asked    bool      // the runtime has had SIGTERM
	telling  bool      // it is the extensions' turn
	reason   string    // that they are told
	killAt   time.Time // its end; zero when there is none

	cause       string             // why it was killed, once it was
	errorType   string             // when an extension was the cause
	blamed      *extension         // that it was
	description string             // in place of how the runtime ended
	exit        syscall.WaitStatus // once dead
	dead        bool
	over        bool // everything is dead; no new client
	done        chan struct{}
	clients     map[int]*client // by descriptor
	served      sync.WaitGroup  // one for each client
}

func (s *supervisor) start(meta startMeta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config == nil || s.run != nil {
		return fmt.Errorf("%w: START before CONFIGURE or while a runtime lives", errProtocol)
	}
	r := &run{
		generation: meta.Generation,
		started:    time.Now(),
		oomKills:   s.meter.oomKills(),
		state:      started,
		done:       make(chan struct{}),
		clients:    map[int]*client{},
		telemetry:  s.newTelemetry(),
		phase:      meta.Phase,
		delayed:    meta.Phase == "invoke",
	}
	r.telemetry.delivered = func() { s.goOn(r) }
	s.tellInitStart(r)
	var err error
	if r.writer, err = s.listen(r); err != nil {
		return err
	}
	if files := extensionFiles(); len(files) > 0 {
		if err := s.launch(r, files); err != nil {
			return err
		}
	} else if refused := s.startRuntime(r); refused != nil {
		r.output.close()
		// the only frame that is sent under the lock: nothing lives that could need it
		s.channel.send(kindExited, exitedMeta{
			Generation: meta.Generation, Cause: refused.cause, Description: refused.description,
		}, nil)
		return nil
	}
	s.run = r
	s.listenTo(r.output)
	r.lookAt = time.Now().Add(pause(0))
	go s.reap(r)
	return nil
}

// startRuntime starts the runtime of a run. The caller holds the lock.
func (s *supervisor) startRuntime(r *run) *startError {
	pid, err := spawn(s.config, s.listener.Addr().String(), r.writer)
	r.closeWriter()
	var refused *startError
	if errors.As(err, &refused) {
		return refused
	}
	r.pid = pid
	return nil
}

// closeWriter closes the runtime's end of its output.
func (r *run) closeWriter() {
	if r.writer >= 0 {
		_ = syscall.Close(r.writer)
		r.writer = -1
	}
}

// kill ends everything but the init. The first cause is the one that counts.
func (s *supervisor) kill(cause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killRun(cause)
}

// killRun is kill for a caller that holds the lock.
func (s *supervisor) killRun(cause string) {
	if s.run == nil {
		return
	}
	if s.run.cause == "" && !s.run.dead {
		s.run.cause = cause
	}
	s.run.signal(syscall.SIGKILL)
}

// reap is the one place that waits for processes. It ends when the last has died;
// no other run can have begun by then, so every status it sees is its own run's.
func (s *supervisor) reap(r *run) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD
			s.end(r)
			return
		case pid == 0: // all that are left live
			<-s.deaths
		default:
			if r.telemetry.wants(functionStream) {
				r.drain() // the last lines come before what is told of the end
			}
			s.mu.Lock()
			s.bury(r, pid, status)
			s.mu.Unlock()
		}
	}
}

// end closes the books of a run whose processes are all dead.
func (s *supervisor) end(r *run) {
	s.mu.Lock()
	// a last request may have come over a connection that nobody has seen yet
	s.takeIn()
	r.over = true
	close(r.done)
	for _, c := range r.clients {
		// what the dead have sent is still read, and counts; then comes the end
		c.conn.CloseRead()
		if c.early && !c.held && !c.writing { // no event will come
			c.held = true
			go s.dismiss(c)
		}
	}
	s.mu.Unlock()
	r.served.Wait()
	s.mu.Lock()
	s.hush(r.output)
	if r.extensionOutput != nil {
		s.hush(r.extensionOutput)
	}
	r.listenAt, r.stepAt = time.Time{}, time.Time{}
	r.closeWriter()
	announced := r.initialized
	s.mu.Unlock()
	r.drain()
	if r.extensionOutput != nil {
		r.extensionLines.flush()
		r.extensionOutput.close()
	}
	r.telemetry.end()
	s.segments.drain()
	r.output.close()
	if !announced {
		s.announceAll(r)
	}
	_, peak := s.meter.sample()
	kernelKills := s.meter.oomKills()

	s.mu.Lock()
	meta := exitedMeta{
		Generation:     r.generation,
		Cause:          r.cause,
		Description:    r.why(),
		ErrorType:      r.errorType,
		DurationMs:     since(r.started),
		MaxMemoryBytes: peak,
	}
	if meta.Cause == "" {
		meta.Cause = "exit"
		if r.exit.Signaled() && r.exit.Signal() == syscall.SIGKILL && kernelKills > r.oomKills {
			meta.Cause = "outOfMemory"
		}
	}
	if r.current != nil && !r.current.delivered.IsZero() {
		meta.RequestID = r.current.meta.RequestID
		meta.DurationMs = since(r.current.delivered)
	}
	s.run = nil
	leaving := s.leaving
	s.mu.Unlock()
	s.channel.send(kindExited, meta, nil)
	if leaving {
		s.ended <- nil
	}
	s.loop.ring()
}

// look compares the memory in use with the limit, and comes back soon, for as long as
// anything can run. The caller holds the lock.
func (s *supervisor) look(r *run, at time.Time) {
	limit := s.config.MemoryBytes
	now, _ := s.meter.sample()
	if limit == 0 {
		limit = math.MaxInt64
	}
	if now > limit {
		s.overrun(r)
	}
	r.lookAt = at.Add(pause(limit - now))
}

// since is in ms, and rounded here to the microsecond: what the control plane writes into the log
// and what extensions are told come from the same number.
func since(t time.Time) float64 { return inMs(time.Since(t)) }

func inMs(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond).Microseconds()) / 1000
}
