package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
)

// After a sign-in, the browser returns to the address that it requested on a panel. The URLs of
// the sign-in contain a short address itself, escaped twice. A longer address is stored in a
// cookie on the panel's host. If it doesn't fit into a cookie, a script stores it in the browser's
// session storage. For a stored address, the URLs of the sign-in contain backPath and the folder
// of the address, which is enough to find the panel's demand.

const (
	// backPath, followed by a key, is the path that redirects to the address stored under the key.
	backPath = access.OwnPrefix + "back/"

	// keptKey is the key of an address in the browser's session storage.
	keptKey = "kept"

	// backCookie stores an address. Its Path attribute contains the address's key, so that
	// browsers send it with no other request, and each tab has a cookie of its own.
	backCookie = "sallyport-back"

	// backCookieLife is how long a long address is stored, so how long the sign-in can take.
	// Users leave sign-in pages open overnight.
	backCookieLife = 24 * time.Hour

	// maxInAddress is the maximum length of an escaped address that the URLs of the sign-in
	// contain. Escaped again, the address stays below the limit of login.CheckReturn.
	maxInAddress = 600

	// maxInCookie is the maximum length of an encoded address in a cookie. Browsers accept
	// 4096 bytes with the cookie's name, and nginx by default 4 KiB for the headers of an
	// answer.
	maxInCookie = 3500

	// maxFolder is the maximum length of the folder that represents an address. It is also the
	// maximum length of a rule's path.
	maxFolder = 500
)

// returnAddress is the address on a panel to which a sign-in returns.
type returnAddress struct {
	path   string // the path in the URLs of the sign-in
	cookie string // value of backCookie; empty if no cookie is needed
	kept   bool   // a script must store the address before the redirect
}

// newReturnAddress returns the return address for a checked path with a query.
func newReturnAddress(address string) returnAddress {
	if 3*len(address) <= maxInAddress || len(url.QueryEscape(address)) <= maxInAddress {
		return returnAddress{path: address}
	}
	switch held := encodeBack(address); {
	case len(held) <= maxInCookie:
		return returnAddress{path: storedAddressPath(address, secret.NewID()), cookie: held}
	default:
		return returnAddress{path: storedAddressPath(address, keptKey), kept: true}
	}
}

// storedAddressPath returns the path that redirects to the address stored under a key.
func storedAddressPath(address, key string) string {
	return backPath + key + "?" + url.Values{"at": {folderOf(address)}}.Encode()
}

// setBackCookie stores a return address in a cookie, or deletes the cookie if life is 0.
func setBackCookie(w http.ResponseWriter, panel *access.Panel, back returnAddress, life time.Duration) {
	path, _, _ := strings.Cut(back.path, "?")
	c := &http.Cookie{
		Name: backCookie, Value: back.cookie, Path: path, MaxAge: int(life.Seconds()),
		HttpOnly: true, Secure: panel.IsHTTPS(), SameSite: http.SameSiteLaxMode,
	}
	if life == 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// folderOf returns the path of an address, or the folder of the path if the path is longer than
// maxFolder.
func folderOf(address string) string {
	path, _, _ := strings.Cut(address, "?")
	if len(path) <= maxFolder {
		return path
	}
	return path[:strings.LastIndexByte(path[:maxFolder], '/')+1]
}

// demandPath returns the path whose demand a browser must meet to return to the panel. That is the
// path in the address back itself, with two exceptions. If another tab waits for the sign-in, it is
// the path that this tab needs. For a stored address, it is the address's folder.
func demandPath(back string) string {
	back, _, _ = strings.Cut(back, "#")
	path, query, _ := strings.Cut(back, "?")
	values, _ := url.ParseQuery(query)
	switch {
	case path == signedInPath:
		return login.CheckPath(values.Get("for"))
	case strings.HasPrefix(path, backPath):
		return login.CheckPath(values.Get("at"))
	}
	return back
}

// pageHeaders are headers that browsers ignore on redirects.
var pageHeaders = []string{
	"Content-Security-Policy", "X-Content-Type-Options", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "X-Frame-Options", "Permissions-Policy",
}

// getBack redirects to a stored address. If the address is no longer stored, getBack redirects to
// the address's folder.
func (s panels) getBack(req *page.Request, panel *access.Panel) error {
	folder := panel.Origin + login.CheckPath(req.URL.Query().Get("at"))
	if req.PathValue("key") == keptKey {
		return s.Render(req, http.StatusOK, "panel-back", &panelBackPage{Frame: page.Frame{Title: locale.Say("panel_back.title")}, Panel: panel.Name, URL: folder})
	}
	to := folder
	if held := access.Cookie(req.Request, backCookie); held != "" {
		to = panel.Origin + login.CheckAddress(decodeBack(held))
		setBackCookie(req.W, panel, returnAddress{path: req.URL.Path}, 0)
	}
	for _, name := range pageHeaders { // makes room for a long Location within nginx's limit
		req.W.Header().Del(name)
	}
	http.Redirect(req.W, req.Request, to, http.StatusSeeOther)
	return nil
}

// showKeepPage shows a page that starts the sign-in for an address that is too long for a
// cookie. The page's script stores the address in the browser and continues. For browsers without
// scripts, the page has a link and says to which folder the sign-in will return.
func (s panels) showKeepPage(w http.ResponseWriter, r *http.Request, panel *access.Panel, address, back string) {
	access.Challenge(w.Header(), r.Header)
	data := panelKeepPage{
		Frame: page.Frame{Title: locale.Say("panel_sign_in.title", "panel", panel.Name)},
		URL:   panel.StartURL(folderOf(address)), KeptURL: panel.StartURL(back), Folder: folderOf(address),
	}
	req := s.NewRequest(w, r)
	if err := s.Render(req, http.StatusUnauthorized, "panel-keep", &data); err != nil {
		s.fail(req, err)
	}
}

// An address may have characters that a cookie's value must not have (RFC 6265, section 4.1.1).
var (
	backEncoder = strings.NewReplacer("~", "~0", ";", "~1", ",", "~2", `"`, "~3")
	backDecoder = strings.NewReplacer("~0", "~", "~1", ";", "~2", ",", "~3", `"`)
)

func encodeBack(address string) string { return backEncoder.Replace(address) }
func decodeBack(held string) string    { return backDecoder.Replace(held) }
