package main

import (
	"bytes"
	"os"
	"sync"
	"syscall"
	"time"
)

// A meter reads how much anonymous memory the container's processes hold, less
// the init's own. tmpfs and page cache do not count: /tmp is not charged to the
// function. gVisor shows no cgroup, but its /proc/meminfo is the container's own.
// Where neither can be read it says 0.
type meter struct {
	// descriptors, or -1
	stat, oom, own int
	field          []byte
	tmpfs          []byte // the field of what is to be left out, if that is in the other
	unit           int64

	mu     sync.Mutex
	peak   int64
	buffer [8192]byte
}

func newMeter() *meter {
	m := &meter{own: open("/proc/self/statm"), unit: 1}
	const v1, v2 = "/sys/fs/cgroup/memory/", "/sys/fs/cgroup/"
	if m.stat, m.field = open(v1+"memory.stat"), []byte("total_rss "); m.stat >= 0 {
		m.oom = open(v1 + "memory.oom_control")
	} else if m.stat, m.field = open(v2+"memory.stat"), []byte("anon "); m.stat >= 0 {
		m.oom = open(v2 + "memory.events")
	} else if m.oom = -1; insideGVisor() {
		m.stat, m.field, m.tmpfs = open("/proc/meminfo"), []byte("AnonPages:"), []byte("Shmem:")
		m.unit = 1024
	}
	return m
}

// insideGVisor says so by the kernel's log, which gVisor begins with its name, and
// which seccomp keeps from this process anywhere else.
func insideGVisor() bool {
	const readAll = 3
	log := make([]byte, 4096)
	n, err := syscall.Klogctl(readAll, log)
	return err == nil && bytes.Contains(log[:n], []byte("gVisor"))
}

func open(path string) int {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// sample returns the bytes in use now, and the most that any sample has seen.
func (m *meter) sample() (now, peak int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := m.read(m.stat)
	now = value(text, m.field)
	if m.tmpfs != nil {
		now -= value(text, m.tmpfs)
	}
	now *= m.unit
	if statm := bytes.Fields(m.read(m.own)); len(statm) > 2 && now > 0 {
		now -= (number(statm[1]) - number(statm[2])) * int64(os.Getpagesize())
	}
	if now < 0 {
		now = 0
	}
	if now > m.peak {
		m.peak = now
	}
	return now, m.peak
}

// oomKills counts what the kernel has killed in this container for want of memory.
func (m *meter) oomKills() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return value(m.read(m.oom), []byte("oom_kill "))
}

func (m *meter) read(file int) []byte {
	// not ReadAt, which would read once more to see the end
	n, err := syscall.Pread(file, m.buffer[:], 0)
	if err != nil {
		return nil
	}
	return m.buffer[:n]
}

// value finds the number that follows a name at the beginning of a line.
func value(text, name []byte) int64 {
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		if bytes.HasPrefix(line, name) {
			return number(line[len(name):])
		}
	}
	return 0
}

// number reads the digits that a text begins with, after its spaces.
func number(text []byte) (n int64) {
	for _, c := range bytes.TrimLeft(text, " ") {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

// pause says how long a container with this much left may go unwatched, if it
// fills memory at up to 2 GB/s.
func pause(headroom int64) time.Duration {
	const fastest, slowest = 5 * time.Millisecond, 100 * time.Millisecond
	const bytesPerSecond = 2 << 30
	switch {
	case headroom < int64(fastest)*bytesPerSecond/int64(time.Second):
		return fastest
	case headroom > int64(slowest)*bytesPerSecond/int64(time.Second):
		return slowest
	}
	return time.Duration(headroom * int64(time.Second) / bytesPerSecond)
}
