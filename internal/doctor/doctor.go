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

// Options say what to test, and how to reach it.
type Options struct {
	PublicURL     string  // origin of the portal
	Base          string  // prefix of the portal's paths: "" unless a panel shares its host
	Listen        string  // address of the server's listener; empty: unknown
	OwnTLS        bool    // the server terminates TLS itself
	TrustsProxies bool    // trusted_proxies isn't empty
	Metrics       string  // address of /metrics; empty: off
	Panels        []Panel // as in the configuration
	MailFrom      string  // address that mails come from; empty: no mail
	Files         Files

	Paths   []string       // paths of the panels to test besides the usual ones
	Connect []Connect      // connections that go to another address than their name's
	Roots   *x509.CertPool // CAs to trust; nil: those of this machine
	Proxy   string         // the proxy in front; empty: recognise it
	Now     func() time.Time
}

// Panel is a panel of the configuration.
type Panel struct {
	*access.Panel
	Gateway  bool     // Sallyport's gateway serves it, not another proxy
	Upstream string   // origin of the panel's own server; empty: unknown
	Open     []string // paths of rules with require: nothing
	Rules    []string // paths of the other rules
}

// Report is the result of a run. Findings that may be the cause of others come first. The
// other findings follow by severity.
type Report struct {
	Findings []Finding
	Skipped  []Skipped
	Asked    int               // number of requests
	Proxies  map[string]string // by origin; recognised proxies only
}

// Skipped is something that couldn't be tested.
type Skipped struct{ What, Why string }

// HasFaults reports whether anything is open, broken or unclear.
func (r Report) HasFaults() bool {
	for _, f := range r.Findings {
		if f.Severity != Advice {
			return true
		}
	}
	return false
}

// doctor is the state of a run.
type doctor struct {
	Options
	client        *client           // connects to the addresses of names, or to those of Connect
	listenClient  *client           // connects to the server's own address
	serverUp      bool              // the server answers at its own address
	deadAddresses []string          // addresses with ports that don't answer
	records       map[string]string // DNS records that lead to the right address, by origin
	report        Report
	marker        string // random part of the names of pages and hosts that don't exist
}

// runTime is how long a run may take. Requests after that fail.
const runTime = 10 * time.Minute

// Run tests everything. It sends one request after another, and waits at most ten seconds
// for each answer.
func Run(ctx context.Context, o Options) Report {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	var random [8]byte
	rand.Read(random[:])
	d := &doctor{Options: o, client: newClient(o.Connect), listenClient: newClient(nil), marker: "sallyport-doctor-" + hex.EncodeToString(random[:])}
	d.report.Proxies, d.records = map[string]string{}, map[string]string{}
	d.testFiles()
	d.compareMailDomain()
	if d.testServer(ctx) {
		d.testFromOutside(ctx)
	}
	d.report.Asked = d.client.sent + d.listenClient.sent
	slices.SortStableFunc(d.report.Findings, func(a, b Finding) int { return a.rank() - b.rank() })
	return d.report
}

// testFromOutside tests the portal and the panels at their public addresses.
func (d *doctor) testFromOutside(ctx context.Context) {
	if d.testPortal(ctx) {
		d.testClock(ctx)
		d.readReadiness(ctx)
	}
	if d.hasFinding("url.scheme", d.PublicURL) {
		return // the panels have that scheme too
	}
	for i := range d.Panels {
		d.testPanel(ctx, &d.Panels[i])
	}
	if d.hasWrongAddress(d.PublicURL) {
		d.skip("/metrics, and the panels at the address of "+hostOf(d.PublicURL), "DNS leads that name to another server")
		return
	}
	d.testPortalAddress(ctx)
	d.testMetrics(ctx)
}

// compareMailDomain adds a finding unless the portal's host is the domain of mail.from, or a host
// below that domain.
func (d *doctor) compareMailDomain() {
	_, domain, found := strings.Cut(strings.ToLower(d.MailFrom), "@")
	host, _, _ := strings.Cut(hostOf(d.PublicURL), ":")
	if found && host != domain && !strings.HasSuffix(host, "."+domain) {
		d.addSeen("mail.domain", d.PublicURL, "mail.from", d.MailFrom)
	}
}

func (d *doctor) skip(what, why string) {
	d.report.Skipped = append(d.report.Skipped, Skipped{what, why})
}

// testPortal tests the portal's host, and reports whether Sallyport answers there.
func (d *doctor) testPortal(ctx context.Context) (answers bool) {
	d.recognise(ctx, d.PublicURL)
	r := request{origin: d.PublicURL, path: d.Base + "/login", header: navigationHeader()}
	a := d.client.send(ctx, r)
	switch {
	case d.hasWrongScheme(ctx, r, a), d.isPortalElsewhere(ctx, r, a):
		return false
	case a.err != nil:
		d.addUnreachable(r, a)
		return false
	case d.trustedProxiesLine(a) != "":
		d.addWithFix("proxy.untrusted", d.PublicURL, r, a, d.trustedProxiesLine(a))
		return false
	case d.serverUp && isGatewayError(a):
		d.add("sallyport.unreached", d.PublicURL, r, a)
	case a.status != http.StatusOK || !d.isSallyport(a):
		d.add("portal.unrouted", d.PublicURL, r, a)
		d.addObservation("portal.unrouted", d.PublicURL, "the addresses of "+nameOf(d.PublicURL), d.client.addressList(ctx, d.PublicURL))
	}
	d.testEveryAddress(ctx, r)
	d.testTransport(ctx, d.PublicURL, r, a)
	if a.status == http.StatusOK {
		d.testWithoutHost(ctx, d.PublicURL, r.path)
	}
	return d.isSallyport(a)
}

// isGatewayError reports whether an answer is that of a proxy that doesn't reach its server.
func isGatewayError(a answer) bool {
	return a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout
}

// testEveryAddress sends r to each address of its host, if there are several. Browsers
// choose any of them, so each must answer.
func (d *doctor) testEveryAddress(ctx context.Context, r request) {
	all := d.client.addresses(ctx, r.origin)
	if len(all) < 2 {
		return
	}
	scheme, _, _ := strings.Cut(r.origin, "://")
	_, port, _ := net.SplitHostPort(d.client.dialAddress(hostPort(r.origin)))
	for _, addr := range all {
		address := net.JoinHostPort(addr.String(), port)
		r.via, r.description = scheme+"://"+address, "at "+address
		a := d.client.send(ctx, r)
		switch {
		case a.err == nil:
		case errors.Is(a.err, syscall.ENETUNREACH), errors.Is(a.err, syscall.EADDRNOTAVAIL):
			d.skip(hostOf(r.origin)+" at "+addr.String(), "this machine has no route to it")
		default:
			d.add("address.dead", r.origin, r, a)
			d.deadAddresses = append(d.deadAddresses, address)
		}
	}
}

// navigationHeader returns the headers that a browser sends when a user opens a page.
func navigationHeader() http.Header {
	return http.Header{"Accept": {"text/html,application/xhtml+xml"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
}

// maxClockOffset is how much the server's clock may differ from this machine's. A code is
// accepted for 90 seconds or more.
const maxClockOffset = 30 * time.Second

func (d *doctor) testClock(ctx context.Context) {
	r := request{origin: d.PublicURL, path: d.Base + "/healthz"}
	a := d.client.send(ctx, r)
	now := d.Now()
	server, err := http.ParseTime(a.header.Get("Date"))
	if a.err != nil || err != nil {
		d.skip("the server's clock", "its answer has no Date")
		return
	}
	if offset := now.Sub(server).Round(time.Second); offset.Abs() > maxClockOffset {
		d.addSeen("clock.off", d.PublicURL, r.String(), "the date "+server.UTC().Format(time.DateTime)+" UTC, where this machine's clock says "+now.UTC().Format(time.DateTime)+" UTC")
	}
}

// readReadiness adds the faults that the server itself reports on /readyz.
func (d *doctor) readReadiness(ctx context.Context) {
	r := request{origin: d.PublicURL, path: d.Base + "/readyz"}
	a := d.client.send(ctx, r)
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if !d.isSallyport(a) || kind != "text/plain" || a.status != http.StatusOK && a.status != http.StatusServiceUnavailable {
		d.skip("what the server itself finds wrong", "the proxy doesn't pass /readyz on: "+a.String())
		return
	}
	id := "server.notes"
	if a.status != http.StatusOK {
		id = "server.unready"
	}
	for line := range strings.Lines(a.body) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, ": ok") {
			d.addSeen(id, d.PublicURL, r.String(), line)
		}
	}
}
