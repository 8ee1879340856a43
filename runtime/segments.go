package main

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Where X-Ray's SDKs find what they take for its daemon, inside the container.
const daemonAddress = "127.0.0.1:2000"

// What one invocation may send, so that a function that floods the socket costs the
// control plane no more than that. What comes on top is read, and dropped.
const (
	invocationSegments     = 1000
	invocationSegmentBytes = 512 << 10
)

// As many datagrams are taken at a time: more than a socket's buffer holds of the
// smallest, so that whoever sends without end cannot hold up an answer.
const segmentsAtOnce = 300

// A segments is the socket that X-Ray's SDKs send to. Datagrams are passed on as they
// are, never looked into.
type segments struct {
	send func(segmentMeta, []byte)
	raw  syscall.RawConn // nil: it does not listen
	fd   int

	count, bytes atomic.Int64 // what may still be sent

	mu      sync.Mutex
	buffer  []byte
	dropped int // not told yet
}

// listen has datagrams passed on from now on.
func (s *segments) listen(address string) error {
	conn, err := net.ListenPacket("udp4", address)
	if err != nil {
		return err
	}
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) { s.fd = int(fd) }); err != nil {
		return err
	}
	s.buffer = make([]byte, 64<<10) // no datagram is larger
	s.raw = raw
	go s.relay()
	return nil
}

// allow lets another invocation send. It never waits.
func (s *segments) allow() {
	s.count.Store(invocationSegments)
	s.bytes.Store(invocationSegmentBytes)
}

func (s *segments) relay() {
	for {
		err := s.raw.Read(func(uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.take() // false: wait until there is something
		})
		if err != nil {
			return
		}
	}
}

// drain sends what has arrived by now, and tells what was dropped.
func (s *segments) drain() {
	if s.raw == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take()
	if s.dropped > 0 {
		s.send(segmentMeta{Dropped: s.dropped}, nil)
		s.dropped = 0
	}
}

// take sends what can be read, and says whether more may be there. The caller holds
// the lock.
func (s *segments) take() (more bool) {
	for i := 0; i < segmentsAtOnce; i++ {
		n, _, err := syscall.Recvfrom(s.fd, s.buffer, syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return false
		case s.count.Add(-1) < 0 || s.bytes.Add(int64(-n)) < 0:
			s.dropped++
		default:
			s.send(segmentMeta{}, s.buffer[:n])
		}
	}
	return true
}
