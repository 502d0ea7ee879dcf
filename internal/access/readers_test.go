package access

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

// reader models how some software derives the path that it serves from the one in the request
// line; ok is false if it refuses the request. No reader uses the code under test.
type reader struct {
	name string
	read func(raw string) (served string, ok bool)
	lax  bool // it ignores case
}

var readers = []reader{
	{"as it stands", pathOfTarget, false},
	{"as it stands, any case", pathOfTarget, true},
	{"resolved, never decoded", steps(cleanPath), false},
	{"decoded, never resolved", steps(unescape), true},
	{"decoded and resolved, like nginx", steps(unescape, cleanPath), false},
	{"like nginx without merge_slashes", steps(unescape, removeDotSegments), false},
	{"like nginx, before a file system without case", steps(unescape, cleanPath), true},
	{"RFC 3986, then merged", steps(removeDotSegments, unescape, removeDotSegments, cleanPath), true},
	{"resolved, decoded, resolved", steps(cleanPath, unescape, cleanPath), true},
	{"decoded, then parsed as a URL", steps(unescape, urlPath, cleanPath), false},
	{"parsed as a URL reference", steps(urlPath, unescape, cleanPath), false},
	{"decoded twice", steps(unescape, unescape, cleanPath), true},
	{"decoded twice, resolved in between", steps(unescape, cleanPath, unescape, cleanPath), true},
	{"servlet, parameters off before decoding", steps(withoutParameters, unescape, cleanPath), false},
	{"servlet, parameters off after decoding", steps(unescape, withoutParameters, cleanPath), true},
	{"overlong bytes decoded", steps(unescape, overlong, cleanPath), false},
	{"C, ends at NUL", steps(unescape, upTo("\x00"), cleanPath), false},
	{"Windows", steps(unescape, upTo("\x00"), backslashes, trailingDots, cleanPath), true},
	{"compatibility characters", steps(unescape, norm.NFKC.String, cleanPath), true},
	{"upper case, as in Java", steps(unescape, strings.ToUpper, cleanPath), true},
	{"trailing slashes off", steps(unescape, cleanPath, func(p string) string { return strings.TrimRight(p, "/") }), false},
}

// pathOfTarget removes the query, and a fragment, which a request line shouldn't have.
func pathOfTarget(raw string) (string, bool) {
	raw, _, _ = strings.Cut(raw, "?")
	raw, _, _ = strings.Cut(raw, "#")
	return raw, strings.HasPrefix(raw, "/")
}

func steps(all ...func(string) string) func(string) (string, bool) {
	return func(raw string) (string, bool) {
		p, ok := pathOfTarget(raw)
		for _, step := range all {
			p = step(p)
		}
		return p, ok
	}
}

// unescape decodes valid escapes and leaves the rest unchanged.
func unescape(p string) string {
	var out strings.Builder
	for i := 0; i < len(p); i++ {
		if i+2 < len(p) && p[i] == '%' {
			if c, err := url.PathUnescape(p[i : i+3]); err == nil {
				out.WriteString(c)
				i += 2
				continue
			}
		}
		out.WriteByte(p[i])
	}
	return out.String()
}

// cleanPath resolves dot segments as http.ServeMux does.
func cleanPath(p string) string {
	cleaned := path.Clean("/" + p)
	if cleaned != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		cleaned += "/"
	}
	return cleaned
}

// removeDotSegments is the algorithm of RFC 3986, section 5.2.4.
func removeDotSegments(in string) string {
	out := ""
	for in != "" {
		switch {
		case strings.HasPrefix(in, "/./"):
			in = in[2:]
		case in == "/.":
			in = "/"
		case strings.HasPrefix(in, "/../"):
			in, out = in[3:], out[:max(strings.LastIndexByte(out, '/'), 0)]
		case in == "/..":
			in, out = "/", out[:max(strings.LastIndexByte(out, '/'), 0)]
		default:
			end := len(in)
			if i := strings.IndexByte(in[1:], '/'); i >= 0 {
				end = i + 1
			}
			in, out = in[end:], out+in[:end]
		}
	}
	return out
}

// urlPath returns the path that net/url finds in a URL reference.
func urlPath(p string) string {
	u, err := url.Parse(p)
	if err != nil {
		return p
	}
	return u.EscapedPath()
}

func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i], _, _ = strings.Cut(segments[i], ";")
	}
	return strings.Join(segments, "/")
}

func overlong(p string) string {
	return strings.NewReplacer("\xc0\xaf", "/", "\xc0\xae", ".", "\xe0\x80\xaf", "/").Replace(p)
}

func upTo(end string) func(string) string {
	return func(p string) string {
		p, _, _ = strings.Cut(p, end)
		return p
	}
}

func backslashes(p string) string { return strings.ReplaceAll(p, `\`, "/") }

func trailingDots(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		if s != "." && s != ".." {
			segments[i] = strings.TrimRight(s, ". ")
		}
	}
	return strings.Join(segments, "/")
}

// guardedPanel is a panel together with its rules as its operator understands them.
type guardedPanel struct {
	demand Demand
	rules  []Rule
	panel  *Panel
	mux    *http.ServeMux
}

// guardedPanels returns panels whose demands can all be compared with each other.
func guardedPanels(t testing.TB) []guardedPanel {
	t.Helper()
	all := []guardedPanel{
		{demand: session, rules: []Rule{{"/admin/", twoFactor}}},
		{demand: session, rules: []Rule{{"/admin", twoFactor}}},
		{demand: twoFactor, rules: []Rule{{"/public/", nothing}}},
		{demand: twoFactor, rules: []Rule{{"/public/admin/", twoFactor}, {"/public/", nothing}}},
		{demand: nothing, rules: []Rule{{"/public/", session}, {"/admin/", twoFactor}}},
		{demand: twoFactor, rules: []Rule{{"/public/admin/", session}, {"/public/", nothing}, {"/admin/", Demand{}}}},
		{demand: nothing, rules: []Rule{{"/admin/public/", session}, {"/admin/x", session}, {"/admin/", twoFactor}}},
		{demand: session, rules: []Rule{{"/public/", nothing}, {"/admin/public/", nothing}, {"/admin/", twoFactor}}},
	}
	for i := range all {
		h := &all[i]
		h.panel, h.mux = panel(t, h.demand, h.rules...), http.NewServeMux()
		h.mux.Handle("/", http.NotFoundHandler())
		for _, r := range h.rules {
			h.mux.Handle(r.Path, http.NotFoundHandler())
		}
	}
	return all
}

// intendedDemand returns the demand that the operator intends for a served path.
func (h guardedPanel) intendedDemand(served string, lax bool) Demand {
	for _, r := range h.rules {
		rule := r.Path
		if lax {
			rule, served = strings.ToLower(rule), strings.ToLower(served)
		}
		// Many servers treat "/admin" and "/admin/" as the same path.
		if served == rule || strings.HasSuffix(rule, "/") && strings.HasPrefix(served+"/", rule) {
			return r.Demand
		}
	}
	return h.demand
}

// check checks R22 for one path: it is refused, or its demand covers the demand for the path
// that each reader serves.
func (h guardedPanel) check(t interface{ Errorf(string, ...any) }, raw string) answer {
	got := demandOf(h.panel, raw)
	if !got.OK {
		return got
	}
	for _, r := range readers {
		served, ok := r.read(raw)
		if want := h.intendedDemand(served, r.lax); ok && !covers(got.Demand, want) {
			t.Errorf("path %q, which the reader %q serves as %q: demand %+v, want %+v or a refusal; panel's demand %+v, rules %+v", raw, r.name, served, got.Demand, want, h.demand, h.rules)
		}
	}
	if u, err := url.ParseRequestURI(raw); err == nil && strings.HasPrefix(raw, "/") {
		_, pattern := h.mux.Handler(&http.Request{Method: http.MethodGet, URL: u, Host: "panel.example.com"})
		if want := h.intendedDemand(pattern, false); pattern != "/" && !covers(got.Demand, want) {
			t.Errorf("path %q, for which ServeMux finds %q: demand %+v, want %+v or a refusal; panel's demand %+v, rules %+v", raw, pattern, got.Demand, want, h.demand, h.rules)
		}
	}
	return got
}

// parts are the pieces of which the tests build paths.
var parts = []string{
	"/", "//", "/./", "/../", "/..", "/.", "..", ".", "/admin", "/admin/", "/public/", "/ADMIN", "/Public/", "x", "/x",
	"/%61dmin", "/%2e%2e/", "/%2E./", "%2f", "%5c", `\`, ";", "/..;/", ";x=1", "%3b", "%00", "%", "%2", "%25", "/%252e%252e/",
	"%zz", "%c0%af", "%c0%ae", "%ff", "%20", "%0a", " ", "#", "%23", "?", "%3f",
	"/adm\u0131n/", "/\uff41dmin/", "%ef%bc%8f", "%e2%80%a5", "%ef%bc%9b", "%c2%ad", "\u0301",
}

// TestR22NoReaderFindsMoreThanWasAskedFor checks every path of up to three parts on every panel
// with every reader.
func TestR22NoReaderFindsMoreThanWasAskedFor(t *testing.T) {
	counts := map[answerKind]int{}
	try := func(h guardedPanel, raw string) {
		got := h.check(t, raw)
		counts[kindOf(got, h.demand)]++
	}
	for _, h := range guardedPanels(t) {
		for _, a := range parts {
			try(h, a)
			for _, b := range parts {
				try(h, a+b)
				for _, c := range parts {
					try(h, a+b+c)
				}
			}
			if t.Failed() {
				return // one fault shows in many paths
			}
		}
	}
	t.Log(counts)
	for _, kind := range []answerKind{denied, less, asPanel, more} {
		if counts[kind] < 100 {
			t.Errorf("only %d paths are %s: the parts test too little", counts[kind], kind)
		}
	}
}

type answerKind string

const (
	denied  answerKind = "denied"
	less    answerKind = "with less than the panel's demand"
	asPanel answerKind = "with the panel's demand"
	more    answerKind = "with more than the panel's demand"
)

func kindOf(got answer, panel Demand) answerKind {
	switch {
	case !got.OK:
		return denied
	case areEquivalent(got.Demand, panel):
		return asPanel
	case covers(panel, got.Demand):
		return less
	}
	return more
}

// TestR22NoReaderFindsMoreByALongerWay checks random longer paths, and protected paths after
// random changes.
func TestR22NoReaderFindsMoreByALongerWay(t *testing.T) {
	all := guardedPanels(t)
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			raw := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 10).Draw(t, "parts"), "")
			if rapid.Bool().Draw(t, "changes") {
				raw = changed(t)
			}
			for _, h := range all {
				h.check(t, raw)
			}
		}
	})
}

// changed returns a path below a rule's path, with random changes. Each change is one that some
// reader reverses.
func changed(t *rapid.T) string {
	raw := rapid.SampledFrom([]string{"/admin/users", "/admin", "/public/admin/x", "/public/x", "/admin/public/x"}).Draw(t, "path")
	for range rapid.IntRange(1, 5).Draw(t, "times") {
		at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
		before, c, after := raw[:at], raw[at:at+1], raw[at+1:]
		switch rapid.IntRange(0, 9).Draw(t, "change") {
		case 0:
			raw = before + escape(c) + after
		case 1:
			raw = before + strings.ReplaceAll(escape(c), "%", "%25") + after
		case 2:
			raw = before + strings.ToUpper(c) + after
		case 3:
			raw = before + strings.NewReplacer("i", "\u0131", "a", "\uff41", "/", "\uff0f", "s", "\u017f").Replace(c) + after
		case 4:
			raw = before + strings.ReplaceAll(c, "/", rapid.SampledFrom([]string{"//", "/./", "/x/../", "/%2e/", "/x//../", `\`, "%2f", "/x/%2e%2e/", ";x/", "./"}).Draw(t, "slash")) + after
		case 5:
			raw = rapid.SampledFrom([]string{"/public/..", "/public/%2e%2e", "/..", "//x", "/x/y/../..", "/public/..;", "/public//../.."}).Draw(t, "before") + raw
		case 6:
			raw += rapid.SampledFrom([]string{"/", "/.", "?", "?/../public/", "%3f/..", "#", "%00", ";x", ".", "%20", "/..", "%23/../.."}).Draw(t, "after")
		case 7:
			raw = before + rapid.SampledFrom([]string{"\u00ad", "\u0301", "\u200d", "%cc%81"}).Draw(t, "mark") + c + after
		case 8:
			raw = escape(raw)
		case 9:
			raw = strings.ToUpper(raw)
		}
	}
	return raw
}

// escape percent-encodes every byte.
func escape(s string) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for i := range len(s) {
		out.Write([]byte{'%', digits[s[i]>>4], digits[s[i]&15]})
	}
	return out.String()
}
