package access

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"
)

// filesPanel returns a panel with an open folder and two folders that require two factors.
func filesPanel(t testing.TB) *Panel {
	t.Helper()
	p, err := NewPanel("https://files.example.com", Demand{Requirement: Session}, []Rule{
		{Path: "/status/", Demand: Demand{Requirement: Public}},
		{Path: "/files/admin/", Demand: Demand{Requirement: TwoFactor}},
		{Path: "/v1/acct/private/", Demand: Demand{Requirement: TwoFactor}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryResourceOfARequestIsCheckedAgainstTheRules(t *testing.T) {
	p := filesPanel(t)
	for _, test := range []struct {
		method, target string
		header         http.Header
		want           Requirement
		err            error
	}{
		{"GET", "/files/x", nil, Session, nil},
		{"COPY", "/files/x", http.Header{"Destination": {"https://files.example.com/files/y"}}, Session, nil},
		{"COPY", "/files/x", http.Header{"Destination": {"https://FILES.example.com:443/files/admin/y"}}, TwoFactor, nil},
		{"MOVE", "/files/x", http.Header{"Destination": {"/files/admin/y"}}, TwoFactor, nil},
		{"MOVE", "/files/x", http.Header{"Destination": {"/files/%61dmin/y"}}, 0, ErrNamed},
		{"MOVE", "/files/x", http.Header{"Destination": {"/files/a%2fdmin/y"}}, 0, ErrNamed},
		{"MOVE", "/files/x", http.Header{"Destination": {"https://elsewhere.example.com/files/y"}}, 0, ErrNamed},
		{"MOVE", "/files/x", http.Header{"Destination": {"https://files.example.com@evil.example/files/y"}}, 0, ErrNamed},
		{"MOVE", "/files/x", http.Header{"Destination": {"ftp://files.example.com/files/y"}}, 0, ErrNamed},
		{"MOVE", "/files/x", http.Header{"Destination": {""}}, 0, ErrNamed},
		{"MOVE", "/files/x", http.Header{"Destination": {"/files/y", "/files/admin/y"}}, 0, ErrNamed},
		{"MOVE", "/status/x", http.Header{"Destination": {"/status/y"}}, Public, nil},
		{"PUT", "/files/y", http.Header{"X-Amz-Copy-Source": {"files/admin/x"}}, TwoFactor, nil},
		{"PUT", "/files/y", http.Header{"X-Amz-Copy-Source": {"arn:aws:s3:us-west-2:1:accesspoint/a/object/b"}}, Session, nil},
		{"PUT", "/files/y", http.Header{"X_amz_copy_source": {"/files/admin/x"}}, TwoFactor, nil},
		{"PUT", "/files/y", http.Header{"X-Ms-Copy-Source": {"https://files.example.com/files/admin/x"}}, TwoFactor, nil},
		{"PUT", "/files/y", http.Header{"X-Goog-Copy-Source": {"/files/admin/x"}}, TwoFactor, nil},
		{"PUT", "/files/y", http.Header{"X-Ms-Rename-Source": {"/files/admin/x"}}, TwoFactor, nil},
		{"PUT", "/v1/acct/open/y", http.Header{"X-Copy-From": {"/private/x"}}, TwoFactor, nil},
		{"COPY", "/v1/acct/open/y", http.Header{"Destination": {"private/x"}}, TwoFactor, nil},
		{"COPY", "/v1/acct/open/y", http.Header{"Destination": {"open/x"}, "Destination-Account": {"other"}}, 0, ErrNamed},
		{"PUT", "/v1/acct/open/y", http.Header{"X-Object-Manifest": {"private/x"}}, 0, ErrNamed},
		{"BIND", "/files/", nil, 0, ErrInBody},
		{"rebind", "/files/", nil, 0, ErrInBody},
		{"POST", "/files/", http.Header{"X-Http-Method-Override": {"bind"}}, 0, ErrInBody},
		{"POST", "/bucket?delete", nil, 0, ErrInBody},
		{"POST", "/bucket?x=1&%64elete=", nil, 0, ErrInBody},
		{"POST", "/bucket?delete=1", nil, 0, ErrInBody}, // MinIO takes any value
		{"POST", "/files/x?_method=BIND", nil, 0, ErrInBody},
		{"POST", "/files?_method=delete", nil, TwoFactor, nil},
		{"PUT", "/files/y?compose", nil, 0, ErrInBody},
		{"UPDATE", "/files/x", nil, 0, ErrInBody},
		{"MOVE", "/files/x", http.Header{"Destination": {"http:/files/admin/y"}}, 0, ErrNamed},
		{"MOVE", "/files/x", http.Header{"Destination": {"x:/files/admin/y"}}, 0, ErrNamed},
		{"COPY", "/files/x", http.Header{"Destination": {"https:files/admin/y"}}, 0, ErrNamed},
		{"LOCK", "/files/", http.Header{"Depth": {"0"}}, Session, nil},
		{"PUT", "/files/y", http.Header{"X-Oss-Symlink-Target": {"files/admin/x"}}, TwoFactor, nil},
		{"GET", "/bucket?delete", nil, Session, nil},
		{"GET", "/bucket?delete", http.Header{"X-Method-Override": {"POST"}}, 0, ErrInBody},
		{"POST", "/?comp=batch", nil, 0, ErrInBody},
		{"DELETE", "/files/", nil, TwoFactor, nil},
		{"DELETE", "/files", nil, TwoFactor, nil},
		{"DELETE", "/FILES", nil, TwoFactor, nil},
		{"DELETE", "/files/x", nil, Session, nil},
		{"MOVE", "/", http.Header{"Destination": {"/files2"}}, TwoFactor, nil},
		{"PROPFIND", "/files/", nil, TwoFactor, nil},
		{"PROPFIND", "/files/", http.Header{"Depth": {"1"}}, Session, nil},
		{"REPORT", "/status/", nil, TwoFactor, nil},
	} {
		got, err := p.DemandFor(Request{Method: test.method, Target: test.target, Header: test.header})
		if got.Requirement != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s %s with headers %v: requirement %v, error %v; want %v, %v", test.method, test.target, test.header, got.Requirement, err, test.want, test.err)
		}
	}
	// If all rules ask for less than the panel, a request for a whole tree needs the panel's
	// own demand.
	loose, err := NewPanel("https://files.example.com", Demand{Requirement: TwoFactor}, []Rule{
		{Path: "/status/", Demand: Demand{Requirement: Public}}, {Path: "/files", Demand: Demand{Requirement: Public}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range []Request{{"REPORT", "/status/", nil}, {"SEARCH", "/status/x", nil}, {"DELETE", "/files", nil}, {"PROPFIND", "/files", nil}, {"DELETE", "/", nil}} {
		if got, err := loose.DemandFor(ask); got.Requirement != TwoFactor || err != nil {
			t.Errorf("%s %s where all rules ask for less: requirement %v, error %v; want two factors", ask.Method, ask.Target, got.Requirement, err)
		}
	}
	if got, err := loose.DemandFor(Request{"DELETE", "/status/x", nil}); got.Requirement != Public || err != nil {
		t.Errorf("DELETE below an open folder: requirement %v, error %v; want Public", got.Requirement, err)
	}
	// Without rules that differ, the panel's demand applies to every request.
	plain := &Panel{Origin: "https://files.example.com", Demand: Demand{Requirement: Session}}
	if got, err := plain.DemandFor(Request{"BIND", "/x", http.Header{"Destination": {"https://other.example/"}}}); got.Requirement != Session || err != nil {
		t.Errorf("a panel without rules: demand %v, error %v; want a session", got, err)
	}
}

func TestResourcesWithIncomparableDemandsAreRefused(t *testing.T) {
	p, err := NewPanel("https://files.example.com", Demand{Requirement: Session}, []Rule{
		{Path: "/a/", Demand: Demand{Requirement: Session, Groups: []string{"a"}}},
		{Path: "/b/", Demand: Demand{Requirement: Session, Groups: []string{"b"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range []Request{
		{"COPY", "/a/x", http.Header{"Destination": {"https://files.example.com/b/x"}}},
		{"DELETE", "/", nil},
	} {
		if _, err := p.DemandFor(ask); !errors.Is(err, ErrMixed) {
			t.Errorf("%s %s: error %v, want ErrMixed", ask.Method, ask.Target, err)
		}
	}
}

func TestAPassMustCoverEveryResourceOfARequest(t *testing.T) {
	s, err := NewScope("https://files.example.com", "/shared/", "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		ask  Request
		want error
	}{
		{Request{"COPY", "/shared/x", http.Header{"Destination": {"https://files.example.com/shared/y"}}}, nil},
		{Request{"COPY", "/shared/x", http.Header{"Destination": {"/shared/y"}}}, nil},
		{Request{"COPY", "/shared/x", http.Header{"Destination": {"https://files.example.com/private/y"}}}, ErrPassNamed},
		{Request{"COPY", "/shared/x", http.Header{"Destination": {"/shared/../private/y"}}}, ErrPassNamed},
		{Request{"COPY", "/shared/x", http.Header{"Destination": {"https://other.example/shared/y"}}}, ErrPassNamed},
		{Request{"PUT", "/shared/x", http.Header{"X-Amz-Copy-Source": {"private/y"}}}, ErrPassNamed},
		{Request{"PUT", "/shared/x", http.Header{"X-Amz-Copy-Source": {"shared/y"}}}, nil},
		{Request{"BIND", "/shared/", nil}, ErrPassBody},
		{Request{"REPORT", "/shared/", nil}, ErrPassBody},
		{Request{"POST", "/shared/?delete", nil}, ErrPassBody},
	} {
		if got := s.Check(test.ask, netip.Addr{}); got != test.want {
			t.Errorf("request %v: error %v, want %v", test.ask, got, test.want)
		}
	}
}

// FuzzNamedResource: if any reader takes the value of a Destination header for a path below
// /files/admin/, the request is refused or its demand requires two factors.
func FuzzNamedResource(f *testing.F) {
	for _, value := range []string{"/files/admin/x", "https://files.example.com/files/admin/x", "files/admin", "//x/files/admin/", "/files/%61dmin/x", "http:/files/admin/x"} {
		f.Add("/files/x", value)
	}
	f.Fuzz(func(t *testing.T, target, value string) {
		p := filesPanel(t)
		d, err := p.DemandFor(Request{"COPY", target, http.Header{"Destination": {value}}})
		if err != nil || d.Requirement == TwoFactor {
			return
		}
		for _, r := range readers {
			path := value
			if u, err := http.NewRequest("GET", value, nil); err == nil && u.URL.Scheme != "" {
				path = u.URL.EscapedPath()
			}
			if served, ok := r.read(path); ok && isWithin("/files/admin/", served, r.lax) {
				t.Errorf("COPY %q to %q requires less than two factors, but the reader %q serves %q", target, value, r.name, served)
			}
		}
	})
}
