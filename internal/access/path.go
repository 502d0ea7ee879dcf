package access

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const (
	// pathMax is the longest path, in bytes, that is read in every way: longer
	// than any that people are sent. With readingsMax it bounds the work that a
	// stranger's request makes, to 1 or 2 ms. Plain paths have no bound.
	pathMax = 4 << 10
	// readingsMax is how many ways there may be to read a path. Odd ones that
	// people are sent have below ten.
	readingsMax = 32
)

// plain reports whether a path has one reading, and that is seen at a glance:
// unescaped characters of RFC 3986, section 3.3, but for the semicolon, no
// empty segment within, and no segment that ends in a dot.
func plain(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c == '/':
			if i > 0 && (path[i-1] == '/' || path[i-1] == '.') {
				return false
			}
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~!$&'()*+,=:@", c) < 0:
			return false
		}
	}
	return path[len(path)-1] != '.'
}

// readings returns the paths that proxies and panels may take a raw path for,
// the raw one first and each once: whoever stands behind may decode it, resolve
// its dot segments, merge doubled slashes (before, as nginx does, or after, as
// who goes by RFC 3986, section 5.2.4, must), take the part after "//" for a
// host, take a decoded "?" for the query, all of it in any order, and again. The
// canonical form, decoded, merged and resolved, is among them: a path is
// canonical where it is its own only reading. ok is false where a reader may
// find what can't be foreseen.
func readings(raw string) (all []string, ok bool) {
	if !sound(raw) {
		return nil, false
	}
	all = []string{raw}
	for i := 0; i < len(all); i++ {
		for _, read := range [...]func(string) string{decode, resolve, mergeSlashes, dropHost, dropQuery} {
			path := read(all[i])
			if slices.Contains(all, path) {
				continue
			}
			if len(all) == readingsMax {
				return nil, false
			}
			all = append(all, path)
		}
	}
	return all, true
}

// sound reports whether a raw path can be read at all.
func sound(raw string) bool {
	if raw == "" || raw[0] != '/' || len(raw) > pathMax {
		return false // "*", http://host/path; some servers look for a path in them
	}
	if strings.ContainsAny(raw, "# ") {
		return false // cut off there by some; no browser sends them
	}
	path, err := url.PathUnescape(raw)
	if err != nil {
		return false // left as it is by some, dropped by others, %u0061 is a letter for IIS
	}
	if !utf8.ValidString(path) {
		return false // overlong: %c0%af is a slash for old decoders
	}
	// A slash, backslash or NUL ends a segment for some, and for servlets a
	// semicolon does: "/..;/".
	if strings.ContainsAny(path, `\;`) || strings.ContainsFunc(path, unicode.IsControl) {
		return false
	}
	if strings.Count(path, "/") != strings.Count(raw, "/") {
		return false // %2f
	}
	for i := 0; i+2 < len(path); i++ {
		if path[i] == '%' && hex(path[i+1]) && hex(path[i+2]) {
			return false // %252e: who decodes twice finds what we didn't look at
		}
	}
	return true
}

// decode returns the path percent-decoded once, or as it is if it can't be.
func decode(path string) string {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return path
	}
	return decoded
}

// resolve resolves dot segments; an empty segment is one that ".." takes away.
func resolve(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		switch s {
		case ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, s)
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "") // "/a/." is a folder: "/a/"
		}
	}
	return "/" + strings.Join(kept, "/")
}

func mergeSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// dropHost returns the path of "//host/path", as in RFC 3986, section 4.2.
func dropHost(path string) string {
	rest, ok := strings.CutPrefix(path, "//")
	if !ok {
		return path
	}
	_, rest, _ = strings.Cut(rest, "/")
	return "/" + rest
}

// dropQuery cuts off what who decodes first takes for query or fragment.
func dropQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

// fold returns the path as the laxest of file systems and routers compares it:
// without case, accents, characters that aren't seen, and dots and spaces at the
// end of a segment (Windows drops them), with wide letters and ligatures as
// plain ones. ok is false where nothing is left of a segment, or where a
// character turns into one that separates: "／" into a slash.
func fold(path string) (folded string, ok bool) {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" {
			continue
		}
		letters, ok := foldLetters(s)
		if !ok {
			return "", false
		}
		if segments[i] = strings.TrimRight(letters, ". "); segments[i] == "" {
			return "", false
		}
	}
	return strings.Join(segments, "/"), true
}

func foldLetters(s string) (folded string, ok bool) {
	if !strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf }) {
		return strings.ToLower(s), true
	}
	const separators = `/\;%?#`
	parts := strings.Map(func(c rune) rune {
		if unicode.In(c, unicode.Mn, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point) {
			return -1
		}
		return c
	}, norm.NFKD.String(s))
	for i := range len(separators) {
		if strings.Count(parts, separators[i:i+1]) != strings.Count(s, separators[i:i+1]) {
			return "", false
		}
	}
	// Upper case first: it takes the dotless i to I, which folding leaves.
	return cases.Fold().String(strings.ToUpper(parts)), true
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'f'
}

// lower returns the lower case of a letter of ASCII, and other bytes as they are.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
