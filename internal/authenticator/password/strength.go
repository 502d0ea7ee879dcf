package password

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Level is how hard a password is to guess for a thief with the stored hash and the key ring.
type Level string

// Levels, the lowest first.
const (
	Weak   Level = "weak"
	Fair   Level = "fair"
	Strong Level = "strong"
)

// Reason is what weakens a password most. The pages turn it into advice.
type Reason string

// Reasons.
const (
	Common Reason = "common" // common passwords and words
	Own    Reason = "own"    // words of the site and the account
	Run    Reason = "run"    // "12345", "qwerty"
	Repeat Reason = "repeat" // repetitions of an earlier part
	Few    Reason = "few"    // none of these: the password is too short
)

// Estimate is the result of [Strength]. Reason is empty for a strong password.
type Estimate struct {
	Level  Level
	Reason Reason
}

// The cost of a part of a password in bits, that is, in doublings of the number of guesses.
const (
	bitsCommon    = 16 // one of the 49,000 of the list
	bitsOwn       = 2  // one of a few
	bitsRun       = 6  // its start and its length
	bitsRepeat    = 3  // which part is repeated, and how often
	bitsLetter    = 3  // each of three or more in a row, since letters of words predict each other
	bitsDigit     = 3  // log2(10)
	bitsSeparator = 1  // most passwords use the same one between all words
	bitsOther     = 5  // log2(26): a single letter, a symbol, a letter of a script without capitals
)

// With the hash and the key ring a thief with much hardware tries perhaps 2¹⁷ passwords a
// second. Then 2⁴⁰ tries take a hundred days, and 2⁶⁰ a quarter of a million years.
const (
	bitsEarly  = 20 // within the first million tries: such a password is refused
	bitsFair   = 40
	bitsStrong = 60
)

const (
	minRun    = 4 // "123" costs no more as three digits
	minRepeat = 3 // two characters repeat by chance

	// maxCommon is the maximum length of the common passwords to search for. Longer ones
	// are found in parts.
	maxCommon = 20
)

// Strength estimates how hard typed, a password that passed [Check], is to guess. It finds
// the division into parts with the lowest total cost. words are publicly known words about
// the account and the site. It recognizes neither quotations nor words that aren't on the
// list of common passwords.
func Strength(typed string, words ...string) Estimate {
	prepared, err := prepare(typed)
	if err != nil || utf8.RuneCountInString(prepared) > MaxRunes {
		return Estimate{Weak, Few} // Check refuses it
	}
	return estimate(prepared, Parts(words...), isCommon)
}

func estimate(prepared string, own []string, listed func(string) bool) Estimate {
	bits, reason := measure([]rune(prepared), own, listed)
	switch {
	case bits < bitsFair:
		return Estimate{Weak, reason}
	case bits < bitsStrong:
		return Estimate{Fair, reason}
	default:
		return Estimate{Strong, ""}
	}
}

// Parts returns the words in lower case, split at separators, without those that are too
// short to search for.
func Parts(words ...string) []string {
	var parts []string
	for _, word := range words {
		for _, part := range strings.FieldsFunc(strings.ToLower(word), isSeparator) {
			if utf8.RuneCountInString(part) >= minWord {
				parts = append(parts, part)
			}
		}
	}
	return parts
}

// measure returns the cost of the cheapest division of text into parts, and the kind of part
// that covers most of it. A kind that covers a third or less isn't what makes the password
// weak; then the reason is [Few].
func measure(text []rune, own []string, listed func(string) bool) (int, Reason) {
	type cut struct {
		bits, from int
		kind       Reason
	}
	lower, at := make([]rune, len(text)), make([]int, len(text)+1) // at: byte offset of each character
	for i, r := range text {
		lower[i] = unicode.ToLower(r)
		at[i+1] = at[i] + utf8.RuneLen(lower[i])
	}
	whole, spellings := string(lower), spellings(lower)
	best := make([]cut, len(text)+1) // indexed by the end of the part
	for i := range text {
		best[i+1].bits = 1 << 30
	}
	for i := range text {
		reach := func(end, bits int, kind Reason) {
			if bits += best[i].bits; bits < best[end].bits {
				best[end] = cut{bits, i, kind}
			}
		}
		reach(i+1, bitsAlone(text, i), Few)
		for end := i + minRun; end <= len(text) && isRun(lower[i:end]); end++ {
			kind := Run
			if lower[i] == lower[i+1] && lower[i] == lower[end-1] {
				kind = Repeat // "aaaa"
			}
			reach(end, bitsRun, kind)
		}
		// The earlier occurrence may overlap this one, so that any number of repetitions is
		// one part.
		for end := i + minRepeat; end <= len(text) && strings.Contains(whole[:at[end-1]], whole[at[i]:at[end]]); end++ {
			reach(end, bitsRepeat, Repeat)
		}
		for _, spelling := range spellings {
			rest := string(spelling[i:])
			for _, word := range own {
				if strings.HasPrefix(rest, word) {
					reach(i+utf8.RuneCountInString(word), bitsOwn, Own)
				}
			}
			for end := i + minCommon; end <= min(i+maxCommon, len(text)); end++ {
				if listed(string(spelling[i:end])) {
					reach(end, bitsCommon, Common)
				}
			}
		}
	}
	covered := map[Reason]int{}
	for end := len(text); end > 0; end = best[end].from {
		covered[best[end].kind] += end - best[end].from
	}
	reason, most := Few, len(text)/3+1
	for _, kind := range []Reason{Common, Own, Run, Repeat} {
		if covered[kind] >= most {
			reason, most = kind, covered[kind]+1
		}
	}
	return best[len(text)].bits, reason
}

// bitsAlone returns the cost of the character at i if no pattern covers it.
func bitsAlone(text []rune, i int) int {
	switch r := text[i]; {
	case isSeparator(r):
		return bitsSeparator
	case unicode.IsDigit(r):
		return bitsDigit
	case !hasCase(r):
		return bitsOther
	}
	// A capital after a small letter starts a new word. A word has at least three letters.
	from, to := i, i+1
	for from > 0 && hasCase(text[from-1]) && !(unicode.IsLower(text[from-1]) && unicode.IsUpper(text[from])) {
		from--
	}
	for to < len(text) && hasCase(text[to]) && !(unicode.IsLower(text[to-1]) && unicode.IsUpper(text[to])) {
		to++
	}
	if to-from < 3 {
		return bitsOther
	}
	return bitsLetter
}

func hasCase(r rune) bool { return unicode.IsLower(r) || unicode.IsUpper(r) }

func isSeparator(r rune) bool { return strings.ContainsRune(separators, r) }

// disguises are symbols that replace letters, as in "p4$$w0rd". 1 replaces both i and l; see
// spellings.
var disguises = map[rune]rune{'0': 'o', '3': 'e', '4': 'a', '5': 's', '7': 't', '@': 'a', '$': 's', '!': 'i'}

// spellings returns text and, if it contains disguises, the texts without them.
func spellings(text []rune) [][]rune {
	all := [][]rune{text}
	for _, one := range []rune{'i', 'l'} {
		plain, disguised := make([]rune, len(text)), false
		for i, r := range text {
			plain[i] = r
			if letter, ok := disguises[r]; ok {
				plain[i], disguised = letter, true
			} else if r == '1' {
				plain[i], disguised = one, true
			}
		}
		if disguised {
			all = append(all, plain)
		}
	}
	return all
}

// rows lists the rows of keyboards, in both directions.
const rows = "qwertyuiop asdfghjkl zxcvbnm qwertzuiop yxcvbnm azertyuiop qsdfghjklm wxcvbn " +
	"poiuytrewq lkjhgfdsa mnbvcxz poiuztrewq mnbvcxy poiuytreza mlkjhgfdsq nbvcxw"

// isRun reports whether text lies on one row of a keyboard, or whether each character equals
// or neighbors the one before, as in "abcdefgh", "67890123" and "11223344".
func isRun(text []rune) bool {
	follows := true
	for i := 1; i < len(text) && follows; i++ {
		switch text[i] - text[i-1] {
		case -9, -1, 0, 1, 9:
		default:
			follows = false
		}
	}
	return follows || !strings.ContainsRune(string(text), ' ') && strings.Contains(rows, string(text))
}
