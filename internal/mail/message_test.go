package mail

import (
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parsed is a mail as a mail program reads it.
type parsed struct {
	header     netmail.Header
	subject    string
	text, html string
}

// parse reads a mail, and fails the test if its form isn't that of RFC 5322.
func parse(t *testing.T, content string) parsed {
	t.Helper()
	for line := range strings.SplitSeq(content, "\r\n") {
		if len(line) > 200 || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("a line has %d bytes or a control character, want at most 200 bytes and none: %q", len(line), line)
		}
	}
	m, err := netmail.ReadMessage(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	p := parsed{header: m.Header}
	if p.subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Error(err)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("the type is %s, %v; want multipart/alternative", kind, err)
	}
	for parts := multipart.NewReader(m.Body, parameters["boundary"]); ; {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		var decoded io.Reader = quotedprintable.NewReader(part)
		if part.Header.Get("Content-Transfer-Encoding") == "base64" {
			decoded = base64.NewDecoder(base64.StdEncoding, part)
		}
		body, err := io.ReadAll(decoded)
		if err != nil {
			t.Fatal(err)
		}
		if part.Header.Get("Content-Type") == "text/plain; charset=utf-8" {
			p.text = string(body)
		} else {
			p.html = string(body)
		}
	}
}

func TestHeadersAreComplete(t *testing.T) {
	content, err := compose(message(), sender, "auth.example.com")
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, string(content))
	got.header["Content-Type"] = nil // has a random boundary
	want := netmail.Header{
		"Date":             {"Mon, 30 Nov 2026 15:04:05 +0000"},
		"From":             {`"Sallyport" <noreply@example.com>`},
		"To":               {"ada@example.com"},
		"Message-Id":       {"<mBm2nGZ5ZL8xgJ-4wS_a@auth.example.com>"},
		"Subject":          {"Your password was changed"},
		"Auto-Submitted":   {"auto-generated"},
		"Content-Language": {"en"},
		"Mime-Version":     {"1.0"},
		"Content-Type":     nil,
	}
	if diff := cmp.Diff(want, got.header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if got.text != "Hello\r\n.\r\nGood bye\r\n" || got.html != "<p>Hello</p>\r\n" {
		t.Errorf("the parts are %q and %q, want the text and the HTML of the message", got.text, got.html)
	}
}

// Attack 71: a text stays in one header, and is shown unchanged, whatever it contains.
func TestAttack71TextsStayInTheirHeader(t *testing.T) {
	for _, subject := range []string{
		"Password changed\r\nBcc: eve@example.com",
		"Password changed\r\n\r\n<script>",
		"\nBcc: eve@example.com", "a\rb", "a\x00b",
		"=?utf-8?q?=0D=0ABcc:_eve@example.com?=", "=?utf-8?b?8J+Yig==?=", "=?", "?=",
		"<script>alert(1)</script>", "\u202egnp.exe", "Café – “Harbour”", strings.Repeat("ä", 100), strings.Repeat("long ", 40),
		strings.Repeat("👩‍🚀", 30), "",
	} {
		m := message()
		m.Subject = subject
		content, err := compose(m, sender, "auth.example.com")
		if err != nil {
			t.Fatal(err)
		}
		got := parse(t, string(content))
		if got.subject != subject || len(got.header) != 9 {
			t.Errorf("%q is shown as %q; the headers are %v; want the subject unchanged and 9 headers", subject, got.subject, got.header)
		}
	}
}

// Attack 71: an address can't become another command or header either.
func TestAttack71AddressesAreChecked(t *testing.T) {
	dir := t.TempDir()
	m := &Mailer{Dir: dir, From: sender, Domain: "auth.example.com"}
	for _, to := range []string{
		"", "ada", "@", "ada@", "@example.com", "ada@example.com\r\nBcc: eve@example.com", "ada@example.com>\r\nRCPT TO:<eve@example.com", "ada@example.com, eve@example.com",
		"<ada@example.com>", "Ada <ada@example.com>", "ada example.com", "ada@example.com@example.org", "ada\x00@example.com", "\u202eada@example.com", `"ada"@example.com`,
	} {
		one := message()
		one.To = to
		if err := m.Send(t.Context(), one); err == nil || classOf(t, err) != BadAddress {
			t.Errorf("address %q: %v; want class BadAddress", to, err)
		}
	}
	for _, id := range []string{"", "../x", "a/b", "a.b", "a>b", "a\r\nb"} {
		one := message()
		one.ID = id
		if err := m.Send(t.Context(), one); err == nil || classOf(t, err) != Rejected {
			t.Errorf("id %q: %v; want class Rejected", id, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("files were written: %v, %v; want none", entries, err)
	}
}

func TestMailsAreWrittenAsFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "mails")
	m := &Mailer{Dir: dir, From: sender, Domain: "auth.example.com"}
	if err := m.Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "20261130T150405.000-mBm2nGZ5ZL8xgJ-4wS_a.eml")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v; want mode 0600", info, err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := parse(t, string(content)); got.subject != message().Subject {
		t.Errorf("the file doesn't have the subject %q:\n%s", message().Subject, content)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.Dir = filepath.Join(filepath.Dir(dir), "file", "mails")
	if err := m.Send(t.Context(), message()); err == nil || classOf(t, err) != Temporary {
		t.Errorf("into a directory that can't be created: %v; want class Temporary", err)
	}
}

func TestAddressesStandForHosts(t *testing.T) {
	for host, want := range map[string][2]string{
		"auth.example.com": {"auth.example.com", "auth.example.com"},
		"192.0.2.7":        {"[192.0.2.7]", "192.0.2.7"},
		"2001:db8::7":      {"[IPv6:2001:db8::7]", "[IPv6:2001:db8::7]"},
	} {
		if got := [2]string{ehloName(host), idDomain(host)}; got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

// FuzzCompose checks that any text is read back unchanged, and that the mail has no other
// headers.
func FuzzCompose(f *testing.F) {
	f.Add("Password changed\r\nBcc: eve@example.com", "text", "<p>html</p>")
	f.Add(" ", "text", "<p>html</p>")
	f.Add("=?utf-8?q?a?=", ".\n..\n", "--boundary--")
	f.Fuzz(func(t *testing.T, subject, text, html string) {
		m := message()
		m.Subject, m.Text, m.HTML = strings.ToValidUTF8(subject, ""), "x"+text, "x"+html
		content, err := compose(m, sender, "auth.example.com")
		if err != nil {
			t.Fatal(err)
		}
		got := parse(t, string(content))
		if got.subject != m.Subject || len(got.header) != 9 {
			t.Errorf("%q is shown as %q; the headers are %v; want the subject unchanged and 9 headers", m.Subject, got.subject, got.header)
		}
	})
}
