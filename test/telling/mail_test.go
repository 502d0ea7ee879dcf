package telling

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// With default settings, a change of an account causes one mail to its owner, which the server's job
// sends. An account without an address gets none.
func TestChangesBecomeMails(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "mails")
			p := portal.Start(t, engine, "SALLYPORT_MAIL_URL=file:"+dir, "SALLYPORT_MAIL_FROM=Portal <portal@example.com>")
			read := func() (mails []string) {
				files, _ := filepath.Glob(filepath.Join(dir, "*.eml"))
				for _, file := range files {
					text, err := os.ReadFile(file)
					testkit.Check(t, err)
					mails = append(mails, string(text))
				}
				return mails
			}
			bob := p.AddAccount(t, "bob") // who has no address
			ada, err := p.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "ada", Email: "ada@example.com"}, portal.Password)
			testkit.Check(t, err)
			for _, a := range []account.Account{bob, ada} {
				testkit.Check(t, p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), a, "another long password"))
			}
			testkit.Until(t, "the queue is empty", func() bool { return portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`) == 0 })
			mails := read()
			if len(mails) != 1 || !strings.Contains(mails[0], "\r\nTo: ada@example.com\r\n") || !strings.Contains(mails[0], "\r\nSubject: ") {
				t.Fatalf("the server wrote the mails %q, want one to ada with a subject", mails)
			}
		})
	}
}
