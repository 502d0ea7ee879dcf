package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/sallyport/sallyport/internal/durable"
)

const (
	// WatchEvery is the pause between two calls of [Certificates.Watch], which notices
	// changed files and asks a CA for what is missing.
	WatchEvery = time.Minute

	// expiryNotice is how long before a certificate's end the log and /readyz begin to warn.
	// For a short life it is a quarter of the life, since tools renew earlier than that.
	expiryNotice = 14 * 24 * time.Hour

	// warnEvery is the interval at which the log repeats that warning.
	warnEvery = 24 * time.Hour
)

// Settings say which hosts need certificates and where those come from.
type Settings struct {
	Hosts  []string // the hosts whose TLS ends here, the portal's first
	Others []string // hosts that need no certificate, but get one if a pair is for them
	Pairs  []Pair   // empty if a CA issues the certificates
	CA     *CA      // nil if they come from files
}

// Pair is a certificate and its key: the paths of two PEM files.
type Pair struct{ Cert, Key string }

// CA is a certificate authority that speaks ACME (RFC 8555), and whose terms of
// service the operator has accepted.
type CA struct {
	Dir       string // the directory in which its certificates are stored
	Directory string // the URL of its ACME directory
	Email     string // the address that it sends mail to; may be empty
}

// Fault is a fault in one setting.
type Fault struct {
	Setting string // such as "tls.certificates[0].cert"
	Text    string // one line
}

// Faults is the error of faulty files. It has all faults and is never empty.
type Faults []Fault

// Error returns the faults, one on each line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Setting + ": " + fault.Text
	}
	return strings.Join(lines, "\n")
}

func (f *Faults) add(setting, format string, args ...any) {
	*f = append(*f, Fault{setting, fmt.Sprintf(format, args...)})
}

// orNil returns nil if there is no fault.
func (f Faults) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Certificates holds the certificates in force and renews them. It is safe for
// concurrent use.
type Certificates struct {
	now func() time.Time
	log *slog.Logger
	ca  *authority // nil if they come from files

	inForce atomic.Pointer[hostCertificates]
	faulty  atomic.Bool // the files that were read last aren't in force, or a host has no certificate

	mu       sync.Mutex // guards the fields below
	settings Settings
	seen     []os.FileInfo // the state of the files before they were last read
	warned   time.Time     // when the log last warned that a certificate expires
}

// hostCertificates maps hosts, in lower case, to their certificates. The key "" has the
// portal's certificate, for clients that name no host because they connect to an IP
// address, such as health checks.
type hostCertificates map[string]*tls.Certificate

// New returns a Certificates that has no certificate in force yet; call
// [Certificates.Begin]. now is the machine's own clock.
func New(settings Settings, now func() time.Time, log *slog.Logger) *Certificates {
	c := &Certificates{now: now, log: log, settings: settings}
	if settings.CA != nil {
		c.ca = newAuthority(*settings.CA, c.serves, now, log)
	}
	c.inForce.Store(&hostCertificates{})
	return c
}

// TLS returns the configuration of the listener. Cipher suites and curves are the
// defaults of crypto/tls.
func (c *Certificates) TLS() *tls.Config {
	own := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.certificateFor}
	if c.ca != nil {
		own.NextProtos = []string{"h2", "http/1.1", acme.ALPNProto}
	}
	return own
}

// certificateFor returns the certificate of the host that a client names. If the host has no
// certificate, it returns nil and [tls] sends the alert unrecognized_name (RFC 6066, section 3),
// so that no client gets the certificate of another host.
func (c *Certificates) certificateFor(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(hello.ServerName)
	if c.ca != nil && slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) && c.serves(host) {
		return c.ca.manager.GetCertificate(hello) // the CA validates the host (RFC 8737)
	}
	return (*c.inForce.Load())[host], nil
}

// serves reports whether host needs a certificate.
func (c *Certificates) serves(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.settings.Hosts, host)
}

// Begin puts the files in force at a start. It accepts certificates that are out of
// date, since the other hosts still work. A CA isn't asked yet, since it connects to
// the listener: the first [Certificates.Watch] does that.
func (c *Certificates) Begin() error {
	if c.ca != nil {
		dir := c.settings.CA.Dir
		if err := durable.MakeDir(dir); err != nil {
			return fmt.Errorf("keep certificates: %w", err)
		}
		return durable.RemoveLeftovers(dir, c.now())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = statFiles(c.settings.Pairs)
	read, err := readPairs(c.settings)
	if err != nil {
		return err
	}
	c.inForce.Store(&read)
	return nil
}

// Use puts new settings in force. They must have a CA if the earlier ones had, and
// pairs otherwise. After an error the earlier certificates stay in force.
func (c *Certificates) Use(settings Settings) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.install(settings)
}

// install puts settings in force. c.mu must be locked.
func (c *Certificates) install(settings Settings) error {
	if c.ca != nil {
		c.settings = settings
		c.ca.shortenPauses()
		return nil
	}
	seen := statFiles(settings.Pairs)
	read, err := readCurrent(settings, c.now())
	if err != nil {
		return err
	}
	c.settings, c.seen = settings, seen
	c.inForce.Store(&read)
	c.faulty.Store(false)
	return nil
}

// Watch puts changed files in force, or asks the CA for missing certificates, and
// logs a warning if a certificate expires soon.
func (c *Certificates) Watch(ctx context.Context) {
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

// reread puts the files in force if they have changed. It notes their state before it
// reads them, so that the next call sees a change during the read.
func (c *Certificates) reread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := statFiles(c.settings.Pairs)
	if slices.EqualFunc(c.seen, seen, sameFile) {
		return
	}
	c.seen = seen
	if err := c.install(c.settings); err != nil {
		c.faulty.Store(true)
		c.log.Error("the certificates are faulty, so the previous ones stay in use; correct the files", "reason", err.Error())
		return
	}
	c.log.Info("the certificates changed and were read again")
}

// statFiles returns the state of each pair's files, or nil for a file that can't be examined.
func statFiles(pairs []Pair) []os.FileInfo {
	var all []os.FileInfo
	for _, pair := range pairs {
		for _, path := range []string{pair.Cert, pair.Key} {
			info, err := os.Stat(path)
			if err != nil {
				info = nil // reading the file will return the error
			}
			all = append(all, info)
		}
	}
	return all
}

// sameFile reports whether two states of a file are equal; nil means no file.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}

// obtain gets missing and renewed certificates from the CA.
func (c *Certificates) obtain(ctx context.Context) {
	c.mu.Lock()
	hosts := c.settings.Hosts
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
		now := maps.Clone(next) // the next hosts may take long
		c.inForce.Store(&now)
	}
	c.faulty.Store(missing)
}

// FirstEnd returns when the first certificate in force expires, or the zero time if no
// certificate is in force.
func (c *Certificates) FirstEnd() time.Time {
	var first time.Time
	for _, one := range *c.inForce.Load() {
		if first.IsZero() || one.Leaf.NotAfter.Before(first) {
			first = one.Leaf.NotAfter
		}
	}
	return first
}

// Faulty reports whether the files that were read last are faulty, or the CA
// issued no certificate for some host.
func (c *Certificates) Faulty() bool { return c.faulty.Load() }

// Fault returns a public text about the most serious fault, or "" if all is well.
func (c *Certificates) Fault() string {
	switch {
	case c.Faulty() && c.ca != nil:
		return "the CA issued none for some hosts"
	case c.Faulty():
		return "faulty; the previous ones are in use"
	}
	fault, now := "", c.now()
	for _, one := range *c.inForce.Load() {
		if outdated(one, now) != nil {
			return "one has expired or isn't valid yet"
		}
		if endsSoon(one, now) {
			fault = "one expires soon"
		}
	}
	return fault
}

// Challenges returns the handler that answers the CA's HTTP challenges (RFC 8555,
// section 8.3), below /.well-known/acme-challenge/, or nil without a CA.
func (c *Certificates) Challenges() http.Handler {
	if c.ca == nil {
		return nil
	}
	return c.ca.manager.HTTPHandler(http.NotFoundHandler())
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

// Check returns all faults of the certificate files as [Faults]. It returns nil if there
// are no files.
func Check(settings Settings, now time.Time) error {
	if len(settings.Pairs) == 0 {
		return nil
	}
	_, err := readCurrent(settings, now)
	return err
}

// CheckFiles is [Check] for a start: it accepts certificates that are out of date.
func CheckFiles(settings Settings) error {
	if len(settings.Pairs) == 0 {
		return nil
	}
	_, err := readPairs(settings)
	return err
}

// readCurrent is [readPairs], and returns an error if a certificate is out of date.
func readCurrent(settings Settings, now time.Time) (hostCertificates, error) {
	read, err := readPairs(settings)
	if err != nil {
		return nil, err
	}
	var faults Faults
	for _, host := range slices.Sorted(maps.Keys(read)) {
		if err := outdated(read[host], now); err != nil && host != "" {
			faults.add("tls.certificates", "the certificate of %s %v", host, err)
		}
	}
	return read, faults.orNil()
}
