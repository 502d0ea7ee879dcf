package label

import (
	"errors"
	"strings"
	"testing"
)

func TestNamesThatPeopleGive(t *testing.T) {
	const most = 40
	for _, name := range []string{
		"Phone", "📱 Handy von Jürgen 👨\u200d👩\u200d👧\u200d👦", "👩\u200d🚀 Ada 🇬🇧 Łódź", "❤️\u200d🔥", "👩🏽\u200d💻", "🏳️\u200d🌈", "🙂\u200d↔️", "می\u200cخواهم", "क्\u200dष", "手机", "טלפון",
		strings.Repeat("é", most),
	} {
		if got, err := Normalize("  "+name+" ", most); err != nil || got != name {
			t.Errorf("%q: got %q, %v; want it as it is", name, got, err)
		}
	}
	for name, want := range map[string]error{
		"":                          ErrEmpty,
		" \u00a0\u3000":             ErrEmpty,
		strings.Repeat("x", most+1): ErrLong,
		"a\u202eb":                  &CharacterError{'\u202e'},
		"a\nb":                      &CharacterError{'\n'},
		"ad\u200da":                 &CharacterError{'\u200d'}, // looks like ada
		"Ada\u200d":                 &CharacterError{'\u200d'},
		"\u200d📱":                   &CharacterError{'\u200d'},
		"📱\u200d\u200d📱":            &CharacterError{'\u200d'},
		"📱\u200c📱":                  &CharacterError{'\u200c'},
		"1\u200d2":                  &CharacterError{'\u200d'},
		"\U000e0041":                &CharacterError{'\U000e0041'},
		"bad \xff":                  &CharacterError{'\ufffd'},
	} {
		_, err := Normalize(name, most)
		var got, wanted *CharacterError
		if errors.As(want, &wanted) {
			if !errors.As(err, &got) || *got != *wanted {
				t.Errorf("%q: got %v, want %v", name, err, want)
			}
		} else if !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", name, err, want)
		}
	}
}
