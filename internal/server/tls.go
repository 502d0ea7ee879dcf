package server

import (
	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/config"
)

// certificatesOf returns the settings of the certificates. The portal and the gateway's panels
// need one each. A panel that another proxy serves needs none, but a configured pair for its host
// is used too, since that proxy may send its queries here over TLS.
func certificatesOf(cfg config.Config) certs.Settings {
	s := certs.Settings{Hosts: []string{cfg.PublicURL.Hostname()}}
	for _, p := range cfg.Panels {
		if p.Upstream != (config.Upstream{}) {
			s.Hosts = append(s.Hosts, p.URL.Hostname())
		}
		s.Others = append(s.Others, p.URL.Hostname())
	}
	for _, pair := range cfg.TLS.Certificates {
		s.Pairs = append(s.Pairs, certs.Pair(pair))
	}
	if cfg.TLS.ACME.AcceptTerms {
		s.CA = &certs.CA{Dir: cfg.ACMEDir(), Directory: cfg.TLS.ACME.Directory, Email: cfg.TLS.ACME.Email}
	}
	return s
}
