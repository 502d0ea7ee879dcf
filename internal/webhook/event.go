package webhook

import (
	"encoding/json"
	"time"

	"github.com/sallyport/sallyport/internal/notice"
)

// event is the body of a request (Standard Webhooks, "Payload structure"). docs/webhooks.md
// describes it to receivers. So new versions may add fields but must not change existing ones.
type event struct {
	Type      string    `json:"type"` // a [notice.Kind]
	Timestamp string    `json:"timestamp"`
	Data      eventData `json:"data"`
}

type eventData struct {
	Account  string `json:"account,omitempty"`
	Username string `json:"username,omitempty"`
	Event    string `json:"event,omitempty"`
	By       string `json:"by,omitempty"`
	Address  string `json:"address,omitempty"`
	Browser  string `json:"browser,omitempty"`
	Name     string `json:"name,omitempty"`
	Number   *int   `json:"number,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// timeFormat is RFC 3339 with milliseconds, the resolution of stored times.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// TestType is the type of the request that [TestBody] returns.
const TestType = "test"

// Body returns the body of a request that reports a notice, as JSON. username is empty if the
// account was removed in the meantime.
func Body(n notice.Notice, username string) []byte {
	e := event{string(n.Kind), n.At.UTC().Format(timeFormat), eventData{
		Account: n.Account, Username: username, Event: n.Event, By: n.By, Address: n.Address, Browser: n.Browser, Name: n.Name, Reason: n.Reason,
	}}
	if hasNumber(n.Kind) {
		e.Data.Number = &n.Number // even 0, if no backup code is left
	}
	return encode(e)
}

// TestBody returns the body of a request that only tests the receiver, as JSON. It reports no event.
func TestBody(id string, now time.Time) []byte {
	return encode(event{TestType, now.UTC().Format(timeFormat), eventData{Event: id}})
}

func encode(e event) []byte {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and a number
	}
	return text
}

func hasNumber(kind notice.Kind) bool {
	return kind == notice.BackupCodeUsed || kind == notice.WrongCodes || kind == notice.PasswordSuspected
}
