package notice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// stored is a notice as the outbox stores it.
type stored struct {
	Kind    Kind   `json:"kind"`
	Event   string `json:"event,omitempty"`
	Account string `json:"account,omitempty"`
	At      int64  `json:"at"` // Unix milliseconds
	By      string `json:"by,omitempty"`
	Address string `json:"address,omitempty"`
	Browser string `json:"browser,omitempty"`
	Name    string `json:"name,omitempty"`
	Number  int    `json:"number,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Former  bool   `json:"former,omitempty"`
	Token   string `json:"token,omitempty"`
}

// ErrUnknown means that a newer version of Sallyport stored the notice. A node that runs that
// version can send it.
var ErrUnknown = errors.New("a notice of a newer version")

// Encode returns the notice in the form that [Decode] reads.
func (n Notice) Encode() []byte {
	text, err := json.Marshal(stored{
		Kind: n.Kind, Event: n.Event, Account: n.Account, At: n.At.UnixMilli(), By: n.By, Address: n.Address, Browser: n.Browser,
		Name: n.Name, Number: n.Number, Reason: n.Reason, Former: n.Former, Token: n.Token,
	})
	if err != nil {
		panic(err) // strings, numbers and a bool
	}
	return text
}

// Decode returns the notice that [Notice.Encode] returned. It returns an error that wraps
// [ErrUnknown] if the notice has a kind or a field that this program doesn't know.
func Decode(text []byte) (Notice, error) {
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return Notice{}, fmt.Errorf("read notice: %w", err)
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(stored)); err != nil {
		return Notice{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if !slices.Contains(kinds, s.Kind) {
		return Notice{}, fmt.Errorf("%w: %q", ErrUnknown, s.Kind)
	}
	return Notice{
		Kind: s.Kind, Event: s.Event, Account: s.Account, At: time.UnixMilli(s.At).UTC(), By: s.By, Address: s.Address, Browser: s.Browser,
		Name: s.Name, Number: s.Number, Reason: s.Reason, Former: s.Former, Token: s.Token,
	}, nil
}
