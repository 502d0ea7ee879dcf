package access

import (
	"bufio"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzDemandOf: no path makes DemandOf panic. For a path that it accepts, its readings agree
// with net/url, and no reader serves a resource with a stricter demand.
func FuzzDemandOf(f *testing.F) {
	for _, part := range parts {
		f.Add(part)
		f.Add("/admin/" + part)
		f.Add("/public/" + part + "/admin?x")
	}
	for _, path := range []string{"", "*", "http://panel.example.com/admin/", "//x//../admin/", "/x/%2e%2e/../admin/", "/%25%36%31", "/\u212A"} {
		f.Add(path)
	}
	all := guardedPanels(f)
	f.Fuzz(func(t *testing.T, raw string) {
		for _, h := range all {
			h.check(t, raw)
		}
		path, _, _ := strings.Cut(raw, "?")
		read, ok := readings(path)
		if !ok {
			return
		}
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatalf("%q has readings, but net/url can't parse it: %v", raw, err)
		}
		if got := decode(path); got != u.Path {
			t.Errorf("%q decoded: %q, want %q", raw, got, u.Path)
		}
		canonical := cleanPath(u.Path)
		if got := resolve(mergeSlashes(decode(path))); got != canonical {
			t.Errorf("%q in canonical form: %q, want %q", raw, got, canonical)
		}
		if !slices.Contains(read, canonical) {
			t.Errorf("%q has the readings %q without the canonical %q", raw, read, canonical)
		}
		only := len(read) == 1
		if only && path != canonical {
			t.Errorf("%q has one reading, but is %q in canonical form", raw, canonical)
		}
		if isPlainPath(path) && !only {
			t.Errorf("%q is plain, but has the readings %q", raw, read)
		}
		// The canonical form is unchanged after it is escaped and read a second time.
		escaped := (&url.URL{Path: canonical}).EscapedPath()
		if got := resolve(mergeSlashes(decode(escaped))); got != canonical {
			t.Errorf("%q, escaped as %q, reads as %q; want it unchanged", canonical, escaped, got)
		}
		for _, reading := range read {
			folded, ok := fold(reading)
			if !ok {
				continue
			}
			if twice, ok := fold(folded); !ok || twice != folded {
				t.Errorf("%q folded once: %q, folded twice: %q; want the same twice", reading, folded, twice)
			}
		}
	})
}

// FuzzCanonicalHost: net/url and net/http read a host that CanonicalHost accepts as the same
// host.
func FuzzCanonicalHost(f *testing.F) {
	for _, host := range []string{
		"panel.example.com", "Panel.Example.COM:443", "[2001:DB8::1]:80", "[::ffff:192.0.2.1]", "192.0.2.7", "0x7f.1", "a.", "a:", "[::1", "u@h",
		"a,b", "a b", "\u212A", "[fe80::1%25en0]", "1_0", "a..b", "h:00080", "%41", "h\r\nX: y",
	} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		got, err := CanonicalHost(host)
		if err != nil {
			if got != "" {
				t.Errorf("host %q: an error, but also the result %q", host, got)
			}
			return
		}
		if again, err := CanonicalHost(got); err != nil || again != got {
			t.Errorf("host %q: canonical form %q, whose own canonical form is %q (error %v)", host, got, again, err)
		}
		u, err := url.Parse("http://" + host + "/x")
		if err != nil {
			t.Fatalf("host %q: canonical form %q, but net/url reports %v", host, got, err)
		}
		theirs, err := CanonicalHost(u.Host)
		if err != nil || theirs != got || u.User != nil || u.Path != "/x" {
			t.Errorf("host %q: canonical form %q, but net/url reads %q", host, got, u.Host)
		}
		if name := strings.ToLower(u.Hostname()); !strings.HasPrefix(got, "[") && name != got {
			t.Errorf("host %q: canonical form %q, but the host name for net/url is %q", host, got, name)
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /x HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
		if err != nil || r.Host != host {
			t.Errorf("host %q: net/http reads %v (error %v); want the host unchanged", host, r, err)
		}
	})
}

// FuzzCookie: Cookie returns a value only if net/http finds at most one cookie with that name,
// and then the same value.
func FuzzCookie(f *testing.F) {
	const name = "sallyport-visit"
	for _, line := range []string{
		"", "sallyport-visit=a", "a=b; sallyport-visit=c", "sallyport-visit=a; sallyport-visit=b", ` sallyport-visit = "a" ;`,
		"sallyport-visit", "=sallyport-visit=a", "Sallyport-Visit=a", "sallyport-visit=a\tb", `sallyport-visit="`, "xsallyport-visit=a", "sallyport-visit=a,sallyport-visit=b",
	} {
		f.Add(line, "")
		f.Add("a=b", line)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		r := &http.Request{Header: http.Header{"Cookie": {one, two}}}
		got, theirs := Cookie(r, name), r.CookiesNamed(name)
		if len(theirs) > 1 && got != "" {
			t.Errorf("value %q, although several cookies have the name: %v", got, theirs)
		}
		if len(theirs) == 1 && got != theirs[0].Value && strings.Count(one+two, name) == 1 {
			t.Errorf("cookie lines %q and %q: value %q, want %q", one, two, got, theirs[0].Value)
		}
	})
}
