package main

import (
	"strings"
	"testing"
)

func TestEveryPairOfStateAndEvent(t *testing.T) {
	// one row for each state, one column for each event; "" stands for refused
	states := []state{started, initFailed, ready, running, responding, failing, responded}
	events := []event{onNext, onInitError, onResponse, onError, onDelivery, onAnswered, onTruncated}
	table := map[state][]state{
		started:    {ready, initFailed, "", "", "", "", ""},
		initFailed: {"", "", "", "", "", "", started},
		ready:      {ready, "", "", "", running, "", ""},
		running:    {running, "", responding, failing, "", "", ""},
		responding: {responding, "", "", "", "", responded, running},
		failing:    {failing, "", "", "", "", responded, running},
		responded:  {ready, "", "", "", "", "", ""},
	}
	for _, from := range states {
		for i, e := range events {
			got := from
			allowed := got.move(e)
			want := table[from][i]
			if allowed != (want != "") || allowed && got != want || !allowed && got != from {
				t.Errorf("%s, event %d: %s (%v)", from, e, got, allowed)
			}
		}
	}
}

func TestARefusalIsWordedAsLambdaWordsIt(t *testing.T) {
	want := "State transition from Ready to InvocationResponse failed for runtime. " +
		"Error: State transition is not allowed"
	if got := ready.refusal(onResponse); got != want {
		t.Error(got)
	}
	for e := range wanted {
		if strings.Contains(ready.refusal(e), "  ") {
			t.Errorf("event %d has no name", e)
		}
	}
}
