package secret

import (
	"crypto/rand"
	"strings"
)

// alphabet is Crockford's base32: no I, L, O or U.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewTyped returns a random code for people to type. It has the given number of symbols, of 5 bits
// each.
func NewTyped(symbols int) string {
	random := make([]byte, symbols)
	rand.Read(random)
	for i := range random {
		random[i] = alphabet[random[i]%32] // no bias, since 256 is a multiple of 32
	}
	return string(random)
}

// NormalizeTyped returns a typed code in the form that [NewTyped] gave it: in upper case, without
// dashes and spaces, with O replaced by 0, and I and L by 1. The result ok is false if the text
// doesn't have the given number of symbols, or has far too many characters.
func NormalizeTyped(typed string, symbols int) (code string, ok bool) {
	const longest = 5 // bytes of text allowed for each symbol, which leaves room for separators
	if len(typed) > longest*symbols {
		return "", false
	}
	code = strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == ' ':
			return -1
		case 'a' <= r && r <= 'z':
			r -= 'a' - 'A'
		}
		switch r {
		case 'O':
			return '0'
		case 'I', 'L':
			return '1'
		}
		return r
	}, typed)
	if len(code) != symbols || strings.Trim(code, alphabet) != "" {
		return "", false
	}
	return code, true
}
