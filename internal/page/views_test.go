package page

import (
	"compress/gzip"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/locale"
)

// The maximum sizes of all style sheets and of all scripts, in bytes. With them the first page
// needs less than 40 KB.
const (
	maxStylesheet = 20_000
	maxScript     = 10_000
)

func testViews(t *testing.T, o Options) *Views {
	t.Helper()
	o.SiteName, o.Base = "Streaming panel", "/"
	v, err := NewViews(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// errorPage returns the HTML of an error page, and the header of the answer.
func errorPage(t *testing.T, v *Views) (html string, h http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	data := &ErrorPage{Frame: Frame{Title: locale.Say("error.not_found.heading")}, Advice: locale.Say("error.not_found.advice")}
	if err := v.Render(&Request{W: w, Catalogue: v.Catalogue()}, http.StatusNotFound, "error", data); err != nil {
		t.Fatal(err)
	}
	return w.Body.String(), w.Header()
}

func TestTimesCarryTheExactTimeAndZone(t *testing.T) {
	at := time.Date(2026, 11, 23, 16, 4, 5, 0, time.FixedZone("CET", 3600))
	f := Frame{catalogue: testViews(t, Options{}).Catalogue()}
	for _, test := range []struct {
		got  template.HTML
		want string
	}{
		{f.When(at), `<time datetime="2026-11-23T15:04:05Z" title="23 Nov 2026, 15:04:05 UTC">23 Nov 2026, 15:04</time>`},
		{f.Day(at), `<time datetime="2026-11-23T15:04:05Z" title="23 Nov 2026, 15:04:05 UTC" data-day>23 Nov 2026</time>`},
		{f.TimeOfDay(at), `<time datetime="2026-11-23T15:04:05Z" title="23 Nov 2026, 15:04:05 UTC" data-clock>15:04</time>`},
		{f.When(time.Time{}), ""},
		{f.Day(time.Time{}), ""},
	} {
		if string(test.got) != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

func TestStaticServesHashedNamesOnly(t *testing.T) {
	v := testViews(t, Options{})
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		v.Static().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w
	}
	for name, wantType := range map[string]string{
		"app.css":     "text/css; charset=utf-8",
		"app.js":      "text/javascript; charset=utf-8",
		"strength.js": "text/javascript; charset=utf-8",
		"icon.svg":    "image/svg+xml",
	} {
		url, err := v.asset(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile("static/" + name)
		if err != nil {
			t.Fatal(err)
		}
		w := get(url)
		if w.Code != http.StatusOK || w.Body.String() != string(want) {
			t.Errorf("%s: status %d and %d bytes, want 200 and %d", url, w.Code, w.Body.Len(), len(want))
		}
		if got := w.Header().Get("Content-Type"); got != wantType {
			t.Errorf("%s: Content-Type %q, want %q", url, got, wantType)
		}
		if got, want := w.Header().Get("Cache-Control"), "public, max-age=31536000, immutable"; got != want {
			t.Errorf("%s: Cache-Control %q, want %q", url, got, want)
		}
	}
	for _, path := range []string{"/static/", "/static", "/static/app.css", "/static/ICONS.md", "/static/app.000000000000.css", "/static/../render.go"} {
		if got := get(path).Code; got != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", path, got)
		}
	}
}

// A page loads app.css, app.js and at most one other script.
func TestFirstViewIsSmall(t *testing.T) {
	size := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for pattern, limit := range map[string]int64{"static/*.css": maxStylesheet, "static/*.js": maxScript} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		common := "static/app" + filepath.Ext(pattern)
		for _, name := range names {
			total := size(common)
			if name != common {
				total += size(name)
			}
			if total >= limit {
				t.Errorf("%s and %s have %d bytes, want less than %d", common, name, total, limit)
			}
		}
	}
}

func TestStaticFilesAreCompressedOnRequest(t *testing.T) {
	v := testViews(t, Options{})
	url, err := v.asset("app.css")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	for accept, compressed := range map[string]bool{
		"gzip, deflate, br": true, "br;q=1.0, gzip;q=0.8": true, "GZIP": true, "gzip;q=0": false, "gzip; q=0.000": false, "deflate, br": false, "identity": false, "": false,
	} {
		r := httptest.NewRequest("GET", url, nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		v.Static().ServeHTTP(w, r)
		body := io.Reader(w.Body)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != compressed {
			t.Errorf("Accept-Encoding %q: compressed is %v, want %v", accept, got, compressed)
		}
		if got := w.Header().Get("Content-Length"); got != strconv.Itoa(w.Body.Len()) {
			t.Errorf("Accept-Encoding %q: Content-Length %q, want %d", accept, got, w.Body.Len())
		}
		if compressed {
			if 2*w.Body.Len() > len(want) {
				t.Errorf("Accept-Encoding %q: %d of %d bytes, want at most half", accept, w.Body.Len(), len(want))
			}
			if body, err = gzip.NewReader(w.Body); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != string(want) {
			t.Errorf("Accept-Encoding %q: the content differs from the file's (error %v)", accept, err)
		}
		if got := w.Header().Get("Vary"); got != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: Vary %q, want Accept-Encoding", accept, got)
		}
	}
}

// TestPagesAreNotCompressed: the size of a compressed page would reveal secrets next to text
// that an attacker chooses.
func TestPagesAreNotCompressed(t *testing.T) {
	html, h := errorPage(t, testViews(t, Options{}))
	if got := h.Get("Content-Encoding"); got != "" || !strings.HasPrefix(html, "<!doctype html>") {
		t.Errorf("Content-Encoding %q, want an uncompressed page", got)
	}
}

func TestPagesUseTheOperatorsLogoIconsAndColours(t *testing.T) {
	const script = `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`
	v := testViews(t, Options{Look: Look{
		Logo:        Picture{"image/svg+xml", []byte(script)},
		Icons:       map[string]Picture{"https://wiki.example.com": {"image/png", []byte("png")}},
		AccentLight: "#007a3d", AccentDark: "#5fd3a0",
	}})
	get := func(url string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		v.Static().ServeHTTP(w, httptest.NewRequest("GET", url, nil))
		return w
	}
	html, _ := errorPage(t, v)
	logo := regexp.MustCompile(`<img class="logo" src="(/static/logo\.[0-9a-f]{12}\.svg)" alt="">`).FindStringSubmatch(html)
	if logo == nil {
		t.Fatalf("the page has no logo: %s", html)
	}
	if w := get(logo[1]); w.Code != http.StatusOK || w.Body.String() != script || w.Header().Get("Content-Type") != "image/svg+xml" ||
		w.Header().Get("Content-Security-Policy") != "default-src 'none'; sandbox" {
		t.Errorf("logo: status %d, header %v; want 200 with the file and its policy", w.Code, w.Header())
	}
	if w := get(v.PanelIcon("https://wiki.example.com")); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/png" {
		t.Errorf("icon: status %d, header %v; want 200 with image/png", w.Code, w.Header())
	}
	css, err := v.asset("app.css")
	if err != nil {
		t.Fatal(err)
	}
	if body := get(css).Body.String(); !strings.HasSuffix(body, "\n:root { --accent: #007a3d; }\n@media (prefers-color-scheme: dark) { :root { --accent: #5fd3a0; } }\n") {
		t.Errorf("app.css ends with %q, want the operator's colours", body[len(body)-120:])
	}
	if plain, err := testViews(t, Options{}).asset("app.css"); err != nil || plain == css {
		t.Errorf("style sheets with different colours have the same URL %s (error %v)", plain, err)
	}
}

// TestTemplatesServeEveryCatalogue: the text of a page is that of the request's catalogue.
func TestTemplatesServeEveryCatalogue(t *testing.T) {
	v := testViews(t, Options{})
	other, err := locale.Load("en", "Other site")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*locale.Catalogue{v.Catalogue(), other, v.Catalogue()} {
		w := httptest.NewRecorder()
		data := &ErrorPage{Frame: Frame{Title: locale.Say("error.not_found.heading")}, Advice: locale.Say("error.not_found.advice")}
		if err := v.Render(&Request{W: w, Catalogue: c}, http.StatusNotFound, "error", data); err != nil {
			t.Fatal(err)
		}
		if want := " · " + c.Site + "</title>"; !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page has no title that ends with %q", want)
		}
	}
}

// A template that is called without data finds no frame, and its text is silently empty.
func TestTemplatesAreCalledWithData(t *testing.T) {
	call := regexp.MustCompile(`\{\{-? *template +"[^"]+" *-?\}\}`)
	calls := 0
	for _, pattern := range []string{"templates/*.html", "../web/templates/*.html"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			calls += strings.Count(string(text), "{{template ")
			for _, found := range call.FindAllString(string(text), -1) {
				t.Errorf("%s calls %s without data", file, found)
			}
		}
	}
	if calls < 50 {
		t.Errorf("found only %d calls of templates", calls)
	}
}
