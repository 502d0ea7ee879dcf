// Package pseudo derives catalogues of pseudo-locales from the English catalogue. With them,
// tests find out whether pages are ready for a translation before there is one:
//
//   - en-XA has accented letters, and each sentence is in brackets and about 35 % longer. If a
//     page shows text without accents, the text isn't in the catalogue; if the closing bracket
//     is missing, the page has cut the text off.
//   - ar-XB has English words whose letters run from right to left, and Arabic's plural forms.
//
// Android has the same tags. No binary contains the catalogues.
package pseudo

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Catalogues has a function for each pseudo-locale. The function makes the file of the
// pseudo-locale's catalogue from the file of the English one.
var Catalogues = map[string]func(english []byte) ([]byte, error){
	"en-XA": func(english []byte) ([]byte, error) { return derive(english, "ltr", []string{"one", "other"}, accent) },
	"ar-XB": func(english []byte) ([]byte, error) {
		return derive(english, "rtl", []string{"zero", "one", "two", "few", "many", "other"}, turn)
	},
}

// derive returns the file of a catalogue that has the direction dir, the plural forms, and the
// sentences of the English catalogue as the function change returns them.
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

// outsideGaps returns the sentence with each text between gaps, such as "{name}", replaced by
// what the function change returns for it.
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

// longer is by how much a sentence of en-XA is longer than the English one. Translations of
// English are usually less than 35 % longer.
const longer = 0.35

// padding is a text whose first characters make a sentence of en-XA longer.
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
