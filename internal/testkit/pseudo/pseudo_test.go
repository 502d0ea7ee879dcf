package pseudo

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const english = `{"dir": "ltr", "plain": "Sign in to {site}, {name}", "codes.one": "{n} code", "codes.other": "{n} codes"}`

func derived(t *testing.T, lang, file string) map[string]string {
	t.Helper()
	made, err := Catalogues[lang]([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	var sentences map[string]string
	if err := json.Unmarshal(made, &sentences); err != nil {
		t.Fatal(err)
	}
	return sentences
}

func TestAccentedSentencesKeepTheirGaps(t *testing.T) {
	want := map[string]string{
		"dir": "ltr", "plain": "[Šîĝñ îñ ţö {site}, {name} öñ]", "codes.one": "[{n} çöðé ö]", "codes.other": "[{n} çöðéš ö]",
	}
	if diff := cmp.Diff(want, derived(t, "en-XA", english)); diff != "" {
		t.Error(diff)
	}
}

func TestAccentedSentencesAreLonger(t *testing.T) {
	for _, sentence := range []string{"Choose a new password", "Your browser sends too many cookies, so the server refused it. Delete some of them."} {
		before, after := utf8.RuneCountInString(sentence), utf8.RuneCountInString(accent(sentence))
		if ratio := float64(after) / float64(before); ratio < 1.3 || ratio > 1.4 {
			t.Errorf("%q has %d characters, and %d before: want 30 to 40 %% more", accent(sentence), after, before)
		}
	}
}

func TestTurnedSentencesHaveArabicsForms(t *testing.T) {
	const codes = "{n}\u200f\u202e codes\u202c\u200f"
	want := map[string]string{
		"dir": "rtl", "plain": "\u200f\u202eSign in to \u202c\u200f{site}\u200f\u202e, \u202c\u200f{name}",
		"codes.zero": codes, "codes.one": "{n}\u200f\u202e code\u202c\u200f", "codes.two": codes, "codes.few": codes, "codes.many": codes, "codes.other": codes,
	}
	if diff := cmp.Diff(want, derived(t, "ar-XB", english)); diff != "" {
		t.Error(diff)
	}
}
