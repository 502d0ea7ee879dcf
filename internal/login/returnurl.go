package login

import (
	"net/url"
	"strings"
)

// maxReturnURL is the maximum length in bytes of a return URL in the form and in the
// attempt's row. Real paths are shorter.
const maxReturnURL = 2048

// MaxAddress is the maximum length in bytes of a panel's path and query to return to:
// servers and proxies accept request lines of up to 8 KiB.
const MaxAddress = 8 << 10

// home replaces a return URL that is missing or not allowed.
const home = "/"

// CheckReturn returns raw if it is an absolute path on the portal, with query and fragment,
// and otherwise "/". Callers check a return URL when it comes in and again before the
// redirect (R20).
func CheckReturn(raw string) string {
	checked := CheckPath(raw)
	u, err := url.Parse(checked)
	// A redirect to one of these pages would sign the user out or show the sign-in form again.
	if err != nil || u.Path == "/logout" || u.Path == "/login" || strings.HasPrefix(u.Path, "/login/") {
		return home
	}
	return checked
}

// CheckPath returns raw if it is an absolute path on any host, with query and fragment, and
// otherwise "/". It never returns a path that a browser could read as another host (two slashes,
// a backslash, a control character), nor a path of more than 2048 bytes, which is too long to be
// a parameter of another URL.
func CheckPath(raw string) string { return checkPath(raw, maxReturnURL) }

// CheckAddress is [CheckPath] for paths of up to [MaxAddress] bytes.
func CheckAddress(raw string) string { return checkPath(raw, MaxAddress) }

func checkPath(raw string, longest int) string {
	if len(raw) > longest || !strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "//") {
		return home
	}
	asIs := true
	for _, r := range raw {
		switch {
		case r <= ' ' || r == '\\' || r > 0x7e:
			return home
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.IndexByte("/?-._~=&", byte(r)) >= 0:
		default:
			asIs = false
		}
	}
	if asIs {
		return raw // the common case: net/url would return the same text
	}
	raw = escapeChars(raw)
	u, err := url.Parse(raw)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || strings.HasPrefix(u.Path, "//") || strings.ContainsRune(u.Path, '\\') {
		return home
	}
	if clean := u.String(); len(clean) <= longest {
		return clean
	}
	return home
}

// unescapedChars escapes the characters that RFC 3986, section 3.3, doesn't allow in a path or
// fragment but that browsers send. If one of them stayed, net/url would encode the whole path
// again and turn a %2F in it into a slash.
var unescapedChars = strings.NewReplacer(`"`, "%22", "<", "%3C", ">", "%3E", "^", "%5E", "`", "%60", "{", "%7B", "|", "%7C", "}", "%7D")

// escapeChars applies [unescapedChars] to the path and the fragment. A query may contain these
// characters.
func escapeChars(raw string) string {
	rest, fragment, hasFragment := strings.Cut(raw, "#")
	path, query, hasQuery := strings.Cut(rest, "?")
	raw = unescapedChars.Replace(path)
	if hasQuery {
		raw += "?" + query
	}
	if hasFragment {
		raw += "#" + unescapedChars.Replace(fragment)
	}
	return raw
}
