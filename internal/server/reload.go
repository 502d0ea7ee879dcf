package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/config"
)

// swapHandler is a handler that can be replaced while it serves. A request is answered
// entirely by the handler that was in force when it arrived.
type swapHandler struct {
	current  atomic.Pointer[http.Handler]
	draining atomic.Bool
}

func (s *swapHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() && r.Header.Get("Upgrade") == "" {
		// Otherwise a proxy would keep the connection open and send another request on it
		// after the server has stopped answering.
		w.Header().Set("Connection", "close")
	}
	(*s.current.Load()).ServeHTTP(w, r)
}

func (s *swapHandler) set(handler http.Handler) { s.current.Store(&handler) }

// Reload puts the panels, policies, trusted proxies and certificate files of cfg in force while
// the server runs. The parameter err is the error of reading cfg. If err isn't nil, or cfg can't
// be used, then the previous configuration stays in force and Reload returns the error, which
// the log, /readyz and a metric show too (F10 in docs/threat-model.md).
func (p *Portal) Reload(cfg config.Config, err error) error {
	next := p.Config
	next.Panels, next.TrustedProxies, next.Policy = cfg.Panels, cfg.TrustedProxies, cfg.Policy
	if len(next.TLS.Certificates) > 0 && len(cfg.TLS.Certificates) > 0 {
		next.TLS.Certificates = cfg.TLS.Certificates
	}
	if err == nil && (cfg.SharedHost != p.Config.SharedHost || cfg.SharedHost && cfg.PublicURL != p.Config.PublicURL) {
		err = errors.New("a reload can't move the portal, and shared_host or its public_url changed: restart the server")
	}
	var built *router
	if err == nil {
		built, err = p.buildRouter(next)
	}
	if err == nil && p.certificates != nil {
		err = certificateFaults(p.certificates.Use(certificatesOf(next)))
	}
	if err != nil {
		p.faulty.Store(true)
		p.Log.Error("the configuration is faulty, so the previous one stays in force; correct the file and reload again", "reason", strings.ReplaceAll(err.Error(), "\n", "; "))
		return err
	}
	p.Entry.Policy.Set(policyItems(next))
	p.setRouter(built)
	p.redirect.set(newRedirect(next, p.certificates))
	p.faulty.Store(false)
	p.Log.Info("configuration reloaded")
	p.refusesAll.Store(refusesEveryRequest(next))
	p.logWarnings(next)
	p.warnOfEmptyGroups(context.Background(), next)
	p.logPolicy(context.Background(), next)
	if changed := config.ChangedKeys(next, cfg); len(changed) > 0 {
		p.Log.Warn("some changed settings take effect only at a start: restart the server to use them", "settings", strings.Join(changed, ", "))
	}
	return nil
}

// logWarnings logs the [Warnings] of a configuration.
func (p *Portal) logWarnings(cfg config.Config) {
	for _, fault := range Warnings(cfg) {
		p.Log.Warn(fault.Text, "setting", fault.Key)
	}
}
