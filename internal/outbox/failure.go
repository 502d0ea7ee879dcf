package outbox

import (
	"errors"
	"fmt"
	"net/http"
)

// Class says what happens after a failed try.
type Class string

// The classes.
const (
	// Temporary: the message is tried again at the intervals of plan.go.
	Temporary Class = "temporary"
	// Permanent: the other side will never accept the message, so it is given up.
	Permanent Class = "permanent"
	// Paused: the other side refuses this sender, whatever it sends. The try doesn't count, and
	// this node sends no messages of the same kind for 15 minutes.
	Paused Class = "paused"
	// Unsure: the whole message was sent but the answer was lost, so that the message may have
	// arrived. It is sent once more, after 15 minutes.
	Unsure Class = "unsure"
	// Elsewhere: this node can't send the message, but another node may be able to, such as one
	// with a newer version or key ring. The try doesn't count.
	Elsewhere Class = "elsewhere"
	// Needless: the message has no recipient any more, so it is deleted as if it had been sent.
	Needless Class = "needless"
)

// Classes returns all classes.
func Classes() []Class { return []Class{Temporary, Permanent, Paused, Unsure, Elsewhere, Needless} }

// Failure is a failed try with its class. An error without a Failure counts as Temporary.
type Failure struct {
	Class Class
	Err   error
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the error.
func (f *Failure) Unwrap() error { return f.Err }

// Fail returns err as a [*Failure] with the class.
func Fail(class Class, err error) error { return &Failure{Class: class, Err: err} }

// classOf returns the class of an error.
func classOf(err error) Class {
	var f *Failure
	if errors.As(err, &f) {
		return f.Class
	}
	return Temporary
}

// StatusError is the answer of an HTTP server that didn't accept a message.
type StatusError int

func (s StatusError) Error() string { return fmt.Sprintf("the receiver answered %d", int(s)) }

// advice returns what an operator has to do if the receiver doesn't accept the sender's signature or
// address, or doesn't want any more messages. For any other status it returns "".
func (s StatusError) advice() string {
	switch s {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "check its secret"
	case http.StatusGone:
		return "it wants no more messages: correct or remove its URL"
	}
	return ""
}

// OfStatus returns the error for the status of an HTTP answer, or nil for 2xx. Only 410 Gone is
// permanent. Any other status may come from a receiver that is just being deployed, so the message
// is retried. Redirects are not followed. See Standard Webhooks, "Deliverability and reliability".
func OfStatus(status int) error {
	switch {
	case status/100 == 2:
		return nil
	case status == http.StatusGone:
		return Fail(Permanent, StatusError(status))
	}
	return Fail(Temporary, StatusError(status))
}
