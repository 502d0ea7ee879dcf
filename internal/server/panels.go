package server

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/config"
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
		panel.Shared = cfg.SharedHost
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
	_, err := Panels(cfg)
	return err
}

// upstreams returns the panels' own servers, nil where another proxy passes on.
func upstreams(cfg config.Config) []*url.URL {
	var all []*url.URL
	for _, p := range cfg.Panels {
		var to *url.URL
		if at := config.Origin(p.Upstream); at != (config.Origin{}) {
			to = &url.URL{Scheme: at.Scheme, Host: at.Host}
		}
		all = append(all, to)
	}
	return all
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
