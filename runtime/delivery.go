package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
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

const (
	firstRetry = 25 * time.Millisecond
	lastRetry  = time.Second
	// What has come before a subscription, during the init phase, is kept for it: so much.
	backlogItems = 1000
	backlogBytes = 256 << 10
	// A queue holds as many batches.
	queuedBatches = 2
)

// A telemetry has the subscriptions of one run. Its lock is taken under the supervisor's,
// never the other way round, and never while anything is sent.
type telemetry struct {
	objects bool   // lines that are JSON objects are told as such
	wanted  uint32 // a streamSet; read without the lock

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

// A subscriber is an extension that has subscribed. Guarded by the telemetry's lock.
type subscriber struct {
	subscription
	extension string // its identifier
	of        *telemetry
	wake      chan struct{}

	queue        [][]byte
	bytes        int
	oldest       time.Time // came the first of the queue
	dropped      int
	droppedBytes int
	urgent       bool // nothing waits for more any longer
	sending      bool
	idle         chan struct{} // closed once nothing is left, where somebody waits for that
	conn         net.Conn      // what is in use, for close
}

func newTelemetry(objects bool) *telemetry {
	return &telemetry{
		objects: objects, wanted: uint32(allStreams), open: true, ended: make(chan struct{}),
		lines: map[streamSet]*lineReader{functionStream: {}, extensionStream: {}},
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
// already is replaced: refused says why it cannot be.
func (t *telemetry) subscribe(extension, name string, sub subscription) (refused string) {
	t.mu.Lock()
	for _, s := range t.subscribers {
		if s.extension == extension {
			defer t.mu.Unlock()
			if s.api != sub.api {
				return "the extension has subscribed to the " + s.api.name + " API already"
			}
			s.subscription = sub
			if s.conn != nil {
				_ = s.conn.Close() // what is under way is sent again
				s.conn = nil
			}
			s.signal()
			return ""
		}
	}
	s := &subscriber{subscription: sub, extension: extension, of: t, wake: make(chan struct{}, 1)}
	t.subscribers = append(t.subscribers, s)
	for i := range t.backlog {
		s.add(&t.backlog[i])
	}
	s.dropped, s.droppedBytes = t.lost, t.lostBytes
	t.mu.Unlock()
	go s.run()
	t.tell(sub.api.subscription, &platformRecord{Name: name, State: "Subscribed", Types: sub.types})
	return ""
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

// flush has all that is queued, and all that still comes, leave at once, and waits for that:
// so long at most.
func (t *telemetry) flush(patience time.Duration) {
	t.mu.Lock()
	var busy []chan struct{}
	for _, s := range t.subscribers {
		s.urgent = true
		if len(s.queue) > 0 || s.sending {
			if s.idle == nil {
				s.idle = make(chan struct{})
			}
			busy = append(busy, s.idle)
		}
	}
	t.signal()
	t.mu.Unlock()
	enough := time.NewTimer(patience)
	defer enough.Stop()
	for _, idle := range busy {
		select {
		case <-idle:
		case <-t.ended:
			return
		case <-enough.C:
			return
		}
	}
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

// add queues an event, if it is wanted and there is room. The caller holds the lock.
func (s *subscriber) add(e *telemetryEvent) {
	if s.streams&e.stream == 0 {
		return
	}
	text := e.render(s.schema, s.of.objects)
	if text == nil {
		return
	}
	if len(s.queue) >= queuedBatches*s.maxItems ||
		len(s.queue) > 0 && s.bytes+len(text) > queuedBatches*s.maxBytes {
		s.dropped++
		s.droppedBytes += len(text)
		return
	}
	if len(s.queue) == 0 {
		s.oldest = e.at
		s.signal() // there is a time to wait for
	}
	s.queue = append(s.queue, text)
	s.bytes += len(text)
	if s.full() {
		s.signal()
	}
}

func (s *subscriber) full() bool {
	return len(s.queue) >= s.maxItems || s.bytes >= s.maxBytes
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run delivers until the run ends.
func (s *subscriber) run() {
	for {
		batch := s.next()
		if batch == nil {
			return
		}
		for pause := firstRetry; ; pause = longer(pause) {
			if s.deliver(batch) == nil {
				break
			}
			if !s.retry(pause) {
				return
			}
		}
	}
}

// retry waits before the next attempt, which is of no use while the processes are stopped.
func (s *subscriber) retry(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-s.of.ended:
		return false
	case <-timer.C:
	}
	for {
		s.of.mu.Lock()
		paused := s.of.paused
		s.of.mu.Unlock()
		if !paused || !s.rest(forever) {
			return !paused
		}
	}
}

func longer(pause time.Duration) time.Duration {
	if pause *= 2; pause > lastRetry {
		return lastRetry
	}
	return pause
}

// next waits for a batch that is due; nil: there is none any more.
func (s *subscriber) next() [][]byte {
	for {
		s.of.mu.Lock()
		wait := s.wait(time.Now())
		if wait == 0 {
			defer s.of.mu.Unlock()
			return s.take()
		}
		s.sending = false
		if len(s.queue) == 0 && s.idle != nil {
			close(s.idle)
			s.idle = nil
		}
		s.of.mu.Unlock()
		if !s.rest(wait) {
			return nil
		}
	}
}

const forever = time.Duration(-1)

// wait says how long the queue may still grow. The caller holds the lock.
func (s *subscriber) wait(now time.Time) time.Duration {
	switch {
	case s.of.paused || len(s.queue) == 0 && s.dropped == 0:
		return forever
	case s.urgent || s.full() || len(s.queue) == 0:
		return 0
	}
	if left := s.timeout - now.Sub(s.oldest); left > 0 {
		return left
	}
	return 0
}

// take removes a batch from the queue. The caller holds the lock.
func (s *subscriber) take() [][]byte {
	count, bytes := 0, 0
	for count < len(s.queue) && count < s.maxItems {
		bytes += len(s.queue[count])
		if count > 0 && bytes > s.maxBytes {
			bytes -= len(s.queue[count])
			break
		}
		count++
	}
	batch := append([][]byte(nil), s.queue[:count]...)
	s.queue = append([][]byte(nil), s.queue[count:]...)
	s.bytes -= bytes
	if len(s.queue) == 0 && s.dropped > 0 {
		// It comes where they are missing: after all that had room.
		told := telemetryEvent{at: time.Now(), name: "logsDropped", record: &platformRecord{
			Reason:         "Consumer seems to have fallen behind as it has not acknowledged receipt of logs.",
			DroppedRecords: s.dropped, DroppedBytes: s.droppedBytes,
		}}
		batch = append(batch, told.render(s.schema, false))
		s.dropped, s.droppedBytes = 0, 0
	}
	s.sending = true
	return batch
}

// rest waits for a while, or for a signal where that has no end; false: the run has ended.
func (s *subscriber) rest(wait time.Duration) bool {
	var over <-chan time.Time
	if wait != forever {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-s.of.ended:
		return false
	case <-s.wake:
	case <-over:
	}
	return true
}

func (s *subscriber) deliver(batch [][]byte) error {
	s.of.mu.Lock()
	sub, conn := s.subscription, s.conn
	s.of.mu.Unlock()
	if conn == nil {
		address := net.JoinHostPort("127.0.0.1", fmt.Sprint(sub.port))
		var err error
		if conn, err = net.Dial("tcp4", address); err != nil {
			return err
		}
		if !s.use(conn) {
			return net.ErrClosed
		}
	}
	if sub.method == "" {
		_, err := conn.Write(joined(batch, "", "\n", "\n"))
		if err != nil {
			s.drop(conn)
		}
		return err
	}
	defer s.drop(conn)
	return post(conn, sub, joined(batch, "[", ",", "]"))
}

// use keeps the connection where end finds it; false: it came too late.
func (s *subscriber) use(conn net.Conn) bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	select {
	case <-s.of.ended:
		_ = conn.Close()
		return false
	default:
		s.conn = conn
		return true
	}
}

func (s *subscriber) drop(conn net.Conn) {
	s.of.mu.Lock()
	s.conn = nil
	s.of.mu.Unlock()
	_ = conn.Close()
}

func joined(batch [][]byte, first, between, last string) []byte {
	size := len(first) + len(last)
	for _, text := range batch {
		size += len(text) + len(between)
	}
	out := append(make([]byte, 0, size), first...)
	for i, text := range batch {
		if i > 0 {
			out = append(out, between...)
		}
		out = append(out, text...)
	}
	return append(out, last...)
}

// post sends a batch over a connection of its own and reads the answer to its end: a server
// whose answer is cut off may take that for a failure.
func post(conn net.Conn, sub subscription, body []byte) error {
	sum := sha256.Sum256(body)
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: sandbox.localdomain:%d\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nSequence-Id: %s\r\n"+
		"Connection: close\r\n\r\n",
		sub.method, sub.target, sub.port, len(body), base64.StdEncoding.EncodeToString(sum[:]))
	if _, err := conn.Write(append([]byte(head), body...)); err != nil {
		return err
	}
	answer := newStream(conn)
	text, err := answer.block()
	if err != nil {
		return err
	}
	start, text := cutLine(text)
	fields := strings.SplitN(start, " ", 3)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/1.") {
		return errMalformed
	}
	header, err := parseFields(text)
	if err != nil {
		return err
	}
	if header.get("Content-Length") == "" && header.get("Transfer-Encoding") == "" {
		_, _ = io.Copy(io.Discard, answer)
	} else if rest, err := answer.newBody(header); err == nil {
		_ = rest.discard()
	}
	if fields[1] >= "400" {
		return fmt.Errorf("the subscriber answers %s", start)
	}
	return nil
}
