package config

import (
	"regexp"
	"strconv"
	"strings"
)

// syntaxFault adds the fault for an error of the YAML parser, such as
// "yaml: line 3: did not find expected key".
func (l *loader) syntaxFault(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1 // for errors in the first line, the parser gives no number
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, text = n, message
			}
		}
	}
	if tab := l.file.lineWithTab(line); tab > 0 && (strings.Contains(text, "cannot start any token") || strings.Contains(text, "tab")) {
		l.fault(Fault{Source: l.file.path, Line: tab}, "is indented by a tab, which YAML doesn't allow; write spaces in its place, two for each level")
		return
	}
	if n, key := l.lineWithoutSpace(line); n > 0 {
		l.fault(Fault{Source: l.file.path, Line: n, Key: key}, "needs a space after the colon")
		return
	}
	if strings.HasPrefix(text, "unknown anchor") {
		text = noAlias // the parser's text contains the value, which may be a secret
	}
	l.fault(Fault{Source: l.file.path, Line: line}, "isn't YAML: %s%s", text, syntaxHint(text))
}

// syntaxHint returns what to change after an error of the YAML parser, as the end of a fault's
// text, or "".
func syntaxHint(text string) string {
	for _, one := range []struct{ says, hint string }{
		{"mapping values are not allowed", "put a value that contains a colon and a space in quotes, and begin all keys of a group in the same column"},
		{"cannot start any token", "put a value that begins with this character in quotes"},
		{"did not find expected ',' or ", "close the bracket that begins here"},
		{"could not find expected ':'", "write lines such as key: value"},
		{"did not find expected", "begin all keys of a group, and all dashes of a list, in the same column; if a value goes on after its closing quote, put the whole value in quotes of the other kind"},
		{"unexpected end of stream", "close the quote that begins here or above"},
	} {
		if strings.Contains(text, one.says) {
			return "; " + one.hint
		}
	}
	return ""
}

// lineWithTab returns the number of a line with a tab that YAML doesn't allow: line itself,
// which the parser named, or a line next to it. It returns 0 if these lines have no such tab.
func (f file) lineWithTab(line int) int {
	lines := strings.Split(string(f.text), "\n")
	for _, n := range []int{line, line + 1, line - 1} {
		if n < 1 || n > len(lines) {
			continue
		}
		text := strings.TrimLeft(lines[n-1], " -")
		if strings.HasPrefix(text, "\t") || strings.Contains(lines[n-1], ":\t") {
			return n
		}
	}
	return 0
}

// keyWithoutSpace matches the beginning of a line such as listen:127.0.0.1:9091, or such as
// "- http://127.0.0.1", which has no key.
var keyWithoutSpace = regexp.MustCompile(`^[ -]*([a-z_]{1,40}):[^\s:]`)

// lineWithoutSpace returns the number and the key of a line without a space after the key's
// colon: line itself, which the parser named, or the line before it. It returns 0 if neither is
// such a line.
func (l *loader) lineWithoutSpace(line int) (n int, key string) {
	lines := strings.Split(string(l.file.text), "\n")
	for n := line; n >= line-1 && n >= 1; n-- {
		if n > len(lines) {
			continue
		}
		if found := keyWithoutSpace.FindStringSubmatch(lines[n-1]); found != nil && l.keys.hasPart(found[1]) {
			return n, found[1]
		}
	}
	return 0, ""
}
