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
	// backPath is where a person comes back to whose address waits on the panel's host.
	backPath = access.OwnPrefix + "back"

	// backCookie holds one address on the panel's host: its key, a dot, and the address.
	backCookie = "sallyport-back"

	// backCookieLife is how long a person may take to sign in and still come back to a
	// long address: a sign-in page may be left open overnight.
	backCookieLife = 24 * time.Hour

	// maxInAddress is the longest address, escaped, that travels in other addresses:
	// escaped again it stays below what login.CheckReturn takes.
	maxInAddress = 600

	// maxInCookie is the longest address, encoded, that a cookie holds: browsers take 4096
	// bytes with the cookie's name and key.
	maxInCookie = 3900

	// maxFolder is the longest folder that stands for an address: the path of a rule is no
	// longer.
	maxFolder = 500
)

// wayBack is where a sign-in comes back to, as far as it can travel.
type wayBack struct {
	path   string // for the sign-in's own addresses
	cookie string // value of backCookie; empty where none is needed
	kept   bool   // a script must keep the address before
}

// wayBackTo returns the way back to an address of a panel, a checked path with a query.
func wayBackTo(address string) wayBack {
	held := encodeBack(address)
	switch {
	case len(url.QueryEscape(address)) <= maxInAddress:
		return wayBack{path: address}
	case len(held) <= maxInCookie:
		key := secret.NewID()
		return wayBack{path: backAt(address, "key", key), cookie: key + "." + held}
	default:
		return wayBack{path: backAt(address, "kept", "1"), kept: true}
	}
}

// backAt returns backPath for an address that waits.
func backAt(address, name, value string) string {
	return backPath + "?" + url.Values{"at": {folderOf(address)}, name: {value}}.Encode()
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

// soughtAt is the path of the panel that a person who comes back to a path needs
// to be admitted to: where another tab waits, the one that it waits for, and where a long
// address waits, its folder.
func soughtAt(back string) string {
	back, _, _ = strings.Cut(back, "#")
	path, query, _ := strings.Cut(back, "?")
	values, _ := url.ParseQuery(query)
	switch path {
	case signedInPath:
		return login.CheckPath(values.Get("for"))
	case backPath:
		return login.CheckPath(values.Get("at"))
	}
	return back
}

// getBack leads to the address that waits. Where it is gone, the folder must do.
func (s *server) getBack(req *request, panel *access.Panel) error {
	query := req.URL.Query()
	folder := panel.Origin + login.CheckPath(query.Get("at"))
	if query.Get("kept") != "" {
		return s.views.page(req.w, http.StatusOK, "panel-back", panelBackPage{frame: frame{Title: say("panel_back.title")}, Panel: panel.Name, URL: folder})
	}
	key, held, _ := strings.Cut(panel.Cookie(req.Request, backCookie), ".")
	to := folder
	if key != "" && key == query.Get("key") {
		to = panel.Origin + login.CheckAddress(decodeBack(held))
		setHostCookie(req.w, panel.HTTPS(), backCookie, "", 0)
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
