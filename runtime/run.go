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
	oomKills   int64 // of the container when the run began

	state   state
	current *invocation // has no RESULT yet
	latest  string      // id of the invocation that was delivered last
	parked  []*client   // wait in GET /next
	frozen  bool

	// When the loop is to do what; zero: not at all.
	freezeAt time.Time
	listenAt time.Time // to its output, if nothing drains it before
	lookAt   time.Time // at the memory

	cause   string             // why it was killed, once it was
	exit    syscall.WaitStatus // once dead
	dead    bool
	over    bool // everything is dead; no new client
	done    chan struct{}
	clients map[int]*client // by descriptor
	served  sync.WaitGroup  // one for each client
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
	}
	writer, err := s.listen(r)
	if err != nil {
		return err
	}
	pid, err := spawn(s.config, s.listener.Addr().String(), writer)
	_ = syscall.Close(writer)
	var refused *startError
	if errors.As(err, &refused) {
		r.output.close()
		// the only frame that is sent under the lock: nothing lives that could need it
		s.channel.send(kindExited, exitedMeta{
			Generation: meta.Generation, Cause: refused.cause, Description: refused.description,
		}, nil)
		return nil
	}
	r.pid = pid
	s.run = r
	s.listenTo(r.output)
	r.lookAt = time.Now().Add(pause(0))
	go s.reap(r)
	return nil
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
	signalAll(s.run.pid, syscall.SIGKILL)
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
		case pid == r.pid:
			s.mu.Lock()
			r.exit, r.dead = status, true
			s.mu.Unlock()
			s.kill("") // a runtime takes with it what it has left
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
	r.listenAt = time.Time{}
	s.mu.Unlock()
	r.drain()
	s.segments.drain()
	r.output.close()
	_, peak := s.meter.sample()
	kernelKills := s.meter.oomKills()

	s.mu.Lock()
	meta := exitedMeta{
		Generation:     r.generation,
		Cause:          r.cause,
		Description:    describe(r.exit),
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
	s.mu.Unlock()
	s.channel.send(kindExited, meta, nil)
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
		s.killRun("outOfMemory")
	}
	r.lookAt = at.Add(pause(limit - now))
}

func since(t time.Time) float64 {
	return float64(time.Since(t)) / float64(time.Millisecond)
}
