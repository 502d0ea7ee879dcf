package server

import (
	"crypto/x509"
	"fmt"
	netmail "net/mail"
	"os"
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/secret"
)

// Mailer returns the mailer of the portal, or nil if no mail is configured. It reads the files of the
// password and the CA.
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
		var err error
		if m.Roots, err = readRoots(c.CA); err != nil {
			return nil, faultAt("mail.ca", "%v", err)
		}
	}
	return m, nil
}

// readRoots returns the certificates in a PEM file.
func readRoots(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, certs.Unreadable(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("there is no certificate in %s; it must be PEM, which begins with -----BEGIN CERTIFICATE-----", path)
	}
	return roots, nil
}

// MailRenderer returns the renderer of the portal's mails.
func MailRenderer(cfg config.Config) (*mail.Renderer, error) {
	return mail.NewRenderer(mail.Site{URL: cfg.PortalURL() + "/", Contact: string(cfg.OperatorContact), Zone: cfg.SiteTimeZone.Location()})
}

// readPassword returns the password in a file, without the line end after the password. See
// [readSecretFile] for the permissions that the file may have.
func readPassword(path string) (secret.Text, error) {
	text, err := readSecretFile(path, "the password")
	if err != nil {
		return secret.Text{}, err
	}
	password := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case password == "":
		return secret.Text{}, fmt.Errorf("%s is empty; write the password of the mail server's user into it", path)
	case len(text) > maxSecretFile, strings.ContainsFunc(password, unicode.IsControl):
		return secret.Text{}, fmt.Errorf("%s contains more than one line, or isn't text; write only the password into it", path)
	}
	return secret.NewText(password), nil
}
