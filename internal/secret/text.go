package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"time"
)

const redacted = "[redacted]"

// Text is text that must not reach a log, an error or a page by accident. Every way
// to print it gives "[redacted]". Its zero value is empty.
type Text struct{ s string }

// NewText wraps s.
func NewText(s string) Text { return Text{s} }

// Reveal returns the text itself. Reviewers should check each call.
func (t Text) Reveal() string { return t.s }

// String implements [fmt.Stringer]; it never shows the text.
func (Text) String() string { return redacted }

// GoString implements [fmt.GoStringer]; it never shows the text.
func (Text) GoString() string { return redacted }

// LogValue implements [slog.LogValuer]; it never shows the text.
func (Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler]; it never shows the text.
func (Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// tokenBytes gives a token 256 bits. Such a token can't be guessed, so a look-up
// needs no rate limit.
const tokenBytes = 32

// NewToken returns a bearer token: 32 random bytes as 43 characters of base64url.
// Show it once, and store its [Hash].
func NewToken() Text {
	var b [tokenBytes]byte
	rand.Read(b[:]) // never returns an error: crypto/rand ends the process instead
	return Text{base64.RawURLEncoding.EncodeToString(b[:])}
}

// Hash returns the SHA-256 of a token, 32 bytes, which the database stores in place of the token.
// Rows are looked up by the whole hash, so a shortened or lengthened token isn't found, and the
// time of the look-up doesn't depend on stored tokens.
func Hash(presented string) []byte {
	sum := sha256.Sum256([]byte(presented))
	return sum[:]
}

const idBytes = 15

// NewID returns a random id for a row: 120 bits as 20 characters of base64url. An
// id is not secret.
func NewID() string {
	var b [idBytes]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

const (
	// timedChars is the number of an id's characters that tell the time: 5 bits each.
	timedChars = 8
	// timedUnit is the resolution of that time. It makes 40 bits last for a thousand years, and ids
	// that are written in one commit begin alike.
	timedUnit = 32 * time.Millisecond
	// timedDigits has the digits of that time. SQLite and every locale of PostgreSQL sort digits
	// and letters of one case in this order. The digits of base64url have another order.
	timedDigits = "0123456789abcdefghijklmnopqrstuv"
)

// NewTimedID returns an id that begins with the time now, as 8 characters, and continues with 72
// random bits. It has the form of an id of [NewID]. Ids of later times sort after it, so new rows
// lie together at the end of their index, and many of them change the same page of the index instead
// of one page each. Use it for rows that show their time anyway.
func NewTimedID(now time.Time) string {
	var b [idBytes]byte
	rand.Read(b[:])
	id := base64.RawURLEncoding.AppendEncode(nil, b[:])
	units := now.UnixMilli() / timedUnit.Milliseconds()
	for i := timedChars - 1; i >= 0; i-- {
		id[i] = timedDigits[units&31]
		units >>= 5
	}
	return string(id)
}

// IsID reports whether text has the form of an id. Check text from a URL before a
// look-up: text of another form names no row, and PostgreSQL returns an error for
// some of it, such as text with a NUL.
func IsID(text string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == idBytes
}

// IsToken reports whether text has the form of a token.
func IsToken(text string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == tokenBytes
}
