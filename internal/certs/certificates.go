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
	// WatchEvery is how often files that changed are noticed, and a CA is asked for
	// what is missing: the pause between two calls of [Certificates.Watch].
	WatchEvery = time.Minute

	// expiryNotice is how long before their end certificates are warned of, or
	// a quarter of their life where that is shorter: they are renewed before.
	expiryNotice = 14 * 24 * time.Hour

	// warnEvery is how often the log says so again.
	warnEvery = 24 * time.Hour
)

// Settings say which certificates there are to be.
type Settings struct {
	Hosts  []string // that end their TLS here, the portal's first
	Others []string // hosts that get a certificate too where a pair names them
	Pairs  []Pair   // files; none where a CA gives the certificates
	CA     *CA      // nil where they come from files
}

// Pair is a certificate and its key: the paths of two PEM files.
type Pair struct{ Cert, Key string }

// CA is a certificate authority that speaks ACME (RFC 8555), and whose terms of
// service the operator has accepted.
type CA struct {
	Dir       string // where its certificates are kept
	Directory string // the URL of its ACME directory
	Email     string // where it writes to; may be empty
}

// Fault is what is wrong with one setting.
type Fault struct {
	Setting string // such as "tls.certificates[0].cert"
	Text    string // one line
}

// Faults is the error of faulty files: all that is wrong. It is never empty.
type Faults []Fault

// Error returns the faults, a line each.
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

// orNil returns nil where there is no fault.
func (f Faults) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Certificates are what the listener shows, by the host that a client names. They
// are safe for concurrent use.
type Certificates struct {
	now func() time.Time
	log *slog.Logger
	ca  *authority // nil where they come from files

	inForce atomic.Pointer[hostCertificates]
	faulty  atomic.Bool // the files that were read last aren't in force, or a host has no certificate

	mu       sync.Mutex // held while they change
	settings Settings
	seen     []os.FileInfo // the files, as they were before they were read last
	warned   time.Time     // when the log said last that one ends
}

// hostCertificates are certificates by host, in lower case; under "" the
// portal's, for clients that name none: those that go by an address, and health
// checks.
type hostCertificates map[string]*tls.Certificate

// New returns certificates none of which is in force yet. now is the machine's
// own clock, as certificates are judged by it everywhere.
func New(settings Settings, now func() time.Time, log *slog.Logger) *Certificates {
	c := &Certificates{now: now, log: log, settings: settings}
	if settings.CA != nil {
		c.ca = newAuthority(*settings.CA, c.serves, now, log)
	}
	c.inForce.Store(&hostCertificates{})
	return c
}

// TLS returns how the listener speaks. Suites and curves are those that
// crypto/tls takes for good.
func (c *Certificates) TLS() *tls.Config {
	own := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.of}
	if c.ca != nil {
		own.NextProtos = []string{"h2", "http/1.1", acme.ALPNProto}
	}
	return own
}

// of returns the certificate of the host that a client names. Where there is
// none [tls] sends unrecognized_name (RFC 6066, section 3), and nobody sees
// another host's.
func (c *Certificates) of(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(hello.ServerName)
	if c.ca != nil && slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) && c.serves(host) {
		return c.ca.manager.GetCertificate(hello) // the CA asks who is there (RFC 8737)
	}
	return (*c.inForce.Load())[host], nil
}

// serves reports whether host is one that needs a certificate.
func (c *Certificates) serves(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.settings.Hosts, host)
}

// Begin puts the files in force for the first time. Those that are out of date
// are better than none: other hosts have others. A CA is asked once the listener
// answers.
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
	c.seen = look(c.settings.Pairs)
	read, err := readPairs(c.settings)
	if err != nil {
		return err
	}
	c.inForce.Store(&read)
	return nil
}

// Use puts those of other settings in force, which have a CA where the first had
// one. An error leaves what is.
func (c *Certificates) Use(settings Settings) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(settings)
}

func (c *Certificates) put(settings Settings) error {
	if c.ca != nil {
		c.settings = settings
		c.ca.again()
		return nil
	}
	seen := look(settings.Pairs)
	read, err := readCurrent(settings, c.now())
	if err != nil {
		return err
	}
	c.settings, c.seen = settings, seen
	c.inForce.Store(&read)
	c.faulty.Store(false)
	return nil
}

// Watch notices what changed on the disk, obtains what is missing from the CA,
// and warns of what ends, once.
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

// reread puts files in force that aren't the ones which were read last. They
// are looked at before they are read: what changes meanwhile is seen the next
// time.
func (c *Certificates) reread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := look(c.settings.Pairs)
	if slices.EqualFunc(c.seen, seen, sameFile) {
		return
	}
	c.seen = seen
	if err := c.put(c.settings); err != nil {
		c.faulty.Store(true)
		c.log.Error("the certificates are faulty, so the previous ones stay in use; correct the files", "reason", err.Error())
		return
	}
	c.log.Info("the certificates changed and were read again")
}

func look(pairs []Pair) []os.FileInfo {
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
		now := maps.Clone(next) // the others may take long
		c.inForce.Store(&now)
	}
	c.faulty.Store(missing)
}

// FirstEnd returns when the first of those in force ends; the zero time where
// there is none.
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

// Fault returns what is wrong with them, in words that anybody may read; "" where
// all is well.
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

// Challenges returns what answers a CA that asks by http who is there (RFC 8555,
// section 8.3), below /.well-known/acme-challenge/; nil without a CA.
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

// Check returns all that is wrong with the files, which may be none, as [Faults].
func Check(settings Settings, now time.Time) error {
	if len(settings.Pairs) == 0 {
		return nil
	}
	_, err := readCurrent(settings, now)
	return err
}

// CheckFiles is [Check] for a start, which certificates that are out of date don't
// keep from succeeding.
func CheckFiles(settings Settings) error {
	if len(settings.Pairs) == 0 {
		return nil
	}
	_, err := readPairs(settings)
	return err
}

// readCurrent reads certificates none of which is out of date.
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
