package password

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"sort"
	"strings"
	"unicode/utf8"
)

// common holds the first five bytes of the SHA-256 of 49,000 common passwords
// in lower case, sorted. The list is that of @zxcvbn-ts/language-common 4.1.3,
// MIT, © 2012-2016 Dan Wheeler and Dropbox, Inc., © 2021 @zxcvbn-ts;
// tools/commonpasswords makes the file. A false hit comes once in 2·10⁷.
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
	// leastWord is the shortest of the account's words that is looked for, and
	// leastCommon the shortest common password; shorter ones stand in anything.
	leastWord   = 3
	leastCommon = 4
	// leastRest is what a password must hold besides one common password and
	// the words that everybody knows of this account.
	leastRest = 6
	// leastDifferent characters keep out "aaaaaaaaaaaaaaa" and "121212121212121".
	leastDifferent = 5
)

// separators stand between words and add nothing.
const separators = " .,@-_!?"

// guessable returns why typed, a prepared password, is one that a guesser
// tries early, or "": a common password with little added, the site's or the
// account's own words, few different characters, or what [Strength] finds
// within the first million tries. SP 800-63B ("Password Verifiers") asks for
// such a list and for no rules of composition.
func guessable(typed string, words []string) Reason {
	own := Parts(words...)
	bits, reason := measure([]rune(typed), own, isCommon)
	rest := strings.ToLower(typed)
	if bits <= bitsEarly || isCommon(rest) || different(rest) < leastDifferent {
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
	if utf8.RuneCountInString(withoutCommon(rest)) < leastRest {
		return reason
	}
	return ""
}

// withoutCommon returns text without the longest common password that it
// begins with.
func withoutCommon(text string) string {
	for end := len(text); end >= leastCommon; end-- {
		if isCommon(text[:end]) {
			return text[end:]
		}
	}
	return text
}

func different(text string) int {
	seen := map[rune]bool{}
	for _, r := range text {
		seen[r] = true
	}
	return len(seen)
}
