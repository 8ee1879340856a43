// The init: PID 1 of every function container. PROTOCOL.md says what it does.
//
// It holds no policy. It starts the runtime as an unprivileged user, serves it
// the Runtime API, relays its output, and tells the control plane what happened.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// Where the Runtime API listens, inside the container.
const apiAddress = "127.0.0.1:9001"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: init unix:/path/to/socket")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1)
	}
}

// serve returns when the channel has closed; its end is the container's.
func serve(address string) error {
	syscall.Umask(0o022)
	if os.Getpid() == 1 {
		if err := harden(); err != nil {
			return err
		}
	}
	conn, err := dial(address)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", apiAddress)
	if err != nil {
		return err
	}
	s, err := newSupervisor(conn, listener, func(err error) {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1)
	})
	if err != nil {
		return err
	}
	s.api = besideChannel(address)
	if err := s.segments.listen(daemonAddress); err != nil {
		return err
	}
	reserveThreads(spareThreads)
	return s.serve()
}

// As many goroutines as this may wait in the kernel at once without a new thread.
const spareThreads = 8

// reserveThreads has Go's scheduler make threads that it keeps: once a function has
// used up what processes and threads its container may have, none can be made any more,
// and Go ends a process that cannot make one.
func reserveThreads(count int) {
	var holding, held sync.WaitGroup
	release := make(chan struct{})
	holding.Add(count)
	held.Add(count)
	for i := 0; i < count; i++ {
		go func() {
			defer held.Done()
			runtime.LockOSThread() // nobody else's while it waits: the next one needs its own
			defer runtime.UnlockOSThread()
			holding.Done()
			<-release
		}()
	}
	holding.Wait()
	close(release)
	held.Wait()
}
