package server

import (
	"net/http"
	"reflect"
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

// Reload puts a configuration in force beside the requests under way: panels
// and trusted proxies. A faulty one, of which err says what is wrong, leaves
// the one before in force, and the log, /readyz and a metric say so (F10).
func (p *Portal) Reload(cfg config.Config, err error) error {
	var handler http.Handler
	if err == nil {
		handler, err = p.doors(cfg)
	}
	if err != nil {
		p.faulty.Store(true)
		p.Log.Error("the configuration is faulty; the one before stays in force", "reason", err.Error())
		return err
	}
	p.Handler.now.Store(&handler)
	p.faulty.Store(false)
	p.Log.Info("configuration reloaded")
	same := p.Config
	same.Panels, same.TrustedProxies = cfg.Panels, cfg.TrustedProxies
	if !reflect.DeepEqual(same, cfg) {
		p.Log.Warn("some settings that changed wait for the next start: all but panels and trusted_proxies do")
	}
	return nil
}

// vitals are the lines of /readyz on this process; they are there only where
// something is wrong.
func (p *Portal) vitals() (wrong []login.Vital) {
	if p.faulty.Load() {
		wrong = append(wrong, login.Vital{Name: "configuration", Fault: "faulty; the one before is in force", Minor: true})
	}
	if p.Handler.draining.Load() {
		wrong = append(wrong, login.Vital{Name: "server", Fault: "draining"})
	}
	return wrong
}
