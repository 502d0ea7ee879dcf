package page

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/locale"
)

// Notice is the box at the top of a page. It confirms an action or asks for attention.
type Notice struct {
	Kind     string // "ok", "info", "warn" or "error"
	Text     *locale.Message
	LinkURL  string // a path of the portal; may be empty
	LinkText *locale.Message
}

// Frame is the data of the parts that surround the content of every page.
type Frame struct {
	Title     *locale.Message // the page's title, without the site's name
	Account   string          // name of the signed-in account; empty: not signed in
	Admin     bool            // the menu has a link to the pages below /admin
	Tab       string          // "profile", "security", "sessions", "activity", "admin-accounts", or empty: no tabs
	Notice    *Notice         // may be nil
	FewCodes  bool            // show the banner about the few backup codes that are left
	CodesLeft int             // number of unused backup codes; set if FewCodes is, and on the Security tab
	Clock     *locale.Message // what is wrong with the server's clock, for operators; may be nil
	Wrong     int             // wrong codes that others typed after the correct password; 0: no banner

	catalogue *locale.Catalogue // set by [Views.Render]
}

// Page is the data of a page: a pointer to a struct that embeds [Frame].
type Page interface{ frame() *Frame }

func (f *Frame) frame() *Frame { return f }

// The methods below are for templates, which call them as $.T, $.Say and so on. They belong to
// the frame and not to the parsed templates, so that one set of templates serves all languages.

// T returns the sentence with this key; see [locale.Catalogue.Text].
func (f *Frame) T(key string, args ...any) string { return f.catalogue.Text(key, args...) }

// Rich returns the sentence with this key, with markup in its gaps; see [locale.Catalogue.Rich].
func (f *Frame) Rich(key string, args ...any) template.HTML { return f.catalogue.Rich(key, args...) }

// Say returns the text of m, or "" for nil.
func (f *Frame) Say(m *locale.Message) string { return f.catalogue.Sentence(m) }

// Lang returns the language of the page's text (BCP 47).
func (f *Frame) Lang() string { return f.catalogue.Lang }

// Dir returns the direction of the page's text, "ltr" or "rtl".
func (f *Frame) Dir() string { return f.catalogue.Dir }

// List returns the items of a list as one text.
func (f *Frame) List(items []string) string { return f.catalogue.List(items) }

// LinkTo returns a link whose text is the sentence with this key, for a gap of [Frame.Rich].
func (f *Frame) LinkTo(url, key string) template.HTML {
	return template.HTML(`<a href="` + template.HTMLEscapeString(url) + `">` + template.HTMLEscapeString(f.T(key)) + `</a>`)
}

// When returns a <time> that shows a date and the time of day, or "" for the zero time.
func (f *Frame) When(at time.Time) template.HTML {
	return f.timeElement(at, "", func(at time.Time) string { return f.catalogue.DayAndTime(at, minuteLayout) })
}

// Day returns a <time> that shows a date, or "" for the zero time.
func (f *Frame) Day(at time.Time) template.HTML {
	return f.timeElement(at, " data-day", f.catalogue.Day)
}

// SiteDay returns a date as text, in the time zone of at. It is for days that begin at the same
// moment for all users, so scripts don't convert it to the browser's zone.
func (f *Frame) SiteDay(at time.Time) string { return f.catalogue.Day(at) }

// TimeOfDay returns a <time> that shows the time of day, for a list below a date.
func (f *Frame) TimeOfDay(at time.Time) template.HTML {
	return f.timeElement(at, " data-clock", func(at time.Time) string {
		return f.catalogue.Text("time.clock", "time", at.Format(minuteLayout))
	})
}

// Formats of the time of day. Pages have times in UTC; the script app.js converts them to the
// user's time zone.
const (
	minuteLayout = "15:04"
	exactLayout  = "15:04:05 MST"
)

// timeElement returns a <time> with the exact time and zone in its title.
func (f *Frame) timeElement(at time.Time, attribute string, text func(time.Time) string) template.HTML {
	if at.IsZero() {
		return ""
	}
	at = at.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s"%s>%s</time>`, at.Format(time.RFC3339),
		template.HTMLEscapeString(f.catalogue.DayAndTime(at, exactLayout)), attribute, template.HTMLEscapeString(text(at))))
}

// Months returns the short names of the months, separated by "|", for app.js.
func (f *Frame) Months() string {
	names := make([]string, 0, 12)
	for m := time.January; m <= time.December; m++ {
		names = append(names, f.catalogue.Month(m))
	}
	return strings.Join(names, "|")
}

// TabTitle returns the title of a browser tab: the page's title, with the site's name if the
// title doesn't contain it.
func (f *Frame) TabTitle() string {
	title := f.Say(f.Title)
	if strings.Contains(title, f.catalogue.Site) {
		return title
	}
	return title + " · " + f.catalogue.Site
}

// With returns the data for a template that the page's template calls: the page's frame and value.
func (f *Frame) With(value any) part { return part{f, value} }

// part is the data of a part of a page: the page's frame and a value.
type part struct {
	*Frame
	Value any
}

// ErrorPage is the page for every error. Its title says what happened.
type ErrorPage struct {
	Frame
	Advice    *locale.Message // what the user can do
	LinkURL   string          // may be empty
	LinkText  *locale.Message
	HomeURL   string // URL of the list of panels, as a second link; may be empty
	SignOut   string // path to which the sign-out form is submitted; empty: no form
	Reference string // also in the log
}
