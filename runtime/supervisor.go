package main

import (
	"errors"
	"fmt"
	"io"
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
	loop     *loop
	channel  *channel
	listener net.Listener
	arrivals int // the listener's socket
	meter    *meter
	segments *segments
	deaths   chan os.Signal
	ended    chan error // why the channel is at its end
	serving  any        // the *client or *output that the loop deals with; only its own
	api      string     // the socket that relay connects to

	mu      sync.Mutex
	config  *configureMeta
	run     *run // nil while nothing but the init lives
	closed  bool // the channel
	leaving bool // the init ends with the run
}

type invocation struct {
	meta      invokeMeta
	payload   []byte
	delivered time.Time // zero until the runtime has it

	window int64         // bytes that may still be sent in CHUNKs
	opened chan struct{} // one signal when the window, which was shut, has opened
	broken bool          // its streamed response broke off

	account account
}

// Back-to-back invocations would be stopped and continued for nothing, and a print would
// wake the init, and the control plane, although the answer that follows brings it along.
const (
	freezeAfter = 5 * time.Millisecond
	listenAfter = 5 * time.Millisecond
)

func newSupervisor(conn *socket, listener net.Listener, abandon func(error)) (*supervisor, error) {
	loop, err := newLoop()
	if err != nil {
		return nil, err
	}
	arrivals, err := listen(listener)
	if err != nil {
		return nil, err
	}
	s := &supervisor{loop: loop, listener: listener, arrivals: arrivals, meter: newMeter(),
		deaths: watchChildren(), ended: make(chan error, 1)}
	s.channel = newChannel(conn, loop, abandon)
	s.segments = &segments{lock: loop.lock, send: func(meta segmentMeta, data []byte) {
		s.channel.send(kindSegment, meta, data)
	}}
	loop.ready, loop.due, loop.aside = s.ready, s.due, s.aside
	return s, nil
}

// serve follows the control plane until it closes the channel. Whatever the
// reason, nothing is left alive.
func (s *supervisor) serve() error {
	defer s.kill("")
	s.channel.send(kindHello, helloMeta{Protocol: 1}, nil)
	s.loop.watch(s.channel.socket.fd)
	s.loop.watch(s.arrivals)
	go s.loop.run()
	return <-s.ended
}

// ready deals with a descriptor that can be read.
func (s *supervisor) ready(fd int) {
	s.mu.Lock()
	r := s.run
	var c *client
	var o *output
	if fd == s.arrivals {
		s.takeIn()
	} else if r != nil {
		c = r.clients[fd]
		if fd == r.output.fd {
			o = r.output
		} else if r.extensionOutput != nil && fd == r.extensionOutput.fd {
			o = r.extensionOutput
		}
	}
	s.mu.Unlock()
	switch {
	case fd == s.channel.socket.fd:
		s.follow()
	case c != nil:
		s.serving = c
		s.hear(c)
	case o != nil:
		s.serving = o
		s.relayOutput(r, o)
	}
}

// aside says whether what the loop deals with may be left to a goroutine of its own:
// not the frames of the control plane, which come one after another.
func (s *supervisor) aside() bool {
	switch what := s.serving.(type) {
	case *client:
		s.mu.Lock()
		s.unwatch(what)
		s.mu.Unlock()
	case *output:
		s.mu.Lock()
		s.hush(what)
		s.mu.Unlock()
	default:
		return false
	}
	return true
}

// follow does what the control plane says.
func (s *supervisor) follow() {
	s.serving = nil
	for {
		f, err := s.channel.receive()
		if err == nil {
			err = s.obey(f)
		}
		if err != nil {
			s.loop.unwatch(s.channel.socket.fd)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
			s.ended <- err
			return
		}
		if s.channel.reader.Buffered() == 0 {
			return
		}
	}
}

// due does what it is time for, and says how many ms the loop may wait.
func (s *supervisor) due() int64 {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.run
	switch {
	case r == nil && s.closed:
		return stop
	case r == nil:
		return never
	}
	if until(r.freezeAt, now) == 0 {
		r.freezeAt = time.Time{}
		s.freeze(r)
	}
	if until(r.listenAt, now) == 0 {
		r.listenAt = time.Time{}
		s.listenTo(r.output)
	}
	if until(r.lookAt, now) == 0 {
		s.look(r, now)
	}
	if until(r.stepAt, now) == 0 {
		s.step(r, now)
	}
	timeout := int64(never)
	for _, at := range []time.Time{r.freezeAt, r.listenAt, r.lookAt, r.stepAt} {
		if left := until(at, now); left >= 0 && (timeout < 0 || left < timeout) {
			timeout = left
		}
	}
	return timeout
}

// relayOutput sends what has come while nobody was about to drain it.
func (s *supervisor) relayOutput(r *run, o *output) {
	more := o.relay()
	s.channel.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !more || r.over {
		s.hush(o)
	} else if o != r.output || r.listenAt.IsZero() {
		s.listenTo(o)
	}
}

// listenTo has the loop relay what is printed. The caller holds the lock.
func (s *supervisor) listenTo(o *output) {
	if !o.watched {
		o.watched = true
		s.loop.watch(o.fd)
	}
}

// hush ends that. The caller holds the lock.
func (s *supervisor) hush(o *output) {
	if o.watched {
		o.watched = false
		s.loop.unwatch(o.fd)
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
		defer s.mu.Unlock()
		if r := s.run; r != nil && r.generation == meta.Generation {
			s.stop(r, meta.Reason)
		}
		return nil
	case kindShutdown:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leaving = true
		if s.run == nil {
			s.ended <- nil
		} else {
			s.stop(s.run, "SPINDOWN")
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
	if config.Endpoint != "" {
		if err := relay(config.Endpoint, s.api, s.loop.beside); err != nil {
			return err
		}
	}
	s.config = config
	return nil
}

// listen makes the run's output and returns the runtime's end of it.
func (s *supervisor) listen(r *run) (writer int, err error) {
	log := func(data []byte) {
		r.telemetry.print(functionStream, data)
		s.channel.hold(kindLog, nil, data)
	}
	if !s.config.TelemetryLog {
		r.output, writer, err = newOutput(s.loop, log)
		return writer, err
	}
	reader := &recordReader{print: log, record: func(meta logMeta, data []byte) {
		r.telemetry.records(meta.Sizes, data)
		s.channel.hold(kindLog, meta, data)
	}}
	if r.output, writer, err = newOutput(s.loop, reader.write); err == nil {
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
	if r.current != nil || r.followed != nil {
		return fmt.Errorf("%w: an INVOKE during an invocation", errProtocol)
	}
	r.current = inv
	s.segments.allow()
	if len(r.extensions) > 0 {
		s.tellInvoke(r, inv)
	}
	s.advance(r)
	return nil
}

// advance gives the event to the runtime that waits for one, or sees that everything is
// stopped when there is none. The caller holds the lock.
func (s *supervisor) advance(r *run) {
	if len(r.parked) == 0 || (r.state != ready && r.state != running) || r.over || r.stopping {
		return
	}
	now := time.Now()
	if r.current == nil {
		if s.config.Freeze && !r.frozen && !r.awaits() {
			r.freezeAt = now.Add(freezeAfter)
			s.loop.ring()
		}
		return
	}
	inv := r.current
	if r.state.move(onDelivery) {
		inv.delivered = now
		r.latest = inv.meta.RequestID
		s.tellStart(r, inv)
	}
	head := eventHead(&inv.meta, len(inv.payload))
	for _, c := range r.parked {
		s.deliver(c, head, inv.payload)
	}
	r.parked = nil
	r.freezeAt, r.listenAt = time.Time{}, now.Add(listenAfter)
	s.hush(r.output)
	// Continued with the event already there, the runtime wakes once and not twice.
	if r.frozen {
		r.frozen = false
		r.signal(syscall.SIGCONT)
		r.telemetry.resume()
		r.lookAt = now.Add(pause(0))
	}
	s.loop.ring()
}

// freeze stops everything, if there is still no event. The caller holds the lock.
func (s *supervisor) freeze(r *run) {
	if r.current == nil && len(r.parked) > 0 && !r.over && !r.stopping {
		r.frozen, r.lookAt = true, time.Time{}
		r.signal(syscall.SIGSTOP)
		r.telemetry.pause()
	}
}
