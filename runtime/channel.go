package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Payloads up to this size are copied next to their header, so that one write
// takes both; larger ones go by writev, uncopied.
const copyLimit = 64 << 10

type channel struct {
	conn   net.Conn
	reader *bufio.Reader

	// A write holds the lock until the control plane has taken the frame. That is
	// all the back-pressure there is: whoever has output to relay waits here.
	mu     sync.Mutex
	buffer []byte
	lost   func(error) // called once a frame could not be sent
}

// The metas of PROTOCOL.md.
type (
	configureMeta struct {
		Command          []string          `json:"command"`
		WorkingDirectory string            `json:"workingDirectory"`
		Environment      map[string]string `json:"environment"`
		UID              uint32            `json:"uid"`
		GID              uint32            `json:"gid"`
		MemoryBytes      int64             `json:"memoryBytes"`
		ResponseBytes    int64             `json:"responseBytes"`
		Freeze           bool              `json:"freeze"`
		TelemetryLog     bool              `json:"telemetryLog"`
	}
	startMeta struct {
		Generation int    `json:"generation"`
		Phase      string `json:"phase"`
	}
	invokeMeta struct {
		RequestID          string `json:"requestId"`
		DeadlineMs         int64  `json:"deadlineMs"`
		InvokedFunctionArn string `json:"invokedFunctionArn"`
		TraceID            string `json:"traceId"`
		ClientContext      string `json:"clientContext"`
		CognitoIdentity    string `json:"cognitoIdentity"`
		TenantID           string `json:"tenantId"`
		InvocationID       string `json:"invocationId"`
		StreamBytes        int64  `json:"streamBytes"`
		WindowBytes        int64  `json:"windowBytes"`
	}
	moreMeta struct {
		RequestID string `json:"requestId"`
		Bytes     int64  `json:"bytes"`
	}
	killMeta struct {
		Generation int `json:"generation"`
	}
	helloMeta struct {
		Protocol int `json:"protocol"`
	}
	logMeta struct {
		Holds string `json:"holds"`
		Sizes []int  `json:"sizes,omitempty"`
	}
	initializedMeta struct {
		Generation int     `json:"generation"`
		DurationMs float64 `json:"durationMs"`
	}
	initErrorMeta struct {
		Generation int    `json:"generation"`
		ErrorType  string `json:"errorType"`
	}
	resultMeta struct {
		RequestID      string  `json:"requestId"`
		Outcome        string  `json:"outcome"`
		ErrorType      string  `json:"errorType,omitempty"`
		ContentType    string  `json:"contentType,omitempty"`
		DurationMs     float64 `json:"durationMs"`
		MaxMemoryBytes int64   `json:"maxMemoryBytes"`
	}
	chunkMeta struct {
		ContentType string `json:"contentType,omitempty"`
	}
	segmentMeta struct {
		Dropped int `json:"dropped,omitempty"`
	}
	exitedMeta struct {
		Generation     int     `json:"generation"`
		Cause          string  `json:"cause"`
		Description    string  `json:"description"`
		RequestID      string  `json:"requestId,omitempty"`
		DurationMs     float64 `json:"durationMs"`
		MaxMemoryBytes int64   `json:"maxMemoryBytes"`
	}
)

func dial(address string) (net.Conn, error) {
	path := strings.TrimPrefix(address, "unix:")
	if path == address {
		return nil, fmt.Errorf("%q is no address of a channel: want unix:/path", address)
	}
	return net.Dial("unix", path)
}

func newChannel(conn net.Conn, lost func(error)) *channel {
	return &channel{conn: conn, reader: bufio.NewReaderSize(conn, copyLimit), lost: lost}
}

// receive returns the next frame, or io.EOF when the control plane has closed.
func (c *channel) receive() (frame, error) {
	return readFrame(c.reader)
}

// send returns when the control plane's socket has taken the frame. meta is one
// of the types above, or nil.
func (c *channel) send(kind byte, meta any, payload []byte) {
	var text []byte
	if meta != nil {
		var err error
		if text, err = json.Marshal(meta); err != nil {
			panic(err) // the types above always marshal
		}
	}
	c.mu.Lock()
	err := c.write(kind, text, payload)
	c.mu.Unlock()
	if err != nil {
		c.lost(err)
	}
}

func (c *channel) write(kind byte, meta, payload []byte) error {
	c.buffer = appendFrame(c.buffer[:0], kind, meta, len(payload))
	if len(payload) <= copyLimit {
		c.buffer = append(c.buffer, payload...)
		_, err := c.conn.Write(c.buffer)
		return err
	}
	parts := net.Buffers{c.buffer, payload}
	_, err := parts.WriteTo(c.conn)
	return err
}

// decode reads a frame's meta; an empty one stands for {}.
func decode(f frame, meta any) error {
	if len(f.meta) == 0 {
		return nil
	}
	if err := json.Unmarshal(f.meta, meta); err != nil {
		return fmt.Errorf("%w: meta of kind %d: %v", errFrame, f.kind, err)
	}
	return nil
}

// closed tells the ways in which a stream just ends from those in which it breaks.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}
