package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
)

const day = 24 * time.Hour

// Duration is a [time.Duration] that may be written with days: 45m, 12h, 7d, 1d12h.
type Duration time.Duration

// UnmarshalText accepts whole days such as 7d, a text for [time.ParseDuration], or days followed
// by such a text. It accepts no signs.
func (d *Duration) UnmarshalText(text []byte) error {
	fault := fmt.Errorf("%s isn't a duration; write it like 12h or 7d", quote(string(text)))
	days, rest, found := strings.Cut(string(text), "d")
	if !found {
		days, rest = "0", days
	}
	// A 16-bit number of days can't overflow 64 bits of nanoseconds.
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || strings.ContainsAny(rest, "+-") {
		return fault
	}
	var part time.Duration
	if rest != "" || !found {
		if part, err = time.ParseDuration(rest); err != nil {
			return fault
		}
	}
	sum := time.Duration(n)*day + part
	if sum < 0 { // the sum overflowed
		return fault
	}
	*d = Duration(sum)
	return nil
}

// String returns whole days in the form 7d, and other durations without trailing zeros: 36h,
// 1h30m.
func (d Duration) String() string {
	if d != 0 && time.Duration(d)%day == 0 {
		return fmt.Sprintf("%dd", time.Duration(d)/day)
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns d.String().
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// KeyRing is the source of the key ring. Its zero value is the file in data_dir.
type KeyRing struct {
	Credential string // name of a systemd credential
	Directory  string // the directory of credentials, $CREDENTIALS_DIRECTORY; set by [Load]
}

// maxCredential is the greatest length of a credential's name, which is a file name.
const maxCredential = 255

// UnmarshalText accepts "credential:" and a name, or empty text.
func (k *KeyRing) UnmarshalText(text []byte) error {
	name, found := strings.CutPrefix(string(text), "credential:")
	switch {
	case len(text) == 0:
	case !found:
		return fmt.Errorf("%s isn't credential:NAME; for the file keyring in data_dir write \"\"", quote(string(text)))
	case name == "" || len(name) > maxCredential || strings.HasPrefix(name, ".") ||
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != "":
		return fmt.Errorf("%s isn't the name of a systemd credential: letters, digits, \"-\", \"_\", \".\"", quote(name))
	}
	k.Credential = name
	return nil
}

// String returns the text from which UnmarshalText reads k.
func (k KeyRing) String() string {
	if k.Credential == "" {
		return ""
	}
	return "credential:" + k.Credential
}

// MarshalText returns k.String().
func (k KeyRing) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// AgeRecipients returns the recipients in the form that package age takes.
func AgeRecipients(of []Recipient) ([]age.Recipient, error) {
	var all []age.Recipient
	for _, one := range of {
		recipient, err := one.Age()
		if err != nil {
			return nil, err
		}
		all = append(all, recipient)
	}
	return all, nil
}

// Recipient is an age public key, such as age1….
type Recipient string

// UnmarshalText accepts a text for which [Recipient.Age] returns no error.
func (r *Recipient) UnmarshalText(text []byte) error {
	*r = Recipient(text)
	_, err := r.Age()
	return err
}

// Age returns the recipient for package age. Its error never contains a secret key.
func (r Recipient) Age() (age.Recipient, error) {
	text := string(r)
	if strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-") {
		return nil, errors.New("is an age secret key; write its public key, which \"age-keygen -y\" prints")
	}
	found, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(found) != 1 || strings.TrimSpace(text) != text {
		return nil, fmt.Errorf("%s isn't an age public key (age1…), such as \"age-keygen\" prints", quote(text))
	}
	return found[0], nil
}

// Contact is an email address, or an http or https URL, where users get help. It may be "".
type Contact string

// maxContact is the greatest length of a contact, in bytes. No email address is longer.
const maxContact = 254

// UnmarshalText accepts an ASCII email address without a display name, a URL without a user
// name and password, or empty text.
func (c *Contact) UnmarshalText(text []byte) error {
	contact := string(text)
	u, err := url.Parse(contact)
	isURL := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
	address, err := mail.ParseAddress(contact)
	isAddress := err == nil && address.Address == contact && !strings.ContainsAny(contact, "\"[")
	switch {
	case contact == "":
	case len(contact) > maxContact:
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(contact), maxContact)
	case isURL && u.User != nil:
		return errors.New("must not contain a user name or password, since every page shows it") // without the URL: it may hold a password
	case !isURL && !isAddress || strings.ContainsFunc(contact, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("%s is neither an email address nor a URL; write it like help@example.com or https://chat.example.com/help", quote(contact))
	}
	*c = Contact(contact)
	return nil
}

// Enroll is the condition for setting up two-factor authentication.
type Enroll string

const (
	EnrollAnyone Enroll = "anyone" // a session with a fresh password
	EnrollTicket Enroll = "ticket" // such a session and a one-time link
)

// UnmarshalText accepts the texts of the constants.
func (e *Enroll) UnmarshalText(text []byte) error {
	return oneOf(e, string(text), EnrollAnyone, EnrollTicket)
}

// Require is what a panel requires of a user. "" is not a valid value.
type Require string

const (
	RequireNothing   Require = "nothing" // no sign-in; for rules only
	RequireSession   Require = "session"
	RequireTwoFactor Require = "two_factor"
)

// UnmarshalText accepts the texts of the constants.
func (r *Require) UnmarshalText(text []byte) error {
	return oneOf(r, string(text), RequireNothing, RequireSession, RequireTwoFactor)
}

// WebSockets says what counts as a use of a session. "" is [WebSocketsIdle].
type WebSockets string

const (
	WebSocketsIdle WebSockets = "idle" // requests only
	WebSocketsUse  WebSockets = "use"  // requests, and data that browsers send over WebSockets
)

// UnmarshalText accepts the texts of the constants.
func (w *WebSockets) UnmarshalText(text []byte) error {
	return oneOf(w, string(text), WebSocketsIdle, WebSocketsUse)
}

// IdentityEncoding is the encoding of text that isn't ASCII in identity headers. "" is
// [IdentityUTF8].
type IdentityEncoding string

const (
	IdentityUTF8    IdentityEncoding = "utf-8"
	IdentityPercent IdentityEncoding = "percent" // percent-encoded UTF-8, as in URLs
)

// UnmarshalText accepts the texts of the constants.
func (e *IdentityEncoding) UnmarshalText(text []byte) error {
	return oneOf(e, string(text), IdentityUTF8, IdentityPercent)
}

// Fingerprint is the SHA-256 of a certificate in DER, as 64 hexadecimal digits in lower
// case. It may be "".
type Fingerprint string

// UnmarshalText accepts 64 hexadecimal digits, with or without the colons that "openssl x509
// -fingerprint -sha256" prints, or empty text.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	digits, err := hex.DecodeString(strings.ReplaceAll(string(text), ":", ""))
	if len(text) > 0 && (err != nil || len(digits) != sha256.Size) {
		return fmt.Errorf("%s isn't a SHA-256 fingerprint; write 64 hexadecimal digits, as \"openssl x509 -noout -fingerprint -sha256 -in FILE\" prints them", quote(string(text)))
	}
	*f = Fingerprint(hex.EncodeToString(digits))
	return nil
}

// Bytes returns the 32 bytes of f, or nil if f is "".
func (f Fingerprint) Bytes() []byte {
	digits, err := hex.DecodeString(string(f))
	if err != nil || len(digits) == 0 {
		return nil
	}
	return digits
}

// LogLevel is the lowest level that is logged. It is a [slog.Leveler].
type LogLevel string

const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// UnmarshalText accepts the texts of the constants.
func (l *LogLevel) UnmarshalText(text []byte) error {
	return oneOf(l, string(text), LogDebug, LogInfo, LogWarn, LogError)
}

// Level returns the level for slog. For an unknown or empty level it returns
// [slog.LevelInfo].
func (l LogLevel) Level() slog.Level {
	switch l {
	case LogDebug:
		return slog.LevelDebug
	case LogWarn:
		return slog.LevelWarn
	case LogError:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// LogFormat is the format of log lines.
type LogFormat string

const (
	LogAuto LogFormat = "auto" // text on a terminal, JSON elsewhere
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// UnmarshalText accepts the texts of the constants.
func (f *LogFormat) UnmarshalText(text []byte) error {
	return oneOf(f, string(text), LogAuto, LogText, LogJSON)
}

// oneOf sets *value to the choice that is equal to text. It returns an error if there is none.
func oneOf[T ~string](value *T, text string, choices ...T) error {
	var names []string
	for _, choice := range choices {
		if text == string(choice) {
			*value = choice
			return nil
		}
		names = append(names, string(choice))
	}
	return fmt.Errorf("%s isn't one of %s", quote(text), strings.Join(names, ", "))
}

// parsePrefix parses a prefix or a bare address.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%s isn't an address or prefix; write it like 192.0.2.7 or 192.0.2.0/24", quote(text))
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	switch {
	case prefix.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("%s trusts every address, so anybody could forge the headers that proxies add; name only your proxies", quote(text))
	case prefix.Addr().Is4In6():
		// netip compares such a prefix with IPv6 addresses only, so it would never match.
		return netip.Prefix{}, fmt.Errorf("%s is an IPv4 address written as IPv6; write it as IPv4", quote(text))
	case prefix != prefix.Masked():
		// Either the address or the length is a mistake. A guess could trust a whole
		// network.
		return netip.Prefix{}, fmt.Errorf("%s has bits set beyond its prefix length; write %s, or only %s", quote(text), prefix.Masked(), prefix.Addr())
	}
	return prefix, nil
}
