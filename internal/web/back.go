package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
)

// The address that a person asked for on a panel travels to the portal and back. A short
// one stands in the addresses on the way, escaped twice. A longer one waits in a cookie on
// the panel's host, and one that is longer than a cookie in the browser's session storage,
// where a script of ours puts it; what travels then is backPath with the folder that the
// address lies in, which is enough to know what the panel demands there.

const (
	// backPath, and a key behind it, is where a person comes back to whose address waits on
	// the panel's host.
	backPath = access.OwnPrefix + "back/"

	// keptKey is the key of an address that waits in the browser's session storage.
	keptKey = "kept"

	// backCookie holds an address. Each has a path of its own, with its key, so that no
	// other request brings it, and each tab has its own.
	backCookie = "sallyport-back"

	// backCookieLife is how long a person may take to sign in and still come back to a
	// long address: a sign-in page may be left open overnight.
	backCookieLife = 24 * time.Hour

	// maxInAddress is the longest address, escaped, that travels in other addresses:
	// escaped again it stays below what login.CheckReturn takes.
	maxInAddress = 600

	// maxInCookie is the longest address, encoded, that a cookie holds: browsers take 4096
	// bytes with the cookie's name, and nginx keeps 4 KiB for the headers of an
	// answer unless it is told otherwise.
	maxInCookie = 3500

	// maxFolder is the longest folder that stands for an address: the path of a rule is no
	// longer.
	maxFolder = 500
)

// wayBack is where a sign-in comes back to, as far as it can travel.
type wayBack struct {
	path   string // for the sign-in's own addresses
	cookie string // value of backCookie; empty where none is needed
	kept   bool   // a script must keep the address before the redirect
}

// wayBackTo returns the way back to an address of a panel, a checked path with a query.
func wayBackTo(address string) wayBack {
	if 3*len(address) <= maxInAddress || len(url.QueryEscape(address)) <= maxInAddress {
		return wayBack{path: address}
	}
	switch held := encodeBack(address); {
	case len(held) <= maxInCookie:
		return wayBack{path: backAt(address, secret.NewID()), cookie: held}
	default:
		return wayBack{path: backAt(address, keptKey), kept: true}
	}
}

// backAt returns where a person comes back to whose address waits under a key.
func backAt(address, key string) string {
	return backPath + key + "?" + url.Values{"at": {folderOf(address)}}.Encode()
}

// setBackCookie stores an address for the way back, or deletes it where the life is 0.
func setBackCookie(w http.ResponseWriter, panel *access.Panel, back wayBack, life time.Duration) {
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

// folderOf returns what a panel's rules see of an address: its path, or where that is too
// long to travel the folder that it lies in.
func folderOf(address string) string {
	path, _, _ := strings.Cut(address, "?")
	if len(path) <= maxFolder {
		return path
	}
	return path[:strings.LastIndexByte(path[:maxFolder], '/')+1]
}

// demandPath is the path of the panel that a person who comes back to a path needs
// to be admitted to: where another tab waits, the one that it waits for, and where a long
// address waits, its folder.
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

// pageHeaders are headers of our pages that browsers heed on pages only.
var pageHeaders = []string{
	"Content-Security-Policy", "X-Content-Type-Options", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "X-Frame-Options", "Permissions-Policy",
}

// getBack redirects to the address that waits. If it is gone, it redirects to its folder.
func (s *server) getBack(req *request, panel *access.Panel) error {
	folder := panel.Origin + login.CheckPath(req.URL.Query().Get("at"))
	if req.PathValue("key") == keptKey {
		return s.views.page(req.w, http.StatusOK, "panel-back", panelBackPage{frame: frame{Title: say("panel_back.title")}, Panel: panel.Name, URL: folder})
	}
	to := folder
	if held := access.Cookie(req.Request, backCookie); held != "" {
		to = panel.Origin + login.CheckAddress(decodeBack(held))
		setBackCookie(req.w, panel, wayBack{path: req.URL.Path}, 0)
	}
	for _, name := range pageHeaders { // which say nothing beside a redirect, and take room
		req.w.Header().Del(name)
	}
	http.Redirect(req.w, req.Request, to, http.StatusSeeOther)
	return nil
}

// keepAddress shows the way to the sign-in to a person at an address that is too long for
// a cookie: the script keeps the address in the browser and goes on; without it the page
// says where the sign-in will lead.
func (s *server) keepAddress(w http.ResponseWriter, r *http.Request, panel *access.Panel, address, back string) {
	access.Challenge(w.Header(), r.Header)
	page := panelKeepPage{
		frame: frame{Title: say("panel_sign_in.title", "panel", panel.Name)},
		URL:   panel.StartURL(folderOf(address)), KeptURL: panel.StartURL(back), Folder: folderOf(address),
	}
	if err := s.views.page(w, http.StatusUnauthorized, "panel-keep", page); err != nil {
		s.fail(s.newRequest(w, r), err)
	}
}

// An address may hold signs that no cookie's value may (RFC 6265, section 4.1.1).
var (
	backEncoder = strings.NewReplacer("~", "~0", ";", "~1", ",", "~2", `"`, "~3")
	backDecoder = strings.NewReplacer("~0", "~", "~1", ";", "~2", ",", "~3", `"`)
)

func encodeBack(address string) string { return backEncoder.Replace(address) }
func decodeBack(held string) string    { return backDecoder.Replace(held) }
