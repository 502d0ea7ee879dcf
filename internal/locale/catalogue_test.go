package locale

import (
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// families are the keys that Go code composes from a prefix and a variable part, as in
// Say("activity." + kind). The catalogue must have exactly these members.
var families = map[string][]string{
	"activity.": strings.Fields(`signed_in sign_in_failed code_failed code_reused reauthenticated
		signed_out session_ended sessions_ended two_factor_enabled authenticator_added
		authenticator_renamed authenticator_removed two_factor_disabled backup_codes_issued
		backup_code_used backup_code_failed password_changed password_set two_factor_reset
		account_created account_invited account_enabled account_disabled account_removed email_changed
		profile_changed group_joined group_left device_forgotten devices_forgotten let_in_issued
		let_in_used pass_made pass_revoked wrong_codes_noticed password_suspected`),
	"error.": strings.Fields(`not_found forbidden cross_origin busy unavailable internal too_many
		too_large bad_request link_invalid setup_done misdirected untrusted_proxy`),
	"how.": strings.Fields(`password password_totp password_backup_code password_webauthn passkey`),
	"notice.": strings.Fields(`account_created password_set signed_out confirmed added renamed
		removed disabled password_changed profile_saved revoked revoked_others backup_code_used
		already_confirmed locked cancelled let_in forgotten weak pass_revoked`),
	"strength.": strings.Fields(`short weak fair good later common own run repeat few`),
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
// without Go files that don't import this package.
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
		if strings.HasSuffix(path, ".go") && !strings.Contains(string(text), `/internal/locale"`) {
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

// hasSentence reports whether the catalogue has the sentence key, either without forms or with
// both forms.
func hasSentence(c *Catalogue, key string) bool {
	_, plain := c.sentences[key]
	_, one := c.sentences[key+".one"]
	_, other := c.sentences[key+".other"]
	return plain != (one && other) && one == other
}

func TestEverySentenceInTheCodeExists(t *testing.T) {
	c := testCatalogue(t)
	for _, key := range familyKeys() {
		if !hasSentence(c, key) {
			t.Errorf("families: the catalogue has no sentence %s", key)
		}
	}
	// A sentence with two forms needs the value n, which selects the form.
	exists := func(key, args string) bool {
		_, plain := c.sentences[key]
		return hasSentence(c, key) && (plain || strings.Contains(args, `"n"`))
	}
	inTemplates := regexp.MustCompile(`\$\.(?:T|Rich) "([^"]+)"([^})]*)`)
	for path, text := range sources(t, templates) {
		for _, m := range inTemplates.FindAllStringSubmatch(text, -1) {
			if !exists(m[1], m[2]) {
				t.Errorf("%s: the catalogue has no sentence for %s, or n is missing", path, m[0])
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
			case !exists(m[1], m[2]):
				t.Errorf("%s: the catalogue has no sentence for %s, or n is missing", path, m[0])
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
		stem := strings.TrimSuffix(strings.TrimSuffix(key, ".one"), ".other")
		if !slices.Contains(used, stem) {
			t.Errorf("the sentence %s isn't used", key)
		}
	}
}

func TestSentencesAreWellFormed(t *testing.T) {
	gap := regexp.MustCompile(`\{[^}]*\}`)
	name := regexp.MustCompile(`^\{[a-z_]+\}$`)
	c := testCatalogue(t)
	for key, text := range c.sentences {
		if text == "" || strings.TrimSpace(text) != text {
			t.Errorf("%s: the sentence is empty or has spaces around it: %q", key, text)
		}
		if strings.ContainsAny(text, "'\"<>&") {
			t.Errorf("%s: the sentence has straight quotes or markup: %s", key, text)
		}
		for _, g := range gap.FindAllString(text, -1) {
			if !name.MatchString(g) {
				t.Errorf("%s: the gap %s has an invalid name", key, g)
			}
		}
		if stem, ok := strings.CutSuffix(key, ".one"); ok && !hasSentence(c, stem) {
			t.Errorf("%s: the catalogue must have %s.other as well, and not %s", key, stem, stem)
		}
		if stem, ok := strings.CutSuffix(key, ".other"); ok && !hasSentence(c, stem) {
			t.Errorf("%s: the catalogue must have %s.one as well, and not %s", key, stem, stem)
		}
	}
}

func TestTextFillsGaps(t *testing.T) {
	c := &Catalogue{Site: "Site", sentences: map[string]string{
		"plain":      "Hello {name} at {site}",
		"many.one":   "{n} code",
		"many.other": "{n} codes",
	}}
	for _, test := range []struct{ got, want string }{
		{c.Text("plain", "name", "Ada"), "Hello Ada at Site"},
		{c.Text("plain", "name", "{site}"), "Hello {site} at Site"},
		{c.Text("plain", "name", Say("many", "n", 2)), "Hello 2 codes at Site"},
		{c.Text("plain"), "Hello {name} at Site"},
		{c.Text("many", "n", 1), "1 code"},
		{c.Text("many", "n", int64(1)), "1 code"},
		{c.Text("many", "n", 0), "0 codes"},
		{c.Text("many"), "⟦many⟧"},
		{c.Text("absent", "n", 1), "⟦absent⟧"},
		{c.Sentence(nil), ""},
		{string(c.Rich("plain", "name", "<b>")), "Hello &lt;b&gt; at Site"},
		{string(c.Rich("plain", "name", template.HTML("<i>"))), "Hello <i> at Site"},
	} {
		if test.got != test.want {
			t.Errorf("the filled sentence is %q, want %q", test.got, test.want)
		}
	}
}
