package main

import (
	"bytes"
	"encoding/json"
	"time"
)

// What subscribers are told: lines of log, and what happened to the function. Shapes are
// those of https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html.

// A telemetryEvent is either a line or a record of the platform's.
type telemetryEvent struct {
	at     time.Time
	stream streamSet
	name   string // of the type
	line   []byte
	record *platformRecord
}

// A platformRecord has the members that its event has, as the newest schema names them.
type platformRecord struct {
	RequestID          string           `json:"requestId,omitempty"`
	Name               string           `json:"name,omitempty"`
	State              string           `json:"state,omitempty"`
	Events             *[]string        `json:"events,omitempty"`
	Types              []string         `json:"types,omitempty"`
	InitializationType string           `json:"initializationType,omitempty"`
	Phase              string           `json:"phase,omitempty"`
	FunctionName       string           `json:"functionName,omitempty"`
	FunctionVersion    string           `json:"functionVersion,omitempty"`
	RuntimeVersion     string           `json:"runtimeVersion,omitempty"`
	RuntimeVersionArn  string           `json:"runtimeVersionArn,omitempty"`
	InstanceID         string           `json:"instanceId,omitempty"`
	InstanceMaxMemory  int64            `json:"instanceMaxMemory,omitempty"`
	FunctionArn        string           `json:"functionArn,omitempty"`
	Version            string           `json:"version,omitempty"`
	TenantID           string           `json:"tenantId,omitempty"`
	Status             string           `json:"status,omitempty"`
	ErrorType          string           `json:"errorType,omitempty"`
	Metrics            *platformMetrics `json:"metrics,omitempty"`
	Spans              []platformSpan   `json:"spans,omitempty"`
	Tracing            *platformTracing `json:"tracing,omitempty"`
	Reason             string           `json:"reason,omitempty"`
	DroppedRecords     int              `json:"droppedRecords,omitempty"`
	DroppedBytes       int              `json:"droppedBytes,omitempty"`
}

type platformMetrics struct {
	DurationMs       milliseconds `json:"durationMs"`
	ProducedBytes    *int         `json:"producedBytes,omitempty"`
	BilledDurationMs int64        `json:"billedDurationMs,omitempty"`
	MemorySizeMB     int64        `json:"memorySizeMB,omitempty"`
	MaxMemoryUsedMB  *int64       `json:"maxMemoryUsedMB,omitempty"`
	InitDurationMs   milliseconds `json:"initDurationMs,omitempty"`
}

type platformSpan struct {
	Name       string       `json:"name"`
	Start      string       `json:"start"`
	DurationMs milliseconds `json:"durationMs"`
}

type platformTracing struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// milliseconds are told to the microsecond.
type milliseconds float64

func (ms milliseconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(int64(ms*1000+0.5)) / 1000)
}

func newSpan(name string, from, to time.Time) platformSpan {
	return platformSpan{name, stamp(from), milliseconds(inMs(to.Sub(from)))}
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// Which schemas have an event of the platform's; all others are in every one.
var schemasOf = map[string]struct{ first, last schema }{
	"initStart":             {logs2021, telemetry2025},
	"initRuntimeDone":       {logs2021, telemetry2025},
	"initReport":            {logs2021, telemetry2025},
	"runtimeDone":           {logs2021, telemetry2025},
	"end":                   {logs2020, logs2021},
	"fault":                 {logs2020, logs2021},
	"logsSubscription":      {logs2020, logs2021},
	"telemetrySubscription": {telemetry2022July, telemetry2025},
}

// render returns an event as one line of JSON, or nil when the schema has none such.
// objects: a line that is a JSON object is told as that.
func (e *telemetryEvent) render(version schema, objects bool) []byte {
	kind, record := e.name, []byte(nil)
	if e.record == nil {
		record = lineRecord(e.line, objects && version >= telemetry2022)
	} else {
		known, limited := schemasOf[e.name]
		if limited && (version < known.first || version > known.last) {
			return nil
		}
		kind = "platform." + e.name
		if e.name == "fault" {
			record = quote(e.record.Reason)
		} else {
			record = encode(reduce(e.name, *e.record, version))
		}
	}
	out := make([]byte, 0, len(record)+80)
	out = append(append(out, `{"time":"`...), stamp(e.at)...)
	out = append(append(out, `","type":"`...), kind...)
	out = append(append(out, `","record":`...), record...)
	return append(out, '}')
}

// reduce leaves what an older schema has.
func reduce(name string, record platformRecord, version schema) platformRecord {
	if version < telemetry2022 {
		record.ErrorType = ""
		if name == "initReport" {
			record.Status = ""
		}
	}
	if version > logs2021 {
		return record
	}
	old := platformRecord{RequestID: record.RequestID, InitializationType: record.InitializationType}
	switch name {
	case "start":
		old.Version = record.Version
	case "runtimeDone", "initRuntimeDone":
		old.Status = record.Status
	case "initReport":
		old.Metrics = record.Metrics
	case "report":
		old.Metrics, old.Tracing = record.Metrics, record.Tracing
	case "initStart", "end":
	default:
		return record
	}
	return old
}

// lineRecord is a string, or the object that the line is, where one is wanted.
func lineRecord(line []byte, objects bool) []byte {
	if first := bytes.TrimLeft(line, " \t\r\n"); objects && len(first) > 0 && first[0] == '{' {
		var compact bytes.Buffer
		if json.Compact(&compact, line) == nil {
			return compact.Bytes()
		}
	}
	return quote(string(line))
}

func quote(text string) []byte { return encode(text) }

// encode is json.Marshal that leaves <, > and & as they are. It is given what always marshals.
func encode(value any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
}

// A lineReader makes lines of what is written, split anywhere. Lines lose their line feed.
type lineReader struct{ held []byte }

func (l *lineReader) write(data []byte, line func([]byte)) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			l.held = append(l.held, data...)
			if len(l.held) > eventLimit {
				l.flush(line)
			}
			return
		}
		if len(l.held) > 0 {
			l.held = append(l.held, data[:end]...)
			l.flush(line)
		} else if end > 0 {
			line(data[:end])
		}
		data = data[end+1:]
	}
}

// flush ends a line that has no end yet.
func (l *lineReader) flush(line func([]byte)) {
	if len(l.held) > 0 {
		line(l.held)
		l.held = l.held[:0]
	}
}
