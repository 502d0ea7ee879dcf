package telling

import (
	"encoding/base64"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/smtpd"
)

const (
	mailUser     = "portal@example.com"
	mailPassword = "canary-password-of-the-mail-server"
)

// inClear holds the encodings of the password, and the beginnings of lines, that a client may send only
// over TLS to a server with a valid certificate.
var inClear = []string{
	mailPassword, base64.StdEncoding.EncodeToString([]byte(mailPassword)), base64.StdEncoding.EncodeToString([]byte("\x00" + mailUser + "\x00" + mailPassword)),
	"AUTH", "MAIL FROM", "Subject:",
}

// relay forwards connections at one address to the mail server that a test chooses.
type relay struct {
	address string
	mu      sync.Mutex
	server  *smtpd.Server
	conns   []net.Conn
}

// listen begins to accept connections. Before this call connections are refused.
func (r *relay) listen(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", r.address)
	testkit.Check(t, err)
	t.Cleanup(func() { listener.Close(); r.cut() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			server, err := net.Dial("tcp", net.JoinHostPort(r.server.Host, r.server.Port))
			if err != nil {
				client.Close()
			} else {
				r.conns = append(r.conns, client, server)
				for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
					go func() { io.Copy(pair[0], pair[1]); pair[0].Close(); pair[1].Close() }()
				}
			}
			r.mu.Unlock()
		}
	}()
}

func (r *relay) to(server *smtpd.Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server = server
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.conns {
		conn.Close()
	}
	r.conns = nil
}

// hostileServers is a portal with mail and a mail server whose behaviour the test changes.
type hostileServers struct {
	*portal.Portal
	relay *relay
	good  *smtpd.Server
	ada   account.Account
}

// change changes ada's password, which causes one urgent mail.
func (h *hostileServers) change(t *testing.T) {
	t.Helper()
	testkit.Check(t, h.Manage.Passwords.Set(t.Context(), manage.CommandLine(), h.ada, "another long password"))
}

// send lets the time pass and sends the messages that are due then.
func (h *hostileServers) send(t *testing.T, after time.Duration) {
	t.Helper()
	h.Clock.Move(after)
	testkit.Check(t, h.Outbox.Run(t.Context()))
	h.Outbox.Wait()
}

// unsent returns the number of messages in the outbox.
func (h *hostileServers) unsent(t *testing.T) int {
	t.Helper()
	return portal.CountRows(t, h.Portal, `SELECT COUNT(*) FROM outbox`)
}

// accepted checks the mails that the server has read in full after the first n. There must be as
// many as copies says, all to ada with one Message-ID, and the last one must be accepted. The
// outbox must be empty.
func (h *hostileServers) accepted(t *testing.T, n, copies int) {
	t.Helper()
	mails := h.good.Mails()[n:]
	if unsent := h.unsent(t); len(mails) != copies || unsent != 0 || !mails[len(mails)-1].Accepted {
		t.Fatalf("the server has read %d copies and %d mails wait; want %d, of which the last was accepted, and none:\n%+v", len(mails), unsent, copies, mails)
	}
	id := func(m smtpd.Mail) string {
		_, after, _ := strings.Cut(m.Content, "\r\nMessage-ID: ")
		line, _, _ := strings.Cut(after, "\r\n")
		return line
	}
	for _, one := range mails {
		if one.To != "ada@example.com" || id(one) == "" || id(one) != id(mails[0]) {
			t.Errorf("a copy is to %s with Message-ID %q, want ada@example.com and %q as in the first copy", one.To, id(one), id(mails[0]))
		}
	}
}

// Attack D-1: while the mail server fails in many ways, no notice is lost: each arrives, or an event of
// the account says that it was given up. A notice arrives at most twice. No server gets the password
// without TLS and a valid certificate.
func TestD1MailServersThatFail(t *testing.T) {
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ca, other := testkit.NewCA(t), testkit.NewCA(t)
			files := map[string][]byte{"ca.pem": ca.PEM, "password": []byte(mailPassword + "\n")}
			for name, content := range files {
				testkit.Check(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
			}
			options := smtpd.Options{Certificate: smtpd.Certificate(t, ca, "127.0.0.1"), User: mailUser, Password: mailPassword}
			r := &relay{address: testkit.FreeAddress(t)}
			at := url.URL{Scheme: "smtp", User: url.User(mailUser), Host: r.address}
			h := &hostileServers{relay: r, good: smtpd.Start(t, options), Portal: portal.Start(t, engine,
				"SALLYPORT_MAIL_URL="+at.String(), "SALLYPORT_MAIL_FROM=Portal <portal@example.com>",
				"SALLYPORT_MAIL_PASSWORD_FILE="+filepath.Join(dir, "password"), "SALLYPORT_MAIL_CA="+filepath.Join(dir, "ca.pem"))}
			var err error
			h.ada, err = h.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "ada", Email: "ada@example.com"}, portal.Password)
			testkit.Check(t, err)

			// First no server listens; the mail arrives once one does.
			h.change(t)
			h.send(t, 0)
			r.to(h.good)
			r.listen(t)
			h.send(t, time.Minute)
			h.accepted(t, 0, 1)

			h.refusals(t)
			h.lostAnswers(t)

			foreign, distrusted := options, options
			foreign.Certificate = smtpd.Certificate(t, ca, "mail.example.net")
			distrusted.Certificate = smtpd.Certificate(t, other, "127.0.0.1")
			wrong := options
			wrong.Password = "another"
			stripped := options
			stripped.Certificate = nil
			for name, options := range map[string]smtpd.Options{
				"stripped STARTTLS": stripped, "a certificate of another host": foreign, "a certificate of another CA": distrusted, "535": wrong,
			} {
				h.untrusted(t, name, smtpd.Start(t, options))
			}
			for _, text := range inClear[:3] {
				if strings.Contains(h.Logs.String(), text) {
					t.Errorf("the log contains %q, which encodes the password of the mail server", text)
				}
			}
		})
	}
}

// refusals tests servers that refuse the sender, the recipient or the mail.
func (h *hostileServers) refusals(t *testing.T) {
	t.Helper()
	answer := func(code int) *smtp.SMTPError {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 7, 1}, Message: "canary answer"}
	}
	for _, script := range []smtpd.Script{{Mail: answer(421)}, {Rcpt: answer(450)}, {Data: answer(452)}} {
		before := len(h.good.Mails())
		h.good.Answer(script)
		h.change(t)
		h.send(t, 0)
		h.good.Answer(smtpd.Script{})
		h.send(t, time.Minute)
		// A mail that was read before it was refused isn't a copy: its recipient never sees it.
		refused := 0
		if script.Data != nil {
			refused = 1
		}
		h.accepted(t, before+refused, 1)
	}

	// Greylisting: the first ten minutes after the first try are refused.
	before, first := len(h.good.Mails()), h.Clock.Now()
	h.good.Answer(smtpd.Script{Rcpt: answer(451)})
	h.change(t)
	for h.Clock.Now().Sub(first) < 30*time.Minute {
		h.send(t, 0)
		if h.Clock.Now().Sub(first) == 10*time.Minute {
			h.good.Answer(smtpd.Script{})
		}
		h.Clock.Move(time.Minute)
	}
	h.accepted(t, before, 1)

	// After an answer 5xx to the recipient or the content, the mail is given up, and an event says so.
	for _, script := range []smtpd.Script{{Rcpt: answer(550)}, {Data: answer(554)}} {
		given := portal.EventCounts(t, h.Portal)[string(audit.MailGivenUp)+":refused"]
		h.good.Answer(script)
		h.change(t)
		h.send(t, 0)
		if got := portal.EventCounts(t, h.Portal)[string(audit.MailGivenUp)+":refused"]; got != given+1 || h.unsent(t) != 0 {
			t.Errorf("after the answer %+v: %d new events mail_given_up, and %d mails wait; want 1 and none", script, got-given, h.unsent(t))
		}
		h.good.Answer(smtpd.Script{})
	}
	if strings.Count(h.Logs.String(), `"msg":"a message was given up"`) != 2 {
		t.Error("the log doesn't have one line for each of the two mails that were given up")
	}
}

// lostAnswers tests servers that read a mail and don't answer. Such a server may have accepted the mail,
// so the portal sends it only once more, after 15 minutes.
func (h *hostileServers) lostAnswers(t *testing.T) {
	t.Helper()
	for name, script := range map[string]smtpd.Script{"hangs after DATA": {Hang: true}, "ends before 250": {Drop: true}} {
		for _, repaired := range []bool{true, false} {
			before := len(h.good.Mails())
			given := portal.EventCounts(t, h.Portal)[string(audit.MailGivenUp)+":refused"]
			try := func(n int) {
				testkit.Check(t, h.Outbox.Run(t.Context()))
				testkit.Until(t, "the server has read the mail", func() bool { return len(h.good.Mails()) == before+n })
				h.relay.cut() // otherwise the portal would wait a minute for a server that hangs
				h.Outbox.Wait()
			}
			h.good.Answer(script)
			h.change(t)
			try(1)
			h.send(t, 14*time.Minute)
			if got := len(h.good.Mails()) - before; got != 1 || h.unsent(t) != 1 {
				t.Fatalf("server that %s: after 14 minutes it has received %d copies of the mail, and %d mails wait; want 1 and 1", name, got, h.unsent(t))
			}
			if repaired {
				h.good.Answer(smtpd.Script{})
				h.send(t, 2*time.Minute)
				h.accepted(t, before, 2)
				continue
			}
			h.Clock.Move(2 * time.Minute)
			try(2)
			h.good.Answer(smtpd.Script{})
			h.send(t, 24*time.Hour)
			events := portal.EventCounts(t, h.Portal)[string(audit.MailGivenUp)+":refused"] - given
			if got := len(h.good.Mails()) - before; got != 2 || h.unsent(t) != 0 || events != 1 {
				t.Errorf("a server that always %s has read %d copies, %d mails wait and %d were given up; want 2, none and 1", name, got, h.unsent(t), events)
			}
		}
	}
}

// untrusted tests a server that must not get the password, or that refuses the password. The portal
// stops sending for 15 minutes, /readyz reports that, and the mails are sent afterwards.
func (h *hostileServers) untrusted(t *testing.T, name string, server *smtpd.Server) {
	t.Helper()
	before := len(h.good.Mails())
	h.relay.to(server)
	h.change(t)
	h.send(t, 0)
	opened := server.Connections()
	h.change(t)
	h.send(t, 14*time.Minute)
	if got := server.Connections(); opened != 1 || got != 1 {
		t.Errorf("%s: the portal made %d connections, and %d within 14 minutes; want one in all", name, opened, got)
	}
	const paused = "mail: this server is refused, so nothing is sent for 15 minutes; see the log\n"
	if a := h.Browser(t).Get("/readyz"); a.Status != 200 || !strings.Contains(a.Body, paused) {
		t.Errorf("%s: /readyz answers %d\n%s\nwant 200 and %q", name, a.Status, a.Body, paused)
	}
	raw := string(server.Raw())
	for _, text := range inClear {
		if len(server.Mails()) > 0 || strings.Contains(raw, text) {
			t.Errorf("%s: the server got a mail, or %q in clear text; want neither:\n%s", name, text, raw)
		}
	}
	stored := portal.CountRows(t, h.Portal, `SELECT COUNT(*) FROM outbox WHERE last_error LIKE '%canary%'`)
	if n := h.unsent(t); n != 2 || stored != 0 {
		t.Errorf("%s: %d mails wait, and the stored error of %d contains the password; want 2 and none", name, n, stored)
	}
	h.relay.to(h.good)
	h.send(t, 2*time.Minute)
	if got := len(h.good.Mails()) - before; got != 2 || h.unsent(t) != 0 {
		t.Errorf("%s: of 2 mails %d arrived at the good server afterwards, and %d wait; want 2 and none", name, got, h.unsent(t))
	}
	if a := h.Browser(t).Get("/readyz"); !strings.Contains(a.Body, "mail: ok\n") {
		t.Errorf("%s: /readyz after the mails were sent:\n%s\nwant the line \"mail: ok\"", name, a.Body)
	}
}
