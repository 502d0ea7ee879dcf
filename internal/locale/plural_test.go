package locale

import (
	"strings"
	"testing"
)

// TestPluralFormsAreThoseOfTheLanguage uses examples of
// https://www.unicode.org/cldr/charts/latest/supplemental/language_plural_rules.html.
func TestPluralFormsAreThoseOfTheLanguage(t *testing.T) {
	for _, test := range []struct {
		lang, file string
		want       map[string][]int // numbers by the text of their form
	}{
		{"en", `{"dir": "ltr", "x.one": "one", "x.other": "other"}`,
			map[string][]int{"one": {1, -1}, "other": {0, 2, 11, 21, 101, 1_000_000}}},
		{"ar", `{"dir": "rtl", "x.zero": "zero", "x.one": "one", "x.two": "two", "x.few": "few", "x.many": "many", "x.other": "other"}`,
			map[string][]int{"zero": {0}, "one": {1}, "two": {2}, "few": {3, 10, 103, 1010}, "many": {11, 26, 99, 111}, "other": {100, 102, 202, 1000}}},
		{"pl", `{"dir": "ltr", "x.one": "one", "x.few": "few", "x.many": "many", "x.other": "other"}`,
			map[string][]int{"one": {1}, "few": {2, 4, 22, 34, 102}, "many": {0, 5, 11, 12, 14, 21, 112, 1_000_000}}},
		{"ja", `{"dir": "ltr", "x.other": "other"}`,
			map[string][]int{"other": {0, 1, 2, 11, 100}}},
		{"lv", `{"dir": "ltr", "x.zero": "zero", "x.one": "one", "x.other": "other"}`,
			map[string][]int{"zero": {0, 10, 11, 19, 30, 111}, "one": {1, 21, 101}, "other": {2, 9, 22, 102}}},
	} {
		c := made(t, test.lang, test.file)
		for want, numbers := range test.want {
			for _, n := range numbers {
				if got := c.Text("x", "n", n); got != want {
					t.Errorf("%s: the form for %d is %s, want %s", test.lang, n, got, want)
				}
			}
		}
	}
}

func TestCataloguesLackNoForm(t *testing.T) {
	for _, test := range []struct{ lang, file, fault string }{
		{"en", `"x.other": "b"`, "x: the plural form one is missing"},
		{"en", `"x.one": "a"`, "x: the plural form other is missing"},
		{"en", `"x.one": "a", "x.few": "c", "x.other": "b"`, "x.few: the language has no plural form few"},
		{"en", `"x.one": "a", "x.other": "b", "x": "c"`, "x: the sentence exists with and without plural forms"},
		{"ar", `"x.zero": "z", "x.one": "a", "x.few": "f", "x.many": "m", "x.other": "b"`, "x: the plural form two is missing"},
		{"pl", `"x.one": "a", "x.many": "m", "x.other": "b"`, "x: the plural form few is missing"},
		{"pl", `"x.one": "a", "x.few": "f", "x.many": "m"`, "x: the plural form other is missing"},
		{"ja", `"x.one": "a", "x.other": "b"`, "x.one: the language has no plural form one"},
		{"lv", `"x.one": "a", "x.other": "b"`, "x: the plural form zero is missing"},
		{"br", `"x.one": "a", "x.two": "t", "x.few": "f", "x.other": "b"`, "x: the plural form many is missing"}, // for millions
	} {
		_, err := Parse(test.lang, "Site", []byte(`{"dir": "ltr", `+test.file+`}`))
		if err == nil || !strings.HasSuffix(err.Error(), test.fault) {
			t.Errorf("%s, %s: the error is %v, want %q", test.lang, test.file, err, test.fault)
		}
	}
}

func TestFaultyCataloguesAreRefused(t *testing.T) {
	for _, test := range []struct{ lang, file string }{
		{"en", `{}`}, {"en", `{"dir": "up"}`}, {"en", `{"dir": "ltr", "x": 1}`}, {"en", ``}, {"no language", `{"dir": "ltr"}`},
	} {
		if _, err := Parse(test.lang, "Site", []byte(test.file)); err == nil {
			t.Errorf("%s, %s: Parse returns no error", test.lang, test.file)
		}
	}
}
