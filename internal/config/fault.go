package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxQuote is how many bytes of a wrong value a fault repeats: enough to recognise it, and
// short enough for one line.
const maxQuote = 60

// Fault is one fault of the configuration, with what to do about it. It never contains a
// secret.
type Fault struct {
	Source string // path of the file, or "environment"; "" before [Places.Complete]
	Line   int    // in the file, from 1; 0 if unknown
	Key    string // such as "session.idle", or the name of a variable; may be empty
	Text   string // one line
}

func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.Source)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if f.Key != "" {
		b.WriteString(": " + f.Key)
	}
	return strings.TrimPrefix(b.String()+": "+f.Text, ": ")
}

// Faults is the error of [Load] and of other functions that check a configuration. [Load]
// sorts it: the faults of the file by line, then those of the environment by name. It is
// never empty.
type Faults []Fault

// Error returns the faults, one a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// quote returns text as a Go string literal, cut to maxQuote bytes.
func quote(text string) string {
	if len(text) <= maxQuote {
		return strconv.Quote(text)
	}
	end := maxQuote
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return strconv.Quote(text[:end]) + "…"
}
