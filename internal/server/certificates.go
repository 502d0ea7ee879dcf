package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/durable"
	"github.com/sallyport/sallyport/internal/login"
)

const (
	// certificatesEvery is how often files that changed are noticed, and a CA
	// is asked for what is missing.
	certificatesEvery = time.Minute

	// expiryNotice is how long before their end certificates are warned of, or
	// a quarter of their life where that is shorter: they are renewed before.
	expiryNotice = 14 * 24 * time.Hour

	// warnEvery is how often the log says so again.
	warnEvery = 24 * time.Hour
)

// certificates are what the listener shows, by the host that a client names.
type certificates struct {
	now func() time.Time
	log *slog.Logger
	ca  *authority // nil where they come from files

	inForce atomic.Pointer[hostCertificates]
	faulty  atomic.Bool // the files that were read last aren't in force, or a host has no certificate

	mu     sync.Mutex    // held while they change
	cfg    config.Config // whose hosts and files they are
	seen   []os.FileInfo // the files, as they were before they were read last
	warned time.Time     // when the log said last that one ends
}

// hostCertificates are certificates by host, in lower case; under "" the
// portal's, for clients that name none: those that go by an address, and health
// checks.
type hostCertificates map[string]*tls.Certificate

func newCertificates(cfg config.Config, now func() time.Time, log *slog.Logger) *certificates {
	c := &certificates{now: now, log: log, cfg: cfg}
	if cfg.TLS.ACME.AcceptTerms {
		c.ca = newAuthority(cfg, c.serves, log)
	}
	c.inForce.Store(&hostCertificates{})
	return c
}

// config returns how the listener speaks. Suites and curves are those that
// crypto/tls takes for good.
func (c *certificates) config() *tls.Config {
	own := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.of}
	if c.ca != nil {
		own.NextProtos = []string{"h2", "http/1.1", acme.ALPNProto}
	}
	return own
}

// of returns the certificate of the host that a client names. Where there is
// none [tls] sends unrecognized_name (RFC 6066, section 3), and nobody sees
// another host's.
func (c *certificates) of(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(hello.ServerName)
	if c.ca != nil && slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) && c.serves(host) {
		return c.ca.manager.GetCertificate(hello) // the CA asks who is there (RFC 8737)
	}
	return (*c.inForce.Load())[host], nil
}

// serves reports whether host is one that needs a certificate.
func (c *certificates) serves(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(servedHosts(c.cfg), host)
}

// begin puts the files in force for the first time. Those that are out of date
// are better than none: other hosts have others. A CA is asked once the listener
// answers.
func (c *certificates) begin() error {
	if c.ca != nil {
		dir := c.cfg.ACMEDir()
		if err := durable.MakeDir(dir); err != nil {
			return fmt.Errorf("keep certificates: %w", err)
		}
		return durable.RemoveLeftovers(dir, time.Now())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = look(c.cfg.TLS.Certificates)
	read, err := readPairs(c.cfg)
	if err != nil {
		return err
	}
	c.inForce.Store(&read)
	return nil
}

// use puts those of cfg in force. An error leaves what is.
func (c *certificates) use(cfg config.Config) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(cfg)
}

func (c *certificates) put(cfg config.Config) error {
	if c.ca != nil {
		c.cfg = cfg
		c.ca.again()
		return nil
	}
	seen := look(cfg.TLS.Certificates)
	read, err := readCurrent(cfg, c.now())
	if err != nil {
		return err
	}
	c.cfg, c.seen = cfg, seen
	c.inForce.Store(&read)
	c.faulty.Store(false)
	return nil
}

// watch notices what changed on the disk, obtains what is missing from the CA,
// and warns of what ends.
func (c *certificates) watch(ctx context.Context) {
	if c.ca != nil {
		c.obtain(ctx)
	} else {
		c.reread()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.warned) < warnEvery {
		return
	}
	for host, one := range *c.inForce.Load() {
		if host != "" && endsSoon(one, now) {
			c.warned = now
			c.log.Warn("a certificate expires soon; renew it", "host", host, "ends", one.Leaf.NotAfter)
		}
	}
}

// reread puts files in force that aren't the ones which were read last. They
// are looked at before they are read: what changes meanwhile is seen the next
// time.
func (c *certificates) reread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := look(c.cfg.TLS.Certificates)
	if slices.EqualFunc(c.seen, seen, sameFile) {
		return
	}
	c.seen = seen
	if err := c.put(c.cfg); err != nil {
		c.faulty.Store(true)
		c.log.Error("the certificates are faulty, so the previous ones stay in use; correct the files", "reason", err.Error())
		return
	}
	c.log.Info("the certificates changed and were read again")
}

func look(pairs []config.Pair) []os.FileInfo {
	var all []os.FileInfo
	for _, pair := range pairs {
		for _, path := range []string{pair.Cert, pair.Key} {
			info, err := os.Stat(path)
			if err != nil {
				info = nil // reading it says why
			}
			all = append(all, info)
		}
	}
	return all
}

// sameFile compares what a file was with what it is; nil is none.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}

// obtain gets from the CA what is missing or was renewed.
func (c *certificates) obtain(ctx context.Context) {
	c.mu.Lock()
	hosts := servedHosts(c.cfg)
	c.mu.Unlock()
	next := maps.Clone(*c.inForce.Load())
	maps.DeleteFunc(next, func(host string, _ *tls.Certificate) bool { return host != "" && !slices.Contains(hosts, host) })
	missing := false
	for i, host := range hosts {
		one, err := c.ca.certificate(ctx, host)
		if err != nil {
			missing = true
			continue
		}
		missing = missing || outdated(one, c.now()) != nil
		if before := next[host]; before == nil || !before.Leaf.Equal(one.Leaf) {
			c.log.Info("a certificate from the CA is now in use", "host", host, "ends", one.Leaf.NotAfter)
		}
		next[host] = one
		if i == 0 {
			next[""] = one
		}
		now := maps.Clone(next) // the others may take long
		c.inForce.Store(&now)
	}
	c.faulty.Store(missing)
}

// first returns when the first of those in force ends; the zero time where
// there is none.
func (c *certificates) first() time.Time {
	var first time.Time
	for _, one := range *c.inForce.Load() {
		if first.IsZero() || one.Leaf.NotAfter.Before(first) {
			first = one.Leaf.NotAfter
		}
	}
	return first
}

// vitals are the lines of /readyz; none where all is well. Anybody may read
// them.
func (c *certificates) vitals() []login.Vital {
	v := login.Vital{Name: "certificates", Minor: true}
	now := c.now()
	for _, one := range *c.inForce.Load() {
		if endsSoon(one, now) {
			v.Fault = "one expires soon"
		}
		if outdated(one, now) != nil {
			v.Fault = "one has expired or isn't valid yet"
			break
		}
	}
	if c.faulty.Load() {
		v.Fault = "faulty; the previous ones are in use"
		if c.ca != nil {
			v.Fault = "the CA issued none for some hosts"
		}
	}
	if v.Fault == "" {
		return nil
	}
	return []login.Vital{v}
}

func endsSoon(one *tls.Certificate, now time.Time) bool {
	life := one.Leaf.NotAfter.Sub(one.Leaf.NotBefore)
	return now.After(one.Leaf.NotAfter.Add(-min(expiryNotice, life/4)))
}

func outdated(one *tls.Certificate, now time.Time) error {
	switch {
	case now.After(one.Leaf.NotAfter):
		return fmt.Errorf("expired on %s; renew it", one.Leaf.NotAfter.Format(time.DateOnly))
	case now.Before(one.Leaf.NotBefore):
		return fmt.Errorf("isn't valid before %s; is this machine's clock right?", one.Leaf.NotBefore.Format(time.DateOnly))
	}
	return nil
}

// servedHosts are the hosts that end their TLS here, the portal's first: the
// gateway's panels, not those that another proxy serves.
func servedHosts(cfg config.Config) []string {
	hosts := []string{cfg.PublicURL.Hostname()}
	for _, p := range cfg.Panels {
		if p.Upstream != (config.Upstream{}) {
			hosts = append(hosts, p.URL.Hostname())
		}
	}
	return hosts
}

// CheckCertificates returns all that is wrong with the files of a
// configuration, which may have none.
func CheckCertificates(cfg config.Config, now time.Time) error {
	if len(cfg.TLS.Certificates) == 0 {
		return nil
	}
	_, err := readCurrent(cfg, now)
	return err
}

// readCurrent reads certificates none of which is out of date.
func readCurrent(cfg config.Config, now time.Time) (hostCertificates, error) {
	read, err := readPairs(cfg)
	if err != nil {
		return nil, err
	}
	var faults config.Faults
	for _, host := range slices.Sorted(maps.Keys(read)) {
		if err := outdated(read[host], now); err != nil && host != "" {
			faults = append(faults, faultAt("tls.certificates", "the certificate of %s %v", host, err)...)
		}
	}
	return read, joinFaults(faults)
}
