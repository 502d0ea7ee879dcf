package password

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/testkit"
)

// The browser estimates without the list of common passwords; e2e/strength.spec.js reads the
// same file.
func TestStrengthWithoutTheListIsWhatTheBrowserSays(t *testing.T) {
	file, err := os.ReadFile("testdata/strength.json")
	testkit.Check(t, err)
	var tests []struct {
		Typed  string
		Words  []string
		Level  Level
		Reason Reason
	}
	testkit.Check(t, json.Unmarshal(file, &tests))
	if len(tests) == 0 {
		t.Fatal("no cases")
	}
	for _, test := range tests {
		prepared, _ := prepare(test.Typed) // the empty string stays empty
		got := estimate(prepared, Parts(test.Words...), func(string) bool { return false })
		if want := (Estimate{test.Level, test.Reason}); got != want {
			bits, _ := measure([]rune(prepared), Parts(test.Words...), func(string) bool { return false })
			t.Errorf("%q: got %v (%d bits), want %v", test.Typed, got, bits, want)
		}
	}
}

func TestStrengthSeesWhatAGuesserWouldTry(t *testing.T) {
	words := []string{"Streaming panel", "ada", "Ada Lovelace", "lovelace@example.com"}
	for typed, want := range map[string]Estimate{
		// On the list: whole, as a part, disguised, in capitals.
		"passwordmonkey12":             {Weak, Common},
		"monkey dragon 4":              {Weak, Common},
		"MONKEYdragon!!!!":             {Weak, Common},
		"p4$$w0rd m0nk3y":              {Weak, Common},
		"xx monkey yy":                 {Weak, Common},
		"correct horse battery":        {Fair, Common},
		"correct horse battery staple": {Strong, ""},
		// Other patterns that aren't on the list.
		"k7qp-3m9x-tw2d-5bzc":                  {Strong, ""},
		"la vache qui rit encore":              {Strong, ""},
		strings.Repeat("horsebat", 32):         {Weak, Repeat},
		strings.Repeat("語言文字密碼鑰匙", 32):         {Fair, Repeat},
		"ada lovelace x7f9qk":                  {Weak, Own},
		"my panel shows seven lamps":           {Strong, ""},
		"😀😁😂🤣😃😄😅😆😉😊😋😎😍😘🥰":                      {Strong, ""},
		norm.NFD.String("é à ü correct horse"): Strength(norm.NFC.String("é à ü correct horse")),
		// Never stored, so any estimate would do.
		"":                        {Weak, Few},
		"\xff":                    {Weak, Few},
		"a\x00b":                  {Weak, Few},
		strings.Repeat("xy", 500): {Weak, Few},
	} {
		if got := Strength(typed, words...); got != want {
			bits, _ := measure([]rune(typed), Parts(words...), isCommon)
			t.Errorf("%.40q: got %v (%d bits), want %v", typed, got, bits, want)
		}
	}
}

func TestRefusalSaysWhatMakesAPasswordGuessable(t *testing.T) {
	words := []string{"Streaming panel", "ada"}
	for typed, want := range map[string]Reason{
		"password":            Common,
		"p@ssw0rdp@ssw0rd":    Common,
		"trustno1trustno1":    Common,
		"adminadminadmin":     Repeat,
		"qwertyuiopasdfghjkl": Run,
		"123456789012345678":  Run,
		"aaaaaaaaaaaaaaaaaaa": Repeat,
		"streamingpanel1":     Own,
		"ada ada ada ada ada": Repeat,
		"axqzaxqzaxqzaxqz":    Repeat,
	} {
		err := Check(typed, 6, words...)
		var common *CommonError
		if !errors.As(err, &common) || common.Reason != want {
			t.Errorf("%q: %#v, want reason %q", typed, err, want)
		}
		if !errors.Is(err, ErrCommon) || err.Error() != ErrCommon.Error() {
			t.Errorf("%q: %v, want the text of ErrCommon without the reason", typed, err)
		}
	}
}

// Every text has a level and a reason, and repeating it adds little cost.
func FuzzStrength(f *testing.F) {
	for _, seed := range []string{"", "correct horse battery", "P4$$w0rd", "aaaaaaaaaa", "qwertz 12345", "Grüße\u0301", "\xff", "İstanbul", "🙂🙃"} {
		f.Add(seed, "Streaming panel")
	}
	const most = 64 // characters; longer inputs take longer and reach no other code
	f.Fuzz(func(t *testing.T, typed, word string) {
		if len(typed) > 4*most || len(word) > 4*most {
			return
		}
		got := Strength(typed, word)
		switch got.Level {
		case Weak, Fair:
			switch got.Reason {
			case Common, Own, Run, Repeat, Few:
			default:
				t.Fatalf("%q: %v", typed, got)
			}
		case Strong:
			if got.Reason != "" {
				t.Fatalf("%q: %v", typed, got)
			}
		default:
			t.Fatalf("%q: %v", typed, got)
		}
		runes := []rune(typed)
		if len(runes) < minRepeat || len(runes) > most {
			return
		}
		once, _ := measure(runes, Parts(word), isCommon)
		twice, _ := measure(append(runes, runes...), Parts(word), isCommon)
		if twice > once+bitsRepeat {
			t.Fatalf("%q costs %d bits, and twice in a row %d; want at most bitsRepeat more", typed, once, twice)
		}
	})
}
