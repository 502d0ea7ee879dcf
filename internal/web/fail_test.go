package web

import (
	"errors"
	"testing"
)

// What was joined stays apart on the one line of the log.
func TestReasonsStandOnOneLine(t *testing.T) {
	err := because(errPanelDown, errors.Join(errors.New("dial tcp"), errors.New("refused\x1b[0m")))
	if got, want := cleanReason(err), "panel doesn't answer: dial tcp: refused[0m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
