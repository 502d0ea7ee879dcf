package mail

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/smtpd"
)

const (
	user     = "portal@example.com"
	password = "correct-horse-battery"
)

var sender = netmail.Address{Name: "Sallyport", Address: "noreply@example.com"}

func message() Message {
	return Message{
		ID: "mBm2nGZ5ZL8xgJ-4wS_a", To: "ada@example.com", At: time.Date(2026, 11, 30, 15, 4, 5, 0, time.UTC), Lang: "en",
		Subject: "Your password was changed", Text: "Hello\n.\nGood bye\n", HTML: "<p>Hello</p>\n",
	}
}

// mailerTo returns a mailer that sends to server with STARTTLS and AUTH.
func mailerTo(server *smtpd.Server, ca *testkit.CA) *Mailer {
	m := &Mailer{Host: server.Host, Port: server.Port, User: user, Password: secret.NewText(password), From: sender, Domain: "auth.example.com"}
	if ca != nil {
		m.Roots = ca.Roots
	}
	return m
}

func classOf(t *testing.T, err error) Class {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("the error is a %T, want *Error: %v", err, err)
	}
	return failed.Class
}

func TestMailsAreSubmitted(t *testing.T) {
	ca := testkit.NewCA(t)
	certificate := smtpd.Certificate(t, ca, "127.0.0.1")
	for name, options := range map[string]smtpd.Options{
		"STARTTLS":           {Certificate: certificate, User: user, Password: password},
		"TLS":                {Certificate: certificate, Implicit: true, User: user, Password: password},
		"AUTH LOGIN only":    {Certificate: certificate, User: user, Password: password, Mechanisms: []string{"CRAM-MD5", "LOGIN"}},
		"no AUTH":            {Certificate: certificate},
		"plain on this host": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := smtpd.Start(t, options)
			m := mailerTo(server, ca)
			m.User, m.TLS, m.Plain = options.User, options.Implicit, options.Certificate == nil
			if err := m.Send(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			mails := server.Mails()
			if len(mails) != 1 || mails[0].From != sender.Address || mails[0].To != "ada@example.com" {
				t.Fatalf("the server got %+v, want one mail from %s to ada@example.com", mails, sender.Address)
			}
			got := parse(t, mails[0].Content)
			if got.header.Get("Message-Id") != "<mBm2nGZ5ZL8xgJ-4wS_a@auth.example.com>" || got.text != "Hello\r\n.\r\nGood bye\r\n" {
				t.Errorf("the mail has another id or text than the message:\n%s", mails[0].Content)
			}
			if options.Certificate != nil {
				checkNothingInClear(t, server)
			}
		})
	}
}

// checkNothingInClear fails if the server got the password or the mail without TLS.
func checkNothingInClear(t *testing.T, server *smtpd.Server) {
	t.Helper()
	raw := server.Raw()
	for _, text := range []string{
		password, base64.StdEncoding.EncodeToString([]byte(password)), base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password)),
		"AUTH", "MAIL FROM", "Hello",
	} {
		if bytes.Contains(raw, []byte(text)) {
			t.Errorf("%q was sent in clear text:\n%s", text, raw)
		}
	}
}

// A server without a valid certificate gets neither the password nor a mail.
func TestServersThatCantBeTrustedGetNothing(t *testing.T) {
	ca, other := testkit.NewCA(t), testkit.NewCA(t)
	right, foreign := smtpd.Certificate(t, ca, "127.0.0.1"), smtpd.Certificate(t, ca, "mail.example.net")
	unknown := smtpd.Certificate(t, other, "127.0.0.1")
	for name, test := range map[string]struct {
		options smtpd.Options
		tls     bool
		want    string
	}{
		"no STARTTLS":                        {options: smtpd.Options{}, want: "doesn't offer STARTTLS"},
		"certificate of another CA":          {options: smtpd.Options{Certificate: unknown}, want: "can't be trusted"},
		"certificate of another host":        {options: smtpd.Options{Certificate: foreign}, want: "can't be trusted"},
		"certificate of another CA, smtps":   {options: smtpd.Options{Certificate: unknown, Implicit: true}, tls: true, want: "can't be trusted"},
		"certificate of another host, smtps": {options: smtpd.Options{Certificate: foreign, Implicit: true}, tls: true, want: "can't be trusted"},
		"smtps to a port for STARTTLS":       {options: smtpd.Options{Certificate: right}, tls: true, want: "can't be trusted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.options.User, test.options.Password = user, password
			server := smtpd.Start(t, test.options)
			m := mailerTo(server, ca)
			m.TLS = test.tls
			err := m.Send(t.Context(), message())
			if err == nil || classOf(t, err) != Setup || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want class Setup with %q", err, test.want)
			}
			if len(server.Mails()) > 0 {
				t.Error("the server got the mail")
			}
			checkNothingInClear(t, server)
		})
	}
}

// The configuration allows mail without TLS to this machine only. The mailer also checks the
// address of the connection, since a name may resolve to any address.
func TestPlainMailsStayOnThisMachine(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:25": true, "127.1.2.3:25": true, "[::1]:25": true, "[::ffff:127.0.0.1]:25": true,
		"192.0.2.7:25": false, "10.0.0.1:25": false, "169.254.169.254:25": false, "[2001:db8::7]:25": false, "[fe80::1%eth0]:25": false,
	} {
		to, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			to = &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}
		}
		if got := isThisMachine(to); got != want {
			t.Errorf("%s is this machine: %v, want %v", address, got, want)
		}
	}
}

// A user is never authenticated without TLS, whatever the settings say.
func TestPasswordsNeedTLS(t *testing.T) {
	server := smtpd.Start(t, smtpd.Options{User: user, Password: password})
	m := mailerTo(server, nil)
	m.Plain = true
	for _, host := range []string{"127.0.0.1", "localhost"} {
		m.Host = host
		if err := m.Send(t.Context(), message()); !errors.Is(err, errNotTLS) || classOf(t, err) != Setup {
			t.Errorf("%s: %v; want errNotTLS with class Setup", host, err)
		}
	}
	checkNothingInClear(t, server)
}

// A server that hangs after the mail delays the call until its context ends, and may have
// accepted the mail.
func TestServerThatHangsIsAbandoned(t *testing.T) {
	server := smtpd.Start(t, smtpd.Options{})
	server.Answer(smtpd.Script{Hang: true})
	m := mailerTo(server, nil)
	m.User, m.Plain = "", true
	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error, 1)
	go func() { result <- m.Send(ctx, message()) }()
	testkit.Until(t, "the server has the mail", func() bool { return len(server.Mails()) == 1 })
	cancel(errors.New("the test is over"))
	err := <-result
	if classOf(t, err) != Unanswered || !strings.Contains(err.Error(), "the test is over") {
		t.Errorf("the error is %v, want class Unanswered with the cause of the context's end", err)
	}
}

// A server that hangs before the end of the mail can't have accepted it.
func TestMailIsRetriedIfTheServerHangsBeforeItsEnd(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &Mailer{Plain: true, From: sender, Domain: "auth.example.com"}
	m.Host, m.Port, _ = net.SplitHostPort(listener.Addr().String())
	for _, answers := range []string{"", "220 mail.test\r\n", "220 mail.test\r\n250 mail.test\r\n250 ok\r\n"} {
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			conn, err := listener.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.Write([]byte(answers))
			cancel()
			io.Copy(io.Discard, conn) // until the client ends the connection
		}()
		if err := m.Send(ctx, message()); classOf(t, err) != Temporary {
			t.Errorf("server that hangs after %q: %v; want class Temporary", answers, err)
		}
		<-left
	}
	listener.Close()
	if err := m.Send(t.Context(), message()); classOf(t, err) != Temporary {
		t.Errorf("no server listens: %v; want class Temporary", err)
	}
}

// The answer to QUIT doesn't matter: the mail is accepted and must not be sent again.
func TestAnAcceptedMailIsSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conn.Write([]byte("220 mail.test\r\n250 mail.test\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 accepted\r\n451 why?\r\n"))
		for buffer := make([]byte, 1<<10); err == nil; _, err = conn.Read(buffer) {
		}
		conn.Close()
	}()
	m := &Mailer{Plain: true, From: sender, Domain: "auth.example.com"}
	m.Host, m.Port, _ = net.SplitHostPort(listener.Addr().String())
	if err := m.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
}

func TestTheTraceHidesThePassword(t *testing.T) {
	ca := testkit.NewCA(t)
	certificate := smtpd.Certificate(t, ca, "127.0.0.1")
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		server := smtpd.Start(t, smtpd.Options{Certificate: certificate, User: user, Password: password, Mechanisms: []string{mechanism}})
		m := mailerTo(server, ca)
		var lines []string
		m.Trace = func(line string) { lines = append(lines, line) }
		if err := m.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(lines, "\n")
		for _, want := range []string{"-> EHLO auth.example.com", "-> STARTTLS", "* TLS 1.3", "-> AUTH " + mechanism + " ********", "<- 235 ", "-> MAIL FROM:<noreply@example.com>", "-> RCPT TO:<ada@example.com>", "-> DATA", "<- 354 ", "<- 250 ", "-> QUIT"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the dialogue lacks %q:\n%s", mechanism, want, text)
			}
		}
		for _, secret := range []string{password, user, base64.StdEncoding.EncodeToString([]byte(password)), base64.StdEncoding.EncodeToString([]byte(user)), base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the dialogue shows %q:\n%s", mechanism, secret, text)
			}
		}
	}
}

func TestAddressesBeyondASCIINeedAServerForThem(t *testing.T) {
	for _, utf8 := range []bool{false, true} {
		server := smtpd.Start(t, smtpd.Options{UTF8: utf8})
		m := mailerTo(server, nil)
		m.User, m.Plain = "", true
		one := message()
		one.To = "zoë@exämple.com"
		switch err := m.Send(t.Context(), one); {
		case utf8 && (err != nil || server.Mails()[0].To != one.To):
			t.Errorf("a server with SMTPUTF8: %v, %+v; want a mail to %s", err, server.Mails(), one.To)
		case !utf8 && (!errors.Is(err, errNoUTF8) || classOf(t, err) != BadAddress):
			t.Errorf("a server without SMTPUTF8: %v; want errNoUTF8 with class BadAddress", err)
		}
	}
}

// Neither a server nor an attacker in its place can use up the memory with an endless line.
func TestEndlessLineIsCutOff(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Check(t, err)
	defer listener.Close()
	sent := make(chan int, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		line, all := bytes.Repeat([]byte("220"), 10<<10), 0
		for err == nil && all < 1<<30 {
			var n int
			n, err = conn.Write(line)
			all += n
		}
		sent <- all
	}()
	m := &Mailer{Plain: true, From: sender, Domain: "auth.example.com"}
	m.Host, m.Port, _ = net.SplitHostPort(listener.Addr().String())
	if err := m.Send(t.Context(), message()); classOf(t, err) != Temporary || !strings.Contains(err.Error(), "sent too much") {
		t.Errorf("the error is %v, want class Temporary with \"sent too much\"", err)
	}
	if n := <-sent; n == 1<<30 {
		t.Errorf("the mailer read all %d bytes, want that it ends the connection", n)
	}
}

// Any server on the way that lacks SMTPUTF8 would return a mail that asks for it.
func TestOnlyAddressesBeyondASCIIAskForSMTPUTF8(t *testing.T) {
	server := smtpd.Start(t, smtpd.Options{UTF8: true})
	m := mailerTo(server, nil)
	m.User, m.Plain = "", true
	for _, to := range []string{"ada@example.com", "zoë@exämple.com"} {
		one := message()
		one.To = to
		if err := m.Send(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	if mails := server.Mails(); len(mails) != 2 || mails[0].UTF8 || !mails[1].UTF8 {
		t.Errorf("the server got %+v; want SMTPUTF8 for the second one only", mails)
	}
}
