package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
)

const redacted = "[redacted]"

// Text is text that must not reach a log, an error or a page by accident:
// every way of printing it gives "[redacted]". Its zero value is empty.
type Text struct{ s string }

// NewText wraps s.
func NewText(s string) Text { return Text{s} }

// Reveal returns the text itself. Each call is a place to look at in review.
func (t Text) Reveal() string { return t.s }

// String implements [fmt.Stringer]; it never shows the text.
func (Text) String() string { return redacted }

// GoString implements [fmt.GoStringer]; it never shows the text.
func (Text) GoString() string { return redacted }

// LogValue implements [slog.LogValuer]; it never shows the text.
func (Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler]; it never shows the text.
func (Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// tokenBytes gives a token 256 bits: nobody guesses one, so looking it up
// needs no budget.
const tokenBytes = 32

// NewToken returns a bearer token: 32 random bytes as 43 characters of
// base64url. It is shown once; the database keeps [Hash] of it.
func NewToken() Text {
	var b [tokenBytes]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return Text{base64.RawURLEncoding.EncodeToString(b[:])}
}

// Hash returns what is stored of the token presented: its SHA-256, 32 bytes.
// A row is found by this whole hash, so a shortened or lengthened token is
// unknown, and the time of the look-up tells nothing about a stored token.
func Hash(presented string) []byte {
	sum := sha256.Sum256([]byte(presented))
	return sum[:]
}

const idBytes = 15

// NewID returns a random row id: 120 bits as 20 characters of base64url. An
// id is no secret.
func NewID() string {
	var b [idBytes]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// IsID reports whether text has the shape of an id: what comes from an address
// and hasn't is nobody's row, and PostgreSQL wouldn't even compare some of it.
func IsID(text string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == idBytes
}

// IsToken reports whether text has the shape of a token.
func IsToken(text string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == tokenBytes
}
