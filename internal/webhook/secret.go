package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
)

// secretPrefix is what each secret in a file begins with.
const secretPrefix = "whsec_"

// Sizes of a key in bytes (Standard Webhooks, "Signature scheme").
const (
	minKey = 24
	maxKey = 64
)

// MaxSecrets is how many secrets can be in use at the same time: a new one and the old one.
const MaxSecrets = 2

var (
	errNoSecret  = errors.New("contains no secret")
	errSecrets   = fmt.Errorf("contains more than %d secrets", MaxSecrets)
	errSameTwice = errors.New("contains the same secret twice")
)

// ParseSecrets returns the keys in text, the content of a file with one or two secrets, one per
// line. A secret is whsec_ followed by a key of 24 to 64 bytes in standard base64 with padding.
// Empty lines are ignored. Errors never contain the text.
func ParseSecrets(text string) ([]secret.Text, error) {
	var keys []secret.Text
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			continue
		}
		key, err := parseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d %w", n, err)
		}
		if slices.Contains(keys, key) {
			return nil, errSameTwice
		}
		if keys = append(keys, key); len(keys) > MaxSecrets {
			return nil, errSecrets
		}
	}
	if len(keys) == 0 {
		return nil, errNoSecret
	}
	return keys, nil
}

func parseSecret(line string) (secret.Text, error) {
	encoded, ok := strings.CutPrefix(line, secretPrefix)
	if !ok {
		return secret.Text{}, fmt.Errorf("doesn't begin with %s", secretPrefix)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	switch {
	case err != nil, strings.ContainsAny(encoded, "\r\n"): // the decoder ignores \r and \n
		return secret.Text{}, fmt.Errorf("isn't base64 after %s", secretPrefix)
	case len(key) < minKey || len(key) > maxKey:
		return secret.Text{}, fmt.Errorf("has a key of %d bytes, not %d to %d", len(key), minKey, maxKey)
	}
	return secret.NewText(string(key)), nil
}

// Sign returns the signature of a request: "v1," and the base64 of an HMAC-SHA256. The MAC is over
// the id, the Unix time of the try and the body, joined by full stops (Standard Webhooks,
// "Signature scheme"). The id must not contain a full stop.
func Sign(key secret.Text, id string, now time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	fmt.Fprintf(mac, "%s.%d.", id, now.Unix())
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
