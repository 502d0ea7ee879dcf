package doctor

import (
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity string

// The severities, the worst first.
const (
	Open    Severity = "open"    // clients without a session reach a panel, or a secret is exposed
	Broken  Severity = "broken"  // users can't sign in, or can't use a panel
	Unclear Severity = "unclear" // doctor couldn't decide
	Advice  Severity = "advice"  // an improvement
)

var severities = []Severity{Open, Broken, Unclear, Advice}

// Finding is one fault at one place.
type Finding struct {
	ID       string // kind of fault; never changes
	Severity Severity
	At       string // an origin or a file
	Says     string // one sentence
	Seen     []Seen
	Proxy    string // the proxy in front of At; empty: not recognised
	Fixes    []Fix
}

// Seen is an observation: a request and its answer, or another fact.
type Seen struct{ Asked, Got string }

// Fix is a set of lines that fix a finding.
type Fix struct {
	For   string // one of [Proxies]; "config" for Sallyport's configuration; "shell"; "any"
	Where string // where to write the lines
	Lines []string
}

// findingKind is what all findings with one ID have in common.
type findingKind struct {
	severity Severity
	says     string
}

// kinds are the kinds of findings by ID. docs/doctor.md explains each.
var kinds = map[string]findingKind{
	"server.down":         {Broken, "Sallyport isn't running: nothing answers at the address in listen. doctor tested nothing else."},
	"server.other":        {Broken, "Another program, or a Sallyport with an older configuration, answers at the address in listen. doctor tested nothing else."},
	"url.scheme":          {Broken, "public_url says http, but the server there speaks https. doctor tested nothing else."},
	"tls.absent":          {Broken, "The configuration says https, but the proxy speaks plain http there."},
	"sallyport.unreached": {Broken, "Sallyport is running, but the proxy doesn't reach it: it uses another address, or a firewall is between them."},

	"gate.absent":    {Open, "The panel answers strangers: no proxy asks Sallyport first."},
	"path.open":      {Open, "The panel answers strangers on some paths: the proxy doesn't ask Sallyport there."},
	"method.open":    {Open, "The panel answers strangers who use some methods: the proxy doesn't ask Sallyport about them."},
	"websocket.open": {Open, "The panel accepts WebSockets from strangers: the proxy doesn't ask Sallyport about them."},
	"request.open":   {Open, "The panel answers strangers whose requests carry certain headers: the proxy doesn't ask Sallyport about them."},
	"path.deadend":   {Broken, "On some paths strangers get nginx's own 401 page, which has no link to the sign-in."},

	"upgrade.passed":  {Open, "The proxy passes on upgrades to protocols other than WebSocket, and doesn't ask Sallyport about the requests that follow."},
	"resource.hidden": {Open, "The proxy hides from Sallyport a header that names a second resource, and the panel may act on it."},

	"forged.target":   {Open, "By a header, a client can change which request the proxy asks Sallyport about."},
	"identity.forged": {Open, "The proxy hides a client's own identity header from Sallyport, and the panel may trust it."},
	"identity.hidden": {Advice, "The proxy hides a client's own identity header from Sallyport; make sure that the panel doesn't get it."},

	"host.unnamed":       {Open, "The panel answers without the gate to a host name that isn't its own."},
	"host.unknown":       {Unclear, "Something answers to a host name that isn't declared. If it is the panel, the panel is open; add --upstream, so that doctor can tell."},
	"host.mismatch":      {Open, "The panel answers without the gate if a client writes the panel's host name in another way."},
	"host.other":         {Open, "The proxy serves the panel under the host of another panel too, so that panel's open paths open this one."},
	"host.joined":        {Open, "The proxy accepts a request that names two hosts: it may serve one and ask Sallyport about the other."},
	"host.lost":          {Broken, "nginx sends Sallyport no host if the request has no Host line, so sign-ins over HTTP/3 fail."},
	"host.unreachable":   {Broken, "Nothing answers at the address of this name."},
	"dns.missing":        {Broken, "DNS has no address for this name."},
	"dns.wrong":          {Broken, "DNS leads this name to an address where Sallyport doesn't answer, but it answers at another. doctor tested nothing else there."},
	"dns.failed":         {Unclear, "This machine couldn't look up the name: its resolver or the name's DNS servers don't answer, or answer with an error."},
	"address.dead":       {Broken, "DNS has several addresses for this name, and one of them doesn't answer: some browsers try that one."},
	"verify.reachable":   {Open, "The proxy passes /verify/ on to Sallyport, so clients can ask what only the proxy should."},
	"portal.unrouted":    {Broken, "Something other than Sallyport answers at public_url: the proxy has no site for this name, or DNS leads to another server."},
	"sallyport.unrouted": {Broken, "Requests below /.sallyport/ on the panel's host don't reach Sallyport, so sign-ins fail there."},
	"proxy.untrusted":    {Broken, "Sallyport refuses the proxy's requests: trusted_proxies doesn't name it."},
	"gate.refuses":       {Broken, "The gate answers, but doesn't lead to the sign-in: the proxy asks it about something else."},
	"gate.silent":        {Broken, "The proxy gets no answer from Sallyport, or the panel is down."},
	"answer.unclear":     {Unclear, "Some answers are neither Sallyport's nor clearly the panel's: a limit on requests, or a panel that is down."},

	"http.open":    {Open, "Port 80 answers plain http without a redirect to https: people may type passwords into it."},
	"hsts.missing": {Open, "The proxy removes or shortens Strict-Transport-Security, which keeps browsers on https."},
	"tls.expired":  {Open, "The certificate has expired: browsers show a warning instead of the page."},
	"tls.early":    {Open, "The certificate isn't valid yet. Check the clocks of this machine and of the one that made it."},
	"tls.name":     {Open, "The certificate is for another name."},
	"tls.unknown":  {Open, "The certificate is self-signed, or its chain is incomplete, or this machine doesn't know its CA. To trust a CA of your own, add --ca."},
	"tls.invalid":  {Open, "The certificate isn't valid."},
	"tls.expiring": {Advice, "The certificate expires soon."},
	"host.shared":  {Advice, "The panel is on the portal's host, so its pages can act as the person who is signed in."},
	"plain.http":   {Advice, "Browsers reach this host over plain http, so anybody on the way can read passwords and cookies."},
	"cookie.scope": {Open, "The proxy changes or drops Sallyport's cookies on the panel's host."},

	"upstream.loop":      {Broken, "The panel's upstream is Sallyport itself, or a proxy that asks it, so nobody gets to the panel."},
	"upstream.reachable": {Open, "Clients can reach the panel's own server without the proxy, so every such client has access."},
	"metrics.reachable":  {Open, "Anybody can read the metrics."},
	"clock.off":          {Broken, "The server's clock and this machine's differ. If the server's is wrong, it refuses right codes."},
	"server.unready":     {Broken, "The server reports a fault that keeps people from signing in."},
	"server.notes":       {Advice, "The server reports a fault that doesn't keep people from signing in."},
	"mail.domain":        {Advice, "The sender of the mails has another domain than the portal, so people may take the mails for forged."},
	"file.mode":          {Open, "Others on this machine may read or change a file."},
}

// causes are the findings that may cause others, so that fixing them may fix the others too.
// Reports show them first, even before worse findings.
var causes = []string{"server.down", "server.other", "dns.missing", "dns.wrong", "url.scheme", "tls.absent", "proxy.untrusted", "sallyport.unreached", "portal.unrouted"}

// rank returns a number by which findings are sorted in a report.
func (f Finding) rank() int {
	if i := slices.Index(causes, f.ID); i >= 0 {
		return i
	}
	return len(causes) + slices.Index(severities, f.Severity)
}

// add adds the request r and its answer a to a finding as an observation, and sets the lines that
// fix the finding.
func (d *doctor) add(id, at string, r request, a answer) { d.addSeen(id, at, r.String(), a.String()) }

// addWithFix is add for a finding that one known line fixes. If r is zero, it adds no
// observation.
func (d *doctor) addWithFix(id, at string, r request, a answer, line string) {
	if r.path != "" {
		d.addObservation(id, at, r.String(), a.String())
	}
	f := d.findingOf(id, at)
	f.Fixes = []Fix{{For: "config", Where: "sallyport.yaml, then sallyport reload", Lines: []string{line}}}
	if id == "file.mode" {
		f.Fixes = []Fix{{For: "shell", Lines: []string{line}}}
	}
}

// addSeen is like add, but takes the texts of an observation.
func (d *doctor) addSeen(id, at, asked, got string) {
	d.addObservation(id, at, asked, got)
	f := d.findingOf(id, at)
	f.Fixes = d.fixesFor(id, at, f.Seen[0].path())
}

// path returns the path of the request that s observed.
func (s Seen) path() string {
	_, rest, _ := strings.Cut(s.Asked, " ")
	path, _, _ := strings.Cut(rest, ",")
	return path
}

// addObservation adds an observation to a finding, once.
func (d *doctor) addObservation(id, at, asked, got string) {
	f := d.findingOf(id, at)
	if one := (Seen{asked, got}); !slices.Contains(f.Seen, one) {
		f.Seen = append(f.Seen, one)
	}
}

// hasFinding reports whether there is a finding with this ID and place.
func (d *doctor) hasFinding(id, at string) bool {
	return slices.ContainsFunc(d.report.Findings, func(f Finding) bool { return f.ID == id && f.At == at })
}

// findingOf returns the finding with this ID and place. It adds the finding if it is missing.
func (d *doctor) findingOf(id, at string) *Finding {
	for i := range d.report.Findings {
		if f := &d.report.Findings[i]; f.ID == id && f.At == at {
			return f
		}
	}
	k := kinds[id]
	d.report.Findings = append(d.report.Findings, Finding{ID: id, Severity: k.severity, At: at, Says: k.says, Proxy: d.proxyAt(at)})
	return &d.report.Findings[len(d.report.Findings)-1]
}
