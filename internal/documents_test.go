package internal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	threatModel = "../docs/threat-model.md"
	attackList  = "../docs/attacks.md"
)

var (
	ruleHeading = regexp.MustCompile(`(?m)^### ([RF]\d+): `)
	attackEntry = regexp.MustCompile(`(?m)^- \*\*(\d+)\. `)

	// A rule in text, and in a test's name. A % before it is an escape of a URL.
	ruleInText = regexp.MustCompile(`(?:^|[^%\w])([RF]\d{1,2})\b`)
	ruleInName = regexp.MustCompile(`\b(?:Test|Fuzz)(?:Attack)?((?:[RF]\d+)+)`)
	// Attacks in text, perhaps broken by a comment's next line, and in a test's name.
	attackInText = regexp.MustCompile(`(?i)\battacks?(?:\s|//|#)+(?:cases?\s+)?(\d+(?:(?:, and |, | and | to )\d+)*)\b`)
	attackInName = regexp.MustCompile(`\bTestAttack(\d+(?:And\d+)*)`)

	rule   = regexp.MustCompile(`[RF]\d+`)
	digits = regexp.MustCompile(`\d+`)
)

// numbersIn returns the rules ("R7") and attacks ("142") that a text refers to.
func numbersIn(text string) (rules, attacks []string) {
	for _, found := range slices.Concat(ruleInText.FindAllStringSubmatch(text, -1), ruleInName.FindAllStringSubmatch(text, -1)) {
		rules = append(rules, rule.FindAllString(found[1], -1)...)
	}
	for _, found := range slices.Concat(attackInText.FindAllStringSubmatch(text, -1), attackInName.FindAllStringSubmatch(text, -1)) {
		attacks = append(attacks, digits.FindAllString(found[1], -1)...)
	}
	return rules, attacks
}

func TestNumbersInReturnsRulesAndAttacks(t *testing.T) {
	for text, want := range map[string][]string{
		"the step is used once (R7)":                             {"R7"},
		"R1, R6 and F12":                                         {"R1", "R6", "F12"},
		"func TestAttackR1R6FiveWrongCodes(":                     {"R1", "R6"},
		"func TestR22CanonicalOrDenied(":                         {"R22"},
		"func TestAttack87And90HeadersCannotMisleadRealProxies(": {"87", "90"},
		"(attack 142)":                                           {"142"},
		"Attacks 2, 30, 44 and 80, on 3 nodes":                   {"2", "30", "44", "80"},
		"// which attack\n// 19 describes":                       {"19"},
		"attack case 9":                                          {"9"},
		"%F0%9F RFC4226 X9 attacks of 2 nodes":                   nil,
	} {
		rules, attacks := numbersIn(text)
		if diff := cmp.Diff(want, append(rules, attacks...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// TestNumbersAreExplained fails for a rule or an attack that the tree refers to
// but docs/threat-model.md or docs/attacks.md doesn't have.
func TestNumbersAreExplained(t *testing.T) {
	rules, attacks := defined(t, threatModel, ruleHeading), defined(t, attackList, attackEntry)
	if len(rules) < 30 || len(attacks) < 90 {
		t.Fatalf("the documents have %d rules and %d attacks, want at least 30 and 90", len(rules), len(attacks))
	}
	references := 0
	for path, text := range readTree(t, ".go", ".md", ".txtar", ".sql", ".js") {
		if strings.HasSuffix(path, "internal/documents_test.go") {
			continue
		}
		theirRules, theirAttacks := numbersIn(text)
		references += len(theirRules) + len(theirAttacks)
		for _, number := range theirRules {
			if !slices.Contains(rules, number) {
				t.Errorf("%s refers to %s, which %s doesn't have", path, number, threatModel)
			}
		}
		for _, number := range theirAttacks {
			if !slices.Contains(attacks, number) {
				t.Errorf("%s refers to attack %s, which %s doesn't have", path, number, attackList)
			}
		}
	}
	if references < 300 {
		t.Errorf("found only %d references, want at least 300", references)
	}
}

// TestDocumentsNameTestsThatExist checks the tests, flow scripts and browser
// tests that the two documents name.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	names := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for path, text := range readTree(t, "_test.go", ".txtar", ".spec.js") {
		names[filepath.Base(path)] = true
		for _, found := range function.FindAllStringSubmatch(text, -1) {
			names[found[1]] = true
		}
	}
	quoted := regexp.MustCompile("`((?:Test|Fuzz)\\w+|[\\w-]+\\.txtar|e2e/[\\w-]+\\.spec\\.js)`")
	for _, path := range []string{threatModel, attackList} {
		found := quoted.FindAllStringSubmatch(read(t, path), -1)
		if len(found) < 100 {
			t.Errorf("%s names %d tests only", path, len(found))
		}
		for _, name := range found {
			if !names[strings.TrimPrefix(name[1], "e2e/")] {
				t.Errorf("%s names %s, which doesn't exist", path, name[1])
			}
		}
	}
}

// defined returns the numbers that a document explains. It fails the test if one is there twice.
func defined(t *testing.T, path string, entry *regexp.Regexp) (numbers []string) {
	t.Helper()
	for _, found := range entry.FindAllStringSubmatch(read(t, path), -1) {
		if slices.Contains(numbers, found[1]) {
			t.Errorf("%s has %s twice", path, found[1])
		}
		numbers = append(numbers, found[1])
	}
	return numbers
}

// readTree returns the text of the module's files whose names end in one of
// endings, by path.
func readTree(t *testing.T, endings ...string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != ".." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if slices.ContainsFunc(endings, func(ending string) bool { return strings.HasSuffix(name, ending) }) {
			files[path] = read(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
