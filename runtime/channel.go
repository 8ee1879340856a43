package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"syscall"
)

// Payloads up to this size are copied next to their header, so that one write
// takes both; larger ones go by writev, uncopied.
const copyLimit = 64 << 10

type channel struct {
	socket *socket
	reader *bufio.Reader
	loop   *loop

	// A write holds the lock until the control plane has taken the frame. That is
	// all the back-pressure there is: whoever has output to relay waits here.
	mu     sync.Mutex
	buffer []byte      // frames that leave with the next that is sent
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

		RuntimeVersion    string  `json:"runtimeVersion"`
		RuntimeVersionArn string  `json:"runtimeVersionArn"`
		TimeoutMs         float64 `json:"timeoutMs"`
		ActiveTracing     bool    `json:"activeTracing"`

		AccountID          string `json:"accountId"`
		InternalShutdownMs int64  `json:"internalShutdownMs"`
		ExternalShutdownMs int64  `json:"externalShutdownMs"`
		Endpoint           string `json:"endpoint"`
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
		Generation int    `json:"generation"`
		Reason     string `json:"reason"`
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
	extensionMeta struct {
		Name      string   `json:"name"`
		State     string   `json:"state"`
		Events    []string `json:"events"`
		ErrorType string   `json:"errorType,omitempty"`
	}
	subscriptionMeta struct { // of an EXTENSION frame too
		Name  string   `json:"name"`
		State string   `json:"state"`
		API   string   `json:"api"`
		Types []string `json:"types"`
	}
	doneMeta struct {
		RequestID      string  `json:"requestId"`
		DurationMs     float64 `json:"durationMs"`
		MaxMemoryBytes int64   `json:"maxMemoryBytes"`
	}
	segmentMeta struct {
		Dropped int `json:"dropped,omitempty"`
	}
	exitedMeta struct {
		Generation     int     `json:"generation"`
		Cause          string  `json:"cause"`
		Description    string  `json:"description"`
		ErrorType      string  `json:"errorType,omitempty"`
		RequestID      string  `json:"requestId,omitempty"`
		DurationMs     float64 `json:"durationMs"`
		MaxMemoryBytes int64   `json:"maxMemoryBytes"`
	}
)

func dial(address string) (*socket, error) {
	path := strings.TrimPrefix(address, "unix:")
	if path == address {
		return nil, fmt.Errorf("%q is no address of a channel: want unix:/path", address)
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("connect %s: %w", path, err)
	}
	return &socket{fd: fd}, nil
}

func newChannel(conn *socket, loop *loop, lost func(error)) *channel {
	// Reading waits only for the rest of a frame that has begun, and so may the loop.
	reader := bufio.NewReaderSize(&socket{fd: conn.fd}, copyLimit)
	conn.stepAside = loop.stepAside
	return &channel{socket: conn, reader: reader, loop: loop, lost: lost}
}

// receive returns the next frame, or io.EOF when the control plane has closed.
func (c *channel) receive() (frame, error) {
	return readFrame(c.reader)
}

// send returns when the control plane's socket has taken the frame. meta is one
// of the types above, or nil.
func (c *channel) send(kind byte, meta any, payload []byte) {
	c.put(kind, meta, payload, true)
}

// hold keeps a frame for the next that is sent, which is at hand: one write for both.
func (c *channel) hold(kind byte, meta any, payload []byte) {
	c.put(kind, meta, payload, false)
}

func (c *channel) put(kind byte, meta any, payload []byte, now bool) {
	var text []byte
	if meta != nil {
		var err error
		if text, err = json.Marshal(meta); err != nil {
			panic(err) // the types above always marshal
		}
	}
	c.loop.lock(&c.mu)
	c.buffer = appendFrame(c.buffer, kind, text, len(payload))
	if len(c.buffer)+len(payload) <= copyLimit {
		c.buffer, payload = append(c.buffer, payload...), nil
	}
	var err error
	if now || payload != nil {
		_, err = c.socket.writeBoth(c.buffer, payload)
		c.buffer = c.buffer[:0]
	}
	c.mu.Unlock()
	if err != nil {
		c.lost(err)
	}
}

// flush sends what is held.
func (c *channel) flush() {
	c.loop.lock(&c.mu)
	_, err := c.socket.Write(c.buffer)
	c.buffer = c.buffer[:0]
	c.mu.Unlock()
	if err != nil {
		c.lost(err)
	}
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
