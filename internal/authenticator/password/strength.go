package password

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Level is how long whoever has the stored hash and the key ring must guess.
type Level string

// Levels, the lowest first.
const (
	Weak   Level = "weak"
	Fair   Level = "fair"
	Strong Level = "strong"
)

// Reason is what takes the most from a password, for a sentence that helps.
type Reason string

// Reasons.
const (
	Common Reason = "common" // common passwords and words
	Own    Reason = "own"    // words of the site and the account
	Run    Reason = "run"    // "12345", "qwerty"
	Repeat Reason = "repeat" // what stood there before
	Few    Reason = "few"    // none of these: there is too little of it
)

// Estimate is what [Strength] says. The reason is empty for a strong one.
type Estimate struct {
	Level  Level
	Reason Reason
}

// What a piece of a password costs a guesser, in bits: doublings of the tries.
const (
	bitsCommon    = 16 // one of the 49,000 of the list
	bitsOwn       = 2  // one of a handful
	bitsRun       = 6  // where it begins and how long it is
	bitsRepeat    = 3  // what is repeated, and how often
	bitsLetter    = 3  // of three or more in a row: in words one letter leads to the next
	bitsDigit     = 3  // log2(10)
	bitsSeparator = 1  // words are mostly apart by one and the same
	bitsOther     = 5  // log2(26): a letter that stands alone, a sign, a letter of scripts without capitals
)

// With the hash and the key ring a rich guesser tries perhaps 2¹⁷ passwords a
// second: 2⁴⁰ take a hundred days, 2⁶⁰ a quarter of a million years.
const (
	bitsEarly  = 20 // tried within the first million: refused
	bitsFair   = 40
	bitsStrong = 60
)

const (
	leastRun    = 4 // "123" costs no more letter by letter
	leastRepeat = 3 // two characters come again by chance

	// mostCommon characters have the longest common passwords that matter:
	// longer ones are found in pieces.
	mostCommon = 20
)

// Strength estimates how typed, a password that passed [Check], would be
// guessed: it is cut into pieces so that they cost the least. words are what
// everybody knows of the account and the site. It sees no sentence out of a
// book and no word that isn't on the list of common passwords.
func Strength(typed string, words ...string) Estimate {
	prepared, err := prepare(typed)
	if err != nil || utf8.RuneCountInString(prepared) > MaxRunes {
		return Estimate{Weak, Few} // never stored
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

// Parts returns the words in lower case, cut at spaces and signs, without
// what is too short to be looked for.
func Parts(words ...string) []string {
	var parts []string
	for _, word := range words {
		for _, part := range strings.FieldsFunc(strings.ToLower(word), isSeparator) {
			if utf8.RuneCountInString(part) >= leastWord {
				parts = append(parts, part)
			}
		}
	}
	return parts
}

// measure returns the cost of the cheapest way to cut text into pieces, and
// which kind of piece covers the most of it, more than a third: less isn't what
// makes it weak.
func measure(text []rune, own []string, listed func(string) bool) (int, Reason) {
	type cut struct {
		bits, from int
		kind       Reason
	}
	lower, at := make([]rune, len(text)), make([]int, len(text)+1) // at: bytes before each character
	for i, r := range text {
		lower[i] = unicode.ToLower(r)
		at[i+1] = at[i] + utf8.RuneLen(lower[i])
	}
	whole, spellings := string(lower), spellings(lower)
	best := make([]cut, len(text)+1) // by where the piece ends
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
		for end := i + leastRun; end <= len(text) && isRun(lower[i:end]); end++ {
			kind := Run
			if lower[i] == lower[i+1] && lower[i] == lower[end-1] {
				kind = Repeat // "aaaa"
			}
			reach(end, bitsRun, kind)
		}
		// The earlier place may reach into this one: one piece for any number of
		// times.
		for end := i + leastRepeat; end <= len(text) && strings.Contains(whole[:at[end-1]], whole[at[i]:at[end]]); end++ {
			reach(end, bitsRepeat, Repeat)
		}
		for _, spelling := range spellings {
			rest := string(spelling[i:])
			for _, word := range own {
				if strings.HasPrefix(rest, word) {
					reach(i+utf8.RuneCountInString(word), bitsOwn, Own)
				}
			}
			for end := i + leastCommon; end <= min(i+mostCommon, len(text)); end++ {
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

// bitsAlone is what the character at i costs where nothing explains it.
func bitsAlone(text []rune, i int) int {
	switch r := text[i]; {
	case isSeparator(r):
		return bitsSeparator
	case unicode.IsDigit(r):
		return bitsDigit
	case !hasCase(r):
		return bitsOther
	}
	// A capital behind a small letter begins another word; a word has three
	// letters at least.
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

// disguises are signs in the place of letters, as in "p4$$w0rd"; 1 stands for
// two of them.
var disguises = map[rune]rune{'0': 'o', '3': 'e', '4': 'a', '5': 's', '7': 't', '@': 'a', '$': 's', '!': 'i'}

// spellings returns text, and what it reads without its disguises where that
// is something else.
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

// rows of keyboards, there and back.
const rows = "qwertyuiop asdfghjkl zxcvbnm qwertzuiop yxcvbnm azertyuiop qsdfghjklm wxcvbn " +
	"poiuytrewq lkjhgfdsa mnbvcxz poiuztrewq mnbvcxy poiuytreza mlkjhgfdsq nbvcxw"

// isRun reports whether text stands on one row of a keyboard, or each
// character follows the one before, up or down, or is the same, as in
// "abcdefgh", "67890123" and "11223344".
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
