package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxQuote is how many bytes of a bad value a fault repeats: enough to know it
// again, and one line on a screen.
const maxQuote = 60

// Fault is one thing that is wrong with the configuration, and how to fix it.
// It never repeats a secret.
type Fault struct {
	Source string // the file's path, or "environment"; "" until [Places.Complete]
	Line   int    // in the file, from 1; 0 where there is none
	Key    string // such as "session.idle", or the variable's name; may be empty
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

// Faults is the error of [Load], and of others that find a configuration at fault: every fault, the file's by line and then the
// environment's by name. It is never empty.
type Faults []Fault

// Error returns the faults, a line each.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// quote returns text in quotes on one line, shortened.
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
