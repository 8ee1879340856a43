package main

import (
	"bytes"
	"encoding/binary"
)

// What the runtime's official clients write to the descriptor that
// _LAMBDA_TELEMETRY_LOG_FD names: records, each behind a header of a type, a
// length and a time in µs, all big-endian. The type is 0xA55A0000 and bits for the
// format and the level. The function can write to the descriptor too, so whatever
// is no record is output like any other, and nothing that it says is believed
// further than recordLimit.
const (
	recordHeader = 16
	// A record that claims more is none.
	recordLimit = 16 << 20
	// CloudWatch's limit for one event: a longer record becomes several. It is also
	// all that is ever held of one.
	eventLimit = 256 << 10
)

// What the payload of a LOG frame holds, for PROTOCOL.md.
const (
	holdsOutput = ""
	holdsLines  = "lines"
	holdsEvent  = "event"
)

// A recordReader takes the pipe's bytes, split anywhere, and sends what they hold.
// Records that are one line each go together, so that a chatty function does not
// cost a frame for every line; any other record goes by itself.
type recordReader struct {
	send  func(holds string, data []byte)
	held  []byte // waits for its rest
	left  int    // of the record being read, without its header
	lines []byte // one-line records that are still to be sent
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
	r.sendLines()
	switch {
	case len(rest) == 0:
		r.held = nil // one long record shall not cost memory for ever
	case len(rest) < len(data) || len(r.held) == 0:
		r.held = append(make([]byte, 0, 2*len(rest)), rest...)
	}
}

// step takes what comes first off the data, and returns its size; 0: it needs more.
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
		r.record(data[:size])
		return size
	}
	garbage := 0
	for garbage < len(data) && !mayBeRecord(data[garbage:]) {
		garbage++
	}
	if garbage > 0 {
		r.sendLines()
		r.send(holdsOutput, data[:garbage])
		return garbage
	}
	if len(data) < recordHeader {
		return 0
	}
	r.left = int(binary.BigEndian.Uint32(data[4:]))
	return recordHeader
}

func (r *recordReader) record(data []byte) {
	if bytes.IndexByte(data, '\n') == len(data)-1 {
		r.lines = append(r.lines, data...)
		return
	}
	r.sendLines()
	r.send(holdsEvent, data)
}

func (r *recordReader) sendLines() {
	if len(r.lines) > 0 {
		r.send(holdsLines, r.lines)
		r.lines = r.lines[:0]
	}
}

// flush sends what is held, a part of a record too: it was written before whatever
// it is that the caller is about to report.
func (r *recordReader) flush() {
	if len(r.held) == 0 {
		return
	}
	if r.left > 0 {
		r.left -= len(r.held)
		r.send(holdsEvent, r.held)
	} else {
		r.send(holdsOutput, r.held)
	}
	r.held = nil
}

// mayBeRecord tells whether data is the beginning of a record, as far as it goes.
func mayBeRecord(data []byte) bool {
	magic := []byte{0xA5, 0x5A, 0x00}
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
