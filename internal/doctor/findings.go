package doctor

import (
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity string

// The severities.
const (
	Open    Severity = "open"    // somebody gets in, or sees what he mustn't
	Broken  Severity = "broken"  // nobody gets in, or not to where they should
	Unclear Severity = "unclear" // it couldn't be told
	Advice  Severity = "advice"  // it could be better
)

var severities = []Severity{Open, Broken, Unclear, Advice}

// Finding is one thing that is wrong at one place.
type Finding struct {
	ID       string // stable: what is wrong
	Severity Severity
	At       string // an origin, or a file
	Says     string // one sentence
	Seen     []Seen // what was asked, and what came back
	Proxy    string // that is in front there; empty: not recognised
	Fixes    []Fix
}

// Seen is a question and its answer.
type Seen struct{ Asked, Got string }

// Fix is what to write where.
type Fix struct {
	For   string // one of [Proxies], "config" for Sallyport's own, "shell"
	Where string
	Lines []string
}

// kind is what every finding of an id has in common.
type kind struct {
	severity Severity
	says     string
}

// kinds are all findings. docs/doctor.md explains each.
var kinds = map[string]kind{
	"gate.absent":    {Open, "Nothing asks Sallyport before this panel answers."},
	"path.open":      {Open, "Some paths are answered without Sallyport's word."},
	"method.open":    {Open, "Some methods pass without Sallyport's word."},
	"websocket.open": {Open, "WebSockets are connected without Sallyport's word."},
	"request.open":   {Open, "Requests that say they are something else pass without Sallyport's word."},
	"path.deadend":   {Broken, "Some paths answer strangers with nginx's own 401 page, which doesn't lead to the sign-in."},

	"upgrade.passed":  {Open, "The panel gets upgrades to other protocols than WebSocket: Sallyport isn't asked about the requests that follow."},
	"resource.hidden": {Open, "A header that names a second resource is kept from Sallyport; the panel may follow it."},

	"forged.target":   {Open, "A header of the client's changes which request Sallyport is asked about."},
	"identity.forged": {Open, "A client's own identity header is kept from Sallyport; the panel may believe it."},
	"identity.hidden": {Advice, "A client's own identity header is kept from Sallyport; be sure that the panel doesn't get it."},

	"host.unnamed":       {Open, "The panel answers, without the gate, to a host name that nobody gave it."},
	"host.unknown":       {Unclear, "Something answers to a host name that nobody declared; if it is the panel, it is open. With --upstream doctor can tell."},
	"host.mismatch":      {Open, "The panel answers without the gate when its host is written in another way."},
	"host.other":         {Open, "The panel is served under the host of another one, whose open paths open it."},
	"host.joined":        {Open, "A request that names two hosts is taken for one of them: the proxy may serve one and ask Sallyport about the other."},
	"host.lost":          {Broken, "nginx tells Sallyport no host where the request has no Host line: with HTTP/3 nobody can sign in."},
	"host.unreachable":   {Broken, "Nobody answers there."},
	"verify.reachable":   {Open, "Anybody can ask what only the proxy should: /verify/ is passed on to Sallyport."},
	"portal.unrouted":    {Broken, "The portal doesn't answer at public_url."},
	"sallyport.unrouted": {Broken, "What is below /.sallyport/ on the panel's host doesn't reach Sallyport: nobody can sign in there."},
	"proxy.untrusted":    {Broken, "Sallyport refuses the proxy's requests: trusted_proxies doesn't name it."},
	"gate.refuses":       {Broken, "The gate answers, but doesn't lead to the sign-in: it is asked about something else."},
	"gate.silent":        {Broken, "The proxy gets no word from Sallyport, or the panel is down."},
	"answer.unclear":     {Unclear, "Some answers are neither Sallyport's nor clearly the panel's: a limit on requests, or a panel that is down."},

	"http.open":    {Open, "Plain http is answered: a password may be typed into it."},
	"hsts.missing": {Open, "Browsers aren't told to stay with https, as Sallyport would."},
	"tls.invalid":  {Open, "The certificate isn't valid."},
	"tls.expiring": {Advice, "The certificate ends soon."},
	"host.shared":  {Advice, "The panel is on the portal's host: its pages can act as whoever is signed in."},
	"plain.http":   {Advice, "This host is reached by plain http: who listens on the way reads passwords and cookies."},
	"cookie.scope": {Open, "The proxy changes Sallyport's cookies on the panel's host, or drops them."},

	"upstream.reachable": {Open, "The panel's own server answers around the proxy: whoever reaches it is in."},
	"metrics.reachable":  {Open, "Anybody reads the metrics."},
	"clock.off":          {Broken, "The server's clock and this machine's differ: right codes are refused where it is the server's that is wrong."},
	"server.unready":     {Broken, "The server says that something it needs is wrong."},
	"server.notes":       {Advice, "The server says that something is wrong which keeps nobody from signing in."},
	"file.mode":          {Open, "Others on this machine may read or change a file."},
}

// find notes that a came back to r.
func (d *doctor) find(id, at string, r request, a answer) { d.findSeen(id, at, r.String(), a.String()) }

// findLine notes it where the line that fixes it is known.
func (d *doctor) findLine(id, at string, r request, a answer, line string) {
	if r.path != "" {
		d.seen(id, at, r.String(), a.String())
	}
	f := d.finding(id, at)
	f.Fixes = []Fix{{For: "config", Where: "sallyport.yaml, then sallyport reload", Lines: []string{line}}}
	if id == "file.mode" {
		f.Fixes = []Fix{{For: "shell", Lines: []string{line}}}
	}
}

func (d *doctor) findSeen(id, at, asked, got string) {
	d.seen(id, at, asked, got)
	f := d.finding(id, at)
	f.Fixes = d.fixes(id, at, f.Seen[0].path())
}

// path returns the path of what was asked.
func (s Seen) path() string {
	_, rest, _ := strings.Cut(s.Asked, " ")
	path, _, _ := strings.Cut(rest, ",")
	return path
}

// seen adds to what was seen of one finding.
func (d *doctor) seen(id, at, asked, got string) {
	f := d.finding(id, at)
	if one := (Seen{asked, got}); !slices.Contains(f.Seen, one) {
		f.Seen = append(f.Seen, one)
	}
}

// found reports whether there is a finding of that id and place.
func (d *doctor) found(id, at string) bool {
	return slices.ContainsFunc(d.report.Findings, func(f Finding) bool { return f.ID == id && f.At == at })
}

// finding returns the one of that id and place, which it makes if need be.
func (d *doctor) finding(id, at string) *Finding {
	for i := range d.report.Findings {
		if f := &d.report.Findings[i]; f.ID == id && f.At == at {
			return f
		}
	}
	k := kinds[id]
	d.report.Findings = append(d.report.Findings, Finding{ID: id, Severity: k.severity, At: at, Says: k.says, Proxy: d.proxy(at)})
	return &d.report.Findings[len(d.report.Findings)-1]
}
