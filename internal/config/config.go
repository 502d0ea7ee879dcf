package config

import (
	_ "embed"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// Config is everything an operator can set. The comments below are the manual for
// programmers; default.yaml, which `sallyport config default` prints, is the one for
// operators.
//
// A key is set in the file or by an environment variable, which overrides the file. The
// variable's name is SALLYPORT_ and the key in capitals, with _ for the dot:
// SALLYPORT_SESSION_IDLE. Lists are comma-separated there. Panels, policies and certificates can be
// declared in the file only, since a variable holds one value.
type Config struct {
	// PublicURL is the URL at which browsers reach the portal: only http or https, a host,
	// and a port if needed. Empty: http:// and listen, with 127.0.0.1 for a
	// wildcard host.
	PublicURL Origin `yaml:"public_url"`

	// Listen is the address and port of the portal's listener. An empty host, 0.0.0.0
	// and [::] mean every address of this machine.
	Listen string `yaml:"listen"`

	// MetricsListen is the address and port of /metrics, for Prometheus. It should be
	// reachable from this machine only, since every client that reaches it can read how
	// many people sign in. Empty: off.
	MetricsListen string `yaml:"metrics_listen"`

	// RedirectListen is the address and port of a listener that redirects browsers from
	// http to https and answers the CA of tls.acme. Browsers and the CA expect it at port 80
	// of the public address. It needs tls. Empty: off.
	RedirectListen string `yaml:"redirect_listen"`

	// TLS is the source of the certificates with which Sallyport terminates TLS: files
	// or a CA. If neither is set, a proxy must terminate TLS.
	TLS struct {
		// Certificates are pairs of files. A host gets the first pair with a
		// certificate for it. The hosts of public_url and of each panel with an upstream need one.
		// It can be set in the file only.
		Certificates []Pair `yaml:"certificates"`

		// ACME obtains and renews a certificate for each of those hosts (RFC 8555). The
		// CA validates a host at its port 443, or at port 80, where redirect_listen
		// answers.
		ACME struct {
			// AcceptTerms means that the operator has read the CA's terms of service
			// and agrees. Before that no request goes to a CA.
			AcceptTerms bool `yaml:"accept_terms"`
			// Email is the address at which the CA may contact the operator. It may be
			// empty.
			Email string `yaml:"email"`
			// Directory is the URL of the CA's ACME directory.
			Directory string `yaml:"directory"`
		} `yaml:"acme"`
	} `yaml:"tls"`

	// Drain is how long a server that gets SIGTERM continues to serve while /readyz
	// already answers 503. It should be longer than a load balancer takes to notice; at
	// most 1m.
	Drain Duration `yaml:"drain"`

	// DataDir holds the key ring and the SQLite database. A relative path starts at
	// the working directory.
	DataDir string `yaml:"data_dir"`

	// KeyRing is the source of the key ring. Empty: the file keyring in data_dir, which
	// the first start creates. credential:NAME: a systemd credential.
	KeyRing KeyRing `yaml:"key_ring"`

	// KeyRingCommand is the absolute path of a program and its arguments, run without a
	// shell. The program prints the key ring, for example from a KMS, each time that a
	// server or command starts.
	KeyRingCommand []string `yaml:"key_ring_command"`

	// Database is a postgres:// or postgresql:// URL, needed if several nodes share the
	// work. Empty: the file sallyport.db in data_dir. If it contains a password, the
	// configuration file must not be readable by group or others.
	Database Secret `yaml:"database"`

	// Pooler means that Database is the URL of a pooler that assigns a connection to each
	// transaction, such as PgBouncer in transaction mode.
	Pooler bool `yaml:"pooler"`

	// DatabaseDirect is the URL of the same database without the pooler, for migrations
	// and for LISTEN, which need a connection of their own. Empty: nodes aren't notified
	// of each other's changes, so they can't use caches.
	DatabaseDirect Secret `yaml:"database_direct"`

	// SiteName is the name of the portal on pages and in authenticator apps: 1 to 40
	// printable characters.
	SiteName string `yaml:"site_name"`

	// Logo is the path of a picture that every page shows beside the site's name: SVG or
	// PNG, at most 32 KiB. It is read at start and reload. Empty: Sallyport's own logo.
	Logo string `yaml:"logo"`

	// Accent is the colour of buttons and links, for light and for dark pages. Each must
	// have a contrast of at least 4.5 to the text on it and to the page behind it. If one
	// is set, the other must be set too.
	Accent struct {
		Light Color `yaml:"light"`
		Dark  Color `yaml:"dark"`
	} `yaml:"accent"`

	// OperatorContact is shown on sign-in and error pages, for users that need help: an
	// email address, or an http or https URL. Empty: pages name no contact.
	OperatorContact Contact `yaml:"operator_contact"`

	// TrustedProxies are the addresses of trusted proxies: Sallyport uses their forwarding
	// headers. An address without a prefix length is one proxy. By default no address is trusted.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	Session struct {
		// Idle is how long a session lives without a request.
		Idle Duration `yaml:"idle"`
		// Absolute is how long a session lives at most; idle must not be longer.
		Absolute Duration `yaml:"absolute"`
	} `yaml:"session"`

	Password struct {
		// MinLength is the least length of a new password, in code points: 8 to 64.
		// NIST SP 800-63B-4 requires 15 if the password is the only factor.
		MinLength int `yaml:"min_length"`
		// MemoryKiB is the memory that Argon2id fills for one hash, from 19456 (19 MiB,
		// the least that OWASP recommends) to 1048576 (1 GiB).
		MemoryKiB int `yaml:"memory_kib"`
		// Iterations is the number of Argon2id's iterations over that memory: 1 to 10.
		// With 1, OWASP recommends at least 47104 KiB.
		Iterations int `yaml:"iterations"`
	} `yaml:"password"`

	TwoFactor struct {
		// Enroll is the condition for setting up two-factor authentication: being signed in
		// (anyone), or a one-time link from the operator as well (ticket).
		Enroll Enroll `yaml:"enroll"`
	} `yaml:"two_factor"`

	// Policy says what is asked of the accounts in some groups, whatever panels require: at most 100
	// items. If several items are about an account's groups, the strictest counts. An item can
	// only ask for more than two_factor and the panels do.
	Policy []Policy `yaml:"policy"`

	// SiteTimeZone is the time zone of dates in mails, and of those in policy.
	SiteTimeZone TimeZone `yaml:"site_time_zone"`

	// Mail is how mails are sent. All mails go to owners of accounts.
	Mail struct {
		// URL is where mails go: a mail server or a directory. Empty: no mails are sent.
		URL MailServer `yaml:"url"`
		// PasswordFile is a file with the password of the user in URL. Others must not be able
		// to read it. Its group may read it if root owns it. It is read when the server starts.
		PasswordFile string `yaml:"password_file"`
		// CA is a PEM file with the certificates of the CAs that may have issued the mail
		// server's certificate. It replaces this machine's CAs and is read at the start.
		CA string `yaml:"ca"`
		// From is the sender of all mails. It must be set if URL is.
		From MailAddress `yaml:"from"`
		// Notices says whether owners get mails about changes to their accounts.
		Notices bool `yaml:"notices"`
	} `yaml:"mail"`

	// Webhook is a server that receives the events that are also reported to owners.
	Webhook struct {
		// URL is where each event is sent by a POST request. Empty: events aren't sent.
		URL WebhookURL `yaml:"url"`
		// SecretFile is a file with the secret that signs requests: one line, or two while the
		// receiver changes to another secret. Others must not be able to read it, and the group
		// only if root owns it. It is read at the start.
		SecretFile string `yaml:"secret_file"`
		// CA is a PEM file with the certificates of the CAs that may have issued the receiver's
		// certificate. It replaces this machine's CAs and is read at the start.
		CA string `yaml:"ca"`
		// Events are the types of events that are sent. Empty: all.
		Events []string `yaml:"events"`
		// Networks are private, loopback or link-local networks in which the receiver may be. A
		// receiver on the Internet needs none. Only for a receiver in one of them may the URL be http.
		Networks []Network `yaml:"networks"`
	} `yaml:"webhook"`

	Audit struct {
		// Keep is how long audit events are kept: at least a day, or 0 for no limit. A
		// signed checkpoint replaces deleted events.
		Keep Duration `yaml:"keep"`
	} `yaml:"audit"`

	// Backup is the schedule of the backups of the SQLite database that the server makes.
	Backup struct {
		// Every is the time between two backups: at least an hour, or 0 for no backups.
		Every Duration `yaml:"every"`
		// Keep is how many backups are kept, 1 to 1000; older ones are removed.
		Keep int `yaml:"keep"`
		// Dir is the directory of the backups; it should be on another disk. Empty: the
		// directory backups in data_dir.
		Dir string `yaml:"dir"`
		// Recipients are the age public keys (age1…) for which backups are encrypted. The
		// command backup uses them too unless it has --recipient. Empty: backups aren't
		// encrypted.
		Recipients []Recipient `yaml:"recipients"`
	} `yaml:"backup"`

	// MaxHeaderKiB is the greatest size of all headers of a request together, in KiB: 16
	// to 1024. Panels that set many cookies may need more than the default.
	MaxHeaderKiB int `yaml:"max_header_kib"`

	// LogLevel is the lowest level that is logged: debug, info, warn or error.
	LogLevel LogLevel `yaml:"log_level"`

	// LogFormat is the format of log lines: text, json, or auto, which is text on a
	// terminal and JSON elsewhere.
	LogFormat LogFormat `yaml:"log_format"`

	// Upstream declares one panel on the portal's host, by the URL of the panel's own
	// server. It is short for shared_host: true and that panel, which requires a session.
	Upstream Upstream `yaml:"upstream"`

	// SharedHost puts the portal below /.sallyport/ on the host of its only panel. The
	// panel's scripts then share the portal's origin, so its authors must be trusted with
	// every account.
	SharedHost bool `yaml:"shared_host"`

	// Panels are the web applications behind the gate: at most 64, each with a host name
	// of its own and the scheme of public_url.
	Panels []Panel `yaml:"panels"`
}

// Policy is one item of Config.Policy: what is asked of the accounts in its groups.
type Policy struct {
	// Groups are the groups that the item is about. The list ["*"] stands for every account.
	Groups []string `yaml:"groups"`

	// TwoFactor is how firmly two-factor authentication is asked for: off, observe, nudge or
	// required. It must be set.
	TwoFactor Asked `yaml:"two_factor"`

	// From is the day at whose start the requirement begins, in the time zone of SiteTimeZone.
	// Absent: it begins at once.
	From Date `yaml:"from,omitempty"`

	// Methods are the kinds of authenticators that count. Absent: all.
	Methods []Method `yaml:"methods,omitempty"`

	// Enroll is the condition for setting up the first authenticator, as TwoFactor.Enroll is for
	// all accounts. Absent: TwoFactor.Enroll applies.
	Enroll Enroll `yaml:"enroll,omitempty"`
}

// Panel is a web application behind the gate.
type Panel struct {
	// URL is the URL at which browsers reach the panel: only http or https, a host, and a
	// port if needed. If the portal uses https, only a panel on this machine may use
	// http.
	URL Origin `yaml:"url"`

	// Name is the panel's name on pages: 1 to 40 printable characters, and not the name or
	// host of another panel. Absent: its host.
	Name string `yaml:"name,omitempty"`

	// Icon is the path of a picture that the list of panels shows beside the panel's name.
	// It has the formats and limits of Logo. Absent: a drawing of a screen.
	Icon string `yaml:"icon,omitempty"`

	// Upstream is the panel's own server, to which the gateway passes admitted requests.
	// Empty: another proxy passes them on.
	Upstream Upstream `yaml:"upstream"`

	// UpstreamCA is a PEM file with the certificates of the CAs that may have issued the
	// certificate of an https upstream. It replaces this machine's CAs, and is read at
	// start and reload.
	UpstreamCA string `yaml:"upstream_ca,omitempty"`

	// UpstreamName is the host name that the certificate of an https upstream must name.
	// Absent: the host of upstream.
	UpstreamName string `yaml:"upstream_name,omitempty"`

	// UpstreamFingerprint is the SHA-256 of the only certificate that is accepted from an
	// https upstream, in hexadecimal, with or without colons. If it is set, the certificate's
	// names, dates and issuer aren't checked.
	UpstreamFingerprint Fingerprint `yaml:"upstream_fingerprint,omitempty"`

	// AnswerWithin is how long the upstream may take to send the headers of its answer: a
	// second to a day. Absent: two minutes.
	AnswerWithin Duration `yaml:"answer_within,omitempty"`

	// WebSockets says whether data that a browser sends over a WebSocket counts as a use of
	// its session: use, or idle (the default), since many pages send data without the user.
	WebSockets WebSockets `yaml:"websockets,omitempty"`

	// ForgetAtSignOut makes browsers delete what they store for the panel (cache, cookies,
	// local storage) when its user signs out, and when another account enters.
	ForgetAtSignOut bool `yaml:"forget_at_sign_out,omitempty"`

	// IdentityEncoding is the encoding of names that aren't ASCII in the identity headers:
	// utf-8 (the default), or percent, as in URLs.
	IdentityEncoding IdentityEncoding `yaml:"identity_encoding,omitempty"`

	// Require is what the panel requires of a user: session (the default) or two_factor.
	Require Require `yaml:"require"`

	// MaxAge is the greatest age of a session's proofs, at least a minute. Absent: no limit
	// but the end of the session.
	MaxAge Duration `yaml:"max_age,omitempty"`

	// Groups are the groups that may enter: an account must be in one of them. Absent: every
	// account may enter.
	Groups []string `yaml:"groups,omitempty"`

	// Rules set other requirements for some paths, at most 100. The first rule that matches
	// a path applies.
	Rules []Rule `yaml:"rules"`
}

// Rule is what a panel requires on some of its paths.
type Rule struct {
	// Path is one path, or ends in "/" and covers every path below it. It contains no
	// percent sign, query or dot segment, so that each path has one spelling only.
	Path string `yaml:"path"`

	// Require must be set: nothing, session or two_factor. With nothing, groups and max_age
	// must be absent.
	Require Require `yaml:"require"`

	// MaxAge and Groups are like those of a panel. Absent: the panel's.
	MaxAge Duration `yaml:"max_age,omitempty"`
	Groups []string `yaml:"groups,omitempty"`

	// Preflight admits CORS preflights without a session. Browsers send them, without
	// cookies, before a script of another site may send a request here.
	Preflight bool `yaml:"preflight,omitempty"`
}

// Default returns the configuration that applies if no key is set.
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
	c.SiteTimeZone = "UTC"
	c.Mail.Notices = true
	c.Audit.Keep = Duration(400 * day)
	c.Backup.Keep = 7
	c.MaxHeaderKiB = 64
	return c
}

// ChangedKeys returns the keys that have different values in two configurations, sorted.
func ChangedKeys(a, b Config) []string {
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

// DefaultYAML returns the text that `sallyport config default` prints: every key with its
// default and an explanation. Loading it gives [Default].
func DefaultYAML() string { return defaultYAML }
