package main

import (
	"bytes"
	"encoding/binary"
)

// What the runtime's official clients write to the descriptor that
// _LAMBDA_TELEMETRY_LOG_FD names: records, each behind a header of a type, a
// length and a time in µs, all big-endian. The type is 0xA55A0000 and bits for the
// format and the level.
//
// Here the descriptor is the same pipe as stdout and stderr. On AWS it is another;
// but then nobody can tell which of a print and a record came first, and functions
// do both. What is no record is output; a header that output happens to contain, or
// that a function makes up, costs that function's own log a wrong line break.
const (
	recordHeader = 16
	// A record that claims more is none.
	recordLimit = 16 << 20
	// CloudWatch's limit for one event: a longer record becomes several. It is also
	// all that is ever held of one.
	eventLimit = 256 << 10
)

// More records than this do not go together, so that whoever reads the frames can do
// something else in between.
const sizesLimit = 100

// A recordReader takes the pipe's bytes, split anywhere, and sends what they hold.
// Records go together, so that a chatty function does not cost a frame for each.
type recordReader struct {
	print  func(data []byte)
	record func(meta logMeta, data []byte)
	held   []byte // waits for its rest
	left   int    // of the record being read, without its header

	// What is still to be sent: records that are one line each, or others, with their sizes.
	ready []byte
	sizes []int
}

func (r *recordReader) write(data []byte) {
	if len(r.held) > 0 {
		r.held = append(r.held, data...)
		data = r.held
	}
	rest := data
	for len(rest) > 0 {
		used := r.step(rest)
		if used == 0 {
			break
		}
		rest = rest[used:]
	}
	r.sendReady()
	switch {
	case len(rest) == 0:
		r.held = nil // one long record shall not cost memory for ever
	case len(rest) < len(data) || len(r.held) == 0:
		r.held = append(make([]byte, 0, 2*len(rest)), rest...)
	}
}

// step takes what comes first in the data, and returns its size; 0: it needs more.
func (r *recordReader) step(data []byte) int {
	if r.left > 0 {
		size := r.left
		if size > eventLimit {
			size = eventLimit
		}
		if size > len(data) {
			return 0
		}
		r.left -= size
		r.take(data[:size])
		return size
	}
	if printed := untilRecord(data); printed > 0 {
		r.sendReady()
		r.print(data[:printed])
		return printed
	}
	if len(data) < recordHeader {
		return 0
	}
	r.left = int(binary.BigEndian.Uint32(data[4:]))
	return recordHeader
}

func (r *recordReader) take(data []byte) {
	line := bytes.IndexByte(data, '\n') == len(data)-1
	if line != (len(r.sizes) == 0) || len(r.sizes) == sizesLimit {
		r.sendReady()
	}
	r.ready = append(r.ready, data...)
	if !line {
		r.sizes = append(r.sizes, len(data))
	}
}

func (r *recordReader) sendReady() {
	if len(r.ready) == 0 {
		return
	}
	if len(r.sizes) == 0 {
		r.record(logMeta{Holds: "lines"}, r.ready)
	} else {
		r.record(logMeta{Holds: "events", Sizes: r.sizes}, r.ready)
	}
	r.ready, r.sizes = r.ready[:0], r.sizes[:0]
}

// flush sends what is held, a part of a record too: it was written before whatever
// it is that the caller is about to report.
func (r *recordReader) flush() {
	if len(r.held) == 0 {
		return
	}
	if r.left > 0 {
		r.left -= len(r.held)
		r.take(r.held)
		r.sendReady()
	} else {
		r.print(r.held)
	}
	r.held = nil
}

// untilRecord returns how much of the data is before what may be a record.
func untilRecord(data []byte) int {
	for at := 0; ; at++ {
		next := bytes.IndexByte(data[at:], magic[0])
		if next < 0 {
			return len(data)
		}
		if at += next; mayBeRecord(data[at:]) {
			return at
		}
	}
}

var magic = []byte{0xA5, 0x5A, 0x00}

// mayBeRecord tells whether data is the beginning of a record, as far as it goes.
func mayBeRecord(data []byte) bool {
	if len(data) < len(magic) {
		return bytes.HasPrefix(magic, data)
	}
	if !bytes.HasPrefix(data, magic) {
		return false
	}
	if len(data) > 3 {
		const json, text, levels = 2, 3, 6
		if format := data[3] & 3; format != json && format != text || data[3]>>2 > levels {
			return false
		}
	}
	return len(data) < 8 || binary.BigEndian.Uint32(data[4:]) <= recordLimit
}
