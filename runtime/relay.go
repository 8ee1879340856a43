package main

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
)

// As many connections are relayed at once: the next one waits in the kernel. With this
// much of each under way, either way, whoever sends waits for whoever reads.
const (
	relayConnections = 32
	relayBytes       = 16 << 10
)

// besideChannel is where the control plane takes a function's own calls: a socket in the
// directory of the channel's.
func besideChannel(address string) string {
	return filepath.Join(filepath.Dir(strings.TrimPrefix(address, "unix:")), "api.sock")
}

// relay passes what comes to an address of the container's own to a Unix socket, and back,
// and never looks into it. Until somebody connects, that is one goroutine that waits. beside
// is the loop's.
func relay(address, socket string, beside func(int32)) error {
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	go takeIn(listener, socket, beside)
	return nil
}

func takeIn(listener net.Listener, socket string, beside func(int32)) {
	free := make(chan struct{}, relayConnections)
	for {
		free <- struct{}{}
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { <-free }()
			beside(1)
			defer beside(-1)
			defer client.Close()
			server, err := net.Dial("unix", socket)
			if err != nil {
				return // the function finds its connection closed
			}
			defer server.Close()
			var both sync.WaitGroup
			both.Add(2)
			go pass(client, server, &both)
			go pass(server, client, &both)
			both.Wait()
		}()
	}
}

// pass passes bytes on until their end, which it passes on too. Where one way breaks,
// the other ends with it.
func pass(to, from net.Conn, done *sync.WaitGroup) {
	defer done.Done()
	// Without the methods of theirs that would put a pipe between them.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from},
		make([]byte, relayBytes))
	if end, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		err = end.CloseWrite()
	}
	if err != nil {
		_ = to.Close()
		_ = from.Close()
	}
}
