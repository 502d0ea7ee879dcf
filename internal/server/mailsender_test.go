package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/testkit"
)

// A thief who changes the address while a node sends a mail must not get that mail.
func TestMailUnderWayGoesToTheFormerAddress(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mails := filepath.Join(dir, "mails")
			environ := []string{"SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_MAIL_URL=file:" + mails, "SALLYPORT_MAIL_FROM=portal@example.com"}
			if engine == "postgres" {
				environ = append(environ, "SALLYPORT_DATABASE="+testkit.DatabaseURL(t, engine))
			}
			cfg, err := config.Load("", environ)
			testkit.Check(t, err)
			p, err := Open(t.Context(), cfg, time.Now, slog.New(slog.DiscardHandler))
			testkit.Check(t, err)
			defer p.Close()
			ada, err := p.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "ada", Email: "ada@example.com"}, "a long password of ada")
			testkit.Check(t, err)
			testkit.Check(t, p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), ada, "another long password"))
			all, err := outbox.List(t.Context(), p.DB.Reader(), "", 10)
			testkit.Check(t, err)
			if len(all) != 1 || all[0].Address != "" {
				t.Fatalf("messages: %+v; want one to the account's address", all)
			}
			claimed := all[0]
			claimed.Body = []byte(`{"kind":"password_set","account":"` + ada.ID + `","at":1}`)
			testkit.Check(t, p.Manage.Accounts.SetEmail(t.Context(), manage.CommandLine(), ada, "mallory@example.com"))
			s, err := mailSender(cfg, p.DB, p.Recovery)
			testkit.Check(t, err)
			testkit.Check(t, s.Send(t.Context(), claimed))
			testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error { return outbox.RemoveAccount(t.Context(), tx, ada.ID) }))
			if err := s.Send(t.Context(), claimed); err == nil {
				t.Error("a deleted mail was sent")
			}
			files, err := filepath.Glob(filepath.Join(mails, "*.eml"))
			testkit.Check(t, err)
			if len(files) != 1 {
				t.Fatalf("%d mails, want 1", len(files))
			}
			text, err := os.ReadFile(files[0])
			testkit.Check(t, err)
			if !strings.Contains(string(text), "\r\nTo: ada@example.com\r\n") {
				t.Errorf("the mail isn't to ada@example.com:\n%s", text)
			}
		})
	}
}
