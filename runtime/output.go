package main

import (
	"os"
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
	file  *os.File
	fd    int
	send  func([]byte)
	flush func() // sends what send has kept back; nil when it never does

	mu     sync.Mutex
	buffer []byte
}

// newOutput returns the reading side and the descriptor to hand to the runtime,
// which the caller closes.
func newOutput(send func([]byte)) (*output, int, error) {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return nil, 0, err
	}
	// only our end: the runtime's writes are to wait when the pipe is full
	if err := syscall.SetNonblock(ends[0], true); err != nil {
		return nil, 0, err
	}
	file := os.NewFile(uintptr(ends[0]), "output")
	return &output{file: file, fd: ends[0], send: send, buffer: make([]byte, copyLimit)}, ends[1], nil
}

// relay sends what comes until every writer has gone, or the output is closed.
func (o *output) relay() {
	raw, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		more := false
		err := raw.Read(func(uintptr) bool {
			o.mu.Lock()
			n, err := o.take(len(o.buffer))
			o.mu.Unlock()
			more = n > 0
			return err != syscall.EAGAIN // false: wait until there is something
		})
		if err != nil || !more {
			return
		}
	}
}

// drain sends what is in the pipe now. What is written meanwhile does not prolong
// it, so that a process that never stops writing cannot hold up an answer.
func (o *output) drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.flush != nil {
		defer o.flush()
	}
	for left := waiting(o.fd); left > 0; {
		size := left
		if size > len(o.buffer) {
			size = len(o.buffer)
		}
		n, err := o.take(size)
		if n <= 0 || err != nil {
			return
		}
		left -= n
	}
}

// take reads up to size bytes and sends them. The caller holds the lock.
func (o *output) take(size int) (int, error) {
	for {
		n, err := syscall.Read(o.fd, o.buffer[:size])
		if err == syscall.EINTR {
			continue
		}
		if n > 0 {
			o.send(o.buffer[:n])
		}
		return n, err
	}
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
	o.fd = -1 // the relay, if it still waits for the lock, reads nothing and ends
	o.mu.Unlock()
	_ = o.file.Close()
}
