package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/login"
)

// swap is a handler that can be replaced. Requests under way end with the one
// that they began with.
type swap struct {
	now      atomic.Pointer[http.Handler]
	draining atomic.Bool
}

func (s *swap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() && r.Header.Get("Upgrade") == "" {
		// Else a proxy would keep a connection for a request that comes when
		// nobody answers any more.
		w.Header().Set("Connection", "close")
	}
	(*s.now.Load()).ServeHTTP(w, r)
}

func (s *swap) set(handler http.Handler) { s.now.Store(&handler) }

// Reload puts a configuration in force beside the requests under way: panels,
// trusted proxies and the files of certificates. A faulty one, of which err
// says what is wrong, leaves the one before in force, and the log, /readyz and
// a metric say so (F10).
func (p *Portal) Reload(cfg config.Config, err error) error {
	next := p.Config
	next.Panels, next.TrustedProxies = cfg.Panels, cfg.TrustedProxies
	if len(next.TLS.Certificates) > 0 && len(cfg.TLS.Certificates) > 0 {
		next.TLS.Certificates = cfg.TLS.Certificates
	}
	if err == nil && (cfg.SharedHost != p.Config.SharedHost || cfg.SharedHost && cfg.PublicURL != p.Config.PublicURL) {
		err = errors.New("a reload can't move the portal, and shared_host or its public_url changed: restart the server")
	}
	var handler *doors
	if err == nil {
		handler, err = p.doors(next)
	}
	if err == nil && p.certificates != nil {
		err = p.certificates.use(next)
	}
	if err != nil {
		p.faulty.Store(true)
		p.Log.Error("the configuration is faulty, so the previous one stays in force; correct the file and reload again", "reason", strings.ReplaceAll(err.Error(), "\n", "; "))
		return err
	}
	p.use(handler)
	p.redirect.set(newRedirect(next, p.certificates))
	p.faulty.Store(false)
	p.Log.Info("configuration reloaded")
	p.warned.Store(len(Warnings(next)) > 0)
	p.warn(next)
	p.warnOfEmptyGroups(context.Background(), next)
	if waiting := config.Changed(next, cfg); len(waiting) > 0 {
		p.Log.Warn("some changed settings take effect only at a start: restart the server to use them", "settings", strings.Join(waiting, ", "))
	}
	return nil
}

// warn logs what is likely to be wrong with the configuration in force.
func (p *Portal) warn(cfg config.Config) {
	for _, fault := range Warnings(cfg) {
		p.Log.Warn(fault.Text, "setting", fault.Key)
	}
}

// vitals are the lines of /readyz on this process and what belongs to it;
// they are there only where something is wrong.
func (p *Portal) vitals() []login.Vital {
	var all []login.Vital
	if p.faulty.Load() {
		all = append(all, login.Vital{Name: "configuration", Fault: "faulty; the previous one is in force", Minor: true})
	}
	if p.warned.Load() {
		all = append(all, login.Vital{Name: "trusted_proxies", Fault: refusesAll, Minor: true})
	}
	if p.Handler.draining.Load() {
		all = append(all, login.Vital{Name: "server", Fault: "draining"})
	}
	if p.certificates != nil {
		all = append(all, p.certificates.vitals()...)
	}
	return all
}
