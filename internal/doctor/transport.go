package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	// expiresSoon is the remaining life below which a certificate should have been renewed.
	// For short-lived certificates, a sixth of their whole life counts instead.
	expiresSoon = 14 * 24 * time.Hour

	// leastHSTS is the least max-age. A shorter one doesn't protect users that return
	// after half a year.
	leastHSTS = 180 * 24 * time.Hour
)

// testTransport tests what protects the connection: https, the certificate, HSTS, and the
// redirect from http. a is the answer to r, a page of Sallyport.
func (d *doctor) testTransport(ctx context.Context, origin string, r request, a answer) {
	if !strings.HasPrefix(origin, "https://") {
		if !isLoopback(nameOf(origin)) {
			d.addSeen("plain.http", origin, "the configuration", origin)
		}
		return
	}
	d.testCertificate(origin, r, a)
	if d.isSallyport(a) && hsts(a.header) < leastHSTS {
		d.addSeen("hsts.missing", origin, r.String(), "Strict-Transport-Security: "+noneIfEmpty(a.header.Get("Strict-Transport-Security")))
	}
	plain := request{origin: "http://" + nameOf(origin), path: d.Base + "/login"}
	overHTTP := d.client.send(ctx, plain)
	if overHTTP.err != nil || overHTTP.status >= 400 || isRedirectToHTTPS(overHTTP) {
		return
	}
	d.add("http.open", origin, plain, overHTTP)
}

func isRedirectToHTTPS(a answer) bool {
	return a.status >= 300 && a.status < 400 && strings.HasPrefix(a.header.Get("Location"), "https://")
}

func noneIfEmpty(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// hsts returns max-age of Strict-Transport-Security (RFC 6797), or 0.
func hsts(h http.Header) time.Duration {
	for part := range strings.SplitSeq(h.Get("Strict-Transport-Security"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
		if err == nil && strings.EqualFold(name, "max-age") {
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}

func (d *doctor) testCertificate(origin string, r request, a answer) {
	if a.tls == nil || len(a.tls.PeerCertificates) == 0 {
		return
	}
	leaf, chain := a.tls.PeerCertificates[0], x509.NewCertPool()
	for _, one := range a.tls.PeerCertificates[1:] {
		chain.AddCert(one)
	}
	now := d.Now()
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: nameOf(origin), Roots: d.Roots, Intermediates: chain, CurrentTime: now})
	if err != nil {
		d.addSeen(certificateFinding(leaf, now, err), origin, r.String(), err.Error())
		return
	}
	if left := leaf.NotAfter.Sub(now); left < min(expiresSoon, leaf.NotAfter.Sub(leaf.NotBefore)/6) {
		d.addSeen("tls.expiring", origin, r.String(), "a certificate that ends at "+leaf.NotAfter.UTC().Format(time.DateTime)+" UTC")
	}
}

// certificateFinding returns the ID of the finding for a certificate that x509 refuses.
func certificateFinding(leaf *x509.Certificate, now time.Time, err error) string {
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	switch {
	case now.After(leaf.NotAfter):
		return "tls.expired"
	case now.Before(leaf.NotBefore):
		return "tls.early"
	case errors.As(err, &name):
		return "tls.name"
	case errors.As(err, &unknown):
		return "tls.unknown"
	}
	return "tls.invalid"
}

// testCookie starts a sign-in, which needs no account, and checks the cookie of its answer.
// A proxy that changes this cookie changes the cookie of a visit too.
func (p *panelTest) testCookie(ctx context.Context) {
	r := request{origin: p.Origin, path: access.StartPath + "?return=/", header: navigationHeader()}
	a := p.client.send(ctx, r)
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), p.PublicURL+"/") {
		p.add("sallyport.unrouted", p.Origin, r, a)
		return
	}
	if p.Shared {
		p.skip("what a proxy does to the cookies of "+p.Origin, "the portal is on the panel's host, where cookies come only with a sign-in")
		return
	}
	name := access.CookieName(access.StateCookie, p.IsHTTPS())
	for _, line := range a.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Name != name {
			continue
		}
		if c.Domain != "" || c.Path != "/" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != p.IsHTTPS() {
			c.Value = "x"
			p.addSeen("cookie.scope", p.Origin, r.String(), "Set-Cookie: "+c.String())
		}
		return
	}
	p.addSeen("cookie.scope", p.Origin, r.String(), "no cookie "+name)
}
