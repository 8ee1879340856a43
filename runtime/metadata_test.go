package main

import (
	"bufio"
	"io"
	"net/http"
	"testing"
)

func (c *caller) askMetadata(method, path, authorization string) (int, http.Header, string) {
	c.Helper()
	request, _ := http.NewRequest(method, "http://"+c.api+path, nil)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	if err := request.Write(c.conn); err != nil {
		c.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c.conn), request)
	if err != nil {
		c.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header, string(body)
}

func TestMetadataIsForWhoeverHasTheToken(t *testing.T) {
	p := newPeer(t, func(config *configureMeta) {
		config.Environment[metadataToken] = "secret"
		config.Environment["AWS_REGION"] = "ap-southeast-2"
	})
	p.start(1)
	c := p.call()
	status, header, body := c.askMetadata("GET", metadataPath, "Bearer secret")
	if status != 200 || body != `{"AvailabilityZoneID":"apse2-az1"}` ||
		header.Get("Cache-Control") != "private, max-age=43200, immutable" ||
		header.Get("Content-Type") != jsonType {
		t.Errorf("%d %v %s", status, header, body)
	}
	for _, wrong := range []string{"", "Bearer ", "Bearer other", "secret"} {
		if status, _, _ = c.askMetadata("GET", metadataPath, wrong); status != 401 {
			t.Errorf("%q: %d", wrong, status)
		}
	}
	if status, _, _ = c.askMetadata("POST", metadataPath, "Bearer secret"); status != 405 {
		t.Errorf("POST: %d", status)
	}
}

func TestWithoutATokenThereIsNoMetadata(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	if status, _, _ := p.call().askMetadata("GET", metadataPath, "Bearer "); status != 401 {
		t.Error(status)
	}
}

func TestZones(t *testing.T) {
	for region, want := range map[string]string{
		"us-east-1": "use1-az1", "eu-west-3": "euw3-az1", "ap-northeast-1": "apne1-az1",
		"eu-central-1": "euc1-az1", "us-gov-west-1": "usgw1-az1",
	} {
		if got := zone(region); got != want {
			t.Errorf("%s: %s", region, got)
		}
	}
}

func TestARestoreIsOverAtOnceAndWhatFailsInItIsToldAsInitialization(t *testing.T) {
	p := newPeer(t, nil)
	p.start(1)
	c := p.call()
	if status, _, body := c.askMetadata("GET", restoreNextPath, ""); status != 200 || body != "" {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := c.askMetadata("POST", restoreNextPath, ""); status != 405 {
		t.Error(status)
	}
	if status, _, body := c.askMetadata("POST", restoreErrorPath, ""); status != 202 || body != string(accepted) {
		t.Errorf("%d %s", status, body)
	}
	p.until(kindInitError)
}
