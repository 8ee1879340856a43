package main

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// One loop waits for all that the init hears: the control plane, the runtime's
// connections and its output. What it hears it deals with itself, in the same thread,
// so that an invocation wakes the init three times, for the event, the answer and the
// next GET, and no thread ever wakes another.
//
// Nothing may hold the loop up, or KILL would not be heard. So whoever has to wait,
// for the rest of a large body, or for a control plane that does not read, steps aside
// first: another goroutine takes the loop over, and the one that waits ends when it is
// done. To the code that waits this is a read or a write like any other.
//
// Go's own poller needs several threads for the same, and wakes them through futexes:
// measured, 12 switches of context and 38 system calls an invocation, now 4 and 13.
type loop struct {
	epoll  int
	bell   int   // an eventfd: what the loop waits for has changed
	thread int32 // the loop's; whoever else waits holds up nobody
	away   int32 // goroutines that work beside the loop, as those that have stepped aside

	ready func(fd int)           // deals with one descriptor that can be read
	due   func() (timeout int64) // does what it is time for; ms until the next, or never
	aside func() bool            // leaves what is being dealt with to whoever deals with it
}

// For so long after the last event the loop waits without telling Go's scheduler, whose
// monitor would otherwise begin anew to wake up every 20 µs and look for what else could be
// run. Among 32 busy environments on 2 CPUs each is called every 50 ms: with 5 ms here that
// was 40 to 65 switches of context a call, with 100 ms it is 11 to 14.
//
// Go would then interrupt the wait every 10 ms, to let others run whom it does not see, so
// the init is started with GODEBUG=asyncpreemptoff=1: 0.6 of its CPU. Go's collector needs
// such interrupts to stop everybody; while somebody works beside the loop, who may make it
// run, the loop does tell the scheduler that it waits.
const lingerMs = 100

const never, stop = -1, -2 // in place of a timeout

func newLoop() (*loop, error) {
	// One processor for the loop, one for what is slow: more of them only wake each other.
	runtime.GOMAXPROCS(2)
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	const nonblock, closeOnExec = syscall.O_NONBLOCK, syscall.O_CLOEXEC
	bell, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, nonblock|closeOnExec, 0)
	if errno != 0 {
		return nil, errno
	}
	l := &loop{epoll: epoll, bell: int(bell)}
	l.watch(l.bell)
	return l, nil
}

// run is the loop, until the goroutine steps aside.
func (l *loop) run() {
	runtime.LockOSThread() // the thread tells who it is
	defer runtime.UnlockOSThread()
	self := int32(syscall.Gettid())
	atomic.StoreInt32(&l.thread, self)
	for atomic.LoadInt32(&l.thread) == self {
		timeout := l.due()
		if timeout == stop {
			return
		}
		switch fd := l.wait(timeout); fd {
		case -1:
		case l.bell:
			var count [8]byte
			_, _ = readNow(l.bell, count[:])
		default:
			l.ready(fd)
		}
	}
	atomic.AddInt32(&l.away, -1)
}

// wait returns one descriptor that can be read, or -1. One at a time: what is done for
// it may close another, whose number may then mean something else.
func (l *loop) wait(timeout int64) int {
	first := timeout
	if atomic.LoadInt32(&l.away) > 0 {
		first = 0
	} else if first < 0 || first > lingerMs {
		first = lingerMs
	}
	var event syscall.EpollEvent
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll),
		uintptr(unsafe.Pointer(&event)), 1, uintptr(first), 0, 0)
	if errno == 0 && n == 0 && first != timeout {
		n, _, errno = syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll),
			uintptr(unsafe.Pointer(&event)), 1, uintptr(timeout), 0, 0)
	}
	if errno != 0 || n == 0 {
		return -1
	}
	return int(event.Fd)
}

func (l *loop) watch(fd int) {
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	_ = syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &event)
}

func (l *loop) unwatch(fd int) {
	_ = syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_DEL, fd, nil)
}

// leads tells whether the caller is the loop.
func (l *loop) leads() bool {
	return atomic.LoadInt32(&l.thread) == int32(syscall.Gettid())
}

// stepAside is called before anything that waits.
func (l *loop) stepAside() {
	if l.leads() && l.aside() {
		atomic.AddInt32(&l.away, 1)
		atomic.StoreInt32(&l.thread, 0)
		go l.run()
	}
}

// beside tells of a goroutine that begins to work beside the loop, by 1, or ends, by -1.
func (l *loop) beside(change int32) {
	atomic.AddInt32(&l.away, change)
	l.ring() // it may wait already, and tell nobody
}

// ring makes the loop look at the time again.
func (l *loop) ring() {
	if !l.leads() {
		_, _ = syscall.Write(l.bell, []byte{7: 1})
	}
}

// lock locks what may be held by somebody who waits.
func (l *loop) lock(mu *sync.Mutex) {
	if !mu.TryLock() {
		l.stepAside()
		mu.Lock()
	}
}

// A socket is a descriptor that never waits, read and written by whoever may have to.
type socket struct {
	fd        int
	stepAside func()
	waited    bool // the loop did, for what it deals with now
}

// Read and Write are as those of net.Conn.
func (k *socket) Read(p []byte) (int, error) {
	for {
		n, errno := readNow(k.fd, p)
		switch {
		case errno == syscall.EAGAIN:
			k.await(pollIn)
		case errno == syscall.EINTR:
		case errno != 0:
			return 0, errno
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (k *socket) Write(p []byte) (int, error) { return k.writeBoth(p, nil) }

// writeBoth writes two pieces, with one system call when they fit.
func (k *socket) writeBoth(first, second []byte) (written int, err error) {
	for len(first)+len(second) > 0 {
		n, errno := writeNow(k.fd, first, second)
		switch {
		case errno == syscall.EAGAIN:
			k.await(pollOut)
		case errno == syscall.EINTR:
		case errno != 0:
			return written, errno
		}
		written += n
		if n <= len(first) {
			first = first[n:]
		} else {
			first, second = nil, second[n-len(first):]
		}
	}
	return written, nil
}

const pollIn, pollOut = 1, 4

// await returns when the socket can be read, or written, or has been closed. A body
// mostly comes right after its head: the loop waits a moment, once, before it steps aside.
func (k *socket) await(events int16) {
	poll := struct {
		fd              int32
		events, revents int16
	}{fd: int32(k.fd), events: events}
	if k.stepAside != nil && !k.waited {
		k.waited = true
		soon := syscall.NsecToTimespec(int64(time.Millisecond))
		n, _, _ := syscall.RawSyscall6(syscall.SYS_PPOLL,
			uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&soon)), 0, 0, 0)
		if n == 1 {
			return
		}
	}
	if k.stepAside != nil {
		k.stepAside()
	}
	_, _, _ = syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, 0, 0, 0, 0)
}

// ended says whether there is nothing more to read, now or ever.
func (k *socket) ended() bool {
	var some [1]byte
	n, _, err := syscall.Recvfrom(k.fd, some[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
}

// CloseRead lets what has been sent be read, and then the end.
func (k *socket) CloseRead() { _ = syscall.Shutdown(k.fd, syscall.SHUT_RD) }

func (k *socket) Close() error { return syscall.Close(k.fd) }

// readNow and writeNow are for descriptors that do not wait: the scheduler need not know.
func readNow(fd int, p []byte) (int, syscall.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	n, _, errno := syscall.RawSyscall(
		syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func writeNow(fd int, pieces ...[]byte) (int, syscall.Errno) {
	var vector [2]syscall.Iovec
	count := 0
	for _, piece := range pieces {
		if len(piece) > 0 {
			vector[count].Base = &piece[0]
			vector[count].SetLen(len(piece))
			count++
		}
	}
	n, _, errno := syscall.RawSyscall(
		syscall.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vector[0])), uintptr(count))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// until says how many ms there are from now until a time, at least 1 when it has not
// come; the zero time never comes.
func until(at, now time.Time) int64 {
	if at.IsZero() {
		return never
	}
	left := at.Sub(now)
	if left <= 0 {
		return 0
	}
	return int64((left + time.Millisecond - 1) / time.Millisecond)
}
