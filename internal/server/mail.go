package server

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	netmail "net/mail"
	"os"
	"strings"
	"syscall"
	"unicode"

	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/secret"
)

// maxPasswordFile is the most bytes that a file with a password may have. A larger one is another
// file.
const maxPasswordFile = 1 << 10

// Mailer returns what sends the portal's mails, or nil if the configuration has no mail. It reads
// the files of the password and the CA.
func Mailer(cfg config.Config) (*mail.Mailer, error) {
	c := cfg.Mail
	if c.URL == (config.MailServer{}) {
		return nil, nil
	}
	m := &mail.Mailer{
		Dir: c.URL.Dir, Host: c.URL.Host, Port: c.URL.Port, TLS: c.URL.TLS, Plain: c.URL.Plain(), User: c.URL.User,
		From: netmail.Address{Name: c.From.Name, Address: c.From.Address}, Domain: cfg.PublicURL.Hostname(),
	}
	if c.PasswordFile != "" {
		password, err := readPassword(c.PasswordFile)
		if err != nil {
			return nil, faultAt("mail.password_file", "%v", err)
		}
		m.Password = password
	}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, faultAt("mail.ca", "%v", certs.Unreadable(err))
		}
		m.Roots = x509.NewCertPool()
		if !m.Roots.AppendCertsFromPEM(text) {
			return nil, faultAt("mail.ca", "there is no certificate in %s; it must be PEM, which begins with -----BEGIN CERTIFICATE-----", c.CA)
		}
	}
	return m, nil
}

// MailRenderer returns what writes the portal's mails.
func MailRenderer(cfg config.Config) (*mail.Renderer, error) {
	return mail.NewRenderer(mail.Site{URL: cfg.PortalURL() + "/", Contact: string(cfg.OperatorContact), Zone: cfg.SiteTimeZone.Location()})
}

// readPassword returns the content of a file without the line end after it. It refuses a file
// that other users of this machine may read. If root owns the file, its group may read it, as that
// of a systemd credential.
func readPassword(path string) (secret.Text, error) {
	// O_NONBLOCK, since opening a named pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Text{}, fmt.Errorf("%w; write the path of a file that contains the password, in which ~ and $ aren't expanded", err)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("%w; make the file readable by the user that runs Sallyport", err)
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: another one may have its name by now
	if err != nil {
		return secret.Text{}, err
	}
	others := fs.FileMode(0o077)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == 0 {
		others = 0o027
	}
	switch {
	case !info.Mode().IsRegular():
		return secret.Text{}, fmt.Errorf("%s isn't a file; name the file that contains the password", path)
	case info.Mode().Perm()&others != 0:
		return secret.Text{}, fmt.Errorf("%s contains a password, and others on this machine may read it; run: chmod 600 %[1]s (or 640, where root owns it and its group is the server's)", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case err != nil:
		return secret.Text{}, err
	case password == "":
		return secret.Text{}, fmt.Errorf("%s is empty; write the password of the mail server's user into it", path)
	case len(text) > maxPasswordFile, strings.ContainsFunc(password, unicode.IsControl):
		return secret.Text{}, fmt.Errorf("%s contains more than one line, or isn't text; write only the password into it", path)
	}
	return secret.NewText(password), nil
}
