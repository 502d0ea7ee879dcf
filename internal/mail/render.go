package mail

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	texttemplate "text/template"
	"time"
	"unicode"

	"github.com/mileusna/useragent"
	"golang.org/x/text/unicode/bidi"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/notice"
)

//go:embed mail.html
var htmlLayout string

//go:embed mail.txt
var textLayout string

// Site has what mails say about the portal.
type Site struct {
	URL     string // of the portal's home page
	Contact string // of the operator; may be empty
	Zone    *time.Location
}

// Rendered is a mail's content, for a [Message].
type Rendered struct {
	Lang, Subject, Text, HTML string
}

// Message returns the mail with this content; see [Message] for the arguments.
func (r Rendered) Message(id, to string, at time.Time) Message {
	return Message{ID: id, To: to, At: at, Lang: r.Lang, Subject: r.Subject, Text: r.Text, HTML: r.HTML}
}

// Renderer writes mails. It is safe for concurrent use.
type Renderer struct {
	site Site
	html *template.Template
	text *texttemplate.Template
}

// NewRenderer returns a renderer for the mails of a site.
func NewRenderer(site Site) (*Renderer, error) {
	html, err := template.New("mail.html").Parse(htmlLayout)
	if err != nil {
		return nil, fmt.Errorf("read the layout of mails: %w", err)
	}
	text, err := texttemplate.New("mail.txt").Parse(textLayout)
	if err != nil {
		return nil, fmt.Errorf("read the layout of mails: %w", err)
	}
	return &Renderer{site, html, text}, nil
}

// layout is the data that both layouts, HTML and text, show.
type layout struct {
	Lang, Dir, Site, Subject string
	Lead                     sentence
	Facts                    []fact
	Button                   string // text of the link; empty without a link
	URL                      template.URL
	Then                     []sentence
	Foot                     sentence
}

// sentence is a sentence as plain text and as HTML.
type sentence struct {
	Text string
	HTML template.HTML
}

// fact is a line such as "When: 30 Nov 2026, 15:04 UTC".
type fact struct {
	Label string
	Value sentence
	Line  string
}

// Notice renders a notice about the account whose name is given. It returns an error if it doesn't
// know the notice's kind.
func (r *Renderer) Notice(c *locale.Catalogue, n notice.Notice, name string) (Rendered, error) {
	w, ok := wordingOf(n)
	if !ok {
		return Rendered{}, fmt.Errorf("no mail is written for notices of the kind %q", n.Kind)
	}
	p := paper{r, c}
	l := p.layout(w.subject)
	l.Lead = p.say(w.lead, "name", value(name), "thing", value(n.Name), "n", n.Number)
	l.Facts = p.facts(n.At, n.Address, n.Browser)
	switch n.By {
	case audit.ByOperator:
		l.Facts = append(l.Facts, p.fact("mail.who", p.say("mail.administrator")))
	case audit.ByAdministrator:
		l.Facts = append(l.Facts, p.fact("mail.who", p.say("mail.administrator_in_browser")))
	}
	if n.Reason != "" {
		l.Facts = append(l.Facts, p.fact("mail.reason", p.cut(n.Reason, maxReason)))
	}
	if n.More > 0 {
		l.Then = append(l.Then, p.say("mail.more", "n", n.More))
	}
	if !w.isOfOperator {
		l.Then = append(l.Then, p.say("mail.if_you"))
	}
	l.Then = append(l.Then, p.say(w.advice, "url", link(r.site.URL)))
	l.Then = append(l.Then, p.contact()...)
	foot := "mail.footer"
	if n.Former {
		foot = "mail.footer_former"
	}
	l.Foot = p.say(foot, "name", value(name))
	return p.write(l)
}

// Link renders a mail with a link for the account whose name is given. It returns an error if it
// doesn't know the link's kind.
func (r *Renderer) Link(c *locale.Catalogue, k Link, name string) (Rendered, error) {
	w, ok := linkWordings[k.Kind]
	if !ok {
		return Rendered{}, fmt.Errorf("no mail is written for links of the kind %q", k.Kind)
	}
	p := paper{r, c}
	l := p.layout(w.subject)
	l.Lead = p.say(w.lead, "name", value(name))
	if k.Address != "" {
		l.Facts = p.facts(k.At, k.Address, k.Browser)
	}
	l.Button, l.URL = c.Text(w.button), template.URL(k.URL) // built from public_url and a token
	l.Then = []sentence{p.sayMessage(lifeOf(k.Life))}
	if w.after != "" {
		l.Then = append(l.Then, p.say(w.after))
	}
	l.Then = append(l.Then, p.contact()...)
	l.Foot = p.say(w.footer, "name", value(name))
	return p.write(l)
}

// Test renders the mail of "sallyport mail test".
func (r *Renderer) Test(c *locale.Catalogue, at time.Time) (Rendered, error) {
	p := paper{r, c}
	l := p.layout("mail.test.subject")
	l.Lead = p.say("mail.test.lead")
	l.Facts = p.facts(at, "", "")
	l.Foot = p.say("mail.footer_operator")
	return p.write(l)
}

// paper is a renderer with a language.
type paper struct {
	*Renderer
	c *locale.Catalogue
}

func (p paper) layout(subject string) layout {
	return layout{Lang: p.c.Lang, Dir: p.c.Dir, Site: p.c.Site, Subject: p.c.Text(subject)}
}

// facts returns the facts that say when and from where something happened. The parameters address
// and browser may be empty.
func (p paper) facts(at time.Time, address, browser string) []fact {
	all := []fact{p.fact("mail.when", p.value(p.when(at)))}
	if address != "" {
		all = append(all, p.fact("mail.from", p.value(address)))
	}
	if name := p.browser(browser); name != "" {
		all = append(all, p.fact("mail.browser", p.value(name)))
	}
	return all
}

func (p paper) fact(label string, of sentence) fact {
	return fact{p.c.Text(label), of, p.c.Text("mail.fact", "label", p.c.Text(label), "value", of.Text)}
}

func (p paper) contact() []sentence {
	if p.site.Contact == "" {
		return nil
	}
	if strings.HasPrefix(p.site.Contact, "http") {
		return []sentence{p.say("mail.contact", "contact", link(p.site.Contact))}
	}
	return []sentence{p.say("mail.contact", "contact", value(p.site.Contact))}
}

// when returns a time in the site's zone, with the zone's name, or its offset if it has no name.
func (p paper) when(at time.Time) string {
	at = at.In(p.site.Zone)
	zone, _ := at.Zone()
	if strings.HasPrefix(zone, "+") || strings.HasPrefix(zone, "-") {
		zone = p.c.Text("mail.zone", "offset", zone)
	}
	return p.c.DayAndTime(at, "15:04") + " " + zone
}

// browser returns a description of a User-Agent, such as "Firefox on Linux", or "".
func (p paper) browser(userAgent string) string {
	ua := useragent.Parse(userAgent)
	if ua.Name != "" && ua.OS != "" {
		return p.c.Text("sessions.browser", "browser", ua.Name, "system", ua.OS)
	}
	return ua.Name
}

// value is text that a user chose and that fills a gap of a sentence.
type value string

// link is a URL that fills a gap of a sentence.
type link string

// say returns the sentence with this key as plain text and as HTML. It isolates each value in args,
// so that the value's text direction doesn't affect the sentence around it.
func (p paper) say(key string, args ...any) sentence {
	text, html := make([]any, len(args)), make([]any, len(args))
	for i, arg := range args {
		text[i], html[i] = arg, arg
		switch arg := arg.(type) {
		case value:
			shown := p.value(string(arg))
			text[i], html[i] = shown.Text, shown.HTML
		case link:
			escaped := template.HTMLEscapeString(string(arg))
			text[i], html[i] = string(arg), template.HTML(`<a href="`+escaped+`">`+escaped+`</a>`)
		}
	}
	return sentence{p.c.Text(key, text...), p.c.Rich(key, html...)}
}

// value returns text that isn't from the catalogue, as plain text and as HTML.
func (p paper) value(text string) sentence { return p.cut(text, maxValue) }

func (p paper) cut(text string, limit int) sentence {
	text = clean(text, limit)
	return sentence{p.isolate(text), template.HTML("<bdi>" + template.HTMLEscapeString(text) + "</bdi>")}
}

func (p paper) sayMessage(m *locale.Message) sentence {
	text := p.c.Sentence(m)
	return sentence{text, template.HTML(template.HTMLEscapeString(text))}
}

func (p paper) write(l layout) (Rendered, error) {
	var text, html bytes.Buffer
	if err := p.text.Execute(&text, l); err != nil {
		return Rendered{}, fmt.Errorf("write a mail: %w", err)
	}
	if err := p.html.Execute(&html, l); err != nil {
		return Rendered{}, fmt.Errorf("write a mail: %w", err)
	}
	return Rendered{p.c.Lang, l.Subject, text.String(), html.String()}, nil
}

// Marks that isolate text of another direction (UAX #9, section 2.4).
const (
	firstStrongIsolate = "\u2068"
	popIsolate         = "\u2069"
)

// isolate returns text between isolating marks if it has letters of a right-to-left script and the
// mail's language runs from left to right. For other languages the catalogue adds the marks.
func (p paper) isolate(text string) string {
	isTurned := strings.ContainsFunc(text, func(r rune) bool {
		properties, _ := bidi.LookupRune(r)
		return properties.Class() == bidi.R || properties.Class() == bidi.AL
	})
	if p.c.Dir == "rtl" || !isTurned {
		return text
	}
	return firstStrongIsolate + text + popIsolate
}

// Maximum lengths of values in code points, which keep mails small. No account's name is longer.
const (
	maxValue  = 64
	maxReason = 200
)

// clean returns one line of at most limit printable characters. Characters that change the
// direction of text are removed, but not the joiners within emoji and in some scripts.
func clean(text string, limit int) string {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r), r == zeroWidthJoiner, r == zeroWidthNonJoiner:
			return r
		}
		return -1
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return text
}
