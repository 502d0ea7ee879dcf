package server

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/forwardauth"
	"github.com/sallyport/sallyport/internal/gateway"
	"github.com/sallyport/sallyport/internal/policy"
)

// groupTime is how long reading the groups may take. A start and a reload wait for the groups.
const groupTime = 5 * time.Second

// Panels returns the declared panels, in the order of the configuration. A rule without groups has
// those of its panel; a rule without a max_age has that of its panel.
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

// warnOfEmptyGroups logs each group without accounts that a panel requires or a policy names: most
// likely the group's name is misspelled.
func (p *Portal) warnOfEmptyGroups(ctx context.Context, cfg config.Config) {
	ctx, cancel := context.WithTimeout(ctx, groupTime)
	defer cancel()
	all, err := account.ListGroups(ctx, p.DB.Reader())
	if err != nil {
		p.Log.Warn("the groups couldn't be read", "reason", err.Error())
		return
	}
	known := map[string]bool{}
	for _, g := range all {
		known[g.Name] = g.Members > 0
	}
	for _, item := range cfg.Policy {
		for _, group := range item.Groups {
			if group != policy.Everybody && !known[group] {
				p.Log.Warn(fmt.Sprintf("group %s has no accounts, so a policy for it asks nothing of anybody; add one: sallyport group add %[1]s; sallyport group join %[1]s NAME", group), "group", group)
			}
		}
	}
	for _, panel := range cfg.Panels {
		groups := slices.Clone(panel.Groups)
		for _, rule := range panel.Rules {
			groups = append(groups, rule.Groups...)
		}
		slices.Sort(groups)
		for _, group := range slices.Compact(groups) {
			if !known[group] {
				p.Log.Warn(fmt.Sprintf("group %s has no accounts, so it gives nobody access to %s; add one: sallyport group add %[1]s; sallyport group join %[1]s NAME", group, panel.URL), "group", group, "panel", panel.URL.String())
			}
		}
	}
}

// Check returns those faults of a configuration that [config.Load] can't find because they concern
// several settings or the files of panels.
func Check(cfg config.Config) error {
	var faults config.Faults
	servedByProxy := func(p config.Panel) bool { return p.Upstream == (config.Upstream{}) }
	for i, p := range cfg.Panels {
		if servedByProxy(p) && len(cfg.TrustedProxies) == 0 {
			faults = append(faults, faultAt(fmt.Sprintf("panels[%d].upstream", i),
				"isn't set for %s, so another proxy serves it and asks here: name that proxy's address in trusted_proxies, such as trusted_proxies: [127.0.0.1], or the panel's own server in upstream, such as upstream: http://127.0.0.1:8082", p.URL)...)
		}
	}
	if cfg.PublicURL.Hostname() == forwardauth.Host && slices.ContainsFunc(cfg.Panels, servedByProxy) {
		faults = append(faults, faultAt("public_url", "has the host name %s, by which proxies ask about panels: give the portal another one", forwardauth.Host)...)
	}
	_, upstreamErr := upstreams(cfg)
	_, panelErr := Panels(cfg)
	_, mailErr := Mailer(cfg)
	_, webhookErr := Webhook(cfg)
	return joinFaults(faults, upstreamErr, panelErr, mailErr, webhookErr)
}

// upstream is the address of a panel's own server, and how the gateway connects to it.
type upstream struct {
	to            *url.URL // nil if another proxy forwards the requests
	trust         gateway.Trust
	answerWithin  time.Duration // 0: the gateway's default
	socketsAreUse bool
}

// upstreams returns the upstream of each panel, in the order of cfg.Panels. It reads the
// files of their CAs.
func upstreams(cfg config.Config) ([]upstream, error) {
	var all []upstream
	for i, p := range cfg.Panels {
		key := fmt.Sprintf("panels[%d].upstream_ca", i)
		one := upstream{
			trust:        gateway.Trust{Name: p.UpstreamName, Fingerprint: p.UpstreamFingerprint.Bytes()},
			answerWithin: time.Duration(p.AnswerWithin), socketsAreUse: p.WebSockets == config.WebSocketsUse,
		}
		if origin := config.Origin(p.Upstream); origin != (config.Origin{}) {
			one.to = &url.URL{Scheme: origin.Scheme, Host: origin.Host}
		}
		if p.UpstreamCA != "" {
			var err error
			if one.trust.Authorities, err = readRoots(p.UpstreamCA); err != nil {
				return nil, faultAt(key, "%v", err)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// demand returns the demand of a panel or rule. An unknown requirement gives
// [access.Closed], which no session satisfies.
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
