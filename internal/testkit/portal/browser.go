package portal

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Browser is a client that keeps cookies. It follows redirects only in
// [Browser.Follow]. It isn't safe for concurrent use.
type Browser struct {
	t      testing.TB
	portal *Portal
	client *http.Client
	Header http.Header // sent with every request
	Last   Answer
}

// Answer is the server's answer to a request.
type Answer struct {
	Status   int
	Location string // the target of a redirect or a refresh; only its path and query if it is on the portal
	Body     string
	Header   http.Header
}

// Browser returns a browser without cookies, at 127.0.0.1.
func (p *Portal) Browser(t testing.TB) *Browser { return p.BrowserAt(t, "127.0.0.1") }

// BrowserAt returns a browser without cookies that connects from the given address, which must
// be in 127.0.0.0/8.
func (p *Portal) BrowserAt(t testing.TB, address string) *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Connections to any host go to the portal.
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext(ctx, network, p.At)
		},
		TLSClientConfig: &tls.Config{RootCAs: p.Roots, Time: p.Clock.Now}, ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &Browser{t: t, portal: p, Header: http.Header{"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"}},
		client: &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Do sends a request with the browser's cookies and headers. The parameter header replaces
// headers or adds some. path is a path on the portal, or a whole URL of a panel.
func (b *Browser) Do(method, path string, body io.Reader, header http.Header) Answer {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url(path), body)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, from := range []http.Header{b.Header, header} {
		for name, values := range from {
			req.Header[name] = values
		}
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	to := resp.Header.Get("Location")
	if _, target, found := strings.Cut(resp.Header.Get("Refresh"), "url="); found && to == "" {
		to = target // browsers follow a Refresh header by themselves
	}
	b.Last = Answer{Status: resp.StatusCode, Location: strings.TrimPrefix(to, b.portal.Base), Body: string(text), Header: resp.Header}
	return b.Last
}

func (b *Browser) url(path string) string {
	if !strings.HasPrefix(path, "/") && path != "" {
		return path
	}
	return b.portal.Base + path
}

// Get sends a GET request.
func (b *Browser) Get(path string) Answer {
	b.t.Helper()
	return b.Do(http.MethodGet, path, nil, nil)
}

// Post sends a form with the headers of a browser that shows a page of the same origin.
// fields are pairs of name and value.
func (b *Browser) Post(path string, fields ...string) Answer {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	at, err := url.Parse(b.url(path))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.Do(http.MethodPost, path, strings.NewReader(form.Encode()), http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {at.Scheme + "://" + at.Host},
	})
}

// Cookie returns the value of the cookie with this name that the browser would send to the
// portal, or "".
func (b *Browser) Cookie(name string) string { return b.CookieAt("", name) }

// CookieAt returns the value of the cookie with this name that the browser would send to
// origin, or "".
func (b *Browser) CookieAt(origin, name string) string {
	at, err := url.Parse(b.url(origin))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// SetCookie sets a cookie of the portal in the browser.
func (b *Browser) SetCookie(name, value string) { b.SetCookieAt("", name, value) }

// SetCookieAt sets a cookie in the browser as if origin had set it.
func (b *Browser) SetCookieAt(origin, name, value string) {
	at, err := url.Parse(b.url(origin))
	if err != nil {
		b.t.Fatal(err)
	}
	b.client.Jar.SetCookies(at, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// Follow follows redirects, beginning with that of the last answer, until it gets a page, and
// returns the page. It fails the test after ten redirects.
func (b *Browser) Follow() Answer {
	b.t.Helper()
	for range 10 {
		if b.Last.Location == "" {
			return b.Last
		}
		b.Get(b.Last.Location)
	}
	b.t.Fatalf("more than ten redirects; the last leads to %s", b.Last.Location)
	return Answer{}
}

// SignIn submits the parameter name and [Password]. It fails the test if they aren't accepted.
func (b *Browser) SignIn(name string) Answer {
	b.t.Helper()
	a := b.Post("/login", "username", name, "password", Password)
	if a.Status != http.StatusSeeOther {
		b.t.Fatalf("submit the password of %s: %d, want 303\n%s", name, a.Status, a.Body)
	}
	return a
}

// SignedIn reports whether the browser is signed in, which it is if the start page opens.
func (b *Browser) SignedIn() bool {
	b.t.Helper()
	return b.Get("/").Status == http.StatusOK
}

// Phone is an authenticator app with one entry.
type Phone struct {
	ID     string
	Secret []byte
	Codes  []string // backup codes, if this was the account's first authenticator
	totp.Parameters
	clock *testkit.Clock
}

// Code returns the code that the phone shows if its clock is ahead of the portal's by the
// duration off, which may be negative.
func (p *Phone) Code(off time.Duration) string {
	return p.CodeAt(p.Secret, p.clock.Now().Add(off))
}

// Enroll enrolls a phone in the wizard. It fails the test if that fails. It then moves the
// clock by one step, so that the phone's next code is unused.
func (b *Browser) Enroll(name string) *Phone {
	b.t.Helper()
	phone := b.BeginEnroll()
	a := b.Post("/settings/security/authenticators/"+phone.ID+"/confirm", "code", phone.Code(0), "name", name)
	if a.Status != http.StatusOK && a.Location != "/settings/security?notice=added" {
		b.t.Fatalf("confirm the enrolment: %d %s, want backup codes or the notice added\n%s", a.Status, a.Location, a.Body)
	}
	phone.Codes = codePattern.FindAllString(a.Body[max(0, strings.Index(a.Body, "<main")):], 10)
	b.portal.Clock.Move(totp.Period)
	return phone
}

// BeginEnroll opens the wizard and scans its secret, but doesn't confirm the enrolment.
func (b *Browser) BeginEnroll() *Phone {
	b.t.Helper()
	a := b.Post("/settings/security/authenticators")
	id, ok := strings.CutPrefix(a.Location, "/settings/security/authenticators/")
	if a.Status != http.StatusSeeOther || !ok {
		b.t.Fatalf("open the wizard: %d %s, want 303 to it\n%s", a.Status, a.Location, a.Body)
	}
	return b.Scan(id)
}

// Scan reads the secret of the authenticator id from its wizard, which must be open in
// this browser.
func (b *Browser) Scan(id string) *Phone {
	b.t.Helper()
	key, err := SecretOn(b.Get("/settings/security/authenticators/" + id).Body)
	if err != nil {
		b.t.Fatalf("%v:\n%s", err, b.Last.Body)
	}
	return &Phone{ID: id, Secret: key, Parameters: totp.Standard(), clock: b.portal.Clock}
}

// SecretOn returns the secret that a wizard's page shows.
func SecretOn(page string) ([]byte, error) {
	found := keyPattern.FindStringSubmatch(page)
	if found == nil {
		return nil, errors.New("no key URI on the wizard's page")
	}
	return totp.ParseBase32(found[1])
}
