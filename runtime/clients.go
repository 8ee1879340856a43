package main

import (
	"net"
	"syscall"
)

// Whoever is connected to the Runtime API, and who deals with what they send.

// A client is one connection of the runtime.
type client struct {
	conn   *socket
	stream *stream
	run    *run

	out   []byte // the answer that is being written
	space []byte // for bodies

	// Guarded by the supervisor's lock.
	watched bool // by the loop
	held    bool // somebody deals with its requests
	parked  bool // it waits in GET /next, or for the rest of its event
	writing bool // the rest of its event is being written
	early   bool // it has sent more, or has left, before it had its event whole
	last    bool // it leaves once it has its event

	extension *extension // that it has waited for
}

// listen gives access to the listener's socket, past net.Listener: what has arrived
// has to be taken in at one moment, namely when the runtime has died.
func listen(listener net.Listener) (fd int, err error) {
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return -1, err
	}
	var copied uintptr
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		copied, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return -1, err
	}
	if errno != 0 {
		return -1, errno
	}
	return int(copied), nil
}

// takeIn admits every connection that has arrived. The caller holds the lock.
func (s *supervisor) takeIn() {
	for {
		fd, _, err := syscall.Accept4(s.arrivals, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err == syscall.EINTR || err == syscall.ECONNABORTED {
			continue
		}
		if err != nil {
			return // EAGAIN: that was the last
		}
		s.admit(fd)
	}
}

// admit makes a connection the run's. The caller holds the lock.
func (s *supervisor) admit(fd int) {
	r := s.run
	if r == nil || r.over || len(r.clients) >= maxClients {
		_ = syscall.Close(fd)
		return
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	conn := &socket{fd: fd, stepAside: s.loop.stepAside}
	c := &client{conn: conn, stream: newStream(conn), run: r}
	r.clients[fd] = c
	r.served.Add(1)
	s.watch(c)
}

// watch has the loop tell when the client has sent something. The caller holds the lock.
func (s *supervisor) watch(c *client) {
	if !c.watched {
		c.watched = true
		s.loop.watch(c.conn.fd)
	}
}

// unwatch ends that. The caller holds the lock.
func (s *supervisor) unwatch(c *client) {
	if c.watched {
		c.watched = false
		s.loop.unwatch(c.conn.fd)
	}
}

// hear deals with a client that has sent something, or has left.
func (s *supervisor) hear(c *client) {
	s.mu.Lock()
	if !c.parked {
		c.held = true
		c.conn.waited = false
		s.mu.Unlock()
		s.serveClient(c)
		return
	}
	// A request that it sends too early stays where it is until the event is out.
	left := c.conn.ended()
	c.early = c.writing || !left
	c.held = !c.early
	s.unwatch(c)
	s.mu.Unlock()
	if c.held {
		s.dismiss(c)
	}
}

// serveClient answers a client that is held, for as long as it asks.
func (s *supervisor) serveClient(c *client) {
	for {
		req, err := c.stream.request()
		if err != nil {
			c.complain(err)
			s.dismiss(c)
			return
		}
		if req.body.chunked || req.body.left > keepBody {
			s.loop.stepAside() // it may never end
		}
		if !s.route(c, req) {
			s.dismiss(c)
			return
		}
		if !s.goesOn(c) {
			return
		}
		s.loop.stepAside() // nor may the requests that it sends ahead
	}
}

// goesOn says whether a client that was answered is to be asked at once for more. It is
// let go otherwise.
func (s *supervisor) goesOn(c *client) bool {
	s.mu.Lock()
	unread := c.stream.r < c.stream.w
	switch {
	case c.parked && unread:
		c.early, c.held = true, false
		s.unwatch(c)
	case !c.parked && c.last:
		s.mu.Unlock()
		s.dismiss(c)
		return false
	case !c.parked && unread:
		s.mu.Unlock()
		return true
	default:
		c.held = false
		s.watch(c)
	}
	s.mu.Unlock()
	return false
}

// dismiss closes the connection of a client that is held.
func (s *supervisor) dismiss(c *client) {
	s.mu.Lock()
	s.unwatch(c)
	delete(c.run.clients, c.conn.fd)
	for i, waiting := range c.run.parked {
		if waiting == c {
			c.run.parked = append(c.run.parked[:i], c.run.parked[i+1:]...)
			break
		}
	}
	if c.extension != nil && c.extension.parked == c {
		c.extension.parked = nil
	}
	s.mu.Unlock()
	_ = c.conn.Close()
	c.run.served.Done()
}

// deliver writes an event without waiting for the runtime to take it: what does not fit
// is written in the background. The caller holds the lock.
func (s *supervisor) deliver(c *client, head, payload []byte) {
	n, errno := writeNow(c.conn.fd, head, payload)
	if n == len(head)+len(payload) || errno != 0 && errno != syscall.EAGAIN {
		s.delivered(c) // reading tells of a client that has left
		return
	}
	if n < len(head) {
		head = head[n:]
	} else {
		head, payload = nil, payload[n-len(head):]
	}
	c.writing = true
	go func() {
		_, _ = c.conn.writeBoth(head, payload)
		s.mu.Lock()
		c.writing = false
		s.delivered(c)
		s.mu.Unlock()
	}()
}

// delivered lets a client go on that has its event. The caller holds the lock.
func (s *supervisor) delivered(c *client) {
	c.parked = false
	if c.held || !c.early && !c.last {
		return
	}
	leaves := c.last
	c.held, c.early = true, false
	s.unwatch(c)
	go func() {
		if leaves {
			s.dismiss(c)
		} else {
			s.serveClient(c)
		}
	}()
}
