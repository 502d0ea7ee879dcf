package storage

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestAttack138PowerCut checks that everything that an answer confirmed is on the disk after a
// power cut.
func TestAttack138PowerCut(t *testing.T) {
	t.Parallel()
	p, under := startOn(t)
	_, phone := portal.WithTwoFactor(t, p, "ada")
	// restart starts a portal on the files that a power cut would leave now.
	restart := func(t *testing.T) *portal.Portal {
		again := portal.StartIn(t, under.PowerCut(t), p.Clock)
		portal.NothingHalfDone(t, again.DB)
		return again
	}
	t.Run("enrolment", func(t *testing.T) {
		b := portal.PendingSignIn(t, restart(t), "ada")
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "a code of the new authenticator", true)
	})
	t.Run("code", func(t *testing.T) {
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "a fresh code", true)
		after := restart(t)
		if got := portal.CountRows(t, after, portal.SessionsOfQuery, "ada"); got != 2 {
			t.Errorf("%d sessions, want the 2 that were opened", got)
		}
		b = portal.PendingSignIn(t, after, "ada")
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "the same code after the power cut", false)
	})
	t.Run("backup code", func(t *testing.T) {
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, b, "a backup code", true)
		after := restart(t)
		p.Clock.Move(backupCodePace)
		b = portal.PendingSignIn(t, after, "ada")
		if a := b.Post("/login/backup-code", "backup_code", phone.Codes[0]); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("the same backup code after the power cut: %s, want 422", portal.Summary(a))
		}
		p.Clock.Move(backupCodePace)
		b.Post("/login/backup-code", "backup_code", phone.Codes[1])
		portal.CheckSignedIn(t, b, "the next backup code", true)
	})
	t.Run("wrong code", func(t *testing.T) {
		// An unknown browser has five tries a day.
		const budget = 5
		p.AddAccount(t, "eve")
		b := p.Browser(t)
		b.SignIn("eve")
		eve := b.Enroll("Phone")
		for n := range budget {
			guess := portal.PendingSignIn(t, p, "eve")
			if a := guess.Post("/login/code", "code", portal.WrongCode(eve)); a.Status == http.StatusSeeOther && n < budget-1 {
				t.Errorf("wrong code %d: %s, want it to be compared", n+1, portal.Summary(a))
			}
			after := restart(t)
			if got := portal.CountRows(t, after, `SELECT COUNT(*) FROM events WHERE kind = 'code_failed' AND account_id = $1`, portal.MustAccount(t, p, "eve").ID); got != n+1 {
				t.Errorf("after a power cut, the audit log has %d wrong codes, want %d", got, n+1)
			}
			if n == budget-1 {
				b := portal.PendingSignIn(t, after, "eve")
				b.Post("/login/code", "code", eve.Code(0))
				portal.CheckSignedIn(t, b, "a right code after the last try", false)
			}
		}
	})
}

// TestAttack141DamagedLog damages SQLite's write-ahead log. The database must contain only whole
// transactions or refuse to open, and no sign-in may skip a factor.
func TestAttack141DamagedLog(t *testing.T) {
	t.Parallel()
	// directoryAfterCrash returns the data directory that a crash leaves of a portal on which
	// ada has two-factor authentication.
	directoryAfterCrash := func(t *testing.T) string {
		p, under := startOn(t)
		portal.WithTwoFactor(t, p, "ada")
		return under.PowerCut(t)
	}
	for what, c := range map[string]struct {
		damage func(t *testing.T, log string)
		opens  bool
	}{
		"undamaged": {func(*testing.T, string) {}, true},
		"removed":   {func(t *testing.T, log string) { testkit.Check(t, os.Remove(log)) }, true},
		"cut in half": {func(t *testing.T, log string) {
			info, err := os.Stat(log)
			testkit.Check(t, err)
			testkit.Check(t, os.Truncate(log, info.Size()/2))
		}, true},
		"overwritten from the middle": {func(t *testing.T, log string) {
			info, err := os.Stat(log)
			testkit.Check(t, err)
			overwrite(t, log, info.Size()/2, 10_000)
		}, true},
		"of another database": {func(t *testing.T, log string) {
			testkit.MoveFile(t, filepath.Join(directoryAfterCrash(t), filepath.Base(log)), log)
		}, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := directoryAfterCrash(t)
			c.damage(t, filepath.Join(dir, "sallyport.db-wal"))
			p, err := portal.OpenFiles(t, dir)
			if (err == nil) != c.opens {
				t.Fatalf("open the portal: got %v, want it to open: %v", err, c.opens)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "key ring") {
					t.Errorf("open the portal: got %v, want an error about the key ring", err)
				}
				return
			}
			var verdict string
			testkit.Check(t, db.One(context.Background(), p.DB.Reader(), `PRAGMA integrity_check`, nil, &verdict))
			if verdict != "ok" {
				t.Errorf("integrity check: %s, want ok", verdict)
			}
			portal.NothingHalfDone(t, p.DB)
			// Without the log, ada has no second factor yet, or no account.
			whole := what == "undamaged"
			if w := signIn(p, "ada"); whole && !strings.HasSuffix(w.Result().Header.Get("Location"), "/login/code") {
				t.Errorf("sign-in with the whole log: %d to %q, want /login/code", w.Code, w.Result().Header.Get("Location"))
			}
		})
	}
}
