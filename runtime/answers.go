package main

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// What a client is answered, and how its bodies are read.

// read reads a body whole; it is valid until the next one is read.
func (c *client) read(req *request, limit int64) ([]byte, error) {
	if err := c.proceed(req); err != nil {
		return nil, err
	}
	payload, err := req.body.all(limit, c.space)
	if cap(payload) <= keepBody {
		c.space = payload
	}
	return payload, err
}

// small reads a body of which little is expected. One that cannot be had is answered for;
// keep tells whether the connection goes on then.
func (c *client) small(req *request) (body []byte, ok, keep bool) {
	body, err := c.read(req, keepBody)
	switch err {
	case nil:
		return body, true, true
	case errTooLarge:
		return nil, false, c.refuseSize(req, keepBody)
	}
	c.complain(err)
	return nil, false, false
}

// proceed asks for the body where the client waits to be asked.
func (c *client) proceed(req *request) error {
	if req.expects {
		req.expects = false
		if _, err := c.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return errTruncated
		}
	}
	return nil
}

// settle leaves nothing of a request unread, unless the connection ends anyway. It
// says whether the client is to be answered.
func (c *client) settle(req *request) bool {
	if req.expects {
		req.last = true // refused before it was sent
		return true
	}
	return req.body.discard() == nil
}

func (c *client) refuse(req *request, status int, kind, message string) bool {
	return c.answer(req, status, jsonType, failure(kind, message))
}

func (c *client) refuseSize(req *request, limit int64) bool {
	return c.refuse(req, 413, "RequestEntityTooLarge",
		fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", limit))
}

func failure(kind, message string) []byte {
	return append(marshal(struct {
		ErrorMessage string `json:"errorMessage"`
		ErrorType    string `json:"errorType"`
	}{message, kind}), '\n')
}

// marshal is for values of which it is known that they can be marshalled.
func marshal(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// dispatch answers a request whose path takes one method, or which has no such path: "".
func (c *client) dispatch(req *request, method string, answer func() bool) bool {
	switch method {
	case "":
		return c.answer(req, 404, textType, []byte("404 page not found\n"))
	case req.method:
		return answer()
	}
	return c.answer(req, 405, textType, nil)
}

// complain answers what was no whole request, where somebody may be listening.
func (c *client) complain(err error) {
	req := &request{last: true, body: &body{ended: true}}
	switch err {
	case errTruncated:
		c.refuse(req, 400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
	case errMalformed:
		c.answer(req, 400, textType, []byte("400 Bad Request"))
	case errHeaderSize:
		c.answer(req, 431, textType, []byte("431 Request Header Fields Too Large"))
	case errEncoding:
		c.answer(req, 501, textType, []byte("501 Not Implemented"))
	}
}

var reasons = map[int]string{
	200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 413: "Request Entity Too Large",
	431: "Request Header Fields Too Large", 501: "Not Implemented",
}

// answer writes headers and body in one write (two cost clients 10 ms) and says
// whether the connection goes on.
func (c *client) answer(req *request, status int, contentType string, body []byte) bool {
	return c.answerWith(req, status, contentType, "", "", body)
}

// answerWith is answer with one more header field.
func (c *client) answerWith(req *request, status int, contentType, name, value string, body []byte) bool {
	if !c.settle(req) {
		return false
	}
	out := appendHead(c.out[:0], status, contentType, len(body))
	out = appendField(out, name, value)
	if req.last {
		out = append(out, "Connection: close\r\n"...)
	}
	c.out = append(append(out, "\r\n"...), body...)
	_, err := c.conn.Write(c.out)
	return err == nil && !req.last
}

func appendHead(out []byte, status int, contentType string, size int) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(append(out, ' '), reasons[status]...)
	out = appendField(out, "\r\nContent-Type: ", contentType)
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(size), 10)
	return append(out, "\r\n"...)
}

// appendField appends a header field unless it is empty. A control character, as a
// line break in a caller's JSON, would end the field: it becomes a space.
func appendField(out []byte, name, value string) []byte {
	if value == "" {
		return out
	}
	out = append(out, name...)
	for i := 0; i < len(value); i++ {
		if b := value[i]; b < ' ' || b == 0x7f {
			out = append(out, ' ')
		} else {
			out = append(out, b)
		}
	}
	return append(out, "\r\n"...)
}
