package web

import (
	"errors"
	"testing"
)

// TestReasonsAreOnOneLine: joined errors become one line of the log, with a separator.
func TestReasonsAreOnOneLine(t *testing.T) {
	err := withReason(errPanelDown, errors.Join(errors.New("dial tcp"), errors.New("refused\x1b[0m")))
	if got, want := cleanReason(err), "panel doesn't answer: dial tcp: refused[0m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
