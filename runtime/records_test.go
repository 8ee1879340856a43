package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"
)

func record(text string) string {
	var header [recordHeader]byte
	binary.BigEndian.PutUint32(header[:], 0xA55A000F)
	binary.BigEndian.PutUint32(header[4:], uint32(len(text)))
	binary.BigEndian.PutUint64(header[8:], 1732298400123456)
	return string(header[:]) + text
}

// recording returns a reader that sends everything to one place, each event by itself,
// output as "".
func recording(send func(holds string, data []byte)) *recordReader {
	return &recordReader{
		print: func(data []byte) { send("", data) },
		record: func(meta logMeta, data []byte) {
			if meta.Sizes == nil {
				send(meta.Holds, data)
			}
			for _, size := range meta.Sizes {
				send("event", data[:size])
				data = data[size:]
			}
		},
	}
}

// read returns what is sent for writes, as "holds: data"; lines and output that come in
// pieces are joined.
func read(writes ...string) []string {
	var sent []string
	r := recording(func(holds string, data []byte) {
		last := len(sent) - 1
		if last >= 0 && holds != "event" && strings.HasPrefix(sent[last], holds+": ") {
			sent[last] += string(data)
		} else {
			sent = append(sent, holds+": "+string(data))
		}
	})
	for _, data := range writes {
		r.write([]byte(data))
	}
	r.flush()
	return sent
}

func TestRecordsBecomeLinesAndEvents(t *testing.T) {
	for name, c := range map[string]struct {
		written string
		want    []string
	}{
		"one line":         {record("a\n"), []string{"lines: a\n"}},
		"lines together":   {record("a\n") + record("b\n"), []string{"lines: a\nb\n"}},
		"several lines":    {record("a\nb\n"), []string{"event: a\nb\n"}},
		"no line feed":     {record("a") + record("b"), []string{"event: a", "event: b"}},
		"an empty record":  {record("") + record("a\n"), []string{"lines: a\n"}},
		"order":            {record("a\n") + record("b\nc") + record("d\n"), []string{"lines: a\n", "event: b\nc", "lines: d\n"}},
		"output":           {"junk\n", []string{": junk\n"}},
		"output between":   {record("a\n") + "junk\xA5\x5Ajunk" + record("b\n"), []string{"lines: a\n", ": junk\xA5\x5Ajunk", "lines: b\n"}},
		"an unknown type":  {"\xA5\x5A\x00\x01\x00\x00\x00\x01" + record("a\n"), []string{": \xA5\x5A\x00\x01\x00\x00\x00\x01", "lines: a\n"}},
		"a level too high": {"\xA5\x5A\x00\x1F" + record("a\n"), []string{": \xA5\x5A\x00\x1F", "lines: a\n"}},
		"too long a claim": {"\xA5\x5A\x00\x03\x01\x00\x00\x01" + record("a\n"), []string{": \xA5\x5A\x00\x03\x01\x00\x00\x01", "lines: a\n"}},
		"half a header":    {record("a\n")[:9], []string{": " + record("a\n")[:9]}},
		"half a record":    {record("abcdef\n")[:recordHeader+3], []string{"event: abc"}},
		"what looks like a record inside one": {record(record("a\n") + "\n"),
			[]string{"event: " + record("a\n") + "\n"}},
	} {
		if got := read(c.written); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
		var bytewise []string
		for i := range []byte(c.written) {
			bytewise = append(bytewise, c.written[i:i+1])
		}
		if got := read(bytewise...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s, byte by byte: %q, not %q", name, got, c.want)
		}
	}
}

func TestARecordThatIsFlushedHalfwayGoesOnAfterIt(t *testing.T) {
	var sent []string
	r := recording(func(holds string, data []byte) { sent = append(sent, holds+": "+string(data)) })
	whole := record("abcdef\n") + record("next\n")
	r.write([]byte(whole[:recordHeader+3]))
	r.flush()
	r.write([]byte(whole[recordHeader+3:]))
	if want := []string{"event: abc", "lines: def\nnext\n"}; !reflect.DeepEqual(sent, want) {
		t.Errorf("%q", sent)
	}
}

func TestALongRecordBecomesSeveralEvents(t *testing.T) {
	text := strings.Repeat("0123456789\n", 100_000)
	want := []string{}
	for rest := text; rest != ""; {
		size := eventLimit
		if size > len(rest) {
			size = len(rest)
		}
		want = append(want, "event: "+rest[:size])
		rest = rest[size:]
	}
	if got := read(record(text)); !reflect.DeepEqual(got, want) {
		t.Errorf("%d events", len(got))
	}
}

func TestNothingIsLostOfWhateverIsWrittenAndLittleIsHeld(t *testing.T) {
	choose := rand.New(rand.NewSource(1))
	for round := 0; round < 300; round++ {
		var written, want, got bytes.Buffer
		r := recording(func(_ string, data []byte) { got.Write(data) })
		for i := 0; i < 20; i++ {
			text := strings.Repeat(fmt.Sprint(i, "\n"), choose.Intn(1+choose.Intn(50_000)))
			if choose.Intn(3) == 0 { // no record, and no byte that one could begin with
				written.WriteString(text)
			} else {
				written.WriteString(record(text))
			}
			want.WriteString(text)
		}
		for written.Len() > 0 {
			r.write(written.Next(1 + choose.Intn(copyLimit)))
			if cap(r.held) > 2*(eventLimit+copyLimit) {
				t.Fatalf("%d bytes are held", cap(r.held))
			}
		}
		r.flush()
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("round %d: %d bytes, not %d", round, got.Len(), want.Len())
		}
	}
}

func TestRecordsGoTogetherButNotTooMany(t *testing.T) {
	var frames, records int
	r := &recordReader{record: func(meta logMeta, data []byte) {
		frames++
		records += len(meta.Sizes)
		if len(meta.Sizes) > sizesLimit || len(data) > eventLimit {
			t.Errorf("%d records, %d bytes", len(meta.Sizes), len(data))
		}
	}}
	r.write([]byte(strings.Repeat(record("a\nb"), 1000)))
	if records != 1000 || frames != 10 {
		t.Errorf("%d records in %d frames", records, frames)
	}
}
