package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The frames of PROTOCOL.md. This file knows their bytes and nothing of their meaning.

const (
	kindConfigure = 1
	kindStart     = 2
	kindInvoke    = 3
	kindKill      = 4
	kindMore      = 5
	kindShutdown  = 6

	kindHello       = 129
	kindLog         = 130
	kindInitialized = 131
	kindInitError   = 132
	kindResult      = 133
	kindExited      = 134
	kindChunk       = 135
	kindSegment     = 136
	kindExtension   = 137
	kindDone        = 138
)

const (
	headerSize = 12
	maxMeta    = 1 << 20
	maxPayload = 1 << 28
)

var errFrame = errors.New("broken frame")

type frame struct {
	kind    byte
	meta    []byte // a JSON object, or nothing
	payload []byte
}

// appendFrame appends the header and the meta; the payload follows on the wire.
func appendFrame(dst []byte, kind byte, meta []byte, payloadSize int) []byte {
	var header [headerSize]byte
	header[0] = kind
	binary.BigEndian.PutUint32(header[4:], uint32(len(meta)))
	binary.BigEndian.PutUint32(header[8:], uint32(payloadSize))
	return append(append(dst, header[:]...), meta...)
}

// readFrame reads one frame. The error is io.EOF when the stream ends between
// frames, and wraps errFrame when the bytes are no frame.
func readFrame(r io.Reader) (frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, err
	}
	kind := header[0]
	toInit := kind >= kindConfigure && kind <= kindShutdown
	fromInit := kind >= kindHello && kind <= kindDone
	metaSize := binary.BigEndian.Uint32(header[4:])
	payloadSize := binary.BigEndian.Uint32(header[8:])
	switch {
	case !toInit && !fromInit:
		return frame{}, fmt.Errorf("%w: unknown kind %d", errFrame, kind)
	case header[1]|header[2]|header[3] != 0:
		return frame{}, fmt.Errorf("%w: bytes 1 to 3 are not zero", errFrame)
	case metaSize > maxMeta:
		return frame{}, fmt.Errorf("%w: a meta of %d bytes", errFrame, metaSize)
	case payloadSize > maxPayload:
		return frame{}, fmt.Errorf("%w: a payload of %d bytes", errFrame, payloadSize)
	}
	meta := make([]byte, metaSize)
	payload := make([]byte, payloadSize)
	for _, part := range [][]byte{meta, payload} {
		if _, err := io.ReadFull(r, part); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return frame{}, err
		}
	}
	return frame{kind, meta, payload}, nil
}
