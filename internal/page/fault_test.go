package page

import (
	"errors"
	"testing"
)

// TestReasonsAreOnOneLine: joined errors become one line of the log, with a separator.
func TestReasonsAreOnOneLine(t *testing.T) {
	err := WithReason(errors.New("panel doesn't answer"), errors.Join(errors.New("dial tcp"), errors.New("refused\x1b[0m")))
	if got, want := CleanReason(err), "panel doesn't answer: dial tcp: refused[0m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
