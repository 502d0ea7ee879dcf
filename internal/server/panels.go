package server

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/forwardauth"
	"github.com/sallyport/sallyport/internal/gateway"
)

// Panels returns the declared panels as access knows them. A rule has the
// panel's groups and age where it names none.
func Panels(cfg config.Config) ([]*access.Panel, error) {
	var all []*access.Panel
	for _, p := range cfg.Panels {
		var rules, preflights []access.Rule
		for _, r := range p.Rules {
			groups, age := r.Groups, r.MaxAge
			if len(groups) == 0 {
				groups = p.Groups
			}
			if age == 0 {
				age = p.MaxAge
			}
			rule := access.Rule{Path: r.Path, Demand: demand(r.Require, groups, age)}
			rules = append(rules, rule)
			if r.Preflight {
				rule.Demand = access.Demand{Requirement: access.Public}
			}
			preflights = append(preflights, rule)
		}
		whole := demand(p.Require, p.Groups, p.MaxAge)
		panel, err := access.NewPanel(p.URL.String(), whole, rules)
		if err == nil && slices.ContainsFunc(p.Rules, func(r config.Rule) bool { return r.Preflight }) {
			panel.Preflights, err = access.NewPanel(p.URL.String(), whole, preflights)
		}
		if err != nil {
			return nil, fmt.Errorf("panel %s: %w", p.URL, err)
		}
		if p.Name != "" {
			panel.Name = p.Name
		}
		panel.Shared = cfg.SharedHost
		panel.ForgetAtSignOut = p.ForgetAtSignOut
		panel.PercentIdentity = p.IdentityEncoding == config.IdentityPercent
		all = append(all, panel)
	}
	return all, nil
}

// Check returns why a configuration whose values are right can't be in force.
func Check(cfg config.Config) error {
	for _, p := range cfg.Panels {
		if p.Upstream == (config.Upstream{}) && len(cfg.TrustedProxies) == 0 {
			return fmt.Errorf("panel %s has no upstream, so another proxy serves it and asks here: name that proxy's address in trusted_proxies, or the panel's own server in upstream", p.URL)
		}
	}
	if cfg.PublicURL.Hostname() == forwardauth.Host && slices.ContainsFunc(cfg.Panels, func(p config.Panel) bool { return p.Upstream == (config.Upstream{}) }) {
		return fmt.Errorf("public_url has the host name %s, by which proxies ask about panels: give the portal another one", forwardauth.Host)
	}
	if _, err := upstreams(cfg); err != nil {
		return err
	}
	_, err := Panels(cfg)
	return err
}

// upstream is a panel's own server, and how the gateway speaks to it.
type upstream struct {
	to            *url.URL // nil where another proxy passes requests on
	trust         gateway.Trust
	answerWithin  time.Duration // 0: as the gateway thinks best
	socketsAreUse bool
}

// upstreams returns the panels' own servers. It reads the files of their certificates.
func upstreams(cfg config.Config) ([]upstream, error) {
	var all []upstream
	for _, p := range cfg.Panels {
		one := upstream{
			trust:        gateway.Trust{Name: p.UpstreamName, Fingerprint: p.UpstreamFingerprint.Bytes()},
			answerWithin: time.Duration(p.AnswerWithin), socketsAreUse: p.WebSockets == config.WebSocketsUse,
		}
		if at := config.Origin(p.Upstream); at != (config.Origin{}) {
			one.to = &url.URL{Scheme: at.Scheme, Host: at.Host}
		}
		if p.UpstreamCA != "" {
			text, err := os.ReadFile(p.UpstreamCA)
			if err != nil {
				return nil, fmt.Errorf("panel %s: upstream_ca: %w", p.URL, err)
			}
			one.trust.Authorities = x509.NewCertPool()
			if !one.trust.Authorities.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("panel %s: upstream_ca: there is no certificate in %s; it must be PEM, which begins with -----BEGIN CERTIFICATE-----", p.URL, p.UpstreamCA)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// demand translates a requirement; one that is unknown is met by nobody.
func demand(require config.Require, groups []string, age config.Duration) access.Demand {
	d := access.Demand{Groups: groups, MaxAge: time.Duration(age)}
	switch require {
	case config.RequireNothing:
		return access.Demand{Requirement: access.Public}
	case config.RequireSession:
		d.Requirement = access.Session
	case config.RequireTwoFactor:
		d.Requirement = access.TwoFactor
	}
	return d
}
