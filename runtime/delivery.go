package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// How one subscriber's batches get to it.

const (
	firstRetry = 25 * time.Millisecond
	lastRetry  = time.Second
	// A queue holds as many batches.
	queuedBatches = 2
)

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
	conn         net.Conn // what is in use, for end
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
			s.sending = true
			return s.take()
		}
		delivered := s.sending && s.urgent
		s.sending = false
		s.of.mu.Unlock()
		if delivered {
			s.of.delivered()
		}
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
	whole := net.Buffers{[]byte(head), body}
	if _, err := whole.WriteTo(conn); err != nil {
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
