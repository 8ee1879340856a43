package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// How the processes of extensions are started, what they say, and what their ends bring about.

func TestAnExtensionThatEndsEndsEverything(t *testing.T) {
	for name, c := range map[string]struct{ script, description string }{
		"with a status": {"#!/bin/sh\nexit 4\n", "exit code 4"},
		"with status 0": {"#!/bin/sh\nexit 0\n", "exit code 0"},
		"by a signal":   {"#!/bin/sh\nkill -9 $$\n", "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			withExtensions(t, map[string]string{"a": c.script, "b": idle})
			p := newPeer(t, extended)
			p.send(kindStart, startMeta{1, "init"}, nil)
			states, meta := p.states(kindExited)
			p.sees(states, extensionMeta{"a", "Exited", []string{}, "Extension.Crash"},
				extensionMeta{"b", "Started", []string{}, ""})
			if meta["cause"] != "extension" || meta["errorType"] != "Extension.Crash" || meta["description"] != c.description {
				t.Error(meta)
			}
		})
	}
}

func TestAnExtensionThatCannotBeStartedIsToldOf(t *testing.T) {
	many := map[string]string{}
	for number := 0; number <= maxExtensions; number++ {
		many[fmt.Sprintf("x%02d", number)] = idle
	}
	for name, c := range map[string]struct {
		files          map[string]string
		last           string
		why, described string
	}{
		"no permission": {map[string]string{"data": idle}, "data", "PermissionDenied", "permission denied"},
		"no program":    {map[string]string{"text": "just words\n"}, "text", "UnknownError", "exec format error"},
		"too many":      {many, "x10", "TooManyExtensions", "Extension limit (10) reached"},
	} {
		t.Run(name, func(t *testing.T) {
			withExtensions(t, c.files)
			p := newPeer(t, extended)
			p.send(kindStart, startMeta{1, "init"}, nil)
			states, meta := p.states(kindExited)
			last := states[len(states)-1]
			p.sees([]extensionMeta{last}, extensionMeta{c.last, "LaunchError", []string{}, c.why})
			if meta["errorType"] != "Extension.LaunchError" || !strings.HasSuffix(meta["description"].(string), c.described) {
				t.Error(meta)
			}
			p.send(kindStart, startMeta{2, "invoke"}, nil) // and it may be tried again
			p.states(kindExited)
		})
	}
}

func TestARuntimeThatCannotBeStartedIsToldOfBesideExtensionsToo(t *testing.T) {
	withExtensions(t, map[string]string{"a": idle})
	p := newPeer(t, func(config *configureMeta) {
		extended(config)
		config.ExternalShutdownMs = 50
		config.Command = []string{"/nothing"}
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	p.register("a", `["INVOKE"]`)
	states, meta := p.states(kindExited)
	p.sees(states, extensionMeta{"a", "Registered", []string{"INVOKE"}, ""})
	if meta["cause"] != "invalidEntrypoint" || meta["description"] != "fork/exec /nothing: no such file or directory" {
		t.Error(meta)
	}
}

func TestAnErrorThatAnExtensionReportsEndsEverything(t *testing.T) {
	for path, want := range map[string]string{"init/error": "InitError", "exit/error": "ExitError"} {
		t.Run(path, func(t *testing.T) {
			ends := fifo(t)
			withExtensions(t, map[string]string{"a": "#!/bin/sh\nread line < " + ends + "\nexit 5\n"})
			p := newPeer(t, func(config *configureMeta) {
				extended(config)
				config.ExternalShutdownMs = 20_000
			})
			p.send(kindStart, startMeta{1, "init"}, nil)
			a := p.register("a", `["INVOKE"]`)
			if status := a.fail(path, "Mine.Bad"); status != 202 {
				t.Error(status)
			}
			if status := a.fail(path, "Mine.Second"); status != 202 {
				t.Error(status)
			}
			if err := os.WriteFile(ends, []byte("\n"), 0); err != nil {
				t.Fatal(err)
			}
			states, meta := p.states(kindExited)
			p.sees(states, extensionMeta{"a", want, []string{"INVOKE"}, "Mine.Bad"})
			if meta["errorType"] != "Extension."+want || meta["description"] != "exit code 5" {
				t.Error(meta)
			}
		})
	}
}

func TestAnExtensionHasTheRuntimesVariablesWithoutSome(t *testing.T) {
	withExtensions(t, map[string]string{"a": "#!/bin/sh\nenv\necho at $(pwd)\nprintf 'no end'\nexit 1\n"})
	p := newPeer(t, func(config *configureMeta) {
		extended(config)
		config.TelemetryLog = true
		config.WorkingDirectory = "/usr"
		for name := range notForExtensions {
			config.Environment[name] = "x"
		}
		config.Environment["MINE"] = "y"
	})
	p.send(kindStart, startMeta{1, "init"}, nil)
	var text strings.Builder
	for {
		f := p.receive()
		if f.kind == kindExited {
			break
		}
		if f.kind == kindLog {
			if string(f.meta) != `{"holds":"lines"}` {
				t.Error(string(f.meta))
			}
			text.Write(f.payload)
		}
	}
	for name := range notForExtensions {
		if strings.Contains(text.String(), name+"=") {
			t.Error(name)
		}
	}
	for _, want := range []string{"MINE=y\n", "AWS_LAMBDA_RUNTIME_API=" + p.api, "at /usr\n", "no end"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in %s", want, text.String())
		}
	}
}

func TestLinesArePassedOnWhole(t *testing.T) {
	var got []string
	lines := &wholeLines{send: func(data []byte) { got = append(got, string(data)) }}
	for _, piece := range []string{"one\ntw", "o", "\nthree\nfo", "ur"} {
		lines.write([]byte(piece))
	}
	lines.flush()
	lines.flush()
	long := strings.Repeat("x", copyLimit+1)
	lines.write([]byte(long))
	if want := []string{"one\n", "two\nthree\n", "four", long}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}
