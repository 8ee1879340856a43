package main

import (
	"strings"
	"testing"
	"time"
)

const (
	telemetryPath = "/2022-07-01/telemetry"
	logsPath      = "/2020-08-15/logs"
)

func TestSubscriptionTakesWhatIsAskedForAndItsDefaults(t *testing.T) {
	text := `{"schemaVersion":"2022-12-13","types":["platform","function","platform"],
		"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080/a?b=c"}}`
	sub, wrong := parseSubscription(telemetryAPIs[telemetryPath], []byte(text))
	if wrong != "" {
		t.Fatal(wrong)
	}
	if sub.schema != telemetry2022 || sub.streams != platformStream|functionStream ||
		strings.Join(sub.types, " ") != "platform function" || sub.maxItems != 10000 ||
		sub.maxBytes != 262144 || sub.timeout != time.Second || sub.port != 8080 ||
		sub.method != "POST" || sub.target != "/a?b=c" {
		t.Fatalf("%+v", sub)
	}
	text = `{"types":["extension"],"buffering":{"maxItems":1000,"maxBytes":1048576,"timeoutMs":25},
		"destination":{"protocol":"TCP","port":4000}}`
	sub, wrong = parseSubscription(telemetryAPIs[logsPath], []byte(text))
	if wrong != "" || sub.schema != logs2020 || sub.streams != extensionStream || sub.method != "" ||
		sub.port != 4000 || sub.maxItems != 1000 || sub.maxBytes != 1<<20 ||
		sub.timeout != 25*time.Millisecond {
		t.Fatalf("%s %+v", wrong, sub)
	}
}

func TestSubscriptionsThatAreRefusedSayAllThatIsWrong(t *testing.T) {
	const head = `{"schemaVersion":"2025-01-29","types":["function"],`
	const good = `"destination":{"protocol":"TCP","port":4000}}`
	http := func(uri string) string {
		return head + `"destination":{"protocol":"HTTP","URI":"` + uri + `"}}`
	}
	for text, want := range map[string]string{
		`{"schemaVersion":"2025-01-29","types":[],"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain"}}`: "URI port is not provided; types should not be empty",
		`{"schemaVersion":"2025-01-29","types":["all"],` + good:                                                          `type "all" is not supported`,
		`{"types":["function"],` + good:                                                 `schemaVersion "" is not supported`,
		`{"schemaVersion":"2021-03-18","types":["function"],` + good:                    `schemaVersion "2021-03-18" is not supported`,
		`{"schemaVersion":"2025-01-29","types":["function"]}`:                           "destination is not provided",
		head + `"destination":{"protocol":"UDP","port":4000}}`:                          `protocol "UDP" is not supported`,
		head + `"destination":{"port":4000}}`:                                           "protocol is not provided",
		head + `"destination":{"protocol":"TCP"}}`:                                      "port is not provided",
		head + `"destination":{"protocol":"TCP","port":9001}}`:                          "port 9001 is reserved",
		head + `"destination":{"protocol":"TCP","port":65536}}`:                         "port should be between 1 and 65535",
		head + `"destination":{"protocol":"HTTP"}}`:                                     "URI is not provided",
		http("http://sandbox.localdomain:9001"):                                         "port 9001 is reserved",
		http("http://sandbox.localdomain:0"):                                            "port should be between 1 and 65535",
		http("http://example.com:80"):                                                   "URI host should be sandbox.localdomain",
		http("https://sandbox.localdomain:80"):                                          "URI should begin with http://sandbox.localdomain:",
		head + `"buffering":{"maxItems":999,"maxBytes":1048577,"timeoutMs":24},` + good: "maxItems should be between 1000 and 10000; maxBytes should be between 262144 and 1048576; timeoutMs should be between 25 and 30000",
	} {
		if _, wrong := parseSubscription(telemetryAPIs[telemetryPath], []byte(text)); wrong != want {
			t.Errorf("%s:\n got %q\nwant %q", text, wrong, want)
		}
	}
	for _, text := range []string{"", "[]", `{"types":"function"}`, `{"types":["function"]`} {
		_, wrong := parseSubscription(telemetryAPIs[telemetryPath], []byte(text))
		if !strings.HasPrefix(wrong, "the request body is not valid: ") {
			t.Errorf("%q: %q", text, wrong)
		}
	}
}

func TestOlderExtensionsMayNameTheHostSandbox(t *testing.T) {
	text := `{"types":["function"],"destination":{"protocol":"HTTP","method":"PUT","encoding":"JSON","URI":"http://sandbox:80"}}`
	sub, wrong := parseSubscription(telemetryAPIs[logsPath], []byte(text))
	if wrong != "" || sub.method != "PUT" || sub.target != "/" {
		t.Fatalf("%s %+v", wrong, sub)
	}
}
