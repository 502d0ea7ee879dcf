package password

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"sort"
	"strings"
	"unicode/utf8"
)

// common holds the first five bytes of the SHA-256 of 49,000 common passwords in lower case,
// sorted. The list is that of @zxcvbn-ts/language-common 4.1.3, MIT, © 2012-2016 Dan Wheeler and
// Dropbox, Inc., © 2021 @zxcvbn-ts; tools/commonpasswords writes the file. The probability that
// another word has the same five bytes as one of the list is 1 in 2·10⁷.
//
//go:embed common.bin
var common []byte

const commonBytes = 5

func isCommon(word string) bool {
	sum := sha256.Sum256([]byte(word))
	want := sum[:commonBytes]
	n := len(common) / commonBytes
	i := sort.Search(n, func(i int) bool { return bytes.Compare(common[i*commonBytes:(i+1)*commonBytes], want) >= 0 })
	return i < n && bytes.Equal(common[i*commonBytes:(i+1)*commonBytes], want)
}

const (
	// minWord is the minimum length of the account's words to search for, and minCommon
	// that of common passwords. Shorter ones occur by chance.
	minWord   = 3
	minCommon = 4
	// minRest is the number of characters that a password needs besides one common
	// password and the known words of the account and site.
	minRest = 6
	// minDifferent is the minimum number of different characters. It excludes
	// "aaaaaaaaaaaaaaa" and "121212121212121".
	minDifferent = 5
)

// separators stand between words and add no strength.
const separators = " .,@-_!?"

// guessableReason returns the reason why typed, a prepared password, is easy to guess, or "". The
// reasons are: it is a common password with little added, it consists of words of the site or
// account, it has few different characters, or [Strength] puts it within the first million tries.
// SP 800-63B ("Password Verifiers") requires such a list, and no rules of composition.
func guessableReason(typed string, words []string) Reason {
	own := Parts(words...)
	bits, reason := measure([]rune(typed), own, isCommon)
	rest := strings.ToLower(typed)
	if bits <= bitsEarly || isCommon(rest) || distinctRunes(rest) < minDifferent {
		return reason
	}
	for _, part := range own {
		rest = strings.ReplaceAll(rest, part, "")
	}
	rest = strings.Map(func(r rune) rune {
		if isSeparator(r) {
			return -1
		}
		return r
	}, rest)
	if utf8.RuneCountInString(withoutCommon(rest)) < minRest {
		return reason
	}
	return ""
}

// withoutCommon returns text without the longest common password at its start.
func withoutCommon(text string) string {
	for end := len(text); end >= minCommon; end-- {
		if isCommon(text[:end]) {
			return text[end:]
		}
	}
	return text
}

// distinctRunes returns the number of different characters in text.
func distinctRunes(text string) int {
	seen := map[rune]bool{}
	for _, r := range text {
		seen[r] = true
	}
	return len(seen)
}
