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
	// healthTime is how long the server may take. /readyz takes up to five seconds, and
	// container engines end a health check after thirty.
	healthTime = 10 * time.Second

	// maxHealth is more bytes than /readyz ever returns.
	maxHealth = 64 << 10
)

type healthcheckCommand struct {
	Live bool `help:"Ask only whether the process runs (/healthz), not whether people can sign in (/readyz)."`
}

// Run queries the running server at its listen address, not through a proxy.
func (c healthcheckCommand) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r, healthTime)
	defer cancel()
	page := "/readyz"
	if c.Live {
		page = "/healthz"
	}
	status, text, err := getFromListener(ctx, cfg, page)
	if err != nil {
		return fmt.Errorf("the server at %s doesn't answer: %w", cfg.Listen, err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("the server at %s isn't healthy: %s answers %d\n%s", cfg.Listen, page, status, strings.TrimSpace(text))
	}
	_, err = io.WriteString(r.streams.Out, text)
	return err
}

// getFromListener requests a page of the portal at the configured listen address.
func getFromListener(ctx context.Context, cfg config.Config, page string) (status int, text string, err error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return 0, "", err
	}
	// A wildcard includes the loopback address.
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	scheme := "http"
	transport := &http.Transport{DisableKeepAlives: true}
	if cfg.TerminatesTLS() {
		scheme = "https"
		// No verification: the request contains no secret, and a server with an expired
		// certificate is alive. The command doctor checks certificates.
		transport.TLSClientConfig = &tls.Config{ServerName: cfg.PublicURL.Hostname(), InsecureSkipVerify: true}
	}
	public, err := url.Parse(cfg.PortalURL() + page)
	if err != nil {
		return 0, "", err
	}
	target := url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port), Path: public.Path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = public.Host
	resp, err := transport.RoundTrip(req) // unlike an http.Client, a transport follows no redirect
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealth))
	return resp.StatusCode, string(body), err
}
