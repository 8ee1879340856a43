package main

import "fmt"

// What a runtime may do next. Its names are the ones that Lambda's error
// messages use. This table is all there is: an event that is not in its state's
// row is refused and changes nothing.

type state string

const (
	started    state = "Started"
	initFailed state = "InitError"
	ready      state = "Ready" // waits in GET /next
	running    state = "Running"
	responding state = "InvocationResponse"      // its POST /response is being read
	failing    state = "InvocationErrorResponse" // its POST /error is being read
	responded  state = "RuntimeResponseSent"
	stopping   state = "Stopping" // whatever it was doing: the run ends
)

type event int

const (
	onNext      event = iota // GET /next
	onInitError              // POST /init/error
	onResponse               // POST /response
	onError                  // POST /error
	onDelivery               // an event was given to it
	onAnswered               // the POST was read whole
	onTruncated              // the POST broke off
)

var transitions = map[state]map[event]state{
	started:    {onNext: ready, onInitError: initFailed},
	initFailed: {onTruncated: started},
	ready:      {onNext: ready, onDelivery: running},
	running:    {onNext: running, onResponse: responding, onError: failing},
	responding: {onNext: responding, onAnswered: responded, onTruncated: running},
	failing:    {onNext: failing, onAnswered: responded, onTruncated: running},
	responded:  {onNext: ready},
}

// wanted names the state that a request aims at, for the error message.
var wanted = map[event]state{
	onNext: ready, onInitError: initFailed, onResponse: responding, onError: failing,
}

func (s *state) move(e event) bool {
	to, allowed := transitions[*s][e]
	if allowed {
		*s = to
	}
	return allowed
}

func (s state) refusal(e event) string {
	return fmt.Sprintf(
		"State transition from %s to %s failed for runtime. Error: State transition is not allowed",
		s, wanted[e])
}
