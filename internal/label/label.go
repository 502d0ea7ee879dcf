// Package label normalizes and checks names that users choose for display, such as "Phone" or
// "👩‍🚀 Ada". Such a name doesn't identify an account; it must be readable, and must not change
// how the text beside it looks.
package label

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Errors of [Normalize], besides [*CharacterError].
var (
	ErrEmpty = errors.New("it is empty")
	ErrLong  = errors.New("it is too long")
)

// CharacterError reports a character that can't be shown.
type CharacterError struct {
	Character rune // utf8.RuneError if the name isn't UTF-8
}

func (e *CharacterError) Error() string {
	return fmt.Sprintf("it contains a character that can't be shown: %U", e.Character)
}

// Characters that join the characters on both sides of them: parts of an emoji, or letters of
// Persian, Hindi and other scripts.
const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
)

// Normalize returns name in NFC (Unicode Standard Annex #15) without white space around it. The
// name must have 1 to maxLength code points, all of them printable or joiners. Marks that change
// the direction of text are not allowed, so that a name can't rearrange the text beside it
// (attacks 69 and 71). The error is [ErrEmpty], [ErrLong] or a [*CharacterError].
func Normalize(name string, maxLength int) (string, error) {
	if !utf8.ValidString(name) {
		return "", &CharacterError{utf8.RuneError}
	}
	name = norm.NFC.String(strings.TrimSpace(name))
	characters := []rune(name)
	switch {
	case len(characters) == 0:
		return "", ErrEmpty
	case len(characters) > maxLength:
		return "", ErrLong
	}
	for i, c := range characters {
		if !unicode.IsPrint(c) && !isJoiner(characters, i) {
			return "", &CharacterError{c}
		}
	}
	return name, nil
}

// isJoiner reports whether the character at i is a joiner between two parts of an emoji, or
// between two letters of a script that uses joiners. Elsewhere a joiner is invisible, so two
// different names would look the same.
func isJoiner(characters []rune, i int) bool {
	if c := characters[i]; c != zeroWidthJoiner && c != zeroWidthNonJoiner || i+1 == len(characters) {
		return false
	}
	before := i - 1
	for before >= 0 && isModifier(characters[before]) {
		before--
	}
	if before < 0 {
		return false
	}
	a, b := characters[before], characters[i+1]
	return isEmoji(a) && isEmoji(b) && characters[i] == zeroWidthJoiner || usesJoiners(a) && usesJoiners(b)
}

// isModifier reports whether c changes how the character before it looks: a mark, such as
// the variation selector for emoji, or a skin tone.
func isModifier(c rune) bool { return unicode.IsMark(c) || unicode.Is(unicode.Sk, c) }

func isEmoji(c rune) bool { return unicode.IsSymbol(c) && c > unicode.MaxLatin1 }

func usesJoiners(c rune) bool {
	return unicode.IsLetter(c) && !unicode.In(c, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Han)
}
