package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// forwardAuthPanel is the URL of a panel behind a proxy with forward-auth, gatewayPanel
	// that of a panel behind the built-in gateway.
	forwardAuthPanel = "http://panel.test"
	gatewayPanel     = "http://gate.test"

	portalHost  = "auth.test"
	visitCookie = "sallyport-visit"

	sessionCookie = "sallyport"
	attemptCookie = "sallyport-attempt"
	deviceCookie  = "sallyport-device"
)

// gate is a running binary with both panels.
type gate struct {
	*process
	at   string        // host and port
	took time.Duration // time from the start to the first answer
}

// configure writes a configuration with both panels into the data directory, and returns
// the environment for the binary. upstream is the address of the gateway's panel; if it
// is "", there is no such panel. Older binaries read the configuration too, so it uses
// only settings that they know.
func (b *bench) configure(dir, upstream string) []string {
	text := "public_url: http://" + portalHost + "\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: " + forwardAuthPanel + "\n"
	if upstream != "" {
		text += "  - url: " + gatewayPanel + "\n    upstream: http://" + upstream + "\n"
	}
	file := filepath.Join(dir, "sallyport.yaml")
	b.must(os.WriteFile(file, []byte(text), 0o600))
	return []string{"SALLYPORT_CONFIG=" + file, "SALLYPORT_DATA_DIR=" + dir}
}

// startGate starts the binary on the data directory dir. upstream is the address of the
// gateway's panel, or "". settings are further environment variables for the binary.
func (b *bench) startGate(dir, upstream string, settings ...string) *gate {
	g := &gate{at: testkit.FreeAddress(b.stage)}
	g.process = b.start(b.cores.server, append(append(b.configure(dir, upstream), "SALLYPORT_LISTEN="+g.at), settings...), b.binary, "serve")
	g.took = g.await(func() bool { return answers("http://"+g.at+"/healthz", "") })
	return g
}

// withAda starts a gate with the account ada, and returns the gate and a machine pass. The
// measured binary itself creates the database, the account and the pass, since an older binary
// would refuse a database with this tree's schema.
func (b *bench) withAda(upstream string) (*gate, string) {
	dir := b.TempDir()
	environ := b.configure(dir, upstream)
	g := b.startGate(dir, upstream)
	b.command(environ, portal.Password, "account", "add", "ada", "--password-stdin")
	token := b.command(environ, "", "pass", "add", "ada", "script", "--panel", forwardAuthPanel, "--for", "1h")
	return g, strings.TrimSpace(token)
}

// command runs one of the binary's commands and returns its output.
func (b *bench) command(environ []string, input string, args ...string) string {
	c := exec.CommandContext(b.ctx, b.binary, args...)
	c.Env, c.Dir = environ, b.TempDir()
	var stderr bytes.Buffer
	c.Stdin, c.Stderr = strings.NewReader(input), &stderr
	output, err := c.Output()
	if err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(output)
}

var returnField = regexp.MustCompile(`name="return" value="([^"]*)"`)

// visit signs ada in on the way to a panel, as a browser does, and returns the visit's
// cookie as "NAME=VALUE".
func (g *gate) visit(panel string) string {
	s := g.stage
	jar, err := cookiejar.New(nil)
	s.must(err)
	person := &http.Client{Jar: jar, Timeout: answerTimeout, Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, g.at)
	}},
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.String() == panel+"/rack" {
				return http.ErrUseLastResponse // no proxy is running that could serve this page
			}
			return nil
		}}
	page, err := person.Get(panel + "/.sallyport/start?return=/rack")
	s.must(err)
	text, err := io.ReadAll(page.Body)
	s.must(err)
	page.Body.Close()
	back := returnField.FindSubmatch(text)
	if back == nil {
		s.Fatalf("no sign-in page:\n%s", text)
	}
	resp, err := person.PostForm("http://"+portalHost+"/login", url.Values{
		"username": {"ada"}, "password": {portal.Password}, "return": {strings.ReplaceAll(string(back[1]), "&amp;", "&")},
	})
	s.must(err)
	resp.Body.Close()
	// The answer is a page that refreshes to the panel. Older binaries redirect.
	if _, to, found := strings.Cut(resp.Header.Get("Refresh"), "url="); found {
		resp, err = person.Get(to)
		s.must(err)
		resp.Body.Close()
	}
	at, _ := url.Parse(panel)
	for _, c := range jar.Cookies(at) {
		if c.Name == visitCookie {
			return c.Name + "=" + c.Value
		}
	}
	s.Fatal("the panel's host has no visit cookie")
	return ""
}

// forwardAuthRequest returns the request with which a proxy asks about a client's request for the
// panel. headers are further headers, pairs of name and value, that the client sent.
func forwardAuthRequest(headers ...string) []byte {
	return request("/verify/caddy", "sallyport", append([]string{
		"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "panel.test",
		"X-Forwarded-Uri", "/rack?a=b", "X-Forwarded-For", "192.0.2.7",
	}, headers...)...)
}

// request returns a GET request; headers are pairs of name and value.
func request(path, host string, headers ...string) []byte {
	return requestWith(http.MethodGet, path, host, "", headers...)
}

// requestWith returns a request with a body, which may be empty; headers are pairs of
// name and value.
func requestWith(method, path, host, body string, headers ...string) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for pair := range slices.Chunk(headers, 2) {
		fmt.Fprintf(&text, "%s: %s\r\n", pair[0], pair[1])
	}
	if body != "" {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
	}
	text.WriteString("\r\n" + body)
	return text.Bytes()
}

// uncachedClient uses a new connection for each request. It doesn't decompress, so that the size
// of a body is the size that was sent.
var uncachedClient = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}

// answers reports whether a GET request for url is answered with status 200. host, if not empty,
// is the Host header.
func answers(url, host string) bool {
	_, err := get(url, host)
	return err == nil
}

// get returns the body of a page as it was sent. host, if not empty, is the Host header.
func get(url, host string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Host = host
	req.Header.Set("Accept", "text/html") // as a browser that opens a page
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := uncachedClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
