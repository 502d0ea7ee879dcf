package locale

import (
	"html/template"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit/pseudo"
)

// families are the keys that Go code composes from a prefix and a variable part, as in
// Say("activity." + kind). The catalogue must have exactly these members.
var families = map[string][]string{
	"activity.": strings.Fields(`signed_in sign_in_failed code_failed code_reused reauthenticated
		signed_out session_ended sessions_ended two_factor_enabled authenticator_added
		authenticator_renamed authenticator_removed two_factor_disabled backup_codes_issued
		backup_code_used backup_code_failed password_changed password_set password_reset reset_asked unlock_asked unlocked email_verified email_asked email_restored email_refused two_factor_reset
		account_created account_invited account_enabled account_disabled account_removed email_changed
		profile_changed role_changed group_joined group_left device_forgotten devices_forgotten let_in_issued
		let_in_used pass_made pass_revoked wrong_codes_noticed password_suspected
		mail_given_up mail_dropped`),
	"month.": strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12"),
	"error.": strings.Fields(`not_found forbidden cross_origin busy unavailable internal too_many
		too_large bad_request link_invalid setup_done misdirected untrusted_proxy`),
	"how.": strings.Fields(`password password_totp password_backup_code password_webauthn passkey`),
	"notice.": strings.Fields(`account_created password_set signed_out confirmed added renamed
		removed disabled password_changed profile_saved revoked revoked_others backup_code_used
		already_confirmed locked cancelled let_in forgotten weak pass_revoked`),
	"strength.": strings.Fields(`short weak fair good later common own run repeat more`),
}

// familyKeys returns the complete keys of all families.
func familyKeys() []string {
	var keys []string
	for prefix, members := range families {
		for _, member := range members {
			if prefix == "error." {
				keys = append(keys, prefix+member+".heading", prefix+member+".advice")
				continue
			}
			keys = append(keys, prefix+member)
		}
	}
	return keys
}

// Patterns of the files of all packages that may have keys of the catalogue.
const (
	goFiles   = "../*/*.go"
	templates = "../*/templates/*.html"
)

// sources returns the text of the files that match the pattern, by path, without tests and
// without Go files of other packages that don't import this one.
func sources(t *testing.T, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		mayHaveKeys := strings.Contains(string(text), `/internal/locale"`) || strings.Contains(string(text), "package locale\n")
		if strings.HasSuffix(path, ".go") && !mayHaveKeys {
			continue
		}
		texts[path] = string(text)
	}
	if len(texts) == 0 {
		t.Fatalf("no files match %s", pattern)
	}
	return texts
}

func testCatalogue(t *testing.T) *Catalogue {
	t.Helper()
	c, err := Load("en", "Streaming panel")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// catalogues returns all catalogues of this package and the pseudo-locales. The first is en.
func catalogues(t *testing.T) []*Catalogue {
	t.Helper()
	all := []*Catalogue{testCatalogue(t)}
	add := func(lang string, file []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(lang, "Streaming panel", file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	names, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if lang := strings.TrimSuffix(name.Name(), ".json"); lang != "en" {
			file, err := files.ReadFile(name.Name())
			add(lang, file, err)
		}
	}
	english, err := files.ReadFile("en.json")
	if err != nil {
		t.Fatal(err)
	}
	for lang, derive := range pseudo.Catalogues {
		file, err := derive(english)
		add(lang, file, err)
	}
	return all
}

// hasSentence reports whether the catalogue has a sentence with this key, with or without plural
// forms. [Parse] has checked that no form is missing.
func hasSentence(c *Catalogue, key string) bool {
	_, plain := c.sentences[key]
	_, other := c.sentences[key+".other"]
	return plain || other
}

func TestEverySentenceInTheCodeExists(t *testing.T) {
	for _, c := range catalogues(t) {
		testSentencesExist(t, c)
	}
}

func testSentencesExist(t *testing.T, c *Catalogue) {
	for _, key := range familyKeys() {
		if !hasSentence(c, key) {
			t.Errorf("families: the catalogue %s has no sentence %s", c.Lang, key)
		}
	}
	// A sentence with plural forms needs the value n, which selects the form.
	exists := func(key, args string) bool {
		_, plain := c.sentences[key]
		return hasSentence(c, key) && (plain || strings.Contains(args, `"n"`))
	}
	inTemplates := regexp.MustCompile(`\.(?:T|Rich) "([^"]+)"([^})]*)`)
	for path, text := range sources(t, templates) {
		for _, m := range inTemplates.FindAllStringSubmatch(text, -1) {
			if !exists(m[1], m[2]) {
				t.Errorf("%s: the catalogue %s has no sentence for %s, or the placeholder n isn't given", path, c.Lang, m[0])
			}
		}
	}
	inGo := regexp.MustCompile(`\bSay\("([^"]+)"([^)]*)`)
	for path, text := range sources(t, goFiles) {
		for _, m := range inGo.FindAllStringSubmatch(text, -1) {
			switch {
			case strings.HasSuffix(m[1], "."):
				if families[m[1]] == nil {
					t.Errorf("%s: the prefix %s isn't in families", path, m[1])
				}
			case path != "../locale/doc.go" && !exists(m[1], m[2]):
				t.Errorf("%s: the catalogue %s has no sentence for %s, or the placeholder n isn't given", path, c.Lang, m[0])
			}
		}
	}
}

func TestEverySentenceIsUsed(t *testing.T) {
	used := familyKeys()
	quoted := regexp.MustCompile(`"([a-z_0-9]+(?:\.[a-z_0-9]+)+)"`)
	for _, pattern := range []string{templates, goFiles} {
		for _, text := range sources(t, pattern) {
			for _, m := range quoted.FindAllStringSubmatch(text, -1) {
				used = append(used, m[1])
			}
		}
	}
	for key := range testCatalogue(t).sentences {
		stem, _, _ := splitForm(key)
		if !slices.Contains(used, stem) {
			t.Errorf("the sentence %s isn't used", key)
		}
	}
}

var (
	gapPattern  = regexp.MustCompile(`\{[^}]*\}`)
	namePattern = regexp.MustCompile(`^\{[a-z_]+\}$`)
)

func TestSentencesAreWellFormed(t *testing.T) {
	for _, c := range catalogues(t) {
		for key, text := range c.sentences {
			if text == "" || strings.TrimSpace(text) != text {
				t.Errorf("%s: %s: the sentence is empty or has spaces around it: %q", c.Lang, key, text)
			}
			if strings.ContainsAny(text, "'\"<>&") {
				t.Errorf("%s: %s: the sentence has straight quotes or markup: %s", c.Lang, key, text)
			}
			for _, g := range gapPattern.FindAllString(text, -1) {
				if !namePattern.MatchString(g) {
					t.Errorf("%s: %s: the gap %s has an invalid name", c.Lang, key, g)
				}
			}
		}
	}
}

// TestCataloguesAgree: every catalogue has the sentences of the English one and no others. A
// sentence has the gaps of the English one; a plural form may say its number in words.
func TestCataloguesAgree(t *testing.T) {
	all := catalogues(t)
	english := all[0]
	gaps := func(text string) map[string]bool {
		found := make(map[string]bool)
		for _, g := range gapPattern.FindAllString(text, -1) {
			found[g] = true
		}
		return found
	}
	for _, c := range all[1:] {
		for key := range english.sentences {
			if stem, _, _ := splitForm(key); !hasSentence(c, stem) {
				t.Errorf("%s: the catalogue has no sentence %s", c.Lang, stem)
			}
		}
		for key, text := range c.sentences {
			stem, _, isForm := splitForm(key)
			original, ok := english.sentences[stem]
			if !ok {
				original, ok = english.sentences[stem+".other"]
			}
			if !ok {
				t.Errorf("%s: English has no sentence %s", c.Lang, stem)
			}
			got, want := gaps(text), gaps(original)
			if isForm {
				delete(got, "{n}")
				delete(want, "{n}")
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s: %s: the gaps are %v, want %v", c.Lang, key, got, want)
			}
		}
	}
}

func TestTextFillsGaps(t *testing.T) {
	c := made(t, "en", `{"dir": "ltr",
		"plain": "Hello {name} at {site}", "many.one": "{n} code", "many.other": "{n} codes", "list.next": "{list}, {item}"
	}`)
	for _, test := range []struct{ got, want string }{
		{c.Text("plain", "name", "Ada"), "Hello Ada at Site"},
		{c.Text("plain", "name", "{site}"), "Hello {site} at Site"},
		{c.Text("plain", "name", Say("many", "n", 2)), "Hello 2 codes at Site"},
		{c.Text("plain"), "Hello {name} at Site"},
		{c.Text("many", "n", 1), "1 code"},
		{c.Text("plain", "name", []string{"Ada", "Bob", "{list}"}), "Hello Ada, Bob, {list} at Site"},
		{c.List(nil), ""},
		{c.Text("many", "n", 0), "0 codes"},
		{c.Text("many"), "⟦many⟧"},
		{c.Text("absent", "n", 1), "⟦absent⟧"},
		{c.Sentence(nil), ""},
		{string(c.Rich("plain", "name", "<b>")), "Hello &lt;b&gt; at Site"},
		{string(c.Rich("plain", "name", []string{"<b>", "&"})), "Hello &lt;b&gt;, &amp; at Site"},
		{string(c.Rich("plain", "name", template.HTML("<i>"))), "Hello <i> at Site"},
	} {
		if test.got != test.want {
			t.Errorf("the filled sentence is %q, want %q", test.got, test.want)
		}
	}
}

// made returns a made-up catalogue.
func made(t *testing.T, lang, file string) *Catalogue {
	t.Helper()
	c, err := Parse(lang, "Site", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestValuesAreIsolatedFromRightToLeftText: without the isolates, a Latin name would change the
// order of the words around it.
func TestValuesAreIsolatedFromRightToLeftText(t *testing.T) {
	c := made(t, "ar", `{"dir": "rtl", "plain": "{name} في {site}", "count": "{n} رموز", "list.next": "{list}، {item}"}`)
	for _, test := range []struct{ got, want string }{
		{c.Text("plain", "name", "Ada"), "\u2068Ada\u2069 في \u2068Site\u2069"},
		{string(c.Rich("plain", "name", "<b>")), "\u2068&lt;b&gt;\u2069 في \u2068Site\u2069"},
		{c.Text("plain", "name", netip.MustParseAddr("2001:db8::7")), "\u20682001:db8::7\u2069 في \u2068Site\u2069"},
		{c.Text("count", "n", 3), "3 رموز"},
		{c.Text("plain", "name", Say("count", "n", 3)), "3 رموز في \u2068Site\u2069"},
		{c.List([]string{"Ada", "Bob"}), "\u2068Ada\u2069، \u2068Bob\u2069"},
	} {
		if test.got != test.want {
			t.Errorf("the filled sentence is %q, want %q", test.got, test.want)
		}
	}
}

// TestTimesFollowTheCatalogue: the order of day, month and year, and the names of the months.
func TestTimesFollowTheCatalogue(t *testing.T) {
	at := time.Date(2026, 5, 3, 16, 4, 5, 0, time.UTC)
	english := testCatalogue(t)
	other := made(t, "ja", `{"dir": "ltr", "time.day": "{year}年{month}{day}日", "time.minute": "{date} {time}", "month.5": "5月"}`)
	for _, test := range []struct{ got, want string }{
		{english.Day(at), "3 May 2026"},
		{english.DayAndTime(at, "15:04"), "3 May 2026, 16:04"},
		{other.Day(at), "2026年5月3日"},
		{other.DayAndTime(at, "15:04"), "2026年5月3日 16:04"},
	} {
		if test.got != test.want {
			t.Errorf("the time is %q, want %q", test.got, test.want)
		}
	}
	for m := time.January; m <= time.December; m++ {
		if got, want := english.Month(m), m.String()[:3]; got != want {
			t.Errorf("the month is %q, want %q", got, want)
		}
	}
}
