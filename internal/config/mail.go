package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // containers that are built from scratch have no database of time zones
)

// MailServer is where mails go: a mail server or a directory. Its zero value means that no mails
// are sent.
type MailServer struct {
	// Dir is the directory of a file: URL, into which each mail is written as a file. The other
	// fields are zero then.
	Dir string

	TLS  bool   // smtps: TLS from the first byte; otherwise STARTTLS, or neither: see Plain
	Host string // host name in lower case, or IP address without brackets
	Port string
	User string // for AUTH; empty: without AUTH
}

// Default ports of submission (RFC 8314, section 3.3; RFC 6409, section 3.1).
const (
	smtpsPort = "465"
	smtpPort  = "587"
)

const (
	mailExample = "write it like smtps://user@mail.example.com:465"
	fileScheme  = "file:"
)

// Faults that don't repeat the text, which may hold a password.
var (
	errMailURL      = errors.New("isn't the URL of a mail server; " + mailExample + ", with the characters in the user that aren't letters or digits percent-encoded")
	errMailPassword = errors.New("must not contain a password: write it to a file that only Sallyport's user can read, and name that file in mail.password_file")
)

// UnmarshalText accepts an smtps or smtp URL that consists of a host and, optionally, a user and a
// port; "file:" and a directory; or empty text.
func (m *MailServer) UnmarshalText(text []byte) error {
	*m = MailServer{}
	if len(text) == 0 {
		return nil
	}
	if path, ok := strings.CutPrefix(string(text), fileScheme); ok {
		return m.setDir(path)
	}
	u, err := url.Parse(string(text))
	if err != nil {
		return errMailURL
	}
	if _, ok := u.User.Password(); ok {
		return errMailPassword
	}
	host := strings.ToLower(u.Hostname())
	_, notAddress := netip.ParseAddr(host)
	switch {
	case u.Scheme != "smtps" && u.Scheme != "smtp":
		return errors.New("must begin with smtps:// or smtp:// and name a mail server, or begin with file: and name a directory; " + mailExample)
	case notAddress != nil && !isHostName(host), u.User != nil && u.User.Username() == "":
		return errMailURL
	case u.Path != "" && u.Path != "/", strings.ContainsAny(string(text), "?#"):
		return errors.New("has something after the host and port; " + mailExample)
	}
	*m = MailServer{TLS: u.Scheme == "smtps", Host: host, Port: u.Port(), User: u.User.Username()}
	if m.Port == "" {
		m.Port = smtpPort
		if m.TLS {
			m.Port = smtpsPort
		}
	}
	if n, err := strconv.ParseUint(m.Port, 10, 16); err != nil || n == 0 {
		return errors.New("has a port outside 1 to 65535; correct the port")
	}
	return nil
}

// setDir sets Dir to path, the text after "file:". An absolute path may have "//" before it, as in
// file:///path.
func (m *MailServer) setDir(path string) error {
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		if !strings.HasPrefix(rest, "/") {
			return errors.New("names a host; write file: and a directory of this machine, such as file:/tmp/mails")
		}
		path = rest
	}
	if path == "" || strings.ContainsRune(path, 0) {
		return errors.New("must name a directory after file:, such as file:/tmp/mails")
	}
	m.Dir = path
	return nil
}

// String returns the URL, or "". It never contains a password.
func (m MailServer) String() string {
	if m.Dir != "" {
		return fileScheme + m.Dir
	}
	if m.Host == "" {
		return ""
	}
	u := url.URL{Scheme: "smtp", Host: net.JoinHostPort(m.Host, m.Port)}
	if m.TLS {
		u.Scheme = "smtps"
	}
	if m.User != "" {
		u.User = url.User(m.User)
	}
	return u.String()
}

// MarshalText returns m.String().
func (m MailServer) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Plain reports whether mails are sent without TLS: to this machine only, and without a password.
func (m MailServer) Plain() bool {
	return !m.TLS && m.User == "" && Origin{Host: net.JoinHostPort(m.Host, m.Port)}.IsLoopback()
}

// MailAddress is an email address with the name that mail programs show for it. Its zero value
// means that it isn't set.
type MailAddress struct {
	Name    string // may be empty
	Address string // ASCII
}

// UnmarshalText accepts an address, a name followed by an address in angle brackets, or empty text.
func (a *MailAddress) UnmarshalText(text []byte) error {
	*a = MailAddress{}
	if len(text) == 0 {
		return nil
	}
	parsed, err := mail.ParseAddress(string(text))
	if err != nil {
		return fmt.Errorf(`%s isn't an email address; write it like "Sallyport <noreply@example.com>"`, quote(string(text)))
	}
	local, _, _ := strings.Cut(parsed.Address, "@")
	switch {
	case len(parsed.Address) > maxContact:
		return fmt.Errorf("has an address of %d bytes; at most %d are allowed", len(parsed.Address), maxContact)
	case strings.ContainsFunc(parsed.Address, func(r rune) bool { return r <= ' ' || r > '~' }), strings.ContainsAny(local, `"\()<>[]:;,@`):
		return fmt.Errorf("the address %s has characters that not every mail server accepts; use letters and digits of ASCII, and write the domain in its xn-- form", quote(parsed.Address))
	}
	if parsed.Name != "" {
		if err := checkName(parsed.Name); err != nil {
			return fmt.Errorf("the name before the address: %w", err)
		}
	}
	*a = MailAddress{parsed.Name, parsed.Address}
	return nil
}

// String returns the address in the form that mail headers use, or "".
func (a MailAddress) String() string {
	switch {
	case a.Address == "":
		return ""
	case a.Name == "":
		return a.Address
	}
	return (&mail.Address{Name: a.Name, Address: a.Address}).String()
}

// MarshalText returns a.String().
func (a MailAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Domain returns what follows the @, in lower case.
func (a MailAddress) Domain() string {
	return strings.ToLower(a.Address[strings.LastIndexByte(a.Address, '@')+1:])
}

// checkMail adds the faults of the settings of mail.
func checkMail(c Config, fault func(err error, keys ...string)) {
	m := c.Mail
	if m.URL == (MailServer{}) {
		none := errors.New("has no effect until mail.url is set: write there where mails go, such as smtps://user@mail.example.com:465")
		for key, set := range map[string]bool{"mail.password_file": m.PasswordFile != "", "mail.ca": m.CA != "", "mail.from": m.From != MailAddress{}} {
			if set {
				fault(none, key, "mail.url")
			}
		}
		return
	}
	if m.From == (MailAddress{}) {
		fault(errors.New(`needs mail.from, the address that mails come from; write from: "Sallyport <noreply@example.com>"`), "mail.url", "mail.from")
	}
	server := func(key string, set bool, what string) {
		if set && m.URL.Dir != "" {
			fault(fmt.Errorf("is %s of a mail server, and mail.url names a directory; delete this key", what), key, "mail.url")
		}
	}
	server("mail.password_file", m.PasswordFile != "", "the password")
	server("mail.ca", m.CA != "", "the CA")
	if m.URL.Dir != "" {
		return
	}
	switch {
	case m.URL.User != "" && m.PasswordFile == "":
		fault(fmt.Errorf("names the user %s, but not where the password is: write it to a file that only Sallyport's user can read, and name that file in mail.password_file", quote(m.URL.User)), "mail.url", "mail.password_file")
	case m.URL.User == "" && m.PasswordFile != "":
		fault(errors.New("is of no use without a user; name the user in mail.url, such as smtps://user@mail.example.com:465"), "mail.password_file", "mail.url")
	}
	if m.CA != "" && m.URL.Plain() {
		fault(fmt.Errorf("has no effect, since mails to %s are sent without TLS; delete it, or write smtps://", m.URL), "mail.ca", "mail.url")
	}
}

// TimeZone is the name of a time zone of the IANA database, such as Europe/Berlin.
type TimeZone string

// UnmarshalText accepts the name of a zone that the database has.
func (z *TimeZone) UnmarshalText(text []byte) error {
	name := string(text)
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return fmt.Errorf("%s isn't a time zone; write a place in its spelling of the IANA database, such as Europe/Berlin, or UTC", quote(name))
	}
	*z = TimeZone(name)
	return nil
}

// Location returns the zone, and UTC for "".
func (z TimeZone) Location() *time.Location {
	zone, err := time.LoadLocation(string(z))
	if err != nil { // UnmarshalText accepts no such name
		return time.UTC
	}
	return zone
}
