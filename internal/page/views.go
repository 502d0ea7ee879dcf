package page

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

	"github.com/sallyport/sallyport/internal/locale"
)

//go:embed templates/*.html templates/icons/*.svg
var templateFiles embed.FS

//go:embed static/*.css static/*.js static/*.svg
var staticFiles embed.FS

// assetHashBytes is how many bytes of a file's SHA-256 its URL contains. They only distinguish the
// versions of one file, so 48 bits are enough.
const assetHashBytes = 6

// Options are the parameters of [NewViews].
type Options struct {
	SiteName  string
	Contact   string   // email address or URL for users' questions; may be empty
	Portal    string   // prefix of the paths of the portal's pages: "" or "/.sallyport"
	Base      string   // prefix of the paths of static files: "/" or "/.sallyport/"
	Templates fs.FS    // has the templates of the pages in the folder templates; nil: only the error page
	Pages     []string // names of the pages whose templates are parsed; empty: all
	Look      Look
}

// Views renders pages and serves their files. Concurrent use is safe.
type Views struct {
	options   Options
	catalogue *locale.Catalogue
	pages     *template.Template       // by file name
	icons     map[string]template.HTML // inline SVG by file name without .svg
	assets    map[string]asset         // by URL path
	assetURLs map[string]string        // URL path by file name
	logo      string                   // URL path of the operator's logo; empty: Sallyport's logo

	panelIcons map[string]string // URL paths by the panels' origins
}

// asset is a static file whose URL contains a hash of its content. An asset is the same for all
// users and has no secrets.
type asset struct {
	contentType string
	content     []byte
	compressed  func() []byte // returns the content in gzip; the func is nil if content is compressed already
}

// newAsset returns an asset. Its content is compressed once, when a browser first requests it.
//
// Pages are never compressed. They have secrets, such as backup codes, next to text that an
// attacker may choose, such as a return URL, and the size of a compressed page would show how
// much the two have in common (the BREACH attack).
func newAsset(contentType string, content []byte) asset {
	a := asset{contentType: contentType, content: content}
	if contentType != pictureType {
		a.compressed = sync.OnceValue(func() []byte { return compress(content) })
	}
	return a
}

// pictureType is the media type of pictures in PNG, a format that is compressed already.
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

// acceptsGzip reports whether a client accepts gzip (RFC 9110, section 12.5.3).
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

// Look is the part of the pages' appearance that the operator configures.
type Look struct {
	Logo        Picture            // beside the site's name; the zero value is Sallyport's logo
	Icons       map[string]Picture // icons of panels, by origin
	AccentLight string             // accent colour of light pages, such as #2f5fe0; empty: the default
	AccentDark  string             // accent colour of dark pages
}

// Picture is an SVG or PNG file.
type Picture struct {
	Type    string // media type
	Content []byte
}

// NewViews parses the templates of the pages, of the error page and of the parts that surround
// every page.
func NewViews(o Options) (*Views, error) {
	c, err := locale.Load("en", o.SiteName)
	if err != nil {
		return nil, err
	}
	v := &Views{
		options:   o,
		catalogue: c,
		icons:     make(map[string]template.HTML),
		assets:    make(map[string]asset),
		assetURLs: make(map[string]string),

		panelIcons: make(map[string]string),
	}
	for _, load := range []func() error{v.loadAssets, v.loadIcons, v.loadPages} {
		if err := load(); err != nil {
			return nil, fmt.Errorf("load views: %w", err)
		}
	}
	return v, nil
}

// Render answers a request with the page that has the given name, in the language of the request. If
// Render returns an error, it hasn't written to the answer, so that the caller can write an error
// page. A connection that the browser closed is no error.
func (v *Views) Render(req *Request, status int, name string, page Page) error {
	page.frame().catalogue = req.Catalogue
	var body bytes.Buffer
	if err := v.pages.ExecuteTemplate(&body, name+".html", page); err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	req.W.Header().Set("Content-Type", "text/html; charset=utf-8")
	req.W.WriteHeader(status)
	_, _ = body.WriteTo(req.W)
	return nil
}

// Catalogue returns the sentences of the pages.
func (v *Views) Catalogue() *locale.Catalogue { return v.catalogue }

// PanelIcon returns the URL path of the picture of a panel, or "" if the panel has no picture.
func (v *Views) PanelIcon(origin string) string { return v.panelIcons[origin] }

// Static serves the static files at the URLs that the template function asset returns, and answers
// 404 for any other URL. The content at a URL never changes.
func (v *Views) Static() http.Handler {
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
			// A Range would apply to the compressed bytes, so a request that has one gets the
			// uncompressed file.
			if zip := a.compressed(); acceptsGzip(r.Header) && r.Header.Get("Range") == "" && len(zip) > 0 && len(zip) < len(content) {
				h.Set("Content-Encoding", "gzip")
				h.Set("Content-Length", strconv.Itoa(len(zip))) // with Content-Encoding, ServeContent doesn't set it
				content = zip
			}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

// Media types of static files by file name extension, and extensions by media type.
// mime.TypeByExtension isn't used, since its result depends on the host.
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

// assetPolicy is the Content-Security-Policy of static files. It forbids scripts in a file that
// is opened in a tab: the operator's logo may be an SVG file with a script.
const assetPolicy = "default-src 'none'; sandbox"

func (v *Views) loadAssets() error {
	look := v.options.Look
	if len(look.Logo.Content) > 0 {
		v.logo = v.addAsset("logo", look.Logo.Type, look.Logo.Content)
	}
	for origin, icon := range look.Icons {
		v.panelIcons[origin] = v.addAsset("panel", icon.Type, icon.Content)
	}
	return eachFile(staticFiles, "static", func(name string, content []byte) error {
		if name == "app.css" {
			content = append(content, look.accents()...)
		}
		ext := path.Ext(name)
		v.assetURLs[name] = v.addAsset(strings.TrimSuffix(name, ext), types[ext], content)
		return nil
	})
}

// addAsset adds a static file and returns its URL path, which contains its name and a hash of
// its content.
func (v *Views) addAsset(name, contentType string, content []byte) string {
	url := v.options.Base + "static/" + name + "." + ContentHash(content) + extensions[contentType]
	v.assets[url] = newAsset(contentType, content)
	return url
}

// ContentHash returns a short hash of a file's content, which distinguishes versions of the file.
func ContentHash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:assetHashBytes])
}

// accents returns the lines of the style sheet that set the operator's colours.
func (l Look) accents() string {
	if l.AccentLight == "" || l.AccentDark == "" {
		return ""
	}
	return ":root { --accent: " + l.AccentLight + "; }\n" +
		"@media (prefers-color-scheme: dark) { :root { --accent: " + l.AccentDark + "; } }\n"
}

func (v *Views) loadIcons() error {
	return eachFile(templateFiles, "templates/icons", func(name string, content []byte) error {
		v.icons[strings.TrimSuffix(name, ".svg")] = template.HTML(bytes.TrimSpace(content))
		return nil
	})
}

// loadPages parses all templates as one set: one set for each page, with its own copy of
// layout.html, would take most of the portal's memory.
func (v *Views) loadPages() error {
	v.pages = template.New("").Funcs(v.functions())
	parse := func(file string, content []byte) error {
		_, err := v.pages.New(file).Parse(string(content))
		return err
	}
	if err := eachFile(templateFiles, "templates", parse); err != nil {
		return err
	}
	if v.options.Templates == nil {
		return nil
	}
	return eachFile(v.options.Templates, "templates", func(file string, content []byte) error {
		if named := v.options.Pages; len(named) > 0 && !slices.Contains(named, strings.TrimSuffix(file, ".html")) {
			return nil
		}
		return parse(file, content)
	})
}

// functions returns the functions that templates can call and that don't depend on a language. The
// methods of [Frame] are those that do.
func (v *Views) functions() template.FuncMap {
	return template.FuncMap{
		"about":  (*locale.Message).Concerns,
		"icon":   v.icon,
		"asset":  v.asset,
		"logo":   func() string { return v.logo },
		"site":   func() string { return v.options.SiteName },
		"portal": func() string { return v.options.Portal },
		"help":   func() string { return v.options.Contact },
		"helpAt": func() string { return contactURL(v.options.Contact) },
	}
}

// contactURL returns the URL of a link to a contact.
func contactURL(contact string) string {
	if strings.Contains(contact, "://") {
		return contact
	}
	return "mailto:" + url.PathEscape(contact) // an address may contain a "?"
}

func (v *Views) icon(name string) (template.HTML, error) {
	svg, ok := v.icons[name]
	if !ok {
		return "", fmt.Errorf("no icon %q", name)
	}
	return svg, nil
}

func (v *Views) asset(name string) (string, error) {
	url, ok := v.assetURLs[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return url, nil
}

// eachFile calls use with the name and content of every file in folder, without subfolders.
func eachFile(files fs.FS, folder string, use func(name string, content []byte) error) error {
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
