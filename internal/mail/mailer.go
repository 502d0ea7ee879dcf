package mail

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	netmail "net/mail"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/internal/durable"
	"github.com/sallyport/sallyport/internal/secret"
)

// Mailer sends mails to one mail server or writes them into one directory. It is safe for
// concurrent use if Trace is.
type Mailer struct {
	// Dir is the directory into which mails are written. If it is set, the fields about the server
	// are not used.
	Dir string

	Host, Port string
	TLS        bool           // TLS from the first byte; without it, STARTTLS
	Plain      bool           // no TLS; allowed only if Host is this machine and User is empty
	Roots      *x509.CertPool // CAs that the server's certificate may be from; nil: this machine's
	User       string         // empty: no AUTH
	Password   secret.Text

	From   netmail.Address
	Domain string // host of public_url, for EHLO and Message-IDs

	// Trace is called for each line that is exchanged with the server, such as "-> EHLO host". It
	// may be nil. The lines have no control characters, and have asterisks in place of the user
	// and password.
	Trace func(line string)
}

// Send sends one mail. Its error is an [*Error], whose class says whether another try may succeed.
func (m *Mailer) Send(ctx context.Context, message Message) error {
	if err := checkMessage(message); err != nil {
		return err
	}
	text, err := compose(message, m.From, m.Domain)
	if err != nil {
		return failure("compose the mail", err, Rejected)
	}
	if m.Dir != "" {
		return m.write(message, text)
	}
	return m.sendSMTP(ctx, message.To, text)
}

// checkMessage returns an error if the message's address or id has a form that could begin another
// SMTP command or header, or name a file outside the directory.
func checkMessage(message Message) error {
	local, domain, _ := strings.Cut(message.To, "@")
	isUnusable := func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(` <>,;:"\()[]`, r) }
	if local == "" || domain == "" || strings.Contains(domain, "@") || strings.ContainsFunc(message.To, isUnusable) {
		return &Error{Class: BadAddress, text: fmt.Sprintf("%q isn't an email address", printable(message.To))}
	}
	if message.ID == "" || strings.Trim(message.ID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
		return &Error{Class: Rejected, text: fmt.Sprintf("%q isn't the id of a mail", printable(message.ID))}
	}
	return nil
}

// fileTime is the format of the time in a file's name. Such names sort by time.
const fileTime = "20060102T150405.000"

// write stores the mail as a file that only this user may read. Its name begins with the time.
func (m *Mailer) write(message Message, text []byte) error {
	name := message.At.UTC().Format(fileTime) + "-" + message.ID + ".eml"
	if err := errors.Join(durable.MakeDir(m.Dir), durable.Write(filepath.Join(m.Dir, name), text)); err != nil {
		return failure("write the mail", err, Temporary)
	}
	return nil
}
