package page

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mileusna/useragent"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/secret"
)

// BrowserName returns a description of a User-Agent, such as "Chrome on Linux". An unknown system is
// left out; for an unknown browser the result is "".
func (r *Request) BrowserName(userAgent string) string {
	ua := useragent.Parse(userAgent)
	switch {
	case ua.Name != "" && ua.OS != "":
		return r.Text(locale.Say("sessions.browser", "browser", ua.Name, "system", ua.OS))
	default:
		return ua.Name
	}
}

// IsPhone reports whether a User-Agent is that of a phone or a tablet.
func IsPhone(userAgent string) bool {
	ua := useragent.Parse(userAgent)
	return ua.Mobile || ua.Tablet
}

// SignInMessage returns the text for a combination of proofs, such as "password + code".
func SignInMessage(name string) *locale.Message {
	switch name {
	case "passkey":
		return locale.Say("how.passkey")
	case "password_webauthn":
		return locale.Say("how.password_webauthn")
	case "password_totp":
		return locale.Say("how.password_totp")
	case "password_backup_code":
		return locale.Say("how.password_backup_code")
	default:
		return locale.Say("how.password")
	}
}

// FormatCursor returns the place after e in a list of events, as text for a URL.
func FormatCursor(e audit.Event) string {
	return strconv.FormatInt(e.At.UnixMilli(), 10) + "." + url.QueryEscape(e.ID)
}

// ParseCursor parses the result of [FormatCursor], which must be unescaped. For any other text it
// returns the cursor of the first page.
func ParseCursor(text string) audit.Cursor {
	at, id, _ := strings.Cut(text, ".")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !secret.IsID(id) {
		return audit.Cursor{}
	}
	return audit.Cursor{At: time.UnixMilli(ms), ID: id}
}
