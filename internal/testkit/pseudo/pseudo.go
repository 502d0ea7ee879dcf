// Package pseudo derives catalogues of pseudo-locales from the English catalogue, for tests of
// pages. They show without a translation whether pages are ready for one:
//
//   - en-XA has accented letters, and each sentence is in brackets and about 35 % longer. Text
//     without accents doesn't come from the catalogue; text without its last bracket is cut off.
//   - ar-XB has English words whose letters run from right to left, and Arabic's plural forms.
//
// The tags are those of Android. No binary contains them.
package pseudo

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Catalogues has a function for each pseudo-locale. It returns the catalogue's file for the file of
// the English catalogue.
var Catalogues = map[string]func(english []byte) ([]byte, error){
	"en-XA": func(english []byte) ([]byte, error) { return derive(english, "ltr", []string{"one", "other"}, accent) },
	"ar-XB": func(english []byte) ([]byte, error) {
		return derive(english, "rtl", []string{"zero", "one", "two", "few", "many", "other"}, turn)
	},
}

// derive returns the catalogue with a direction, plural forms and changed sentences.
func derive(english []byte, dir string, forms []string, change func(string) string) ([]byte, error) {
	var sentences map[string]string
	if err := json.Unmarshal(english, &sentences); err != nil {
		return nil, fmt.Errorf("derive a pseudo-locale: %w", err)
	}
	derived := make(map[string]string, len(sentences))
	for key, sentence := range sentences {
		stem, isForm := strings.CutSuffix(key, ".other")
		switch {
		case key == "dir":
			derived[key] = dir
		case isForm:
			for _, form := range forms {
				if form != "one" {
					derived[stem+"."+form] = change(sentence)
				}
			}
		default:
			derived[key] = change(sentence)
		}
	}
	return json.Marshal(derived)
}

const (
	latin    = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	accented = "åƀçðéƒĝĥîĵķļɱñöþǫŕšţûṽŵẋýžÅƁÇÐÉƑĜĤÎĴĶĻṀÑÖÞǪŔŠŢÛṼŴẊÝŽ"
)

var accents = func() *strings.Replacer {
	var pairs []string
	marked := []rune(accented)
	for i, letter := range latin {
		pairs = append(pairs, string(letter), string(marked[i]))
	}
	return strings.NewReplacer(pairs...)
}()

var gap = regexp.MustCompile(`\{[a-z_]+\}`)

// outsideGaps returns the sentence with each text between its gaps changed.
func outsideGaps(sentence string, change func(string) string) string {
	var b strings.Builder
	end := 0
	for _, at := range append(gap.FindAllStringIndex(sentence, -1), []int{len(sentence), len(sentence)}) {
		if text := sentence[end:at[0]]; text != "" {
			b.WriteString(change(text))
		}
		b.WriteString(sentence[at[0]:at[1]])
		end = at[1]
	}
	return b.String()
}

// longer is how much longer a sentence of en-XA is than the English one. Translations of English
// are usually less than 35 % longer.
const longer = 0.35

// padding is a text of which each sentence of en-XA has the first characters.
var padding = strings.Repeat(" one two three four five six seven eight nine ten", 10)

func accent(sentence string) string {
	length := utf8.RuneCountInString(gap.ReplaceAllString(sentence, ""))
	added := max(2, int(math.Round(longer*float64(length)))-len("[]"))
	more := padding[:added]
	if strings.HasSuffix(more, " ") {
		more = padding[:added+1]
	}
	return "[" + outsideGaps(sentence, accents.Replace) + accents.Replace(more) + "]"
}

// Characters for the direction of text (UAX #9).
const (
	mark     = "\u200f" // RIGHT-TO-LEFT MARK, by which dir="auto" finds the direction
	override = "\u202e" // RIGHT-TO-LEFT OVERRIDE
	pop      = "\u202c" // POP DIRECTIONAL FORMATTING
)

func turn(sentence string) string {
	return outsideGaps(sentence, func(text string) string { return mark + override + text + pop + mark })
}
