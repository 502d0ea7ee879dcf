package operating

import (
	"encoding/base64"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/smtpd"
)

// TestAttack157CanariesOfMail checks that neither the password of the mail server nor what a mail
// will say is in the log, the metrics, or unencrypted in the database, while mails wait because
// the server refuses the password, and because it refuses the mails.
func TestAttack157CanariesOfMail(t *testing.T) {
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			const user, password, token = "canary-user", "canary-password-of-the-mail-server", "canary-token-of-a-link-in-a-mail"
			encode := base64.StdEncoding.EncodeToString
			secrets := map[string]string{
				"password": password, "password in base64": encode([]byte(password)), "answer to AUTH PLAIN": encode([]byte("\x00" + user + "\x00" + password)), "token": token,
			}
			ca, dir := testkit.NewCA(t), t.TempDir()
			for name, content := range map[string][]byte{"ca.pem": ca.PEM, "password": []byte(password)} {
				testkit.Check(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
			}
			for _, known := range []bool{false, true} {
				options := smtpd.Options{Certificate: smtpd.Certificate(t, ca, "127.0.0.1"), User: user, Password: "another"}
				if known {
					options.Password = password
				}
				server := smtpd.Start(t, options)
				server.Answer(smtpd.Script{Data: &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try again"}})
				at := url.URL{Scheme: "smtp", User: url.User(user), Host: net.JoinHostPort(server.Host, server.Port)}
				p, metrics := portal.StartMeasured(t, engine, "SALLYPORT_MAIL_URL="+at.String(), "SALLYPORT_MAIL_FROM=portal@example.com",
					"SALLYPORT_MAIL_PASSWORD_FILE="+filepath.Join(dir, "password"), "SALLYPORT_MAIL_CA="+filepath.Join(dir, "ca.pem"))
				ada, err := p.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "ada", Email: "ada@example.com"}, portal.Password)
				testkit.Check(t, err)
				testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
					n := notice.Notice{Kind: notice.PasswordChanged, Event: "event", Account: ada.ID, At: p.Clock.Now(), Token: token}
					return outbox.Add(t.Context(), tx, p.Login.Ring, outbox.Message{Kind: outbox.Mail, AccountID: ada.ID, Topic: string(n.Kind), Body: n.Encode(), Urgent: true}, p.Clock.Now())
				}))
				testkit.Check(t, p.Outbox.Run(t.Context()))
				p.Outbox.Wait()
				if got := len(server.Mails()) == 1; got != known {
					t.Errorf("the mail server has read one mail: %v, want %v", got, known)
				}
				if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox WHERE last_error LIKE '%the mail server answered%'`); n != 1 {
					t.Errorf("%d mails wait with the mail server's answer as their error, want 1", n)
				}
				for place, text := range map[string]string{"log": p.Logs.String(), "database": everyByte(t, p), "metrics": portal.Scrape(t, metrics), "readiness": p.Browser(t).Get("/readyz").Body} {
					for what, secret := range secrets {
						if strings.Contains(text, secret) {
							t.Errorf("the %s contains the %s", place, what)
						}
					}
				}
			}
		})
	}
}
