package main

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// HTTP/1.1 as far as a Runtime API needs it: requests one after another on one
// connection, bodies with a length or in chunks (with trailers).
//
// Not net/http: it needs Go's poller (see loop.go), must wake a goroutine to deliver an
// event, and decides itself in how many writes an answer leaves. The cost is this file.

const (
	maxHeader  = 2 << 20 // one field, the X-Ray cause, may be 1 MB
	readBuffer = 8 << 10
)

var (
	errMalformed  = errors.New("malformed HTTP request")
	errHeaderSize = errors.New("HTTP header too large")
	errEncoding   = errors.New("unknown transfer encoding")
	errTruncated  = errors.New("HTTP request truncated")
	errTooLarge   = errors.New("HTTP body too large")
)

type field struct{ name, value string }

type fields []field

func (f fields) get(name string) string {
	for i := range f {
		if strings.EqualFold(f[i].name, name) {
			return f[i].value
		}
	}
	return ""
}

type request struct {
	method, path string
	header       fields
	last         bool // the connection ends after the answer
	expects      bool // the client waits for "100 Continue"
	body         *body
}

// A stream is the reading side of one connection.
type stream struct {
	source io.Reader
	buffer []byte
	r, w   int // what is read and not yet used
}

func newStream(source io.Reader) *stream {
	return &stream{source: source, buffer: make([]byte, readBuffer)}
}

// fill reads once, into a buffer that grows up to the largest header.
func (s *stream) fill() error {
	if s.r == s.w {
		s.r, s.w = 0, 0
		if len(s.buffer) > readBuffer {
			s.buffer = make([]byte, readBuffer)
		}
	}
	if s.w == len(s.buffer) {
		switch {
		case s.r > 0:
			copy(s.buffer, s.buffer[s.r:s.w])
			s.w -= s.r
			s.r = 0
		case len(s.buffer) >= maxHeader:
			return errHeaderSize
		default:
			s.buffer = append(s.buffer, make([]byte, len(s.buffer))...)
		}
	}
	n, err := s.source.Read(s.buffer[s.w:])
	s.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// await returns when there is something to read, or the error that there is instead.
func (s *stream) await() error {
	if s.r < s.w {
		return nil
	}
	return s.fill()
}

// block reads lines up to and including an empty one, and returns them.
func (s *stream) block() (string, error) {
	for next := 0; ; {
		end := bytes.IndexByte(s.buffer[s.r+next:s.w], '\n')
		if end < 0 {
			if err := s.fill(); err != nil {
				return "", err
			}
			continue
		}
		line := bytes.TrimSuffix(s.buffer[s.r+next:s.r+next+end], []byte{'\r'})
		next += end + 1
		if len(line) == 0 {
			text := string(s.buffer[s.r : s.r+next])
			s.r += next
			return text, nil
		}
	}
}

// line reads one line of chunked framing, which is always short.
func (s *stream) line() (string, error) {
	for {
		if end := bytes.IndexByte(s.buffer[s.r:s.w], '\n'); end >= 0 {
			text := string(bytes.TrimSuffix(s.buffer[s.r:s.r+end], []byte{'\r'}))
			s.r += end + 1
			return text, nil
		}
		if s.w-s.r > readBuffer/2 {
			return "", errMalformed
		}
		if err := s.fill(); err != nil {
			return "", err
		}
	}
}

// Read takes what is buffered, else reads without a copy.
func (s *stream) Read(p []byte) (int, error) {
	if s.r < s.w {
		n := copy(p, s.buffer[s.r:s.w])
		s.r += n
		return n, nil
	}
	return s.source.Read(p)
}

// request reads a request up to its body. io.EOF says that the client has left.
func (s *stream) request() (*request, error) {
	for { // a client may send an empty line after a body
		if err := s.await(); err != nil {
			return nil, err
		}
		if first := s.buffer[s.r]; first != '\r' && first != '\n' {
			break
		}
		s.r++
	}
	text, err := s.block()
	if err != nil {
		return nil, err
	}
	start, text := cutLine(text)
	header, err := parseFields(text)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(start, " ")
	if len(parts) != 3 || !strings.HasPrefix(parts[2], "HTTP/1.") {
		return nil, errMalformed
	}
	req := &request{method: parts[0], path: target(parts[1]), header: header}
	connection := header.get("Connection")
	req.last = hasToken(connection, "close") ||
		parts[2] == "HTTP/1.0" && !hasToken(connection, "keep-alive")
	req.expects = strings.EqualFold(header.get("Expect"), "100-continue")
	req.body, err = s.newBody(header)
	return req, err
}

// target strips what a client may put around a path: scheme, host and query.
func target(uri string) string {
	if after, found := cutPrefix(uri, "http://"); found {
		uri = after[strings.IndexByte(after+"/", '/'):]
	}
	path, _, _ := strings.Cut(uri, "?")
	return path
}

func cutPrefix(text, prefix string) (string, bool) {
	return strings.TrimPrefix(text, prefix), strings.HasPrefix(text, prefix)
}

func cutLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

func parseFields(text string) (fields, error) {
	list := make(fields, 0, 12)
	for {
		var line string
		if line, text = cutLine(text); line == "" {
			return list, nil
		}
		name, value, found := strings.Cut(line, ":")
		if !found || name == "" || strings.ContainsAny(name, " \t") {
			return nil, errMalformed
		}
		list = append(list, field{name, strings.Trim(value, " \t")})
	}
}

func hasToken(value, token string) bool {
	for _, part := range strings.Split(value, ",") {
		if strings.EqualFold(strings.TrimSpace(part), token) {
			return true
		}
	}
	return false
}

// A body reads a request's body as it arrives. Read's error is io.EOF at its end,
// errTruncated when the connection ends before that.
type body struct {
	stream   *stream
	chunked  bool
	begun    bool  // a chunk precedes
	left     int64 // of the body, or of the chunk
	ended    bool
	trailers fields // once ended
}

func (s *stream) newBody(header fields) (*body, error) {
	b := &body{stream: s}
	length := ""
	for i := range header {
		switch {
		case strings.EqualFold(header[i].name, "Transfer-Encoding"):
			if !strings.EqualFold(header[i].value, "chunked") {
				return nil, errEncoding
			}
			b.chunked = true
		case strings.EqualFold(header[i].name, "Content-Length"):
			if length != "" && length != header[i].value {
				return nil, errMalformed
			}
			length = header[i].value
		}
	}
	switch {
	case b.chunked && length != "":
		return nil, errMalformed // two answers to where the body ends
	case length != "":
		n, err := strconv.ParseUint(length, 10, 62)
		if err != nil {
			return nil, errMalformed
		}
		b.left = int64(n)
	}
	b.ended = !b.chunked && b.left == 0
	return b, nil
}

func (b *body) Read(p []byte) (int, error) {
	if b.chunked && b.left == 0 && !b.ended {
		if err := b.nextChunk(); err != nil {
			return 0, broken(err)
		}
	}
	if b.ended {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.stream.Read(p)
	b.left -= int64(n)
	if n == 0 && err != nil {
		return 0, broken(err)
	}
	b.ended = b.left == 0 && !b.chunked
	return n, nil
}

func (b *body) nextChunk() error {
	if b.begun { // the end of the chunk before; read here, so that its data need not wait
		if end, err := b.stream.line(); err != nil {
			return err
		} else if end != "" {
			return errMalformed
		}
	}
	b.begun = true
	line, err := b.stream.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 62)
	if err != nil {
		return errMalformed
	}
	b.left = int64(n)
	if n > 0 {
		return nil
	}
	text, err := b.stream.block()
	if err != nil {
		return err
	}
	b.ended = true
	b.trailers, err = parseFields(text)
	return err
}

func broken(err error) error {
	if err == errMalformed || err == errHeaderSize {
		return err
	}
	return errTruncated
}

// all reads the body whole, into space when that is large enough. A body over the
// limit is read to its end all the same, so that the client gets to the answer,
// but not kept; the error is errTooLarge.
func (b *body) all(limit int64, space []byte) ([]byte, error) {
	kept := space[:0]
	switch {
	case b.chunked:
	case b.left > limit:
		return nil, b.overrun()
	case b.left > int64(cap(kept)):
		kept = make([]byte, 0, b.left)
	}
	for !b.ended {
		if len(kept) == cap(kept) {
			kept = append(kept, 0)[:len(kept)]
		}
		n, err := b.Read(kept[len(kept):cap(kept)])
		kept = kept[:len(kept)+n]
		if err != nil && err != io.EOF {
			return nil, err
		}
		if int64(len(kept)) > limit {
			return nil, b.overrun()
		}
	}
	return kept, nil
}

func (b *body) overrun() error {
	if err := b.discard(); err != nil {
		return err
	}
	return errTooLarge
}

// discard reads the rest and keeps none of it.
func (b *body) discard() error {
	if b.ended {
		return nil
	}
	scratch := make([]byte, 4<<10)
	for !b.ended {
		if _, err := b.Read(scratch); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}
