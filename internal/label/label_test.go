package label

import (
	"errors"
	"strings"
	"testing"
)

func TestNormalizeKeepsReadableNamesAndRefusesOthers(t *testing.T) {
	const maxLength = 40
	for _, name := range []string{
		"Phone", "📱 Handy von Jürgen 👨\u200d👩\u200d👧\u200d👦", "👩\u200d🚀 Ada 🇬🇧 Łódź", "❤️\u200d🔥", "👩🏽\u200d💻", "🏳️\u200d🌈", "🙂\u200d↔️", "می\u200cخواهم", "क्\u200dष", "手机", "טלפון",
		strings.Repeat("é", maxLength),
	} {
		if got, err := Normalize("  "+name+" ", maxLength); err != nil || got != name {
			t.Errorf("%q: got %q, error %v; want the name unchanged", name, got, err)
		}
	}
	for name, want := range map[string]error{
		"":                               ErrEmpty,
		" \u00a0\u3000":                  ErrEmpty,
		strings.Repeat("x", maxLength+1): ErrLong,
		"a\u202eb":                       &CharacterError{'\u202e'},
		"a\nb":                           &CharacterError{'\n'},
		"ad\u200da":                      &CharacterError{'\u200d'}, // looks like ada
		"Ada\u200d":                      &CharacterError{'\u200d'},
		"\u200d📱":                        &CharacterError{'\u200d'},
		"📱\u200d\u200d📱":                 &CharacterError{'\u200d'},
		"📱\u200c📱":                       &CharacterError{'\u200c'},
		"1\u200d2":                       &CharacterError{'\u200d'},
		"\U000e0041":                     &CharacterError{'\U000e0041'},
		"bad \xff":                       &CharacterError{'\ufffd'},
	} {
		_, err := Normalize(name, maxLength)
		var got, wanted *CharacterError
		if errors.As(want, &wanted) {
			if !errors.As(err, &got) || *got != *wanted {
				t.Errorf("%q: error %v, want %v", name, err, want)
			}
		} else if !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", name, err, want)
		}
	}
}
