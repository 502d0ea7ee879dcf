package web

import (
	"cmp"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/testkit/pseudo"
)

// pseudoLocale returns the catalogue of a pseudo-locale.
func pseudoLocale(t *testing.T, lang, site string) *locale.Catalogue {
	t.Helper()
	english, err := os.ReadFile("../locale/en.json")
	if err != nil {
		t.Fatal(err)
	}
	file, err := pseudo.Catalogues[lang](english)
	if err != nil {
		t.Fatal(err)
	}
	c, err := locale.Parse(lang, site, file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// personWithoutLatin is a value for [samples] that no test takes for a sentence.
const personWithoutLatin = "阿達"

// sampleValues are the names, codes and addresses on the sample pages, which no catalogue has.
var sampleValues = []string{
	"Streaming panel", "Chrome on Linux", "Tablet at home", "Tablet", "nightly backup", "Phone", "Wiki", "ops", "QR code",
	"GET, POST", "GET", "UTC", "U+202E", "7f3k2m", "/explore", "trusted_proxies: [203.0.113.7/32]",
	"192.0.2.7, 10.0.0.0/8", "192.0.2.7", "203.0.113.7", "198.51.100.4", "2001:db8::7",
}

var (
	inline     = regexp.MustCompile(`</?(?:a|bdi|time)\b[^>]*>`)
	tag        = regexp.MustCompile(`<[^>]*>`)
	invisible  = regexp.MustCompile(`(?s)<(?:script|code)\b.*?</(?:script|code)>`)
	attribute  = regexp.MustCompile(`\s(aria-label|title|alt|placeholder|data-[a-z-]+)="([^"]*)"`)
	webAddress = regexp.MustCompile(`https?://[^\s)]+`)
	word       = regexp.MustCompile(`[A-Za-z]{2,}`)
)

// dataForScripts are attributes with values that no user sees.
var dataForScripts = []string{"data-whole", "data-copy", "data-keep", "data-words", "data-least", "data-most", "data-level"}

// visibleTexts returns the texts of a page and of its attributes that users see or hear.
func visibleTexts(page string) []string {
	page = invisible.ReplaceAllString(page, "")
	texts := tag.Split(inline.ReplaceAllString(page, ""), -1)
	for _, element := range tag.FindAllString(page, -1) {
		for _, m := range attribute.FindAllStringSubmatch(element, -1) {
			if !slices.Contains(dataForScripts, m[1]) {
				texts = append(texts, m[2])
			}
		}
	}
	for i, text := range texts {
		texts[i] = strings.TrimSpace(html.UnescapeString(text))
	}
	return texts
}

// outsideSentences removes the sentences, which are in brackets, from a text in en-XA and returns
// the rest.
func outsideSentences(text string) string {
	var b strings.Builder
	depth := 0
	for _, r := range text {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case depth == 0:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// TestEverySentenceOnPagesIsFromTheCatalogue renders the pages in en-XA. There, text with
// unaccented letters isn't from the catalogue, and neither is punctuation outside the brackets.
func TestEverySentenceOnPagesIsFromTheCatalogue(t *testing.T) {
	v := testViews(t, "Streaming panel")
	c := pseudoLocale(t, "en-XA", "Streaming panel")
	for _, s := range samples(personWithoutLatin) {
		page := renderedIn(t, v, c, s)
		if !strings.Contains(page, `<html lang="en-XA" dir="ltr">`) {
			t.Errorf("%s, %s: the page doesn't have the language and direction of its catalogue", s.name, s.state)
		}
		for _, text := range visibleTexts(page) {
			rest := webAddress.ReplaceAllString(text, "")
			for _, value := range sampleValues {
				rest = strings.ReplaceAll(rest, value, "")
			}
			if found := word.FindString(rest); found != "" {
				t.Errorf("%s, %s: %q isn't from the catalogue: %q", s.name, s.state, found, text)
			}
			if strings.ContainsAny(outsideSentences(rest), ",.:;!?") {
				t.Errorf("%s, %s: the punctuation isn't from the catalogue: %q", s.name, s.state, text)
			}
		}
	}
}

var (
	// sentence matches a part of a sentence in ar-XB, and isolated matches a value in a gap.
	sentence = regexp.MustCompile("\u200f\u202e[^\u202c]*\u202c\u200f")
	isolated = regexp.MustCompile("\u2068[^\u2068\u2069]*\u2069")

	// needsIsolation matches what the text around it could reorder: left-to-right text, and numbers
	// with punctuation.
	needsIsolation = regexp.MustCompile(`[A-Za-z]|\d[.:/-]\d`)
	field          = regexp.MustCompile(`<(?:input|select|option)\b[^>]*>`)
	hasNoText      = regexp.MustCompile(`type="(?:hidden|checkbox|password)"|\shidden`)
)

// TestValuesOnPagesAreIsolated checks that in a right-to-left page names, codes and addresses are
// isolated from the text around them, and that fields have the direction of what users type there.
func TestValuesOnPagesAreIsolated(t *testing.T) {
	v := testViews(t, "Streaming panel")
	c := pseudoLocale(t, "ar-XB", "Streaming panel")
	for _, s := range samples("ada") {
		page := renderedIn(t, v, c, s)
		if !strings.Contains(page, `<html lang="ar-XB" dir="rtl">`) {
			t.Errorf("%s, %s: the page doesn't have the language and direction of its catalogue", s.name, s.state)
		}
		for _, text := range textsBesideEachOther(page) {
			rest := sentence.ReplaceAllString(text, "")
			for isolated.MatchString(rest) {
				rest = isolated.ReplaceAllString(rest, "")
			}
			if found := needsIsolation.FindString(rest); found != "" {
				t.Errorf("%s, %s: the text with %q isn't isolated: %q", s.name, s.state, found, text)
			}
		}
		for _, f := range field.FindAllString(page, -1) {
			if strings.HasPrefix(f, "<select") || strings.Contains(f, ` dir="`) || hasNoText.MatchString(f) {
				continue
			}
			if m := attributeValue.FindStringSubmatch(f); m != nil && needsIsolation.MatchString(m[1]) || strings.HasPrefix(f, "<input") {
				t.Errorf("%s, %s: the field has no direction: %s", s.name, s.state, f)
			}
		}
	}
}

var attributeValue = regexp.MustCompile(`\svalue="([^"]*)"`)

// isolates matches an element that isolates its text, including the text.
var isolates = regexp.MustCompile(`(?s)<(bdi|code)\b[^>]*>[^<]*</(?:bdi|code)>|<(?:span|option)\b[^>]* dir="auto"[^>]*>[^<]*</(?:span|option)>`)

// textsBesideEachOther returns the texts of the page's body that no element isolates.
func textsBesideEachOther(page string) []string {
	_, body, _ := strings.Cut(page, "<body")
	body = invisible.ReplaceAllString(isolates.ReplaceAllString(body, ""), "")
	var texts []string
	for _, text := range tag.Split("<body"+body, -1) {
		if text = strings.TrimSpace(html.UnescapeString(text)); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

// TestSamplesAreWritten writes every sample page in every pseudo-locale, with its static files, to
// the directory that SALLYPORT_SAMPLES names, or to a temporary one. Browser tests open them; see
// e2e/samples.js.
func TestSamplesAreWritten(t *testing.T) {
	dir := cmp.Or(os.Getenv("SALLYPORT_SAMPLES"), t.TempDir())
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	static := regexp.MustCompile(`"(/static/[^"]+)"`)
	writeAll := func(lang, suffix, site, person string) {
		v, c := testViews(t, site), pseudoLocale(t, lang, site)
		for _, s := range samples(person) {
			page := renderedIn(t, v, c, s)
			write(lang+"/"+s.name+"-"+s.state+suffix+".html", page)
			for _, m := range static.FindAllStringSubmatch(page, -1) {
				if strings.HasPrefix(m[1], "/static/wiki.") {
					continue // the icon of a panel that exists only in the samples
				}
				w := httptest.NewRecorder()
				v.Static().ServeHTTP(w, httptest.NewRequest("GET", m[1], nil))
				if w.Code != http.StatusOK {
					t.Errorf("%s in %s: its file %s has status %d, want 200", s.name, lang, m[1], w.Code)
				}
				write(m[1], w.Body.String())
			}
		}
	}
	for lang := range pseudo.Catalogues {
		writeAll(lang, "", "Streaming panel", "ada")
	}
	long := strings.Repeat("m", 64) // the longest name of a panel, without a place for a line break
	writeAll("en-XA", "-long", long, long)
}
