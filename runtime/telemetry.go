package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Subscriptions to the Telemetry API, and to the Logs API that it supersedes:
// https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html.

// A schema says what events look like; later ones say more.
type schema int

const (
	logs2020 schema = iota
	logs2021
	telemetry2022July
	telemetry2022
	telemetry2025
)

// A telemetryAPI is one of the two. An extension uses one of them.
type telemetryAPI struct {
	name         string // in messages
	errors       string // what error types begin with
	subscription string // the event that tells of one
	schemas      map[string]schema
	usual        string // the schema's version where a request says none
}

var telemetryAPIs = map[string]*telemetryAPI{
	"/2022-07-01/telemetry": {
		name: "Telemetry", subscription: "telemetrySubscription",
		schemas: map[string]schema{
			"2022-07-01": telemetry2022July, "2022-12-13": telemetry2022, "2025-01-29": telemetry2025,
		},
	},
	"/2020-08-15/logs": {
		name: "Logs", errors: "Logs.", subscription: "logsSubscription", usual: "2020-08-15",
		schemas: map[string]schema{"2020-08-15": logs2020, "2021-03-18": logs2021},
	},
}

// closed is the answer to a request that comes when the init phase is over.
func (api *telemetryAPI) closed() *refusal {
	return forbidden(api.name+".SubscriptionClosed", api.name+" API subscription is closed")
}

// invalid is the answer to one that cannot be done.
func (api *telemetryAPI) invalid(why string) *refusal {
	return &refusal{400, api.errors + "ValidationError", why}
}

// subscribe answers a request to subscribe, of an external or an internal extension.
func (s *supervisor) subscribe(c *client, req *request, api *telemetryAPI) bool {
	body, ok, keep := c.small(req)
	if !ok {
		return keep
	}
	r := c.run
	s.mu.Lock()
	e, refused := r.identify(req)
	s.mu.Unlock()
	if refused == nil && !r.telemetry.isOpen() {
		refused = api.closed()
	}
	var sub subscription
	if refused == nil {
		var wrong string
		if sub, wrong = parseSubscription(api, body); wrong != "" {
			refused = api.invalid(wrong)
		}
	}
	if refused == nil {
		refused = r.telemetry.subscribe(e.id, e.name, sub)
	}
	if refused != nil {
		return c.refuseBy(req, refused)
	}
	s.channel.hold(kindExtension, subscriptionMeta{e.name, "Subscribed", api.name, sub.types}, nil)
	return c.answer(req, 200, jsonType, []byte(`"OK"`))
}

// Streams, as bits of a set.
type streamSet uint32

const (
	platformStream streamSet = 1 << iota
	functionStream
	extensionStream

	allStreams = platformStream | functionStream | extensionStream
)

var streamNames = map[string]streamSet{
	"platform": platformStream, "function": functionStream, "extension": extensionStream,
}

// A subscription is what an extension asked for.
type subscription struct {
	api     *telemetryAPI
	schema  schema
	types   []string // as given, each once
	streams streamSet

	maxItems, maxBytes int
	timeout            time.Duration

	port   int
	method string // of HTTP; "": lines over TCP
	target string // of HTTP: the path
}

type bufferingRequest struct {
	MaxItems  *int64 `json:"maxItems"`
	MaxBytes  *int64 `json:"maxBytes"`
	TimeoutMs *int64 `json:"timeoutMs"`
}

type destinationRequest struct {
	Protocol string  `json:"protocol"`
	URI      *string `json:"URI"`
	Port     *int64  `json:"port"`
	Method   string  `json:"method"`
	Encoding string  `json:"encoding"`
}

// parseSubscription reads a request's body. What is wrong with it comes as Lambda words it:
// all that is, in one message.
func parseSubscription(api *telemetryAPI, text []byte) (sub subscription, wrong string) {
	var request struct {
		SchemaVersion string              `json:"schemaVersion"`
		Types         []string            `json:"types"`
		Buffering     *bufferingRequest   `json:"buffering"`
		Destination   *destinationRequest `json:"destination"`
	}
	if err := json.Unmarshal(text, &request); err != nil {
		return sub, "the request body is not valid: " + err.Error()
	}
	sub = subscription{api: api}
	var complaints []string
	object := func(format string, values ...any) {
		complaints = append(complaints, fmt.Sprintf(format, values...))
	}
	if request.Destination == nil {
		object("destination is not provided")
	} else {
		sub.aim(request.Destination, object)
	}
	sub.choose(request.Types, object)
	if request.Buffering == nil {
		request.Buffering = &bufferingRequest{}
	}
	bounded := func(name string, given *int64, usual, least, most int64) int {
		if given == nil {
			return int(usual)
		}
		if *given < least || *given > most {
			object("%s should be between %d and %d", name, least, most)
		}
		return int(*given)
	}
	sub.maxItems = bounded("maxItems", request.Buffering.MaxItems, 10000, 1000, 10000)
	sub.maxBytes = bounded("maxBytes", request.Buffering.MaxBytes, 256<<10, 256<<10, 1<<20)
	timeout := bounded("timeoutMs", request.Buffering.TimeoutMs, 1000, 25, 30000)
	sub.timeout = time.Duration(timeout) * time.Millisecond
	if request.SchemaVersion == "" {
		request.SchemaVersion = api.usual
	}
	var known bool
	if sub.schema, known = api.schemas[request.SchemaVersion]; !known {
		object("schemaVersion %q is not supported", request.SchemaVersion)
	}
	return sub, strings.Join(complaints, "; ")
}

// choose takes the types of events.
func (sub *subscription) choose(types []string, object func(string, ...any)) {
	if len(types) == 0 {
		object("types should not be empty")
	}
	for _, name := range types {
		stream, known := streamNames[name]
		if !known {
			object("type %q is not supported", name)
		} else if sub.streams&stream == 0 {
			sub.streams |= stream
			sub.types = append(sub.types, name)
		}
	}
}

// aim takes the destination, which is in the environment itself.
func (sub *subscription) aim(to *destinationRequest, object func(string, ...any)) {
	if to.Encoding != "" && to.Encoding != "JSON" {
		object("encoding %q is not supported", to.Encoding)
	}
	port := int64(0)
	switch to.Protocol {
	case "TCP":
		if to.Port == nil {
			object("port is not provided")
			return
		}
		port = *to.Port
	case "HTTP":
		sub.method = "POST"
		if to.Method == "PUT" {
			sub.method = "PUT"
		} else if to.Method != "" && to.Method != "POST" {
			object("method %q is not supported", to.Method)
		}
		if to.URI == nil || *to.URI == "" {
			object("URI is not provided")
			return
		}
		uri, err := url.Parse(*to.URI)
		if err != nil || uri.Scheme != "http" {
			object("URI should begin with http://sandbox.localdomain:")
			return
		}
		// the second is what older extensions know
		if host := uri.Hostname(); host != "sandbox.localdomain" && host != "sandbox" {
			object("URI host should be sandbox.localdomain")
		}
		if uri.Port() == "" {
			object("URI port is not provided")
			return
		}
		if port, err = strconv.ParseInt(uri.Port(), 10, 32); err != nil {
			port = -1
		}
		sub.target = uri.RequestURI()
	case "":
		object("protocol is not provided")
		return
	default:
		object("protocol %q is not supported", to.Protocol)
		return
	}
	switch {
	case port < 1 || port > 65535:
		object("port should be between 1 and 65535")
	case port == 9001:
		object("port 9001 is reserved")
	}
	sub.port = int(port)
}
