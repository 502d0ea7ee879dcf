package access

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/testkit"
)

func scope(t testing.TB, path, methods, addresses string) Scope {
	t.Helper()
	s, err := NewScope("https://panel.example.com", path, methods, addresses)
	if err != nil {
		t.Fatalf("scope %q %q %q: %v", path, methods, addresses, err)
	}
	return s
}

// isWithin reports whether the path served is within path, a scope's path. If lax is true, it
// ignores case.
func isWithin(path, served string, lax bool) bool {
	if lax {
		path, served = strings.ToLower(path), strings.ToLower(served)
	}
	return served == path || strings.HasSuffix(path, "/") && strings.HasPrefix(served+"/", path)
}

// checkScope checks R22 for the scope of a pass: if the scope allows the raw path, every
// reader serves a path within it. It returns whether the scope allows the raw path.
func checkScope(t interface{ Errorf(string, ...any) }, s Scope, raw string) bool {
	if s.Check(Request{Method: "GET", Target: raw}, netip.Addr{}) != nil {
		return false
	}
	for _, r := range readers {
		if served, ok := r.read(raw); ok && !isWithin(s.Path, served, r.lax) {
			t.Errorf("a pass for %q opens %q, which the reader %q serves as %q", s.Path, raw, r.name, served)
		}
	}
	return true
}

func TestR22ScopeHoldsHoweverAPathIsRead(t *testing.T) {
	for _, path := range []string{"/public/", "/admin/x/", "/admin", "/x"} {
		s, held := scope(t, path, "", ""), 0
		try := func(raw string) {
			if checkScope(t, s, raw) {
				held++
			}
		}
		try(path)
		for _, a := range parts {
			try(a)
			try(path + a)
			for _, b := range parts {
				try(a + b)
				try(path + a + b)
				for _, c := range parts {
					try(path + a + b + c)
				}
			}
		}
		if held == 0 {
			t.Errorf("a pass for %s opens nothing", path)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		for _, path := range []string{"/public/", "/admin/", "/admin/users"} {
			checkScope(t, Scope{Path: path}, changed(t))
		}
	})
}

func TestScopeOpensWhatItSays(t *testing.T) {
	const from = "192.0.2.7"
	for _, test := range []struct {
		path, methods, addresses string
		method, target, from     string
		want                     error
	}{
		{"/", "", "", "BREW", "/a;b/%2f?x", "", nil},
		{"/api/", "", "", "GET", "/api/", "", nil},
		{"/api/", "", "", "GET", "/api/a%20b?x=/../", "", nil},
		{"/api/", "", "", "GET", "/api/%c3%a4", "", nil},
		{"/api/", "", "", "GET", "/api", "", ErrPassPath},
		{"/api/", "", "", "GET", "/apis/", "", ErrPassPath},
		{"/api/", "", "", "GET", "/API/x", "", ErrPassPath},
		{"/api/", "", "", "GET", "/api/a%2fb", "", ErrPassPath},
		{"/api/", "", "", "GET", "/api/../x", "", ErrPassPath},
		{"/api/", "", "", "GET", "http://panel.example.com/api/x", "", ErrPassPath},
		{"/api/export", "", "", "GET", "/api/export?a", "", nil},
		{"/api/export", "", "", "GET", "/api/export/", "", ErrPassPath},
		{"/", "get, post", "", "GET", "/", "", nil},
		{"/", "GET", "", "HEAD", "/", "", nil},
		{"/", "POST", "", "HEAD", "/", "", ErrPassMethod},
		{"/", "GET", "", "get", "/", "", ErrPassMethod},
		{"/", "GET", "", "DELETE", "/", "", ErrPassMethod},
		{"/", "GET", "", "", "/", "", ErrPassMethod},
		{"/", "", from, "GET", "/", from, nil},
		{"/", "", from, "GET", "/", "192.0.2.8", ErrPassAddress},
		{"/", "", "10.1.2.3/8, 2001:db8::/32", "GET", "/", "10.9.9.9", nil},
		{"/", "", "10.1.2.3/8 2001:db8::/32", "GET", "/", "2001:db8::1", nil},
		{"/", "", "::/0", "GET", "/", from, ErrPassAddress},
		{"/", "", "0.0.0.0/0", "GET", "/", "", ErrPassAddress},
	} {
		addr, _ := netip.ParseAddr(test.from)
		if got := scope(t, test.path, test.methods, test.addresses).Check(Request{Method: test.method, Target: test.target}, addr); got != test.want {
			t.Errorf("scope %q %q %q, request %s %s from %q: error %v, want %v", test.path, test.methods, test.addresses, test.method, test.target, test.from, got, test.want)
		}
	}
}

func TestFaultyScopesAreErrors(t *testing.T) {
	for _, test := range []struct {
		path, methods, addresses string
		want                     error
	}{
		{"", "", "", ErrScopePath}, {"api/", "", "", ErrScopePath}, {"/a%20b/", "", "", ErrScopePath}, {"/a//b", "", "", ErrScopePath},
		{"/a/../b", "", "", ErrScopePath}, {"/a?b", "", "", ErrScopePath}, {"/ä/", "", "", ErrScopePath}, {"/a;b", "", "", ErrScopePath},
		{"/.sallyport", "", "", ErrScopePath}, {"/.Sallyport/start", "", "", ErrScopePath}, {"/" + strings.Repeat("a", maxScopePath), "", "", ErrScopePath},
		{"/", "GET;POST", "", ErrScopeMethods}, {"/", "G\tT", "", ErrScopeMethods}, {"/", strings.Repeat("A", maxMethod+1), "", ErrScopeMethods},
		{"/", strings.Repeat("GET ", maxMethods+1), "", ErrScopeMethods},
		{"/", "", "localhost", ErrScopeAddresses}, {"/", "", "10.0.0.0/33", ErrScopeAddresses}, {"/", "", "fe80::1%eth0", ErrScopeAddresses},
		{"/", "", "::ffff:10.0.0.0/104", ErrScopeAddresses}, {"/", "", strings.Repeat("::1 ", maxPrefixes+1), ErrScopeAddresses},
	} {
		if _, err := NewScope("https://panel.example.com", test.path, test.methods, test.addresses); !errors.Is(err, test.want) {
			t.Errorf("scope %q %.20q %.20q: error %v, want %v", test.path, test.methods, test.addresses, err, test.want)
		}
	}
	// Text from MethodList and AddressList gives the same scope.
	a := scope(t, "/api/", "post,get", "10.1.2.3/8,::ffff:192.0.2.7 2001:db8::1/48")
	b := scope(t, a.Path, a.MethodList(), a.AddressList())
	if diff := cmp.Diff(a, b, cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })); diff != "" {
		t.Errorf("scope after printing and parsing (-before +after):\n%s", diff)
	}
	if got := a.AddressList(); got != "10.0.0.0/8, 192.0.2.7, 2001:db8::/48" {
		t.Errorf("AddressList is %q, want canonical prefixes", got)
	}
}

func basic(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }

func TestPassesAreFoundAndKeptFromPanels(t *testing.T) {
	const token = PassPrefix + "x"
	for name, test := range map[string]struct {
		header http.Header
		pass   string
		panel  []string // Authorization
	}{
		"none":              {http.Header{}, "", nil},
		"header":            {http.Header{"Sallyport-Pass": {token}}, token, nil},
		"bearer":            {http.Header{"Authorization": {"bearer  " + token + " "}}, token, nil},
		"basic":             {http.Header{"Authorization": {basic("me:" + token)}}, token, nil},
		"basic, no name":    {http.Header{"Authorization": {basic(":" + token)}}, token, nil},
		"header first":      {http.Header{"Sallyport-Pass": {token}, "Authorization": {"Bearer spp_y"}}, token, nil},
		"beside another":    {http.Header{"Sallyport-Pass": {token}, "Authorization": {"Bearer eyJ"}}, token, []string{"Bearer eyJ"}},
		"two headers":       {http.Header{"Sallyport-Pass": {token, token}}, "", nil},
		"two bearers":       {http.Header{"Authorization": {"Bearer " + token, "Bearer eyJ"}}, "", []string{"Bearer eyJ"}},
		"another's bearer":  {http.Header{"Authorization": {"Bearer eyJ"}}, "", []string{"Bearer eyJ"}},
		"another's basic":   {http.Header{"Authorization": {basic("me:secret")}}, "", []string{basic("me:secret")}},
		"pass as a name":    {http.Header{"Authorization": {basic(token + ":")}}, "", []string{basic(token + ":")}},
		"another's scheme":  {http.Header{"Authorization": {"Digest " + token}}, "", []string{"Digest " + token}},
		"no base64":         {http.Header{"Authorization": {"Basic " + token}}, "", []string{"Basic " + token}},
		"nothing, and that": {http.Header{"Authorization": {""}, "Sallyport-Pass": {""}}, "", []string{""}},
	} {
		if got := Pass(test.header); got != test.pass {
			t.Errorf("%s: pass %q, want %q", name, got, test.pass)
		}
		if diff := cmp.Diff(test.panel, PanelAuthorization(test.header)); diff != "" {
			t.Errorf("%s: Authorization for the panel (-want +got):\n%s", name, diff)
		}
	}
}

func TestVouchedReplacesProofsAndNothingElse(t *testing.T) {
	ops := []string{"ops"}
	for _, test := range []struct {
		demand Demand
		bearer Bearer
		want   Verdict
	}{
		{Demand{Requirement: TwoFactor, MaxAge: 1}, Bearer{SignedIn: true, Vouched: true}, Admit},
		{Demand{Requirement: TwoFactor, Groups: ops}, Bearer{SignedIn: true, Vouched: true, Groups: ops}, Admit},
		{Demand{Requirement: Session, Groups: ops}, Bearer{SignedIn: true, Vouched: true}, Deny},
		{Demand{Requirement: Session}, Bearer{Vouched: true}, SignIn},
		{Demand{}, Bearer{SignedIn: true, Vouched: true}, Deny},
	} {
		if got := Check(test.demand, test.bearer, testkit.Start); got != test.want {
			t.Errorf("bearer %+v, demand %+v: verdict %d, want %d", test.bearer, test.demand, got, test.want)
		}
	}
}
