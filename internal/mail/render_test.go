package mail

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/testkit/pseudo"
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

// maxMail is the greatest size of a mail in bytes. Some mail programs cut larger ones off, and all
// of the many mails after an attack must be stored somewhere.
const maxMail = 10 << 10

func newRenderer(t *testing.T) *Renderer {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRenderer(Site{URL: "https://auth.example.com", Contact: "help@example.com", Zone: zone})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// catalogues returns the English catalogue and the pseudo-locales, by language.
func catalogues(t *testing.T, site string) map[string]*locale.Catalogue {
	t.Helper()
	english, err := locale.Load("en", site)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*locale.Catalogue{"en": english}
	file, err := os.ReadFile("../locale/en.json")
	if err != nil {
		t.Fatal(err)
	}
	for lang, derive := range pseudo.Catalogues {
		text, err := derive(file)
		if err != nil {
			t.Fatal(err)
		}
		if all[lang], err = locale.Parse(lang, site, text); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func noticeOf(kind notice.Kind) notice.Notice {
	return notice.Notice{
		Kind: kind, Event: "event", Account: "id", At: time.Date(2026, 11, 30, 14, 4, 5, 0, time.UTC), By: audit.ByOwner,
		Address: "192.0.2.7", Browser: firefox, Name: "Phone", Number: 3,
	}
}

// rendering is a mail and what it was made from.
type rendering struct {
	name string
	Rendered
}

// every renders every mail in the catalogue's language. name is the account's name, and thing is
// the name of what a notice is about.
func every(t *testing.T, r *Renderer, c *locale.Catalogue, name, thing string) (all []rendering) {
	t.Helper()
	add := func(what string, one Rendered, err error) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		all = append(all, rendering{what, one})
	}
	for _, kind := range notice.Kinds() {
		n := noticeOf(kind)
		n.Name, n.Browser, n.Reason = thing, firefox, thing
		one, err := r.Notice(c, n, name)
		add(string(kind), one, err)
		n.By, n.Former, n.More, n.Address, n.Browser = audit.ByOperator, kind == notice.EmailChanged, 14, "", ""
		one, err = r.Notice(c, n, name)
		add(string(kind)+"-operator", one, err)
	}
	for _, kind := range LinkKinds() {
		one, err := r.Link(c, Link{
			Kind: kind, URL: "https://auth.example.com/reset?ticket=KbUyMUUW5mUWo1o1G3kxVUCo2fUBHU0a5wi3ZKLrxZI", Life: 30 * time.Minute,
			At: noticeOf("").At, Address: "2001:db8::7", Browser: firefox,
		}, name)
		add("link-"+string(kind), one, err)
	}
	one, err := r.Test(c, noticeOf("").At)
	add("test", one, err)
	return all
}

// allowed are the only URLs that mails contain.
var allowed = regexp.MustCompile(`https://auth\.example\.com(/reset\?ticket=[\w-]{43})?`)

// Every mail is complete in every language: no sentence is missing, it loads no files from
// servers, its size is bounded, and the subject doesn't have the account's name.
func TestEveryMailIsComplete(t *testing.T) {
	r := newRenderer(t)
	for _, c := range catalogues(t, "Harbour Radio") {
		for _, one := range every(t, r, c, "ada", "Phone") {
			at := c.Lang + " " + one.name
			if dir := os.Getenv("SALLYPORT_TEST_MAILS"); dir != "" { // to look at them in a browser
				if err := os.WriteFile(filepath.Join(dir, one.name+"."+c.Lang+".html"), []byte(one.HTML), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, text := range []string{one.Subject, one.Text, one.HTML} {
				if text == "" || strings.ContainsAny(text, "⟦⟧") || strings.Contains(text, "{name}") || strings.Contains(text, "no value") {
					t.Errorf("%s: the text is empty, or lacks a sentence or a value:\n%s", at, text)
				}
			}
			if strings.ContainsAny(one.Subject, "\r\n") || strings.Contains(one.Subject, "ada") || strings.Contains(one.Subject, "192.0.2.7") || strings.Contains(one.Subject, "Phone") {
				t.Errorf("%s: the subject is %q, want one line without name and address", at, one.Subject)
			}
			for _, loaded := range []string{"<img", "<script", "<link", "<iframe", "src=", "url(", "@import", "background=", "<form", "cid:"} {
				if strings.Contains(one.HTML, loaded) {
					t.Errorf("%s: the HTML has %s, which loads or sends something", at, loaded)
				}
			}
			if rest := allowed.ReplaceAllString(one.Text+one.HTML, ""); strings.Contains(rest, "://") {
				t.Errorf("%s: the mail has a URL that isn't allowed:\n%s", at, rest)
			}
			if !strings.Contains(one.HTML, `lang="`+c.Lang+`" dir="`+c.Dir+`"`) {
				t.Errorf("%s: the language or direction is missing", at)
			}
			content, err := compose(one.Message("id", "ada@example.com", time.Time{}), sender, "auth.example.com")
			if err != nil || len(content) > maxMail {
				t.Errorf("%s: %d bytes, %v; want at most %d", at, len(content), err, maxMail)
			}
		}
	}
}

// Mails with the longest names are within the limit too, except in the pseudo-locale with
// lengthened sentences.
func TestMailsStaySmall(t *testing.T) {
	r := newRenderer(t)
	for _, long := range []string{strings.Repeat("W", 4000), strings.Repeat("👩‍🚀", 2000), strings.Repeat("م", 4000), strings.Repeat("<", 4000)} {
		for lang, c := range catalogues(t, strings.Repeat("é", 40)) {
			if lang == "en-XA" {
				continue
			}
			for _, one := range every(t, r, c, long, long) {
				content, err := compose(one.Message("id", "ada@example.com", time.Time{}), sender, "auth.example.com")
				if err != nil || len(content) > maxMail {
					t.Errorf("%s %s: %d bytes, %v; want at most %d", c.Lang, one.name, len(content), err, maxMail)
				}
				parse(t, string(content))
			}
		}
	}
}

// Attack 71: names are shown as text, whatever they contain, and don't affect the text beside
// them.
func TestAttack71NamesInMailsAreText(t *testing.T) {
	r := newRenderer(t)
	english := catalogues(t, "Harbour Radio")["en"]
	usual := every(t, r, english, "ada", "Phone")
	for _, hostile := range []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "a\r\nBcc: eve@example.com\r\n\r\n", "=?utf-8?q?=0D=0Aa?=", "\u202egnp.exe\u202c", "\u2066a\u2069", "\x1b[2J",
		"{url}", "{{.Subject}}", "a\u2028b\u2029c", "a\x00b", "--\n", "\xff\xfe",
	} {
		for i, one := range every(t, r, english, hostile, hostile) {
			if strings.Contains(one.HTML, "<script") || strings.Contains(one.HTML, "<img") || strings.ContainsAny(one.Text+one.HTML, "\r\x00\x1b\u202e\u202c\u2028") {
				t.Errorf("%s with %q has markup or control characters of the name:\n%s\n%s", one.name, hostile, one.Text, one.HTML)
			}
			if !strings.HasPrefix(one.HTML, "<!doctype html>\n<html lang=\"en\" dir=\"ltr\">") || one.Subject != usual[i].Subject {
				t.Errorf("%s with %q: the subject is %q, want %q; or the HTML begins differently", one.name, hostile, one.Subject, usual[i].Subject)
			}
			for line := range strings.Lines(one.Text) {
				if strings.HasPrefix(line, "Bcc:") {
					t.Errorf("%s with %q: a line of the name begins with Bcc:\n%s", one.name, hostile, one.Text)
				}
			}
		}
	}
	n := noticeOf(notice.AuthenticatorAdded)
	n.Name = "<b>هاتف</b>"
	one, err := r.Notice(english, n, "ada")
	if err != nil || !strings.Contains(one.Text, "authenticator “\u2068<b>هاتف</b>\u2069” was") || !strings.Contains(one.HTML, "<bdi>&lt;b&gt;هاتف&lt;/b&gt;</bdi>") {
		t.Errorf("a name from right to left isn't isolated, or not escaped: %v\n%s\n%s", err, one.Text, one.HTML)
	}
}

func TestTextOfANotice(t *testing.T) {
	r := newRenderer(t)
	english := catalogues(t, "Harbour Radio")["en"]
	n := noticeOf(notice.BackupCodeUsed)
	n.Number, n.More = 1, 14
	one, err := r.Notice(english, n, "ada")
	want := `A backup code of the account ada was used. 1 code is left.

When: 30 Nov 2026, 15:04 CET
IP address: 192.0.2.7
Browser: Firefox on Linux

This message stands for 14 more of the same kind that we didn’t send.

If this was you, there’s nothing to do.

If it wasn’t you, someone else can use your account. Sign in at https://auth.example.com, open “Settings → Security”, change your password, and generate new backup codes. If you can’t sign in, ask your administrator to reset your account.

Contact your administrator: help@example.com

-- 
You get this message because this is the email address of the account ada at Harbour Radio. Replies to it aren’t read.
`
	if err != nil || one.Text != want || one.Subject != "A backup code was used for your Harbour Radio account" {
		t.Errorf("%v, subject %q, text\n%s\nwant\n%s", err, one.Subject, one.Text, want)
	}

	n.By, n.Reason, n.Address, n.Browser, n.More = audit.ByOperator, "asked by phone", "", "", 0
	n.Kind = notice.SessionsRevoked
	one, err = r.Notice(english, n, "ada")
	want = `An administrator signed out browsers of the account ada.

When: 30 Nov 2026, 15:04 CET
Who: An administrator, on the server
Reason: asked by phone

If you didn’t expect this, ask your administrator.

Contact your administrator: help@example.com

-- 
You get this message because this is the email address of the account ada at Harbour Radio. Replies to it aren’t read.
`
	if err != nil || one.Text != want {
		t.Errorf("%v, text\n%s\nwant\n%s", err, one.Text, want)
	}
	if _, err := r.Notice(english, noticeOf("other"), "ada"); err == nil {
		t.Error("an unknown kind is rendered")
	}
	if _, err := r.Link(english, Link{Kind: "other"}, "ada"); err == nil {
		t.Error("an unknown link is rendered")
	}
}

// A mail has its link in the text and in the HTML, and says how long the link works.
func TestTextOfALink(t *testing.T) {
	r := newRenderer(t)
	english := catalogues(t, "Harbour Radio")["en"]
	for life, want := range map[time.Duration]string{
		30 * time.Minute: "for 30 minutes.", time.Minute: "for 1 minute.", 90 * time.Minute: "for 90 minutes.",
		24 * time.Hour: "for 24 hours.", 72 * time.Hour: "for 3 days.", 7 * 24 * time.Hour: "for 7 days.",
	} {
		const url = "https://auth.example.com/reset?ticket=x&a=b"
		one, err := r.Link(english, Link{Kind: Reset, URL: url, Life: life, At: noticeOf("").At, Address: "192.0.2.7"}, "ada")
		if err != nil || !strings.Contains(one.Text, "\nChoose a new password:\n"+url+"\n") || !strings.Contains(one.Text, want) ||
			!strings.Contains(one.HTML, `<a href="https://auth.example.com/reset?ticket=x&amp;a=b">Choose a new password</a>`) {
			t.Errorf("a link for %s: %v; want the link and %q in\n%s\n%s", life, err, want, one.Text, one.HTML)
		}
	}
}

func TestTimesHaveTheirZone(t *testing.T) {
	english := catalogues(t, "Harbour Radio")["en"]
	for zone, want := range map[string]string{
		"UTC": "30 Nov 2026, 14:04 UTC", "America/Sao_Paulo": "30 Nov 2026, 11:04 UTC-03", "Asia/Kolkata": "30 Nov 2026, 19:34 IST", "Pacific/Auckland": "1 Dec 2026, 03:04 NZDT",
	} {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRenderer(Site{Zone: location})
		if err != nil {
			t.Fatal(err)
		}
		if got := (paper{r, english}).when(noticeOf("").At); got != want {
			t.Errorf("%s: %q, want %q", zone, got, want)
		}
	}
}

func FuzzNotice(f *testing.F) {
	f.Add("ada", "Phone", firefox, "192.0.2.7")
	f.Add("<b>", "\u202e", "Evil/1.0 (<i>)", "a\r\nb")
	r, err := NewRenderer(Site{URL: "https://auth.example.com", Zone: time.UTC})
	if err != nil {
		f.Fatal(err)
	}
	english, err := locale.Load("en", "Harbour Radio")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, thing, browser, address string) {
		n := noticeOf(notice.PassMade)
		n.Name, n.Browser, n.Address = thing, browser, address
		one, err := r.Notice(english, n, name)
		if err != nil {
			t.Fatal(err)
		}
		lines := 10
		for _, text := range []string{address, (paper{r, english}).browser(browser)} {
			if text != "" {
				lines++
			}
		}
		if got := strings.Count(one.HTML, "<"); got != strings.Count(one.HTML, ">") || strings.Count(one.Text, "\n") != lines {
			t.Errorf("the HTML has %d \"<\" and %d \">\", want as many; or the text doesn't have %d lines:\n%s", got, strings.Count(one.HTML, ">"), lines, one.Text)
		}
		content, err := compose(one.Message("id", "ada@example.com", time.Time{}), sender, "auth.example.com")
		if err != nil || len(content) > maxMail {
			t.Errorf("the mail has %d bytes, %v; want at most %d", len(content), err, maxMail)
		}
	})
}
