// Package config reads what the operator declares: one YAML file, with the
// environment laid over it. It is strict and complete: every fault is
// reported at once, with file, line and key. It imports nothing of Sallyport,
// and only cli and server import it; the others get plain values.
package config

import (
	_ "embed"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Config is everything an operator can set. The comments are the manual;
// default.yaml, which `sallyport config default` prints, says it for the
// operator. A key is set in the file, or by the environment variable
// SALLYPORT_ and the key in capitals with _ for the dot:
// SALLYPORT_SESSION_IDLE. The environment wins; lists are comma-separated
// there. Panels and pairs of certificates are declared in the file only: one
// variable holds one value.
type Config struct {
	// PublicURL is where browsers reach the portal: http or https, a host,
	// a port if need be, nothing else. Empty: http:// and listen, with
	// 127.0.0.1 for a wildcard host.
	PublicURL Origin `yaml:"public_url"`

	// Listen is the address and port the portal answers at. An empty host,
	// 0.0.0.0 and [::] mean every address of this machine.
	Listen string `yaml:"listen"`

	// MetricsListen is the address and port that answers /metrics, for
	// Prometheus: an address of this machine only, since whoever reaches it
	// reads how many sign in. Empty: off.
	MetricsListen string `yaml:"metrics_listen"`

	// RedirectListen is the address and port that leads browsers from http to
	// https, and answers the CA of tls.acme: port 80 of this machine, as others
	// see it. Only beside tls. Empty: off.
	RedirectListen string `yaml:"redirect_listen"`

	// TLS ends here with certificates from files, or from a CA. Neither: at a
	// proxy, or nowhere.
	TLS struct {
		// Certificates are pairs, of which each host gets the first that names
		// it. Together they name the hosts of public_url and of every panel with
		// an upstream. In the file only.
		Certificates []Pair `yaml:"certificates"`

		// ACME obtains a certificate for each of those hosts, and renews it
		// (RFC 8555). The CA asks back at port 443 of the host, or at port 80,
		// where redirect_listen answers.
		ACME struct {
			// AcceptTerms says that the operator has read the CA's terms of
			// service and agrees. Nothing is asked of a CA before.
			AcceptTerms bool `yaml:"accept_terms"`
			// Email is where the CA writes to. It may be empty.
			Email string `yaml:"email"`
			// Directory is the URL of the CA's ACME directory.
			Directory string `yaml:"directory"`
		} `yaml:"acme"`
	} `yaml:"tls"`

	// Drain is how long a server that was told to stop goes on, while /readyz
	// says no already: longer than the balancer takes to notice, 1m at most.
	Drain Duration `yaml:"drain"`

	// DataDir holds the key ring and the SQLite database. A relative path
	// starts at the working directory.
	DataDir string `yaml:"data_dir"`

	// KeyRing is where the key ring is: empty, the file keyring in data_dir,
	// which is made on the first start; credential:NAME, a systemd credential.
	KeyRing KeyRing `yaml:"key_ring"`

	// KeyRingCommand is a program, by its absolute path, and its arguments:
	// no shell reads them. It prints the key ring, from a KMS for example,
	// each time that a sallyport starts.
	KeyRingCommand []string `yaml:"key_ring_command"`

	// Database is a postgres:// or postgresql:// URL, needed when several
	// nodes share the work. Empty: the file sallyport.db in data_dir. A file
	// with a password in it must not be readable by group or others.
	Database Secret `yaml:"database"`

	// Pooler says that a pooler answers at Database, which lends a connection to
	// one transaction after the other, such as PgBouncer in transaction mode.
	Pooler bool `yaml:"pooler"`

	// DatabaseDirect is the URL past the pooler, for what needs a connection of
	// its own: new versions change the schema through it, and nodes hear through
	// it what others change. Empty: they read everything anew each time.
	DatabaseDirect Secret `yaml:"database_direct"`

	// SiteName is what pages and authenticator apps call this portal: 1 to
	// 40 printable characters.
	SiteName string `yaml:"site_name"`

	// Logo is a file that stands beside the site's name on every page: SVG or PNG, at
	// most 32 KiB. It is read at start and reload. Empty: our own drawing.
	Logo string `yaml:"logo"`

	// Accent is the colour of buttons and links, for browsers that prefer light and for
	// those that prefer dark pages. Each has a contrast of at least 4.5 to the text on it
	// and to the pages behind it. Both are set, or none.
	Accent struct {
		Light Color `yaml:"light"`
		Dark  Color `yaml:"dark"`
	} `yaml:"accent"`

	// OperatorContact is where people ask for help, as sign-in and error pages say: an
	// email address, or an http or https URL. Empty: pages name nobody.
	OperatorContact Contact `yaml:"operator_contact"`

	// TrustedProxies are the addresses whose forwarded headers are believed.
	// A bare address is a prefix of its whole length. Nobody, unless named.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	Session struct {
		// Idle is how long a session lives without a request.
		Idle Duration `yaml:"idle"`
		// Absolute is how long a session lives at most; idle can't be longer.
		Absolute Duration `yaml:"absolute"`
	} `yaml:"session"`

	Password struct {
		// MinLength is the shortest new password, in code points: 8 to 64.
		// NIST SP 800-63B-4 asks for 15 where a password may stand alone.
		MinLength int `yaml:"min_length"`
		// MemoryKiB is what Argon2id fills to check one password, from 19456
		// (19 MiB, the least that OWASP advises) to 1048576 (1 GiB).
		MemoryKiB int `yaml:"memory_kib"`
		// Iterations is how often Argon2id goes over that memory: 1 to 10.
		// With 1, OWASP advises at least 47104 KiB.
		Iterations int `yaml:"iterations"`
	} `yaml:"password"`

	TwoFactor struct {
		// Enroll says who may set up two-factor authentication: anyone who is
		// signed in, or who has a one-time link (ticket) from the operator.
		Enroll Enroll `yaml:"enroll"`
	} `yaml:"two_factor"`

	Audit struct {
		// Keep is how long audit events are kept, at least a day; 0: for ever.
		// Deleted ones leave a signed checkpoint.
		Keep Duration `yaml:"keep"`
	} `yaml:"audit"`

	// Backup is the schedule of backups of the SQLite database, which the
	// server makes itself.
	Backup struct {
		// Every is how long after the last one the next is made: an hour at
		// least. 0: none.
		Every Duration `yaml:"every"`
		// Keep is how many are kept, 1 to 1000; older ones are removed.
		Keep int `yaml:"keep"`
		// Dir is where they are; it should be another disk. Empty: backups
		// in data_dir.
		Dir string `yaml:"dir"`
		// Recipients are public keys of age (age1…) that backups are encrypted
		// for, those of the command too unless it names others. None: they
		// aren't.
		Recipients []Recipient `yaml:"recipients"`
	} `yaml:"backup"`

	// MaxHeaderKiB is how much all headers of one request may hold together, in KiB: 16 to
	// 1024. Panels that set many cookies need more than most.
	MaxHeaderKiB int `yaml:"max_header_kib"`

	// LogLevel is the least that is logged: debug, info, warn or error.
	LogLevel LogLevel `yaml:"log_level"`

	// LogFormat is how log lines are written: text, json, or auto, which is text on a
	// terminal and JSON elsewhere.
	LogFormat LogFormat `yaml:"log_format"`

	// Upstream is the own server of one panel on the portal's host: short for
	// shared_host and that panel, which asks for a session.
	Upstream Upstream `yaml:"upstream"`

	// SharedHost puts the portal below /.sallyport/ of the host of the one panel.
	// The panel's scripts then share the portal's origin: who writes the panel is
	// trusted with every account.
	SharedHost bool `yaml:"shared_host"`

	// Panels are the web applications behind the gate: 64 at most, each on a
	// host name of its own, with the scheme of public_url.
	Panels []Panel `yaml:"panels"`
}

// Panel is a web application behind the gate.
type Panel struct {
	// URL is where browsers reach the panel: http or https, a host, a port if
	// need be, nothing else. Plain http beside an https portal: on this machine
	// only.
	URL Origin `yaml:"url"`

	// Name is what pages call the panel: 1 to 40 printable characters, and no other
	// panel's name or host. Absent: its host.
	Name string `yaml:"name,omitempty"`

	// Icon is a file that stands beside the panel's name on people's list of panels: as
	// Logo. Absent: the drawing of a screen.
	Icon string `yaml:"icon,omitempty"`

	// Upstream is the panel's own server, to which the gateway passes what it
	// lets in. Empty: another proxy does that.
	Upstream Upstream `yaml:"upstream"`

	// UpstreamCA is a PEM file with the certificates of those who may sign that of an
	// https upstream, in place of those that this machine trusts. It is read at start and
	// reload.
	UpstreamCA string `yaml:"upstream_ca,omitempty"`

	// UpstreamName is the host name that the certificate of an https upstream must be for.
	// Absent: the host of upstream.
	UpstreamName string `yaml:"upstream_name,omitempty"`

	// UpstreamFingerprint is the SHA-256 of the one certificate that an https upstream may
	// show, in hexadecimal, with or without colons. Names, dates and signers don't count
	// then.
	UpstreamFingerprint Fingerprint `yaml:"upstream_fingerprint,omitempty"`

	// AnswerWithin is how long the upstream may take to begin an answer: a second to a
	// day. Absent: two minutes.
	AnswerWithin Duration `yaml:"answer_within,omitempty"`

	// WebSockets says whether what a browser sends over a WebSocket keeps its session from
	// ending as idle: use, or idle (the default), since many pages send something by
	// themselves.
	WebSockets WebSockets `yaml:"websockets,omitempty"`

	// ForgetAtSignOut has browsers drop what they keep of the panel, cookies and stored
	// data too, when its user signs out and when another account enters.
	ForgetAtSignOut bool `yaml:"forget_at_sign_out,omitempty"`

	// IdentityEncoding is how names that aren't ASCII stand in the identity headers: utf-8
	// (the default), or percent, as in addresses.
	IdentityEncoding IdentityEncoding `yaml:"identity_encoding,omitempty"`

	// Require is what the panel asks of whoever comes: session (the default)
	// or two_factor.
	Require Require `yaml:"require"`

	// MaxAge is how old the proofs of a session may be, at least a minute.
	// Absent: as old as the session.
	MaxAge Duration `yaml:"max_age,omitempty"`

	// Groups are those of which an account must be in one. Absent: any account.
	Groups []string `yaml:"groups,omitempty"`

	// Rules ask for something else below some paths, 100 at most. The first
	// that matches counts.
	Rules []Rule `yaml:"rules"`
}

// Rule is what a panel asks for some of its paths.
type Rule struct {
	// Path ends in "/" and means all below it, or is exactly one path. It is
	// written in one way only: no percent sign, no query, no dot segments.
	Path string `yaml:"path"`

	// Require must be set: nothing, session or two_factor. With nothing there
	// are no groups and no age.
	Require Require `yaml:"require"`

	// MaxAge and Groups are as of a panel. Absent: the panel's.
	MaxAge Duration `yaml:"max_age,omitempty"`
	Groups []string `yaml:"groups,omitempty"`

	// Preflight lets CORS preflights pass, whoever asks: what browsers send
	// before a script of another site may ask here.
	Preflight bool `yaml:"preflight,omitempty"`
}

// Default returns the configuration of an operator who sets nothing.
func Default() Config {
	c := Config{
		PublicURL: Origin{Scheme: "http", Host: "127.0.0.1:9091"},
		Listen:    "127.0.0.1:9091",
		DataDir:   "./sallyport-data",
		SiteName:  "Sallyport",
		LogLevel:  LogInfo,
		LogFormat: LogAuto,
	}
	c.TLS.ACME.Directory = letsEncrypt
	c.Session.Idle = Duration(12 * time.Hour)
	c.Session.Absolute = Duration(7 * day)
	c.Password.MinLength = 15
	c.Password.MemoryKiB = minMemoryKiB
	c.Password.Iterations = 2
	c.TwoFactor.Enroll = EnrollAnyone
	c.Audit.Keep = Duration(400 * day)
	c.Backup.Keep = 7
	c.MaxHeaderKiB = 64
	return c
}

// Changed returns the keys whose values differ between two configurations, sorted.
func Changed(a, b Config) []string {
	before, after := schemaOf(reflect.ValueOf(&a).Elem(), ""), schemaOf(reflect.ValueOf(&b).Elem(), "")
	var keys []string
	for key, field := range before.field {
		if !reflect.DeepEqual(field.Interface(), after.field[key].Interface()) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

//go:embed default.yaml
var defaultYAML string

// DefaultYAML returns the text that `sallyport config default` prints: every
// key with its default, explained. Loading it gives [Default].
func DefaultYAML() string { return defaultYAML }

// DatabaseURL returns "sqlite:" and the absolute path of sallyport.db in the
// data directory, or the PostgreSQL URL. It may hold a password.
func (c Config) DatabaseURL() string {
	if url := c.Database.Reveal(); url != "" {
		return url
	}
	return "sqlite:" + c.inDataDir("sallyport.db")
}

// PortalURL returns where the portal's home page is, without a slash at the end.
func (c Config) PortalURL() string {
	if c.SharedHost {
		return c.PublicURL.String() + strings.TrimSuffix(gatePath, "/")
	}
	return c.PublicURL.String()
}

// KeyRingPath returns the path of the key ring's file, or that of the
// credential; "" where systemd named no directory of credentials.
func (c Config) KeyRingPath() string {
	switch {
	case c.KeyRing.Credential == "":
		return c.inDataDir("keyring")
	case c.KeyRing.Directory == "":
		return ""
	default:
		return filepath.Join(c.KeyRing.Directory, c.KeyRing.Credential)
	}
}

// BackupDir returns the directory of scheduled backups.
func (c Config) BackupDir() string {
	if c.Backup.Dir != "" {
		return c.Backup.Dir
	}
	return c.inDataDir("backups")
}

func (c Config) inDataDir(name string) string {
	path := filepath.Join(c.DataDir, name)
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path // the working directory has no name; relative to it is right
}
