package main

import "io"

// A streamed response is relayed as it comes, in CHUNK frames. Nothing is read from
// the runtime that the control plane has no room for: whoever is slow makes the
// runtime wait in its own write, and nobody holds more than the window.

// relay reads the runtime's streamed response and ends the invocation.
func (s *supervisor) relay(c *client, req *request, inv *invocation) bool {
	s.loop.stepAside() // a stream takes as long as whoever reads it
	r := c.run
	var head any = chunkMeta{req.header.get("Content-Type")} // of the first CHUNK
	buffer := make([]byte, copyLimit)
	left := inv.meta.StreamBytes
	err := c.proceed(req)
	for err == nil {
		size := s.room(r, inv)
		if size == 0 {
			err = errTruncated
			break
		}
		if size > left {
			size = left + 1 // one more than there may be
		}
		if size > int64(len(buffer)) {
			size = int64(len(buffer))
		}
		var n int
		n, err = c.some(req.body, buffer[:size])
		if int64(n) > left {
			n, err = int(left), errTooLarge
		}
		if n > 0 {
			s.mu.Lock()
			inv.window -= int64(n)
			inv.account.produced += int64(n)
			s.mu.Unlock()
			left -= int64(n)
			s.channel.send(kindChunk, head, buffer[:n])
			head = nil
		}
	}
	switch err {
	case io.EOF:
		meta, payload := midway(req, inv.result("response", req), nil)
		s.conclude(r, meta, payload)
		return s.resume(r, c.answer(req, 202, jsonType, accepted))
	case errTooLarge:
		s.conclude(r, inv.result("tooLarge", req), nil)
		// The rest may have no end: the runtime finds its connection closed.
		req.last, req.body.ended = true, true
		return s.resume(r, c.refuseSize(req, inv.meta.StreamBytes))
	}
	// Why it broke off is told by the runtime's exit, or else by its next request.
	s.mu.Lock()
	inv.broken = true
	s.mu.Unlock()
	s.settleBroken(r)
	c.complain(err)
	return s.resume(r, false)
}

// room waits until something may be sent and says how many bytes; 0 when the runtime
// has died meanwhile.
func (s *supervisor) room(r *run, inv *invocation) int64 {
	for {
		s.mu.Lock()
		window := inv.window
		s.mu.Unlock()
		if window > 0 {
			return window
		}
		select {
		case <-inv.opened:
		case <-r.done:
			return 0
		}
	}
}

// more widens the window of the invocation, if it is still running.
func (s *supervisor) more(meta moreMeta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil || s.run.current == nil || s.run.current.meta.RequestID != meta.RequestID {
		return
	}
	s.run.current.window += meta.Bytes
	select {
	case s.run.current.opened <- struct{}{}:
	default:
	}
}

// settleBroken ends an invocation whose response broke off, once the runtime has
// asked for the next event: it lives, and will not say more.
func (s *supervisor) settleBroken(r *run) {
	s.mu.Lock()
	inv := r.current
	settled := inv != nil && inv.broken && len(r.parked) > 0
	if settled {
		inv.broken = false
	}
	s.mu.Unlock()
	if settled {
		s.conclude(r, inv.result("truncated", nil), nil)
	}
}

// some reads what there is of a body, and waits only when that is nothing.
func (c *client) some(b *body, p []byte) (int, error) {
	n, err := b.Read(p)
	for err == nil && n < len(p) && b.left > 0 && c.waits() {
		var more int
		more, err = b.Read(p[n:])
		n += more
	}
	return n, err
}

// waits says whether the client has sent something that is not read yet.
func (c *client) waits() bool {
	found := c.stream.r < c.stream.w
	if !found {
		found = waiting(c.conn.fd) > 0
	}
	return found
}
