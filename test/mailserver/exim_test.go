package mailserver

import (
	"bytes"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	mailUser     = "portal@example.com"
	mailPassword = "correct horse: battery"
)

// configuration is that of a submission server. It demands TLS and then a password, accepts any
// recipient, and stores each mail as a file in one directory. Headers that violate RFC 5322 are
// refused.
const configuration = `
primary_hostname = mail.test
spool_directory = DIR/spool
log_file_path = DIR/spool/%slog
pid_file_path = DIR/spool/pid
daemon_smtp_ports = PORT
local_interfaces = 127.0.0.1
tls_advertise_hosts = *
tls_certificate = DIR/mail.pem
tls_privatekey = DIR/mail.key
auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_rcpt = rcpt
acl_smtp_data = data
host_lookup =
keep_environment =
begin acl
rcpt:
  accept authenticated = *
  deny   message = authenticate first
data:
  require verify = header_syntax
  accept
begin routers
all:
  driver = accept
  transport = files
begin transports
files:
  driver = appendfile
  directory = DIR/mails
  maildir_format
  user = Debian-exim
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{USER}}{eq{$auth3}{PASSWORD}}}}
  server_set_id = $auth2
`

// startExim starts Exim in dir, which must be empty, and returns its address.
func startExim(t *testing.T, dir string, ca *testkit.CA) string {
	t.Helper()
	as, err := user.Lookup("Debian-exim")
	testkit.Check(t, err)
	uid, _ := strconv.Atoi(as.Uid)
	gid, _ := strconv.Atoi(as.Gid)
	address := testkit.FreeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	ca.Issue(dir, "mail", "127.0.0.1")
	file := filepath.Join(dir, "exim.conf")
	text := strings.NewReplacer("DIR", dir, "PORT", port, "USER", mailUser, "PASSWORD", mailPassword).Replace(configuration)
	testkit.Check(t, os.WriteFile(file, []byte(text), 0o600))
	for _, name := range []string{"spool", "mails"} {
		testkit.Check(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	for _, name := range []string{"", "exim.conf", "mail.key", "mail.pem", "spool", "mails"} {
		if name != "exim.conf" { // root must own this file
			testkit.Check(t, os.Chown(filepath.Join(dir, name), uid, gid))
		}
	}
	testkit.Check(t, os.Chmod(file, 0o644))
	var out bytes.Buffer
	cmd := exec.Command("exim4", "-C", file, "-bdf")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	testkit.Check(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(dir, "spool", "*log"))
			for _, name := range logs {
				text, _ := os.ReadFile(name)
				t.Logf("%s:\n%s", name, text)
			}
			t.Logf("Exim printed:\n%s", &out)
		}
	})
	testkit.Until(t, "Exim listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address
}

// read is a mail as Python's email package reads it; see read.py.
type read struct {
	Headers  []string
	Subject  string
	From     [][]string
	To       []string
	Date     time.Time
	ID       string
	Auto     string
	Received string
	Type     string
	Parts    [][]string
	Defects  []string
}

// Mails with hostile names go through Exim, with STARTTLS and a password, and are read by
// Python's email package. Attack 71: a name stays text, and can't begin a header.
func TestAttack71MailsThroughEximAsPythonReadsThem(t *testing.T) {
	t.Parallel()
	// Don't use t.TempDir(), which Exim's user may not read.
	dir, err := os.MkdirTemp("", "sallyport-exim-")
	testkit.Check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ca := testkit.NewCA(t)
	own := t.TempDir()
	for name, content := range map[string][]byte{"ca.pem": ca.PEM, "password": []byte(mailPassword)} {
		testkit.Check(t, os.WriteFile(filepath.Join(own, name), content, 0o600))
	}
	at := url.URL{Scheme: "smtp", User: url.User(mailUser), Host: startExim(t, dir, ca)}
	const site = "Hafen 🌊 راديو"
	p := portal.Start(t, "sqlite", "SALLYPORT_SITE_NAME="+site, "SALLYPORT_SITE_TIME_ZONE=Asia/Kolkata",
		"SALLYPORT_MAIL_URL="+at.String(), "SALLYPORT_MAIL_FROM="+site+" <portal@example.com>",
		"SALLYPORT_MAIL_PASSWORD_FILE="+filepath.Join(own, "password"), "SALLYPORT_MAIL_CA="+filepath.Join(own, "ca.pem"))
	ada, err := p.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "ada", Email: "ada@example.com"}, portal.Password)
	testkit.Check(t, err)
	names := []string{
		"Phone", "👩‍🚀 هاتف", "\u202egnp.exe", "a\r\nBcc: eve@example.com\r\n\r\nb", "=?utf-8?q?=0D=0ABcc:_eve@example.com?=", "<script>alert(1)</script>", ".\r\n.\r\nQUIT\r\n", "From here",
	}
	// Events of removals, to which no quota applies.
	testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
		for _, name := range names {
			if err := p.Login.Journal.Record(t.Context(), tx, audit.Event{At: p.Clock.Now(), AccountID: ada.ID, Kind: audit.AuthenticatorRemoved, Actor: audit.ByOwner, Detail: name}); err != nil {
				return err
			}
		}
		return nil
	}))
	testkit.Until(t, "every mail is sent", func() bool { return portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`) == 0 })
	var files []string
	testkit.Until(t, "every mail is delivered", func() bool {
		files, err = filepath.Glob(filepath.Join(dir, "mails", "new", "*"))
		testkit.Check(t, err)
		return len(files) == len(names)
	})

	var shown, ids []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		testkit.Check(t, err)
		cmd := exec.Command("python3", "read.py")
		cmd.Stdin, cmd.Stderr = bytes.NewReader(content), os.Stderr
		out, err := cmd.Output()
		testkit.Check(t, err)
		var m read
		testkit.Check(t, json.Unmarshal(out, &m))
		if len(m.Parts) != 2 {
			t.Fatalf("a mail has %d parts, want 2:\n%s", len(m.Parts), content)
		}
		text, html := m.Parts[0], m.Parts[1]
		want := read{
			Headers: []string{"Auto-Submitted", "Content-Language", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"},
			Subject: "An authenticator was removed from your " + site + " account", From: [][]string{{site, "portal@example.com"}}, To: []string{"ada@example.com"},
			Date: p.Clock.Now().Truncate(time.Second), ID: m.ID, Auto: "auto-generated", Received: m.Received, Type: "multipart/alternative",
			Parts: [][]string{{"text/plain", "utf-8", text[2]}, {"text/html", "utf-8", html[2]}}, Defects: []string{},
		}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Errorf("-want +got:\n%s\nof\n%s", diff, content)
		}
		if !strings.Contains(m.Received, "with esmtpsa ") { // TLS and a password, and not SMTPUTF8
			t.Errorf("Exim's Received header is %q, want esmtpsa: TLS and a password, without SMTPUTF8", m.Received)
		}
		if strings.Contains(html[2], "<script") || strings.ContainsAny(text[2]+html[2], "\u202e\r\x00") || !strings.HasPrefix(html[2], "<!doctype html>\n") || !strings.HasSuffix(html[2], "</html>\n") {
			t.Errorf("the parts of the mail are\n%s\n%s\nwant names without markup or control characters, and whole HTML", text[2], html[2])
		}
		_, after, _ := strings.Cut(text[2], "“")
		name, _, _ := strings.Cut(after, "”")
		shown, ids = append(shown, strings.Trim(name, "\u2068\u2069")), append(ids, m.ID)
	}
	slices.Sort(shown)
	// An event's names have no characters that can't be printed.
	want := []string{"..QUIT", "<script>alert(1)</script>", "=?utf-8?q?=0D=0ABcc:_eve@example.com?=", "From here", "Phone", "aBcc: eve@example.comb", "gnp.exe", "👩🚀 هاتف"}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(names) {
		t.Errorf("the Message-IDs are %q, want a different one for each mail", ids)
	}
}
