package login

import (
	"net/url"
	"strings"
)

// maxReturnURL bounds what travels through the form and is stored with the
// attempt: longer than any address that a person goes back to.
const maxReturnURL = 2048

// LongestAddress bounds the path and query of a panel that a person comes back to: what
// the request lines that servers and proxies take, of 8 KiB, can hold.
const LongestAddress = 8 << 10

// home is where a person goes who came from nowhere, or from somewhere that
// isn't ours.
const home = "/"

// CheckReturn returns raw if it is an absolute path on the portal, with query
// and fragment, and "/" for everything else. It is checked when it comes in
// and again when it is used (R20).
func CheckReturn(raw string) string {
	checked := CheckPath(raw)
	u, err := url.Parse(checked)
	// Where a sign-in begins or ends is no place to come back to.
	if err != nil || u.Path == "/logout" || u.Path == "/login" || strings.HasPrefix(u.Path, "/login/") {
		return home
	}
	return checked
}

// CheckPath returns raw if it is an absolute path, with query and fragment, of
// whatever host stands before it, and "/" for everything else. What a browser
// might read as another host (two slashes, a backslash, a control character)
// is never let through. One that is longer than 2048 bytes, which is too long to travel
// in another address, is "/" too.
func CheckPath(raw string) string { return checkPath(raw, maxReturnURL) }

// CheckAddress is [CheckPath] for up to [LongestAddress] bytes.
func CheckAddress(raw string) string { return checkPath(raw, LongestAddress) }

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
		return raw // as net/url would write it, and most are like that
	}
	raw = escapeOddSigns(raw)
	u, err := url.Parse(raw)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || strings.HasPrefix(u.Path, "//") || strings.ContainsRune(u.Path, '\\') {
		return home
	}
	if clean := u.String(); len(clean) <= longest {
		return clean
	}
	return home
}

// oddSigns are signs that no path or fragment has unescaped (RFC 3986, section 3.3), and
// that browsers send as they are. Where one is there net/url would write the whole path
// anew, and a %2F in it as a slash.
var oddSigns = strings.NewReplacer(`"`, "%22", "<", "%3C", ">", "%3E", "^", "%5E", "`", "%60", "{", "%7B", "|", "%7C", "}", "%7D")

// escapeOddSigns escapes them before the query and behind it; in the query they may stay.
func escapeOddSigns(raw string) string {
	rest, fragment, hasFragment := strings.Cut(raw, "#")
	path, query, hasQuery := strings.Cut(rest, "?")
	raw = oddSigns.Replace(path)
	if hasQuery {
		raw += "?" + query
	}
	if hasFragment {
		raw += "#" + oddSigns.Replace(fragment)
	}
	return raw
}
