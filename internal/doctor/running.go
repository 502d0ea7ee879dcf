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

// testServer sends a request to the server's own address. If the server is down, testServer
// returns false, since other tests would only find consequences. If only the public address
// answers, doctor runs on another machine than the server.
func (d *doctor) testServer(ctx context.Context) (goOn bool) {
	if d.Listen == "" {
		return true
	}
	r := request{origin: d.listenOrigin(), host: hostOf(d.PublicURL), path: d.Base + "/healthz", description: "at " + d.Listen}
	a := d.listenClient.send(ctx, r)
	if d.isSallyport(a) {
		d.serverUp = true
		return true
	}
	if d.isSallyport(d.client.send(ctx, request{origin: d.PublicURL, path: d.Base + "/healthz"})) {
		d.skip("whether the server answers at "+d.Listen, "this seems not to be the server's own machine: "+a.String())
		return true
	}
	r.host = ""
	id, lines := "server.down", d.startCommands()
	if a.err == nil || isPlain(a) {
		_, port, _ := net.SplitHostPort(d.Listen)
		id, lines = "server.other", append([]string{"ss -ltnp 'sport = :" + port + "'"}, lines...)
	}
	d.add(id, d.Listen, r, a)
	d.findingOf(id, d.Listen).Fixes = []Fix{{For: "shell", Where: "on the server, to see why, or to start it", Lines: lines}}
	return false
}

// unitFolders are the folders of systemd's units; tests replace them.
var unitFolders = []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// startCommands returns commands that show why the server doesn't run, or the one that starts
// it.
func (d *doctor) startCommands() []string {
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

// listenOrigin returns the origin of the server's listener on this machine.
func (d *doctor) listenOrigin() string {
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

// hasWrongScheme reports whether http is served where the configuration says https, or the
// other way round, and adds the finding. a is the answer to r, a request for a page of
// Sallyport.
func (d *doctor) hasWrongScheme(ctx context.Context, r request, a answer) bool {
	if d.isSallyport(a) {
		return false
	}
	scheme, host, _ := strings.Cut(r.origin, "://")
	if scheme == "https" {
		plain := request{origin: "http://" + nameOf(r.origin), path: r.path, header: r.header, description: "by plain http"}
		if isPlain(a) {
			plain.origin = "http://" + hostPort(r.origin)
		} else if a.err == nil || a.isTimeout() || !d.isSallyport(d.client.send(ctx, plain)) {
			return false
		}
		d.recognise(ctx, plain.origin)
		if proxy := d.proxyAt(plain.origin); proxy != "" {
			delete(d.report.Proxies, plain.origin)
			d.report.Proxies[r.origin] = proxy
		}
		plain.description += " at " + hostPort(plain.origin)
		d.add("tls.absent", r.origin, r, a)
		d.add("tls.absent", r.origin, plain, d.client.send(ctx, plain))
		return true
	}
	to := "https://" + host
	if _, _, err := net.SplitHostPort(host); err != nil {
		to += ":80"
	}
	secure := request{origin: to, path: r.path, header: r.header, description: "by https"}
	overTLS := d.client.send(ctx, secure)
	if overTLS.err != nil { // no TLS at this port: try the default port, or that of the redirect
		to = "https://" + nameOf(r.origin)
		if isRedirectToHTTPS(a) {
			to, _ = splitURL(a.header.Get("Location"))
		}
		if nameOf(to) != nameOf(r.origin) {
			return false
		}
		secure.origin = to
		if overTLS = d.client.send(ctx, secure); !d.isSallyport(overTLS) && !(isRedirectToHTTPS(a) && overTLS.err == nil) {
			return false
		}
	}
	secure.description += " at " + hostOf(to)
	d.add("url.scheme", r.origin, r, a)
	d.add("url.scheme", r.origin, secure, overTLS)
	d.findingOf("url.scheme", r.origin).Fixes = []Fix{{For: "config", Where: "sallyport.yaml, then restart Sallyport", Lines: d.httpsLines(to)}}
	return true
}

// isPlain reports whether the server answered a TLS handshake with plain http.
func isPlain(a answer) bool {
	var record tls.RecordHeaderError
	return errors.As(a.err, &record) && string(record.RecordHeader[:]) == "HTTP/"
}

// httpsLines returns the lines of a configuration with the portal at an https origin.
func (d *doctor) httpsLines(origin string) []string {
	lines := []string{"public_url: " + origin}
	if !d.TrustsProxies && !d.OwnTLS {
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

// splitURL returns the origin of a URL, and the rest of it.
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
