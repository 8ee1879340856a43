package main

import (
	"sync"
	"syscall"
	"unsafe"
)

// An output is the pipe that is a runtime's stdout and stderr, and its descriptor for
// records: one for all, so that what is written to either stays in its order.
//
// Whatever is read is sent before the lock is let go. So who holds the lock knows
// that all that was ever read has been sent, and what is left is in the pipe.
type output struct {
	fd    int
	loop  *loop
	send  func([]byte) // may keep the data for whatever is sent next, or for flush
	flush func()       // sends what send has kept back; nil when it never does

	watched bool // by the loop; guarded by the supervisor's lock

	mu     sync.Mutex
	buffer []byte
	ended  bool // every writer has gone, or it is closed
}

// newOutput returns the reading side and the descriptor to hand to the runtime,
// which the caller closes.
func newOutput(loop *loop, send func([]byte)) (*output, int, error) {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return nil, 0, err
	}
	// only our end: the runtime's writes are to wait when the pipe is full
	if err := syscall.SetNonblock(ends[0], true); err != nil {
		return nil, 0, err
	}
	return &output{fd: ends[0], loop: loop, send: send, buffer: make([]byte, copyLimit)}, ends[1], nil
}

// relay sends some of what has come, and says whether more may come.
func (o *output) relay() bool {
	o.loop.lock(&o.mu)
	defer o.mu.Unlock()
	o.take(len(o.buffer))
	return !o.ended
}

// drain sends what is in the pipe now. What is written meanwhile does not prolong
// it, so that a process that never stops writing cannot hold up an answer.
func (o *output) drain() {
	o.loop.lock(&o.mu)
	defer o.mu.Unlock()
	if o.flush != nil {
		defer o.flush()
	}
	if o.take(len(o.buffer)) < len(o.buffer) {
		return // that was all
	}
	for left := waiting(o.fd); left > 0; {
		size := left
		if size > len(o.buffer) {
			size = len(o.buffer)
		}
		n := o.take(size)
		if n == 0 {
			return
		}
		left -= n
	}
}

// take reads up to size bytes and sends them. The caller holds the lock.
func (o *output) take(size int) int {
	for !o.ended {
		n, errno := readNow(o.fd, o.buffer[:size])
		switch {
		case errno == syscall.EINTR:
			continue
		case n > 0:
			o.send(o.buffer[:n])
		case errno != syscall.EAGAIN:
			o.ended = true
		}
		return n
	}
	return 0
}

// waiting says how many bytes can be read from a descriptor without waiting.
func waiting(fd int) int {
	var n int32
	const fionread = 0x541B
	_, _, errno := syscall.Syscall(
		syscall.SYS_IOCTL, uintptr(fd), fionread, uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return 0
	}
	return int(n)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	_ = syscall.Close(o.fd)
}
