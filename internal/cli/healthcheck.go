package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

const (
	// healthTime is how long the server may take: it looks at its health for up to five
	// seconds, and container engines give a check thirty.
	healthTime = 10 * time.Second

	// maxHealth is more than all lines of /readyz together.
	maxHealth = 64 << 10
)

type healthcheckCommand struct {
	Live bool `help:"Ask only whether the process runs (/healthz), not whether people can sign in (/readyz)."`
}

// Run asks the running server at its own address, past every proxy.
func (c healthcheckCommand) Run(r *run) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r, healthTime)
	defer cancel()
	page := "/readyz"
	if c.Live {
		page = "/healthz"
	}
	status, text, err := askListener(ctx, cfg, page)
	if err != nil {
		return fmt.Errorf("the server at %s doesn't answer: %w", cfg.Listen, err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("the server at %s isn't healthy: %s answers %d\n%s", cfg.Listen, page, status, strings.TrimSpace(text))
	}
	_, err = io.WriteString(r.streams.Out, text)
	return err
}

// askListener asks the listener of the configuration for a page of the portal.
func askListener(ctx context.Context, cfg config.Config, page string) (status int, text string, err error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return 0, "", err
	}
	// A wildcard is every address of this machine, the loopback too.
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	scheme := "http"
	transport := &http.Transport{DisableKeepAlives: true}
	if cfg.OwnTLS() {
		scheme = "https"
		// Whether the certificate is right is a browser's question, and doctor's. Here
		// nothing secret is sent, and a server whose certificate expired is alive.
		transport.TLSClientConfig = &tls.Config{ServerName: cfg.PublicURL.Hostname(), InsecureSkipVerify: true}
	}
	at, err := url.Parse(cfg.PortalURL() + page)
	if err != nil {
		return 0, "", err
	}
	target := url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port), Path: at.Path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = at.Host
	resp, err := transport.RoundTrip(req) // no redirect is followed
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealth))
	return resp.StatusCode, string(body), err
}
