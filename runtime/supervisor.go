package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const taskDirectory = "/var/task"

var errProtocol = errors.New("protocol broken")

// A supervisor owns what happens: the one runtime, the one invocation, and who
// waits for what. Every decision is made under its lock, so that an event that
// arrives while the processes are being stopped finds them either running or
// stopped, never in between. Nothing that can block is done under the lock.
type supervisor struct {
	channel  *channel
	listener net.Listener
	arrivals syscall.RawConn // the listener's socket
	abandon  func(error)     // ends the process: the platform's side is broken
	meter    *meter
	segments *segments
	deaths   chan os.Signal

	mu       sync.Mutex
	config   *configureMeta
	run      *run        // nil while nothing but the init lives
	watch    *time.Timer // looks at the memory while anything can run
	watching bool
}

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

	cause   string             // why it was killed, once it was
	exit    syscall.WaitStatus // once dead
	dead    bool
	over    bool // everything is dead; no new client
	done    chan struct{}
	clients map[*client]struct{}
	served  sync.WaitGroup // one for each client
}

type invocation struct {
	meta      invokeMeta
	payload   []byte
	delivered time.Time // zero until the runtime has it

	window int64         // bytes that may still be sent in CHUNKs
	opened chan struct{} // one signal when the window, which was shut, has opened
	broken bool          // its streamed response broke off
}

func newSupervisor(conn net.Conn, listener net.Listener, abandon func(error)) *supervisor {
	s := &supervisor{listener: listener, abandon: abandon, meter: newMeter(),
		deaths: watchChildren()}
	s.channel = newChannel(conn, abandon)
	s.segments = &segments{send: func(meta segmentMeta, data []byte) {
		s.channel.send(kindSegment, meta, data)
	}}
	s.watch = time.AfterFunc(time.Hour, s.look)
	s.watch.Stop()
	return s
}

// serve follows the control plane until it closes the channel. Whatever the
// reason, nothing is left alive.
func (s *supervisor) serve() error {
	defer s.kill("")
	var err error
	if s.arrivals, err = listen(s.listener); err != nil {
		return err
	}
	go s.accept()
	s.channel.send(kindHello, helloMeta{Protocol: 1}, nil)
	for {
		f, err := s.channel.receive()
		if err == nil {
			err = s.obey(f)
		}
		if closed(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *supervisor) obey(f frame) error {
	switch f.kind {
	case kindConfigure:
		meta := &configureMeta{}
		if err := decode(f, meta); err != nil {
			return err
		}
		return s.configure(meta, f.payload)
	case kindStart:
		var meta startMeta
		if err := decode(f, &meta); err != nil {
			return err
		}
		return s.start(meta)
	case kindInvoke:
		inv := &invocation{payload: f.payload, opened: make(chan struct{}, 1)}
		if err := decode(f, &inv.meta); err != nil {
			return err
		}
		inv.window = inv.meta.WindowBytes
		return s.invoke(inv)
	case kindMore:
		var meta moreMeta
		if err := decode(f, &meta); err != nil {
			return err
		}
		s.more(meta)
		return nil
	case kindKill:
		var meta killMeta
		if err := decode(f, &meta); err != nil {
			return err
		}
		s.mu.Lock()
		stale := s.run == nil || s.run.generation != meta.Generation
		s.mu.Unlock()
		if !stale { // only this goroutine starts runs, so it is still the same or none
			s.kill("killed")
		}
		return nil
	}
	return fmt.Errorf("%w: a frame of kind %d", errProtocol, f.kind)
}

func (s *supervisor) configure(config *configureMeta, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config != nil {
		return fmt.Errorf("%w: a second CONFIGURE", errProtocol)
	}
	if config.UID == 0 || config.GID == 0 {
		return fmt.Errorf("%w: a runtime must not be root", errProtocol)
	}
	if len(payload) > 0 {
		if err := unpack(payload, taskDirectory); err != nil {
			return fmt.Errorf("unpacking the code: %w", err)
		}
	}
	s.config = config
	return nil
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
		clients:    map[*client]struct{}{},
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
	s.watchMemory()
	go r.output.relay()
	go s.reap(r)
	return nil
}

// listen makes the run's output and returns the runtime's end of it.
func (s *supervisor) listen(r *run) (writer int, err error) {
	log := func(data []byte) { s.channel.send(kindLog, nil, data) }
	if !s.config.TelemetryLog {
		r.output, writer, err = newOutput(log)
		return writer, err
	}
	reader := &recordReader{print: log, record: func(meta logMeta, data []byte) {
		s.channel.send(kindLog, meta, data)
	}}
	if r.output, writer, err = newOutput(reader.write); err == nil {
		r.output.flush = reader.flush
	}
	return writer, err
}

func (s *supervisor) invoke(inv *invocation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.run
	if r == nil {
		return nil // the EXITED that the control plane has not seen yet answers it
	}
	if r.current != nil {
		return fmt.Errorf("%w: an INVOKE during an invocation", errProtocol)
	}
	r.current = inv
	s.segments.allow()
	s.advance(r)
	return nil
}

// advance gives the event to the runtime that waits for one, or stops everything
// when there is none. The caller holds the lock.
func (s *supervisor) advance(r *run) {
	if len(r.parked) == 0 || (r.state != ready && r.state != running) || r.over {
		return
	}
	if r.current == nil {
		if s.config.Freeze && !r.frozen {
			r.frozen = true
			signalAll(r.pid, syscall.SIGSTOP)
		}
		return
	}
	inv := r.current
	if r.state.move(onDelivery) {
		inv.delivered = time.Now()
		r.latest = inv.meta.RequestID
	}
	head := eventHead(&inv.meta, len(inv.payload))
	for _, c := range r.parked {
		c.deliver(head, inv.payload)
	}
	r.parked = nil
	// Continued with the event already there, the runtime wakes once and not twice.
	if r.frozen {
		r.frozen = false
		signalAll(r.pid, syscall.SIGCONT)
		s.watchMemory()
	}
}

// kill ends everything but the init. The first cause is the one that counts.
func (s *supervisor) kill(cause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	_ = s.arrivals.Control(func(fd uintptr) { s.takeIn(int(fd)) })
	r.over = true
	close(r.done)
	for c := range r.clients {
		// what the dead have sent is still read, and counts; then comes the end
		_ = c.conn.CloseRead()
	}
	s.mu.Unlock()
	r.served.Wait()
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
}

// watchMemory makes sure that the memory is watched. The caller holds the lock.
func (s *supervisor) watchMemory() {
	if !s.watching {
		s.watching = true
		s.watch.Reset(pause(0))
	}
}

// look compares the memory in use with the limit, and comes back soon for as long
// as anything can run. Stopping is left to the next look, so that a short
// invocation touches no timer.
func (s *supervisor) look() {
	s.mu.Lock()
	r := s.run
	if r == nil || r.frozen {
		s.watching = false
		s.mu.Unlock()
		return
	}
	limit := s.config.MemoryBytes
	s.mu.Unlock()
	now, _ := s.meter.sample()
	if limit == 0 {
		limit = math.MaxInt64
	}
	if now > limit {
		s.kill("outOfMemory")
	}
	s.watch.Reset(pause(limit - now))
}

func since(t time.Time) float64 {
	return float64(time.Since(t)) / float64(time.Millisecond)
}
