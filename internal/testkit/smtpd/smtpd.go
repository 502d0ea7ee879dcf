// Package smtpd provides a mail server whose answers a test chooses.
package smtpd

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/sallyport/sallyport/internal/testkit"
)

// Options say what a server offers. The zero value is a server without TLS and without AUTH.
type Options struct {
	Certificate *tls.Certificate // for STARTTLS or, if Implicit is set, for TLS from the first byte
	Implicit    bool
	User        string // if set, the server demands AUTH as this user, with or without TLS
	Password    string
	Mechanisms  []string      // of AUTH; nil: PLAIN and LOGIN
	UTF8        bool          // the server offers SMTPUTF8
	Every       time.Duration // time that each mail takes; the server takes one mail at a time
}

// Script says how a server answers. A nil error is the answer 250.
type Script struct {
	Mail, Rcpt, Data *smtp.SMTPError
	// Hang leaves the whole mail unanswered until the client ends the connection.
	Hang bool
	// Drop ends the connection in place of the answer to the whole mail.
	Drop bool
}

// Mail is a mail that the server has read to the end.
type Mail struct {
	From, To string
	Content  string // lines end with CRLF
	Accepted bool
	UTF8     bool // the client asked for SMTPUTF8
}

// Server is a running mail server. It is safe for concurrent use.
type Server struct {
	Host, Port string

	options Options
	mu      sync.Mutex
	script  Script
	mails   []Mail
	raw     []byte
	opened  int
	taking  sync.Mutex // held for Options.Every, so that the server takes one mail at a time
}

// Start starts a server on this machine. It stops when the test ends.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{options: options}
	s.Host, s.Port, _ = net.SplitHostPort(listener.Addr().String())
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{server: s, conn: c}, nil }))
	server.Domain, server.AllowInsecureAuth, server.EnableSMTPUTF8 = "mail.test", true, options.UTF8
	server.ErrorLog = log.New(io.Discard, "", 0)
	var inside net.Listener = recorder{listener, s}
	if options.Certificate != nil {
		config := &tls.Config{Certificates: []tls.Certificate{*options.Certificate}}
		if options.Implicit {
			inside = tls.NewListener(inside, config)
		} else {
			server.TLSConfig = config
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(inside)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return s
}

// Certificate returns a certificate of the CA for names.
func Certificate(t testing.TB, ca *testkit.CA, names ...string) *tls.Certificate {
	t.Helper()
	cert, key := ca.Issue(t.TempDir(), "mail", names...)
	return Pair(t, cert, key)
}

// Pair reads a certificate and its key from files.
func Pair(t testing.TB, cert, key string) *tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// Answer makes the server answer according to script from now on.
func (s *Server) Answer(script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Mails returns the mails that the server has read to the end.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Raw returns all bytes that clients have sent, as they were on the wire.
func (s *Server) Raw() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.raw)
}

// Connections returns how many connections clients have opened.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// recorder records what arrives on its connections.
type recorder struct {
	net.Listener
	server *Server
}

func (r recorder) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err == nil {
		r.server.mu.Lock()
		r.server.opened++
		r.server.mu.Unlock()
		conn = recorded{conn, r.server}
	}
	return conn, err
}

type recorded struct {
	net.Conn
	server *Server
}

func (c recorded) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.server.mu.Lock()
	c.server.raw = append(c.server.raw, b[:n]...)
	c.server.mu.Unlock()
	return n, err
}

// session is one connection.
type session struct {
	server   *Server
	conn     *smtp.Conn
	from, to string
	known    bool // the client has authenticated
	utf8     bool
}

func (s *session) script() Script {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.server.script
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) AuthMechanisms() []string {
	switch {
	case s.server.options.User == "":
		return nil
	case s.server.options.Mechanisms == nil:
		return []string{sasl.Plain, sasl.Login}
	}
	return s.server.options.Mechanisms
}

func (s *session) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != s.server.options.User || password != s.server.options.Password {
			return smtp.ErrAuthFailed
		}
		s.known = true
		return nil
	}
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	case sasl.Login:
		return &login{check: check}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

// login is the server's side of AUTH LOGIN. Package go-sasl has only the client's side.
type login struct {
	check func(user, password string) error
	asked int
	user  string
}

func (l *login) Next(answer []byte) (challenge []byte, done bool, err error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(answer)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(answer))
}

func (s *session) Mail(from string, options *smtp.MailOptions) error {
	s.from, s.utf8 = from, options.UTF8
	if s.server.options.User != "" && !s.known {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	return orNil(s.script().Mail)
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return orNil(s.script().Rcpt)
}

func (s *session) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if every := s.server.options.Every; every > 0 {
		s.server.taking.Lock()
		time.Sleep(every)
		s.server.taking.Unlock()
	}
	script := s.script()
	isAccepted := script.Data == nil && !script.Hang && !script.Drop
	s.server.mu.Lock()
	s.server.mails = append(s.server.mails, Mail{s.from, s.to, string(content), isAccepted, s.utf8})
	s.server.mu.Unlock()
	switch {
	case script.Hang:
		// The client sends nothing more, so Read returns when the client ends its connection.
		s.conn.Conn().Read(make([]byte, 1))
		return errors.New("the client has gone")
	case script.Drop:
		return s.conn.Conn().Close()
	}
	return orNil(script.Data)
}

// orNil converts err to an error. A plain conversion of a nil err would not be nil.
func orNil(err *smtp.SMTPError) error {
	if err == nil {
		return nil
	}
	return err
}
