package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// running asks the server at its own address, before anything is asked from outside: where
// the server is down, all other findings only say so again. It reports whether there is
// more to look at. On another machine than the server's nothing answers at that address,
// but the portal does at its public one.
func (d *doctor) running(ctx context.Context) bool {
	if d.Listen == "" {
		return true
	}
	r := request{origin: d.ownOrigin(), host: hostOf(d.PublicURL), path: d.Base + "/healthz", called: "at " + d.Listen}
	a := d.itself.ask(ctx, r)
	if d.ours(a) {
		d.up = true
		return true
	}
	if d.ours(d.client.ask(ctx, request{origin: d.PublicURL, path: d.Base + "/healthz"})) {
		d.skip("whether the server answers at "+d.Listen, "this seems not to be the server's own machine: "+a.String())
		return true
	}
	r.host = ""
	id, lines := "server.down", d.start()
	if a.err == nil || isPlain(a) {
		_, port, _ := net.SplitHostPort(d.Listen)
		id, lines = "server.other", append([]string{"ss -ltnp 'sport = :" + port + "'"}, lines...)
	}
	d.find(id, d.Listen, r, a)
	d.finding(id, d.Listen).Fixes = []Fix{{For: "shell", Where: "on the server, to see why, or to start it", Lines: lines}}
	return false
}

// unitFolders are where systemd finds the unit of the packages, or an operator's.
var unitFolders = []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// start returns commands that show why the server doesn't run, or the one that starts it.
func (d *doctor) start() []string {
	for _, folder := range unitFolders {
		if _, err := os.Stat(filepath.Join(folder, "sallyport.service")); err == nil {
			return []string{"systemctl status sallyport", "journalctl -u sallyport -n 20"}
		}
	}
	command := "sallyport serve"
	if d.Files.Config != "" {
		command += " --config " + shellWord(d.Files.Config)
	}
	return []string{command}
}

// ownOrigin is where the server answers on this machine.
func (d *doctor) ownOrigin() string {
	host, port, err := net.SplitHostPort(d.Listen)
	if err != nil {
		return "http://" + d.Listen
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if d.OwnTLS {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

// wrongScheme reports whether http is spoken where the configuration says https, or the
// other way round: a is the answer to r, a page of Sallyport's at an origin. It notes
// which of them to change.
func (d *doctor) wrongScheme(ctx context.Context, r request, a answer) bool {
	if d.ours(a) {
		return false
	}
	scheme, host, _ := strings.Cut(r.origin, "://")
	if scheme == "https" {
		plain := request{origin: "http://" + nameOf(r.origin), path: r.path, header: r.header, called: "by plain http"}
		if isPlain(a) {
			plain.origin = "http://" + hostPort(r.origin)
		} else if a.err == nil || a.timedOut() || !d.ours(d.client.ask(ctx, plain)) {
			return false
		}
		d.recognise(ctx, plain.origin)
		if proxy := d.proxy(plain.origin); proxy != "" {
			delete(d.report.Proxies, plain.origin)
			d.report.Proxies[r.origin] = proxy
		}
		plain.called += " at " + hostPort(plain.origin)
		d.find("tls.absent", r.origin, r, a)
		d.find("tls.absent", r.origin, plain, d.client.ask(ctx, plain))
		return true
	}
	to := "https://" + host
	if _, _, err := net.SplitHostPort(host); err != nil {
		to += ":80"
	}
	secure := request{origin: to, path: r.path, header: r.header, called: "by https"}
	there := d.client.ask(ctx, secure)
	if there.err != nil { // nothing speaks TLS there: perhaps at its own port
		to = "https://" + nameOf(r.origin)
		if toHTTPS(a) {
			to, _ = splitURL(a.header.Get("Location"))
		}
		if nameOf(to) != nameOf(r.origin) {
			return false
		}
		secure.origin = to
		if there = d.client.ask(ctx, secure); !d.ours(there) && !(toHTTPS(a) && there.err == nil) {
			return false
		}
	}
	secure.called += " at " + hostOf(to)
	d.find("url.scheme", r.origin, r, a)
	d.find("url.scheme", r.origin, secure, there)
	d.finding("url.scheme", r.origin).Fixes = []Fix{{For: "config", Where: "sallyport.yaml, then restart Sallyport", Lines: d.withHTTPS(to)}}
	return true
}

// isPlain reports whether plain http came where TLS was expected.
func isPlain(a answer) bool {
	var record tls.RecordHeaderError
	return errors.As(a.err, &record) && string(record.RecordHeader[:]) == "HTTP/"
}

// withHTTPS returns the lines of a configuration whose portal is at an https origin.
func (d *doctor) withHTTPS(origin string) []string {
	lines := []string{"public_url: " + origin}
	if !d.Trusting && !d.OwnTLS {
		lines = append(lines, "trusted_proxies: [127.0.0.1] # the proxy's address")
	}
	for i, panel := range d.Panels {
		if i == 0 {
			lines = append(lines, "panels:")
		}
		to := "https://" + nameOf(panel.Origin)
		if _, port, err := net.SplitHostPort(hostOf(origin)); err == nil {
			to += ":" + port
		}
		lines = append(lines, "  - url: "+to)
	}
	return lines
}

// splitURL returns the origin of a URL and the rest.
func splitURL(text string) (origin, rest string) {
	scheme, after, found := strings.Cut(text, "://")
	if !found {
		return "", text
	}
	if i := strings.IndexAny(after, "/?#"); i >= 0 {
		after, rest = after[:i], after[i:]
	}
	return scheme + "://" + after, rest
}
