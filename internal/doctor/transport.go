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
	// expiresSoon is when a certificate should have been renewed; short-lived
	// ones are renewed in the last sixth of their life.
	expiresSoon = 14 * 24 * time.Hour

	// leastHSTS is the shortest that helps people who come twice a year.
	leastHSTS = 180 * 24 * time.Hour
)

// transport looks at what keeps others from listening: a is the answer to r, a
// page of Sallyport's, which itself asks browsers to stay with https.
func (d *doctor) transport(ctx context.Context, origin string, r request, a answer) {
	if !strings.HasPrefix(origin, "https://") {
		if !loopback(nameOf(origin)) {
			d.findSeen("plain.http", origin, "the configuration", origin)
		}
		return
	}
	d.certificate(origin, r, a)
	if d.ours(a) && hsts(a.header) < leastHSTS {
		d.findSeen("hsts.missing", origin, r.String(), "Strict-Transport-Security: "+orNone(a.header.Get("Strict-Transport-Security")))
	}
	plain := request{origin: "http://" + nameOf(origin), path: d.Base + "/login"}
	there := d.client.ask(ctx, plain)
	if there.err != nil || there.status >= 400 || toHTTPS(there) {
		return
	}
	d.find("http.open", origin, plain, there)
}

func toHTTPS(a answer) bool {
	return a.status >= 300 && a.status < 400 && strings.HasPrefix(a.header.Get("Location"), "https://")
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// hsts returns how long a browser will stay with https (RFC 6797).
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

func (d *doctor) certificate(origin string, r request, a answer) {
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
		d.findSeen(whyInvalid(leaf, now, err), origin, r.String(), err.Error())
		return
	}
	if left := leaf.NotAfter.Sub(now); left < min(expiresSoon, leaf.NotAfter.Sub(leaf.NotBefore)/6) {
		d.findSeen("tls.expiring", origin, r.String(), "a certificate that ends at "+leaf.NotAfter.UTC().Format(time.DateTime)+" UTC")
	}
}

// whyInvalid returns the finding of a certificate that x509 refuses.
func whyInvalid(leaf *x509.Certificate, now time.Time, err error) string {
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

// cookie begins a sign-in, as anybody may, and looks at the mark that it leaves:
// what a proxy does to this cookie it does to the visit's.
func (p *patient) cookie(ctx context.Context) {
	r := request{origin: p.Origin, path: access.StartPath + "?return=/", header: asPerson()}
	a := p.client.ask(ctx, r)
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), p.PublicURL+"/") {
		p.find("sallyport.unrouted", p.Origin, r, a)
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
			p.findSeen("cookie.scope", p.Origin, r.String(), "Set-Cookie: "+c.String())
		}
		return
	}
	p.findSeen("cookie.scope", p.Origin, r.String(), "no cookie "+name)
}
