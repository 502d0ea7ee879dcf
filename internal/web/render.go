package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed templates/*.html templates/icons/*.svg
var templateFiles embed.FS

//go:embed static/*.css static/*.js static/*.svg
var staticFiles embed.FS

// layoutFile holds the frames that pages stand in.
const layoutFile = "layout.html"

// assetHashBytes is how much of a file's SHA-256 stands in its name. It tells
// versions of one file apart and guards nothing, so 48 bits are plenty.
const assetHashBytes = 6

// Times are written in one form everywhere. Pages are sent in UTC; the script
// rewrites what is shown in the reader's time zone.
const (
	timeLayout  = "2 Jan 2006, 15:04"
	dayLayout   = "2 Jan 2006"
	exactLayout = "2 Jan 2006, 15:04:05 MST"
)

// views renders pages and serves the files they need. It is safe for
// concurrent use.
type views struct {
	portal    string // path before those of the portal's pages
	contact   string // email address or URL where people ask for help; may be empty
	base      string
	catalogue *catalogue
	pages     *template.Template       // by file name
	icons     map[string]template.HTML // inline SVG by file name without .svg
	assets    map[string]asset         // by URL path
	assetURLs map[string]string        // URL path by file name
	logo      string                   // URL path of the operator's logo; empty: our drawing

	panelIcons map[string]string // URL paths by the panels' origins
}

// asset is a static file whose name holds its content's hash. It is the same for everybody
// and holds no secret.
type asset struct {
	contentType string
	content     []byte
	compressed  func() []byte // by gzip; nil where that saves nothing
}

// newAsset returns an asset that is compressed once, when the first browser asks for it.
//
// Pages are never compressed: they hold secrets, such as backup codes, beside text that
// others choose, such as a return URL, and the size of a compressed page would tell what
// both have in common (the BREACH attack).
func newAsset(contentType string, content []byte) asset {
	a := asset{contentType: contentType, content: content}
	if contentType != pictureType {
		a.compressed = sync.OnceValue(func() []byte { return compress(content) })
	}
	return a
}

// pictureType is the type of the pictures that are compressed already.
const pictureType = "image/png"

func compress(content []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil
	}
	if _, err := w.Write(content); err != nil || w.Close() != nil {
		return nil
	}
	return b.Bytes()
}

// acceptsGzip reports whether a client takes gzip (RFC 9110, section 12.5.3).
func acceptsGzip(h http.Header) bool {
	for _, line := range h.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(line, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			name, weight = strings.TrimSpace(name), strings.ReplaceAll(weight, " ", "")
			if strings.EqualFold(name, "gzip") {
				return strings.Trim(strings.TrimPrefix(weight, "q="), "0.") != "" || weight == ""
			}
		}
	}
	return false
}

// Look is what the operator sets of how pages look.
type Look struct {
	Logo        Picture            // stands beside the site's name; its zero value is our drawing
	Icons       map[string]Picture // of panels, by origin
	AccentLight string             // such as #2f5fe0, for light pages; empty: ours
	AccentDark  string
}

// Picture is an SVG or PNG file.
type Picture struct {
	Type    string // media type
	Content []byte
}

// newViews parses the templates of these pages once, or of all where none is named;
// site is the portal's name as people know it, portal the path before those of its
// pages, "" or "/.sallyport", base the path below which its files are served, "/" or
// "/.sallyport/".
func newViews(site, portal, base string, look Look, pages ...string) (*views, error) {
	c, err := loadCatalogue("en", site)
	if err != nil {
		return nil, err
	}
	v := &views{
		portal:    portal,
		base:      base,
		catalogue: c,
		icons:     make(map[string]template.HTML),
		assets:    make(map[string]asset),
		assetURLs: make(map[string]string),

		panelIcons: make(map[string]string),
	}
	for _, load := range []func() error{func() error { return v.loadAssets(look) }, v.loadIcons, func() error { return v.loadPages(pages) }} {
		if err := load(); err != nil {
			return nil, fmt.Errorf("load views: %w", err)
		}
	}
	return v, nil
}

// page writes the page name, filled with data, as a whole or not at all: after
// an error nothing was written, and an error page may be. That the browser
// hung up is no error.
func (v *views) page(w http.ResponseWriter, status int, name string, data any) error {
	var body bytes.Buffer
	if err := v.pages.ExecuteTemplate(&body, name+".html", data); err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
	return nil
}

// sentence returns the text of m in the catalogue.
func (v *views) sentence(m *message) string { return v.catalogue.sentence(m) }

// static serves the files below static/ under the names that asset returns,
// and 404 for every other name. A name stands for one content forever.
func (v *views) static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := v.assets[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.contentType)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Content-Security-Policy", assetPolicy)
		content := a.content
		if a.compressed != nil {
			h.Set("Vary", "Accept-Encoding")
			// A range would be one of the compressed bytes, so such a request gets the file itself.
			if zip := a.compressed(); acceptsGzip(r.Header) && r.Header.Get("Range") == "" && len(zip) > 0 && len(zip) < len(content) {
				h.Set("Content-Encoding", "gzip")
				h.Set("Content-Length", strconv.Itoa(len(zip))) // which ServeContent leaves out
				content = zip
			}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

// Types of static files by the end of their names, and the other way round. Not
// mime.TypeByExtension, which reads tables of the host.
var (
	types = map[string]string{
		".css": "text/css; charset=utf-8",
		".js":  "text/javascript; charset=utf-8",
		".svg": "image/svg+xml",
		".png": pictureType,
	}
	extensions = inverse(types)
)

func inverse(m map[string]string) map[string]string {
	other := make(map[string]string, len(m))
	for key, value := range m {
		other[value] = key
	}
	return other
}

// assetPolicy keeps a file that is opened by itself from doing anything: a logo in SVG may
// hold a script.
const assetPolicy = "default-src 'none'; sandbox"

func (v *views) loadAssets(look Look) error {
	if len(look.Logo.Content) > 0 {
		v.logo = v.addAsset("logo", look.Logo.Type, look.Logo.Content)
	}
	for origin, icon := range look.Icons {
		v.panelIcons[origin] = v.addAsset("panel", icon.Type, icon.Content)
	}
	return each(staticFiles, "static", func(name string, content []byte) error {
		if name == "app.css" {
			content = append(content, look.accents()...)
		}
		ext := path.Ext(name)
		v.assetURLs[name] = v.addAsset(strings.TrimSuffix(name, ext), types[ext], content)
		return nil
	})
}

// addAsset returns the URL path of a file with this name, to which its content's hash is
// added.
func (v *views) addAsset(name, contentType string, content []byte) string {
	sum := sha256.Sum256(content)
	url := v.base + "static/" + name + "." + hex.EncodeToString(sum[:assetHashBytes]) + extensions[contentType]
	v.assets[url] = newAsset(contentType, content)
	return url
}

// accents are the lines of the style sheet that set the operator's colours.
func (l Look) accents() string {
	if l.AccentLight == "" || l.AccentDark == "" {
		return ""
	}
	return ":root { --accent: " + l.AccentLight + "; }\n" +
		"@media (prefers-color-scheme: dark) { :root { --accent: " + l.AccentDark + "; } }\n"
}

func (v *views) loadIcons() error {
	return each(templateFiles, "templates/icons", func(name string, content []byte) error {
		v.icons[strings.TrimSuffix(name, ".svg")] = template.HTML(bytes.TrimSpace(content))
		return nil
	})
}

// loadPages parses these pages, or all, and the frames that they stand in, as one
// set: a copy of the frames for each page would be most of what the portal keeps in
// memory.
func (v *views) loadPages(named []string) error {
	v.pages = template.New("").Funcs(v.functions())
	return each(templateFiles, "templates", func(file string, content []byte) error {
		if file != layoutFile && len(named) > 0 && !slices.Contains(named, strings.TrimSuffix(file, ".html")) {
			return nil
		}
		_, err := v.pages.New(file).Parse(string(content))
		return err
	})
}

// functions are what templates may call.
func (v *views) functions() template.FuncMap {
	return template.FuncMap{
		"t":      v.catalogue.text,
		"rich":   v.catalogue.rich,
		"say":    v.catalogue.sentence,
		"title":  v.title,
		"about":  (*message).about,
		"when":   func(at time.Time) template.HTML { return timeElement(at, timeLayout, "") },
		"day":    func(at time.Time) template.HTML { return timeElement(at, dayLayout, " data-day") },
		"icon":   v.icon,
		"asset":  v.asset,
		"logo":   func() string { return v.logo },
		"site":   func() string { return v.catalogue.site },
		"portal": func() string { return v.portal },
		"help":   func() string { return v.contact },
		"helpAt": func() string { return contactURL(v.contact) },
		"lang":   func() string { return v.catalogue.lang },
	}
}

// contactURL returns the address of a link to a contact.
func contactURL(contact string) string {
	if strings.Contains(contact, "://") {
		return contact
	}
	return "mailto:" + url.PathEscape(contact) // an address may hold a "?"
}

// title is that of a browser's tab: what the page is called, and of which site
// unless that says it.
func (v *views) title(m *message) string {
	title := v.sentence(m)
	if strings.Contains(title, v.catalogue.site) {
		return title
	}
	return title + " · " + v.catalogue.site
}

func (v *views) icon(name string) (template.HTML, error) {
	svg, ok := v.icons[name]
	if !ok {
		return "", fmt.Errorf("no icon %q", name)
	}
	return svg, nil
}

func (v *views) asset(name string) (string, error) {
	url, ok := v.assetURLs[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return url, nil
}

// about reports whether m's key begins with one of prefixes: whether an error
// concerns the field that a template is at. Nil concerns none.
func (m *message) about(prefixes ...string) bool {
	if m == nil {
		return false
	}
	for _, prefix := range prefixes {
		if strings.HasPrefix(m.key, prefix) {
			return true
		}
	}
	return false
}

// timeElement returns a <time> with the exact time and zone in its title, and
// nothing for the zero time. What it formats holds no markup.
func timeElement(at time.Time, layout, attribute string) template.HTML {
	if at.IsZero() {
		return ""
	}
	at = at.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s"%s>%s</time>`,
		at.Format(time.RFC3339), at.Format(exactLayout), attribute, at.Format(layout)))
}

// each calls use with the name and content of every file directly in folder.
func each(files fs.FS, folder string, use func(name string, content []byte) error) error {
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		content, err := fs.ReadFile(files, folder+"/"+entry.Name())
		if err != nil {
			return err
		}
		if err := use(entry.Name(), content); err != nil {
			return err
		}
	}
	return nil
}
