package main

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

const head = "POST /a HTTP/1.1\r\nHost: x\r\n"

func readAll(source io.Reader, limit int64) (*request, string, error) {
	req, err := newStream(source).request()
	if err != nil {
		return nil, "", err
	}
	data, err := req.body.all(limit, nil)
	return req, string(data), err
}

func TestRequestsAndTheirBodies(t *testing.T) {
	for name, c := range map[string]struct {
		text, body string
		err        error
	}{
		"no body":                    {text: head + "\r\n"},
		"a length":                   {text: head + "Content-Length: 3\r\n\r\nabc", body: "abc"},
		"names in any case":          {text: head + "cOnTeNt-lEnGtH:3\r\n\r\nabc", body: "abc"},
		"bare line feeds":            {text: "POST /a HTTP/1.1\nContent-Length: 3\n\nabc", body: "abc"},
		"empty lines first":          {text: "\r\n\r\n" + head + "Content-Length: 1\r\n\r\na", body: "a"},
		"the same length twice":      {text: head + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", body: "a"},
		"chunks":                     {text: head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", body: "abcde"},
		"an empty chunked body":      {text: head + "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"},
		"hexadecimal":                {text: head + "Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", body: "0123456789"},
		"cut in a body":              {text: head + "Content-Length: 3\r\n\r\nab", err: errTruncated},
		"cut in a chunk":             {text: head + "Transfer-Encoding: chunked\r\n\r\n3\r\nab", err: errTruncated},
		"cut between chunks":         {text: head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", err: errTruncated},
		"cut in the trailers":        {text: head + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n", err: errTruncated},
		"over the limit":             {text: head + "Content-Length: 11\r\n\r\nhello world", err: errTooLarge},
		"chunks over the limit":      {text: head + "Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n", err: errTooLarge},
		"cut over the limit":         {text: head + "Content-Length: 90\r\n\r\nhello world", err: errTruncated},
		"two lengths":                {text: head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", err: errMalformed},
		"a length and chunks":        {text: head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", err: errMalformed},
		"a negative length":          {text: head + "Content-Length: -1\r\n\r\n", err: errMalformed},
		"a length that is no number": {text: head + "Content-Length: 0x1\r\n\r\n", err: errMalformed},
		"a chunk of no size":         {text: head + "Transfer-Encoding: chunked\r\n\r\n\r\n", err: errMalformed},
		"a chunk longer than told":   {text: head + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", err: errMalformed},
		"an endless chunk size":      {text: head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1", 20_000), err: errMalformed},
		"another encoding":           {text: head + "Transfer-Encoding: gzip\r\n\r\n", err: errEncoding},
		"a space before the colon":   {text: head + "Content-Length : 1\r\n\r\na", err: errMalformed},
		"a folded line":              {text: head + "A: b\r\n c\r\n\r\n", err: errMalformed},
		"no request":                 {text: "hello\r\n\r\n", err: errMalformed},
		"another protocol":           {text: "GET / HTTP/2.0\r\n\r\n", err: errMalformed},
		"nothing":                    {text: "", err: io.EOF},
		"an endless header":          {text: head + "A: " + strings.Repeat("a", 3<<20), err: errHeaderSize},
		"a header of a megabyte":     {text: head + "A: " + strings.Repeat("a", 1<<20) + "\r\nContent-Length: 2\r\n\r\nab", body: "ab"},
	} {
		sources := map[string]io.Reader{"at once": strings.NewReader(c.text)}
		if len(c.text) < 1<<16 {
			sources["byte by byte"] = iotest.OneByteReader(strings.NewReader(c.text))
		}
		for how, source := range sources {
			_, body, err := readAll(source, 10)
			if !errors.Is(err, c.err) || body != c.body {
				t.Errorf("%s, %s: %q, %v", name, how, body, err)
			}
		}
	}
}

func TestTrailersAreKept(t *testing.T) {
	req, _, err := readAll(strings.NewReader(
		head+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nLambda-Error: x\r\nB: y\r\n\r\n"), 10)
	if err != nil || req.body.trailers.get("lambda-error") != "x" || req.body.trailers.get("b") != "y" {
		t.Error(req, err)
	}
}

func TestRequestsFollowEachOtherOnOneConnection(t *testing.T) {
	s := newStream(strings.NewReader(
		head + "Content-Length: 2\r\n\r\nab" +
			head + "Transfer-Encoding: chunked\r\n\r\n2\r\ncd\r\n0\r\n\r\n" +
			"GET /b?c=d HTTP/1.0\r\n\r\n"))
	for _, want := range []string{"/a ab", "/a cd", "/b "} {
		req, err := s.request()
		if err != nil {
			t.Fatal(err)
		}
		body, err := req.body.all(10, nil)
		if got := req.path + " " + string(body); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
		if req.last != (want == "/b ") {
			t.Errorf("%s: last is %v", want, req.last)
		}
	}
	if _, err := s.request(); err != io.EOF {
		t.Error(err)
	}
}

func TestTheTargetIsReducedToItsPath(t *testing.T) {
	for uri, want := range map[string]string{
		"/a/b": "/a/b", "/a?b=/c": "/a", "http://127.0.0.1:9001/a?b": "/a", "http://host": "",
	} {
		if got := target(uri); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
}

// allocated says how many bytes a call allocates.
func allocated(call func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestABodyOverTheLimitIsNotKept(t *testing.T) {
	for _, text := range []string{
		"Content-Length: 67108864\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4000000\r\n",
	} {
		source := io.MultiReader(strings.NewReader(head+text),
			io.LimitReader(zeros{}, 64<<20), strings.NewReader("\r\n0\r\n\r\n"))
		held := allocated(func() {
			if _, _, err := readAll(source, 1<<20); err != errTooLarge {
				t.Error(err)
			}
		})
		if held > 8<<20 {
			t.Errorf("%d bytes allocated", held)
		}
	}
}

func TestAPayloadIsAllocatedOnce(t *testing.T) {
	const size = 6 << 20
	source := io.MultiReader(
		strings.NewReader(head+"Content-Length: 6291456\r\n\r\n"), io.LimitReader(zeros{}, size))
	req, err := newStream(source).request()
	if err != nil {
		t.Fatal(err)
	}
	held := allocated(func() {
		if body, err := req.body.all(size, nil); err != nil || len(body) != size {
			t.Error(err)
		}
	})
	if held > size+64<<10 {
		t.Errorf("%d bytes allocated for a payload of %d", held, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
