package main

import (
	"strings"
)

// What runtimes may ask beside their invocations: the metadata endpoint, and the hooks of
// SnapStart. No snapshot is ever taken here, so whoever waits to be restored goes on at
// once, and what fails then has failed as initialization does.

const (
	metadataPath     = "/2026-01-15/metadata/execution-environment"
	restoreNextPath  = apiPrefix + "runtime/restore/next"
	restoreErrorPath = apiPrefix + "runtime/restore/error"
	metadataToken    = "AWS_LAMBDA_METADATA_TOKEN"
	unauthorized     = 401
)

func init() { reasons[unauthorized] = "Unauthorized" }

// routeBeside answers a request of these, as route does; ok is false for all others.
func (s *supervisor) routeBeside(c *client, req *request) (goesOn, ok bool) {
	method, answer := "GET", func() bool { return c.answer(req, 200, jsonType, nil) }
	switch req.path {
	case restoreNextPath:
	case restoreErrorPath:
		method, answer = "POST", func() bool { return s.initError(c, req) }
	case metadataPath:
		answer = func() bool { return s.metadata(c, req) }
	default:
		return false, false
	}
	if req.method != method {
		return c.answer(req, 405, textType, nil), true
	}
	return answer(), true
}

// metadata tells whoever has the environment's token where the function runs.
func (s *supervisor) metadata(c *client, req *request) bool {
	variables := s.config.Environment // which stay as they are once a runtime lives
	token := variables[metadataToken]
	if token == "" || req.header.get("Authorization") != "Bearer "+token {
		return c.answer(req, unauthorized, jsonType, failure("Unauthorized", "Invalid token"))
	}
	if !c.settle(req) {
		return false
	}
	body := `{"AvailabilityZoneID":"` + zone(variables["AWS_REGION"]) + `"}`
	out := appendHead(c.out[:0], 200, jsonType, len(body))
	out = appendField(out, "Cache-Control: ", "private, max-age=43200, immutable")
	if req.last {
		out = append(out, "Connection: close\r\n"...)
	}
	c.out = append(append(out, "\r\n"...), body...)
	_, err := c.conn.Write(c.out)
	return err == nil && !req.last
}

var directions = strings.NewReplacer(
	"north", "n", "south", "s", "east", "e", "west", "w", "central", "c", "gov", "g", "-", "")

// zone is the id of a region's first availability zone: use1-az1 of us-east-1.
func zone(region string) string { return directions.Replace(region) + "-az1" }
