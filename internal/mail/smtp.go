package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

const (
	// connectTimeout is how long a server may take to accept a connection. A server that is up
	// takes a second at most. One that is down must not keep a sender waiting for long.
	connectTimeout = 10 * time.Second

	// sendTimeout is how long sending one mail may take, from connecting to the server's answer
	// to the mail's last line. RFC 5321, section 4.5.3.2, allows servers more time. But a server
	// that hangs keeps a sender waiting, and delays a shutdown.
	sendTimeout = time.Minute

	// quitTimeout is how long to wait for the answer to QUIT, which doesn't affect the mail.
	quitTimeout = 2 * time.Second
)

// maxAnswers is how many bytes a server may send in one conversation, including those of TLS.
// Servers send a few kilobytes, mostly certificates. Without a limit, an endless line would use up
// the memory.
const maxAnswers = 256 << 10

var (
	errNoSTARTTLS = errors.New("the mail server doesn't offer STARTTLS, so nothing was sent: anybody on the way could read it, or may have removed the offer")
	errNoAuth     = errors.New("the mail server offers neither AUTH PLAIN nor AUTH LOGIN")
	errNotTLS     = errors.New("the connection isn't encrypted, so the password wasn't sent")
	errNotLocal   = errors.New("the address of the mail server isn't on this machine, so nothing was sent without TLS")
	errTooLong    = errors.New("the mail server sent too much")
	errNoUTF8     = errors.New("the mail server doesn't accept addresses with characters beyond ASCII (SMTPUTF8)")
)

// sendSMTP sends a mail in a connection of its own.
func (m *Mailer) sendSMTP(ctx context.Context, to string, text []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sendTimeout, fmt.Errorf("the mail server took longer than %v", sendTimeout))
	defer cancel()
	conn, err := m.dial(ctx)
	if err != nil {
		return failure("connect to the mail server", err, Temporary)
	}
	defer conn.Close()
	// Close the connection when ctx ends, so that a server that hangs can't block this call.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = m.converse(conn, to, text)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		var failed *Error
		if errors.As(err, &failed) {
			failed.text += ": " + cause.Error()
		}
	}
	return err
}

// dial connects to the server, and begins TLS if m.TLS is set.
func (m *Mailer) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(m.Host, m.Port))
	if err != nil {
		return nil, err
	}
	if m.Plain && !isThisMachine(conn.RemoteAddr()) {
		// The name localhost may resolve to another machine.
		conn.Close()
		return nil, &Error{Class: Setup, text: errNotLocal.Error(), err: errNotLocal}
	}
	m.trace("* Connected to " + conn.RemoteAddr().String())
	conn = &limitedConn{Conn: conn, left: maxAnswers}
	if !m.TLS {
		return conn, nil
	}
	encrypted := tls.Client(conn, m.tlsConfig())
	if err := encrypted.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	m.trace("* " + tls.VersionName(encrypted.ConnectionState().Version))
	return encrypted, nil
}

// limitedConn is a connection from which a limited number of bytes can be read. Only one goroutine
// may read from it.
type limitedConn struct {
	net.Conn
	left int
}

func (c *limitedConn) Read(into []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooLong
	}
	n, err := c.Conn.Read(into[:min(len(into), c.left)])
	c.left -= n
	return n, err
}

func isThisMachine(address net.Addr) bool {
	remote, err := netip.ParseAddrPort(address.String())
	return err == nil && remote.Addr().Unmap().IsLoopback()
}

func (m *Mailer) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: m.Host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12}
}

// converse sends the mail over a connection.
func (m *Mailer) converse(conn net.Conn, to string, text []byte) error {
	client, err := smtp.NewClient(conn, m.Host)
	if err != nil {
		return m.refused("greeting", err, Setup)
	}
	t := m.startTrace(client)
	if err := client.Hello(ehloName(m.Domain)); err != nil {
		return m.refused("EHLO", err, Setup)
	}
	if !m.TLS && !m.Plain {
		if err := m.startTLS(client); err != nil {
			return err
		}
	}
	if m.User != "" {
		if err := m.authenticate(client, t); err != nil {
			return err
		}
	}
	isUTF8 := strings.ContainsFunc(to, func(r rune) bool { return r > '~' })
	if ok, _ := client.Extension("SMTPUTF8"); !ok && isUTF8 {
		return &Error{Class: BadAddress, text: errNoUTF8.Error(), err: errNoUTF8}
	}
	// Ask for SMTPUTF8 only if the mail needs it: a server on the way returns a mail that asks for
	// it when the next server lacks the extension (RFC 6531, section 3.2).
	client.SkipSMTPUTF8(!isUTF8)
	// All mails have the same sender, so a refusal of the sender concerns all mails.
	if err := client.Mail("<" + m.From.Address + ">"); err != nil {
		return m.refused("MAIL FROM", err, Setup)
	}
	if err := client.Rcpt("<" + to + ">"); err != nil {
		failed := m.refused("RCPT TO", err, Rejected)
		if failed.Class == Rejected {
			failed.Class = refusal(failed.Code, failed.Status, failed.words)
		}
		return failed
	}
	return m.sendData(client, conn, text)
}

func (m *Mailer) startTLS(client *smtp.Client) error {
	if ok, _ := client.Extension("STARTTLS"); !ok {
		return &Error{Class: Setup, text: errNoSTARTTLS.Error(), err: errNoSTARTTLS}
	}
	if err := client.StartTLS(m.tlsConfig()); err != nil {
		return m.refused("STARTTLS", err, Setup)
	}
	if state, ok := client.TLSConnectionState(); ok {
		m.trace("* " + tls.VersionName(state.Version))
	}
	return nil
}

// authenticate logs in to the server. Any refusal concerns all mails.
func (m *Mailer) authenticate(client *smtp.Client, t *tracer) error {
	if _, ok := client.TLSConnectionState(); !ok {
		// The configuration doesn't allow a password without TLS, but the client would send one in
		// plain text to a host that is called localhost.
		return &Error{Class: Setup, text: errNotTLS.Error(), err: errNotTLS}
	}
	_, mechanisms := client.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(mechanisms))
	for _, one := range []struct {
		name string
		auth smtp.Auth
	}{
		{"PLAIN", smtp.PlainAuth("", m.User, m.Password.Reveal(), m.Host, false)},
		{"LOGIN", smtp.LoginAuth(m.User, m.Password.Reveal(), m.Host, false)},
	} {
		for _, name := range offered {
			if name != one.name {
				continue
			}
			t.mechanism = name
			if err := client.Auth(one.auth); err != nil {
				m.hideSecrets(err)
				return failure("AUTH", err, Setup)
			}
			return nil
		}
	}
	return &Error{Class: Setup, text: errNoAuth.Error(), err: errNoAuth}
}

// sendData sends the text and ends the conversation.
func (m *Mailer) sendData(client *smtp.Client, conn net.Conn, text []byte) error {
	w, err := client.Data()
	if err != nil {
		return m.refused("DATA", err, Rejected)
	}
	if _, err := w.Write(text); err != nil {
		// The end of the mail wasn't sent, so the server can't have accepted it.
		return failure("send the mail", err, Rejected)
	}
	m.trace(fmt.Sprintf("-> (%d bytes)", len(text)))
	if err := w.Close(); err != nil {
		failed := m.refused("after the mail", err, Rejected)
		if failed.Code == 0 {
			failed.Class = Unanswered
		}
		return failed
	}
	if closed, ok := w.(*smtp.DataCloser); ok {
		m.trace("<- 250 " + closed.ServerResponse())
	}
	// The server has accepted the mail, so an error from now on must not cause another try.
	defer time.AfterFunc(quitTimeout, func() { conn.Close() }).Stop()
	_ = client.Quit()
	return nil
}

// refused calls [failure], and traces the answer in err, since the client logs only the answers that
// it expects.
func (m *Mailer) refused(doing string, err error, permanent Class) *Error {
	m.hideSecrets(err)
	var answer *textproto.Error
	if errors.As(err, &answer) {
		for line := range strings.SplitSeq(answer.Msg, "\n") {
			m.trace(fmt.Sprintf("<- %d %s", answer.Code, line))
		}
	}
	return failure(doing, err, permanent)
}

// ehloName returns what the client calls itself: a host name, or an address literal (RFC 5321,
// section 4.1.3).
func ehloName(host string) string {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return host
	case addr.Is6():
		return "[IPv6:" + host + "]"
	}
	return "[" + host + "]"
}
