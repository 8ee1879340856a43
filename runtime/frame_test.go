package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
)

type golden struct {
	Frames []struct {
		Name, Meta, Payload, Frame string
		Kind                       byte
	}
	Refused, Cut []struct{ Why, Frame string }
}

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	text, err := os.ReadFile("golden/frames.json")
	if err == nil {
		err = json.Unmarshal(text, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestGoldenFramesAreReadAndWrittenAsTheyAre(t *testing.T) {
	kinds := map[byte]bool{}
	for _, want := range readGolden(t).Frames {
		data, payload := unhex(t, want.Frame), unhex(t, want.Payload)
		got, err := readFrame(iotest.OneByteReader(bytes.NewReader(data)))
		if err != nil {
			t.Fatalf("%s: %v", want.Name, err)
		}
		if got.kind != want.Kind || string(got.meta) != want.Meta || !bytes.Equal(got.payload, payload) {
			t.Errorf("%s: read %v", want.Name, got)
		}
		written := append(appendFrame(nil, want.Kind, []byte(want.Meta), len(payload)), payload...)
		if !bytes.Equal(written, data) {
			t.Errorf("%s: wrote %x", want.Name, written)
		}
		kinds[want.Kind] = true
	}
	if len(kinds) != 16 {
		t.Errorf("golden frames of %d kinds, not 16", len(kinds))
	}
}

func TestBytesThatAreNoFrameAreRefused(t *testing.T) {
	for _, bad := range readGolden(t).Refused {
		if _, err := readFrame(bytes.NewReader(unhex(t, bad.Frame))); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", bad.Why, err)
		}
	}
}

func TestAStreamMayEndBetweenFramesOnly(t *testing.T) {
	for _, cut := range readGolden(t).Cut {
		_, err := readFrame(bytes.NewReader(unhex(t, cut.Frame)))
		if err != io.ErrUnexpectedEOF {
			t.Errorf("%s: %v", cut.Why, err)
		}
	}
	if _, err := readFrame(bytes.NewReader(nil)); err != io.EOF {
		t.Errorf("an empty stream: %v", err)
	}
}

// What the init sends is what the golden frames say, member by member.
func TestMetasAreThoseOfTheGoldenFrames(t *testing.T) {
	metas := map[byte]any{
		kindConfigure: &configureMeta{}, kindStart: &startMeta{}, kindInvoke: &invokeMeta{},
		kindKill: &killMeta{}, kindHello: &helloMeta{}, kindInitialized: &initializedMeta{},
		kindLog: &logMeta{}, kindInitError: &initErrorMeta{}, kindResult: &resultMeta{}, kindExited: &exitedMeta{},
		kindMore: &moreMeta{}, kindChunk: &chunkMeta{}, kindSegment: &segmentMeta{},
		kindExtension: &extensionMeta{}, kindDone: &doneMeta{},
	}
	for _, want := range readGolden(t).Frames {
		meta := metas[want.Kind]
		if meta == nil || want.Kind == kindKill || bytes.Contains([]byte(want.Meta), []byte("later")) {
			continue
		}
		if want.Name == "extension that subscribes" {
			meta = &subscriptionMeta{}
		}
		fresh := map[string]any{}
		if err := decode(frame{kind: want.Kind, meta: []byte(want.Meta)}, &fresh); err != nil {
			t.Fatal(err)
		}
		if err := decode(frame{kind: want.Kind, meta: []byte(want.Meta)}, meta); err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(meta)
		again := map[string]any{}
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		for name := range fresh {
			if _, known := again[name]; !known {
				t.Errorf("%s: %s is not read", want.Name, name)
			}
		}
	}
}
