package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// Telemetry on its way to who subscribed: at least once, in order, in batches, with bounded
// memory. A subscriber that does not listen, or answers with an error, is tried again; what
// does not fit meanwhile is dropped, and the subscriber is told how much that was.
//
// Nothing here holds up an invocation: whoever has news leaves them in a queue. Deliveries
// use Go's poller and not the loop, which costs functions without subscribers nothing.

// What has come before a subscription, during the init phase, is kept for it: so much.
const (
	backlogItems = 1000
	backlogBytes = 256 << 10
)

// A telemetry has the subscriptions of one run. Its lock is taken under the supervisor's,
// never the other way round, and never while anything is sent.
type telemetry struct {
	objects   bool        // lines that are JSON objects are told as such
	wanted    uint32      // a streamSet; read without the lock
	delivered func()      // called, without the lock, once there is no hurry any more
	beside    func(int32) // the loop's

	mu          sync.Mutex
	open        bool // the init phase: there may still be subscriptions
	paused      bool // the processes are stopped
	ended       chan struct{}
	subscribers []*subscriber
	backlog     []telemetryEvent
	kept        int // bytes of it
	lost        int // events and bytes that it had no room for
	lostBytes   int
	lines       map[streamSet]*lineReader
}

func newTelemetry(objects bool) *telemetry {
	return &telemetry{
		objects: objects, wanted: uint32(allStreams), open: true, ended: make(chan struct{}),
		lines:  map[streamSet]*lineReader{functionStream: {}, extensionStream: {}},
		beside: func(int32) {},
	}
}

// wants says whether events of a stream are of use to anybody, now or perhaps later.
func (t *telemetry) wants(stream streamSet) bool {
	return streamSet(atomic.LoadUint32(&t.wanted))&stream != 0
}

// tell queues an event of the platform's.
func (t *telemetry) tell(name string, record *platformRecord) {
	if !t.wants(platformStream) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(telemetryEvent{at: time.Now(), stream: platformStream, name: name, record: record})
}

// print queues the lines of what was written, split anywhere.
func (t *telemetry) print(stream streamSet, data []byte) {
	if !t.wants(stream) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[stream].write(data, t.line(stream))
}

// endLines ends what has been printed without a line feed.
func (t *telemetry) endLines(stream streamSet) {
	if !t.wants(stream) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[stream].flush(t.line(stream))
}

// records queues the function's records: of one line each, or of the sizes given.
func (t *telemetry) records(sizes []int, data []byte) {
	if !t.wants(functionStream) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.line(functionStream)
	if len(sizes) == 0 {
		reader := &lineReader{}
		reader.write(data, line)
		reader.flush(line)
	}
	for _, size := range sizes {
		line(data[:size])
		data = data[size:]
	}
}

// line queues lines of a stream. The caller holds the lock.
func (t *telemetry) line(stream streamSet) func([]byte) {
	name := "function"
	if stream == extensionStream {
		name = "extension"
	}
	now := time.Now()
	return func(line []byte) {
		line = append([]byte(nil), line...)
		t.add(telemetryEvent{at: now, stream: stream, name: name, line: line})
	}
}

// add gives an event to everybody who wants it. The caller holds the lock.
func (t *telemetry) add(e telemetryEvent) {
	if t.open {
		const ofRecord = 300 // bytes, about
		size := len(e.line) + ofRecord
		if len(t.backlog) < backlogItems && t.kept+size <= backlogBytes {
			t.backlog = append(t.backlog, e)
			t.kept += size
		} else {
			t.lost++
			t.lostBytes += len(e.line)
		}
	}
	for _, s := range t.subscribers {
		s.add(&e)
	}
}

// subscribe begins a subscription, with what has happened before it. One that an extension has
// already is replaced.
func (t *telemetry) subscribe(extension, name string, sub subscription) *refusal {
	t.mu.Lock()
	if !t.open {
		defer t.mu.Unlock()
		return sub.api.closed()
	}
	for _, s := range t.subscribers {
		if s.extension == extension {
			defer t.mu.Unlock()
			if s.api != sub.api {
				return sub.api.invalid("the extension has subscribed to the " + s.api.name + " API already")
			}
			s.subscription = sub
			if s.conn != nil {
				_ = s.conn.Close() // what is under way is sent again
				s.conn = nil
			}
			s.signal()
			return nil
		}
	}
	s := &subscriber{subscription: sub, extension: extension, of: t, wake: make(chan struct{}, 1)}
	t.subscribers = append(t.subscribers, s)
	for i := range t.backlog {
		s.add(&t.backlog[i])
	}
	s.dropped, s.droppedBytes = t.lost, t.lostBytes
	t.mu.Unlock()
	go func() {
		t.beside(1)
		defer t.beside(-1)
		s.run()
	}()
	t.tell(sub.api.subscription, &platformRecord{Name: name, State: "Subscribed", Types: sub.types})
	return nil
}

// close ends the init phase: who has not subscribed by now never will.
func (t *telemetry) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open, t.backlog = false, nil
	var wanted streamSet
	for _, s := range t.subscribers {
		wanted |= s.streams
	}
	atomic.StoreUint32(&t.wanted, uint32(wanted))
}

// isOpen says whether the init phase lasts.
func (t *telemetry) isOpen() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// pause lets nothing new leave while the processes are stopped; resume ends that.
func (t *telemetry) pause()  { t.setPaused(true) }
func (t *telemetry) resume() { t.setPaused(false) }

func (t *telemetry) setPaused(paused bool) {
	if atomic.LoadUint32(&t.wanted) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = paused
	if !paused {
		t.signal()
	}
}

func (t *telemetry) signal() {
	for _, s := range t.subscribers {
		s.signal()
	}
}

// busy says whether something is still to be delivered.
func (t *telemetry) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.subscribers {
		if s.sending || len(s.queue) > 0 {
			return true
		}
	}
	return false
}

// hurry has all that is queued, and all that still comes, leave at once.
func (t *telemetry) hurry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.subscribers {
		s.urgent = true
	}
	t.signal()
}

// end gives up what has not been delivered: nobody lives to take it.
func (t *telemetry) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.ended)
	for _, s := range t.subscribers {
		if s.conn != nil {
			_ = s.conn.Close()
		}
	}
}
