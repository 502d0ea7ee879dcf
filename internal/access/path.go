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
	// maxPathLength is the maximum length, in bytes, of a path whose readings are listed. Links
	// in pages are shorter. With maxReadings it limits the work for one request to 1 or 2 ms.
	// Plain paths have no limit.
	maxPathLength = 4 << 10
	// maxReadings is how many interpretations of a path are examined. Unusual paths in real links
	// have fewer than ten.
	maxReadings = 32
)

// isPlainPath reports whether a path obviously has one reading: it consists of unescaped
// characters of RFC 3986, section 3.3, except the semicolon, has no empty segment except the
// last, and no segment that ends in a dot.
func isPlainPath(path string) bool {
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

// readings returns all paths that a proxy or a panel may understand a raw path as, without
// duplicates and with the raw path first. A server may decode the path, resolve its dot segments,
// merge doubled slashes (before resolving, as nginx does, or after it, as RFC 3986, section
// 5.2.4, requires), read the segment after "//" as a host, and read a decoded "?" as the
// beginning of a query, in any order and repeatedly. The canonical form (decoded, merged and
// resolved) is among the readings. ok is false if a server may read the path in a way that can't
// be predicted, or if there are more than maxReadings.
func readings(raw string) (all []string, ok bool) {
	if !isReadable(raw) {
		return nil, false
	}
	all = []string{raw}
	for i := 0; i < len(all); i++ {
		for _, read := range [...]func(string) string{decode, resolve, mergeSlashes, dropHost, dropQuery} {
			path := read(all[i])
			if slices.Contains(all, path) {
				continue
			}
			if len(all) == maxReadings {
				return nil, false
			}
			all = append(all, path)
		}
	}
	return all, true
}

// isReadable reports whether the readings of a raw path can be predicted.
func isReadable(raw string) bool {
	if raw == "" || raw[0] != '/' || len(raw) > maxPathLength {
		return false // "*" or http://host/path, in which some servers look for a path
	}
	if strings.ContainsAny(raw, "# ") {
		return false // some servers cut the path off there; no browser sends these
	}
	path, err := url.PathUnescape(raw)
	if err != nil {
		return false // some servers keep an invalid escape, some drop it, and IIS reads %u0061 as a letter
	}
	if !utf8.ValidString(path) {
		return false // old decoders read the overlong form %c0%af as a slash
	}
	// For some servers a backslash or NUL ends a segment, and for servlets a semicolon does:
	// "/..;/".
	if strings.ContainsAny(path, `\;`) || strings.ContainsFunc(path, unicode.IsControl) {
		return false
	}
	if strings.Count(path, "/") != strings.Count(raw, "/") {
		return false // %2f ends a segment for some servers
	}
	for i := 0; i+2 < len(path); i++ {
		if path[i] == '%' && isHexDigit(path[i+1]) && isHexDigit(path[i+2]) {
			return false // %252e: a server that decodes twice reads a path that wasn't checked
		}
	}
	return true
}

// decode percent-decodes the path once. If the path can't be decoded, decode returns it as it is.
func decode(path string) string {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return path
	}
	return decoded
}

// resolve resolves dot segments. A ".." also removes an empty segment.
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

// dropQuery removes the part that a server reads as query or fragment if it decodes the path first.
func dropQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

// fold returns the path in the form that the laxest file systems and routers compare: without
// case, accents, invisible characters, and dots and spaces at the end of a segment (Windows drops
// them), and with wide letters and ligatures replaced by plain ones. ok is false if a segment
// becomes empty, or if a character becomes a separator, as "／" becomes a slash.
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
	// Upper case comes first: it maps the dotless i to I, which folding alone doesn't.
	return cases.Fold().String(strings.ToUpper(parts)), true
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'f'
}

// lower returns an ASCII letter in lower case, and any other byte unchanged.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
