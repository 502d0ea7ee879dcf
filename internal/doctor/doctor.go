// Package doctor looks at a live set-up from outside, as a stranger: whether
// anything reaches a panel without the gate's word. It asks questions whose only
// right answer is the gate's own refusal, so it needs no account, signs nobody in
// and changes nothing. What it may find, and the lines that fix it for each
// proxy, stand in findings.go and fixes.go. It owns no table.
//
// The gate's refusal names the page that a sign-in would come back to. So it
// also tells which request the proxy asked about, and whether a header of the
// client's changed that.
package doctor

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// Options are what is to be looked at, and from where.
type Options struct {
	PublicURL string  // of the portal: scheme and host
	Base      string  // path before those of its pages, where a panel shares its host
	Listen    string  // address that the server listens at; empty: unknown
	OwnTLS    bool    // the server ends TLS itself
	Trusting  bool    // some proxy is trusted
	Metrics   string  // address that answers /metrics; none if empty
	Panels    []Panel // as declared
	Files     Files

	Paths   []string       // of the panels, besides those that many have
	Connect []Connect      // where to connect instead of where names lead
	Roots   *x509.CertPool // who may sign certificates; nil: whom this machine trusts
	Proxy   string         // the proxy in front; recognised, if empty
	Now     func() time.Time
}

// Panel is a declared panel.
type Panel struct {
	*access.Panel
	Gateway  bool     // Sallyport passes on itself; else another proxy asks
	Upstream string   // the panel's own server, an origin; empty: unknown
	Open     []string // paths of rules that demand nothing
	Rules    []string // paths of the other rules
}

// Report is what was found: what keeps Sallyport itself from answering comes first, since
// other findings may follow from it, and then the worst.
type Report struct {
	Findings []Finding
	Skipped  []Skipped
	Asked    int               // requests
	Proxies  map[string]string // by origin; what wasn't recognised isn't there
}

// Skipped is something that wasn't looked at.
type Skipped struct{ What, Why string }

// Bad reports whether anything is open, broken or unclear.
func (r Report) Bad() bool {
	for _, f := range r.Findings {
		if f.Severity != Advice {
			return true
		}
	}
	return false
}

type doctor struct {
	Options
	client *client  // asks where names, or Connect, lead
	itself *client  // asks at the server's own address
	up     bool     // the server answers there
	dead   []string // addresses, with ports, where nothing answers
	report Report
	mark   string // of this run, in names of pages and hosts that aren't there
}

// runTime is how long all of it may take. What is asked later has no answer.
const runTime = 10 * time.Minute

// Run looks at everything. It asks one question after the other, each for at
// most [askTime].
func Run(ctx context.Context, o Options) Report {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	var random [8]byte
	rand.Read(random[:])
	d := &doctor{Options: o, client: newClient(o.Connect), itself: newClient(nil), mark: "sallyport-doctor-" + hex.EncodeToString(random[:])}
	d.report.Proxies = map[string]string{}
	d.files()
	if d.running(ctx) {
		d.outside(ctx)
	}
	d.report.Asked = d.client.asked + d.itself.asked
	slices.SortStableFunc(d.report.Findings, func(a, b Finding) int { return a.rank() - b.rank() })
	return d.report
}

// outside asks at the public addresses.
func (d *doctor) outside(ctx context.Context) {
	if d.portal(ctx) {
		d.clock(ctx)
		d.ready(ctx)
	}
	if d.found("url.scheme", d.PublicURL) {
		return // the panels have that scheme too
	}
	for i := range d.Panels {
		d.panel(ctx, &d.Panels[i])
	}
	d.strangers(ctx)
	d.metrics(ctx)
}

func (d *doctor) skip(what, why string) {
	d.report.Skipped = append(d.report.Skipped, Skipped{what, why})
}

// portal looks at the portal's own host, and reports whether it is there.
func (d *doctor) portal(ctx context.Context) bool {
	d.recognise(ctx, d.PublicURL)
	r := request{origin: d.PublicURL, path: d.Base + "/login", header: asPerson()}
	a := d.client.ask(ctx, r)
	switch {
	case d.wrongScheme(ctx, r, a):
		return false
	case a.err != nil:
		d.unreachable(r, a)
		return false
	case d.untrusted(a) != "":
		d.findLine("proxy.untrusted", d.PublicURL, r, a, d.untrusted(a))
		return false
	case d.up && isGatewayError(a):
		d.find("sallyport.unreached", d.PublicURL, r, a)
	case a.status != http.StatusOK || !d.ours(a):
		d.find("portal.unrouted", d.PublicURL, r, a)
		d.seen("portal.unrouted", d.PublicURL, "the addresses of "+nameOf(d.PublicURL), d.client.where(ctx, d.PublicURL))
	}
	d.everyAddress(ctx, r)
	d.transport(ctx, d.PublicURL, r, a)
	if a.status == http.StatusOK {
		d.withoutHost(ctx, d.PublicURL, r.path)
	}
	return d.ours(a)
}

// unreachable notes that no answer came to r.
func (d *doctor) unreachable(r request, a answer) {
	id := "host.unreachable"
	var missing *net.DNSError
	if errors.As(a.err, &missing) && missing.IsNotFound {
		id = "dns.missing"
	}
	d.find(id, r.origin, r, a)
}

// isGatewayError reports whether a proxy says that it doesn't reach the server behind it.
func isGatewayError(a answer) bool {
	return a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout
}

// everyAddress asks r at each address of its host, where there are several: a browser picks
// one of them, and each must answer.
func (d *doctor) everyAddress(ctx context.Context, r request) {
	all := d.client.addresses(ctx, r.origin)
	if len(all) < 2 {
		return
	}
	scheme, _, _ := strings.Cut(r.origin, "://")
	_, port, _ := net.SplitHostPort(d.client.led(hostPort(r.origin)))
	for _, addr := range all {
		at := net.JoinHostPort(addr.String(), port)
		r.via, r.called = scheme+"://"+at, "at "+at
		a := d.client.ask(ctx, r)
		switch {
		case a.err == nil:
		case errors.Is(a.err, syscall.ENETUNREACH), errors.Is(a.err, syscall.EADDRNOTAVAIL):
			d.skip(hostOf(r.origin)+" at "+addr.String(), "this machine has no route to it")
		default:
			d.find("address.dead", r.origin, r, a)
			d.dead = append(d.dead, at)
		}
	}
}

// asPerson is what a browser sends that goes to a page.
func asPerson() http.Header {
	return http.Header{"Accept": {"text/html,application/xhtml+xml"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
}

// mostOff is how far a clock may be from ours. A code is right for 90 seconds.
const mostOff = 30 * time.Second

func (d *doctor) clock(ctx context.Context) {
	r := request{origin: d.PublicURL, path: d.Base + "/healthz"}
	a := d.client.ask(ctx, r)
	now := d.Now()
	there, err := http.ParseTime(a.header.Get("Date"))
	if a.err != nil || err != nil {
		d.skip("the server's clock", "its answer has no Date")
		return
	}
	if off := now.Sub(there).Round(time.Second); off.Abs() > mostOff {
		d.findSeen("clock.off", d.PublicURL, r.String(), "the date "+there.UTC().Format(time.DateTime)+" UTC, where this machine's clock says "+now.UTC().Format(time.DateTime)+" UTC")
	}
}

// ready passes on what the server itself says is wrong.
func (d *doctor) ready(ctx context.Context) {
	r := request{origin: d.PublicURL, path: d.Base + "/readyz"}
	a := d.client.ask(ctx, r)
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if !d.ours(a) || kind != "text/plain" || a.status != http.StatusOK && a.status != http.StatusServiceUnavailable {
		d.skip("what the server itself finds wrong", "the proxy doesn't pass /readyz on: "+a.String())
		return
	}
	id := "server.notes"
	if a.status != http.StatusOK {
		id = "server.unready"
	}
	for line := range strings.Lines(a.body) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, ": ok") {
			d.findSeen(id, d.PublicURL, r.String(), line)
		}
	}
}
