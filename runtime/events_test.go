package main

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 2, 11, 12, 0, 0, 7_000_000, time.UTC)

func rendered(name string, record *platformRecord, version schema) string {
	e := telemetryEvent{at: noon, stream: platformStream, name: name, record: record}
	return string(e.render(version, true))
}

func TestPlatformEventsHaveTheMembersOfTheirSchema(t *testing.T) {
	events, used, produced := []string{}, int64(36), 0
	records := map[string]*platformRecord{
		"start": {RequestID: "1", Version: "$LATEST", FunctionArn: "arn"},
		"runtimeDone": {RequestID: "1", Status: "error", ErrorType: "Runtime.ExitError",
			Metrics: &platformMetrics{DurationMs: 1.23456, ProducedBytes: &produced},
			Spans:   []platformSpan{newSpan("responseLatency", noon, noon.Add(time.Millisecond))}},
		"initStart": {InitializationType: "on-demand", Phase: "init", FunctionName: "f"},
		"initReport": {InitializationType: "on-demand", Phase: "init", Status: "success",
			Metrics: &platformMetrics{DurationMs: 80}},
		"report": {RequestID: "1", Status: "success", Metrics: &platformMetrics{
			DurationMs: 3, BilledDurationMs: 4, MemorySizeMB: 128, MaxMemoryUsedMB: &used, InitDurationMs: 1.5}},
		"extension":             {Name: "x", State: "Ready", Events: &events},
		"telemetrySubscription": {Name: "x", State: "Subscribed", Types: []string{"platform"}},
		"logsSubscription":      {Name: "x", State: "Subscribed", Types: []string{"platform"}},
		"end":                   {RequestID: "1"},
		"fault":                 {Reason: "RequestId: 1\tStatus: error"},
		"logsDropped":           {Reason: "slow", DroppedRecords: 2, DroppedBytes: 30},
	}
	const metrics = `"metrics":{"durationMs":3,"billedDurationMs":4,"memorySizeMB":128,"maxMemoryUsedMB":36,"initDurationMs":1.5}`
	for _, c := range []struct {
		name    string
		version schema
		want    string // the record; "": there is no such event
	}{
		{"start", telemetry2025, `{"requestId":"1","functionArn":"arn","version":"$LATEST"}`},
		{"start", logs2020, `{"requestId":"1","version":"$LATEST"}`},
		{"runtimeDone", telemetry2025, `{"requestId":"1","status":"error","errorType":"Runtime.ExitError","metrics":{"durationMs":1.235,"producedBytes":0},"spans":[{"name":"responseLatency","start":"2026-02-11T12:00:00.007Z","durationMs":1}]}`},
		{"runtimeDone", telemetry2022July, `{"requestId":"1","status":"error","metrics":{"durationMs":1.235,"producedBytes":0},"spans":[{"name":"responseLatency","start":"2026-02-11T12:00:00.007Z","durationMs":1}]}`},
		{"runtimeDone", logs2021, `{"requestId":"1","status":"error"}`},
		{"runtimeDone", logs2020, ""},
		{"initStart", telemetry2022, `{"initializationType":"on-demand","phase":"init","functionName":"f"}`},
		{"initStart", logs2021, `{"initializationType":"on-demand"}`},
		{"initReport", telemetry2022, `{"initializationType":"on-demand","phase":"init","status":"success","metrics":{"durationMs":80}}`},
		{"initReport", telemetry2022July, `{"initializationType":"on-demand","phase":"init","metrics":{"durationMs":80}}`},
		{"initReport", logs2021, `{"initializationType":"on-demand","metrics":{"durationMs":80}}`},
		{"report", telemetry2025, `{"requestId":"1","status":"success",` + metrics + `}`},
		{"report", logs2020, `{"requestId":"1",` + metrics + `}`},
		{"extension", logs2020, `{"name":"x","state":"Ready","events":[]}`},
		{"extension", telemetry2025, `{"name":"x","state":"Ready","events":[]}`},
		{"telemetrySubscription", telemetry2025, `{"name":"x","state":"Subscribed","types":["platform"]}`},
		{"telemetrySubscription", logs2021, ""},
		{"logsSubscription", logs2021, `{"name":"x","state":"Subscribed","types":["platform"]}`},
		{"end", logs2021, `{"requestId":"1"}`},
		{"end", telemetry2022, ""},
		{"fault", logs2020, `"RequestId: 1\tStatus: error"`},
		{"fault", telemetry2022, ""},
		{"logsDropped", logs2020, `{"reason":"slow","droppedRecords":2,"droppedBytes":30}`},
	} {
		want := ""
		if c.want != "" {
			want = `{"time":"2026-02-11T12:00:00.007Z","type":"platform.` + c.name + `","record":` + c.want + `}`
		}
		if got := rendered(c.name, records[c.name], c.version); got != want {
			t.Errorf("%s in %d:\n got %s\nwant %s", c.name, c.version, got, want)
		}
	}
}

func TestLinesAreObjectsWhereTheyAreJSONAndTheFormatIs(t *testing.T) {
	for _, c := range []struct {
		line    string
		version schema
		objects bool
		want    string
	}{
		{`{"a": "<b>"}`, telemetry2022, true, `{"a":"<b>"}`},
		{`{"a": 1}`, telemetry2022July, true, `"{\"a\": 1}"`},
		{`{"a": 1}`, telemetry2025, false, `"{\"a\": 1}"`},
		{`{"a": 1} no`, telemetry2025, true, `"{\"a\": 1} no"`},
		{"<x>\t\xff", telemetry2025, true, `"<x>\t\ufffd"`},
	} {
		e := telemetryEvent{at: noon, stream: functionStream, name: "function", line: []byte(c.line)}
		want := `{"time":"2026-02-11T12:00:00.007Z","type":"function","record":` + c.want + `}`
		if got := string(e.render(c.version, c.objects)); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func TestLinesComeWholeHoweverTheyAreSplit(t *testing.T) {
	var reader lineReader
	var lines []string
	take := func(line []byte) { lines = append(lines, string(line)) }
	for _, piece := range []string{"a", "b\nc", "d\n\ne\nf", ""} {
		reader.write([]byte(piece), take)
	}
	reader.flush(take)
	reader.flush(take)
	if got := strings.Join(lines, " "); got != "ab cd e f" {
		t.Fatal(got)
	}
	lines = nil
	for i := 0; i < 5; i++ {
		reader.write(make([]byte, 100<<10), take)
	}
	if len(lines) != 1 || len(lines[0]) != 300<<10 {
		t.Fatalf("%d lines", len(lines))
	}
}
