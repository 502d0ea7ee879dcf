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
	// askedPanel is served by a proxy that asks us, passedPanel by our gateway.
	askedPanel  = "http://panel.test"
	passedPanel = "http://gate.test"

	portalHost  = "auth.test"
	visitCookie = "sallyport-visit"
)

// gate is the shipped binary with both panels.
type gate struct {
	*process
	at   string
	took time.Duration // until it answered
}

// configure writes the configuration of both panels into the data directory and
// returns the environment in which the binary uses it; upstream is where the
// gateway's panel is served, or "". Older binaries read it too, so it names no
// setting that some of them don't know.
func (b *bench) configure(dir, upstream string) []string {
	text := "public_url: http://" + portalHost + "\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: " + askedPanel + "\n"
	if upstream != "" {
		text += "  - url: " + passedPanel + "\n    upstream: http://" + upstream + "\n"
	}
	file := filepath.Join(dir, "sallyport.yaml")
	b.must(os.WriteFile(file, []byte(text), 0o600))
	return []string{"SALLYPORT_CONFIG=" + file, "SALLYPORT_DATA_DIR=" + dir}
}

// startGate starts the binary on what is in the data directory; upstream is
// where the gateway's panel is served, or "".
func (b *bench) startGate(dir, upstream string) *gate {
	g := &gate{at: testkit.FreeAddress(b.stage)}
	g.process = b.start(b.cores.server, append(b.configure(dir, upstream), "SALLYPORT_LISTEN="+g.at), b.binary, "serve")
	g.took = g.await(func() bool { return answers("http://" + g.at + "/healthz") })
	return g
}

// withAda starts a gate with an account, and returns a machine pass of it too.
// The binary itself makes database, account and pass: an older one would refuse a
// database with the tables of this tree.
func (b *bench) withAda(upstream string) (*gate, string) {
	dir := b.TempDir()
	environ := b.configure(dir, upstream)
	g := b.startGate(dir, upstream)
	b.command(environ, portal.Password, "account", "add", "ada", "--password-stdin")
	token := b.command(environ, "", "pass", "add", "ada", "script", "--panel", askedPanel, "--for", "1h")
	return g, strings.TrimSpace(token)
}

// command runs one of the binary's commands and returns what it prints.
func (b *bench) command(environ []string, input string, args ...string) string {
	c := exec.CommandContext(b.ctx, b.binary, args...)
	c.Env, c.Dir = environ, b.TempDir()
	var faults bytes.Buffer
	c.Stdin, c.Stderr = strings.NewReader(input), &faults
	printed, err := c.Output()
	if err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, &faults)
	}
	return string(printed)
}

var returnField = regexp.MustCompile(`name="return" value="([^"]*)"`)

// visit signs ada in on the way to a panel, as a browser does, and returns the
// visit's cookie.
func (g *gate) visit(panel string) string {
	s := g.stage
	jar, err := cookiejar.New(nil)
	s.must(err)
	person := &http.Client{Jar: jar, Timeout: answerTime, Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, g.at)
	}},
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.String() == panel+"/rack" {
				return http.ErrUseLastResponse // another proxy would serve that
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
	// A page leads on to the panel; older binaries go there by themselves.
	if _, to, leadsOn := strings.Cut(resp.Header.Get("Refresh"), "url="); leadsOn {
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
	s.Fatal("no visit")
	return ""
}

// question is what a proxy asks about a request for the panel that brings
// these headers, pairs of name and value.
func question(headers ...string) []byte {
	return request("/verify/caddy", "sallyport", append([]string{
		"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "panel.test",
		"X-Forwarded-Uri", "/rack?a=b", "X-Forwarded-For", "192.0.2.7",
	}, headers...)...)
}

func request(path, host string, headers ...string) []byte {
	return requestWith(http.MethodGet, path, host, "", headers...)
}

// requestWith returns a request with a body, which may be empty; headers are
// pairs of name and value.
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

// once asks on a new connection and takes what a browser takes. It unpacks
// nothing, so what it returns is what was sent.
var once = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}

func answers(url string) bool {
	_, err := get(url, "")
	return err == nil
}

// get returns the body of a page as it was sent; host is what the server is
// called there, unless empty.
func get(url, host string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Host = host
	req.Header.Set("Accept", "text/html") // as who opens a page
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := once.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
