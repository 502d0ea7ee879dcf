package maintenance_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// dirWith returns a data directory that holds a copy of the portal's key ring.
func dirWith(t *testing.T, p *portal.Portal) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(p.Dir, "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keyring"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Rule F13. On SQLite, the test restores a backup file; on PostgreSQL, it does what follows a run
// of pg_restore.
func TestAttack143RestoredDatabaseBringsNothingBack(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			p := portal.Start(t, engine)
			ada := p.AddAccount(t, "ada")
			known := p.Browser(t)
			known.SignIn("ada")
			phone := known.Enroll("phone")
			known.BeginEnroll() // a pending one
			begun := p.Browser(t)
			begun.SignIn("ada")
			attempt := begun.Cookie("sallyport-attempt")
			ticket, err := p.Manage.Links.LetIn(ctx, manage.CommandLine(), ada)
			if err != nil {
				t.Fatal(err)
			}
			scope, err := access.NewScope("https://panel.example.com", "/", "", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Manage.Passes.Create(ctx, manage.CommandLine(), ada, pass.Pass{Name: "backup", Scope: scope, ExpiresAt: p.Clock.Now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			session, device := known.Cookie("sallyport"), known.Cookie("sallyport-device")
			if session == "" || device == "" || attempt == "" {
				t.Fatal("no cookies to restore")
			}
			file := filepath.Join(t.TempDir(), "backup.db")
			after := p
			if engine == "sqlite" {
				if n, err := maintenance.Backup(ctx, p.DB, p.Login.Ring, file, time.Now()); err != nil || n != 13 {
					t.Fatalf("backup: %d, %v; want 13 sealed secrets", n, err)
				}
			}
			// After the backup, a code and a backup code are used.
			other := p.Browser(t)
			other.SignIn("ada")
			if a := other.Post("/login/code", "code", phone.Code(0)); a.Location != "/" {
				t.Fatalf("sign-in with a code after the backup: status %d, want a redirect to /\n%s", a.Status, a.Body)
			}
			if engine == "sqlite" {
				dir := dirWith(t, p)
				if err := maintenance.Restore(ctx, p.Login.Ring, maintenance.Restoration{File: file, Target: filepath.Join(dir, "sallyport.db")}, p.Clock.Now()); err != nil {
					t.Fatal(err)
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
					t.Errorf("in the data directory: %v, %v; want key ring and database", left, err)
				}
				after = portal.StartIn(t, dir, p.Clock)
			} else if err := maintenance.PurgeForgotten(ctx, p.DB, "pg_restore", p.Clock.Now(), false); err != nil {
				t.Fatal(err)
			}

			b := after.Browser(t)
			b.SetCookie("sallyport", session)
			b.SetCookie("sallyport-device", device)
			if b.SignedIn() {
				t.Error("a session came back")
			}
			begun = after.Browser(t)
			begun.SetCookie("sallyport-attempt", attempt)
			if a := begun.Get("/login/code"); a.Status == 200 {
				t.Error("an attempt came back")
			}
			if a := begun.Get("/setup?ticket=" + ticket.Reveal()); a.Status != 404 {
				t.Errorf("a link came back: status %d, want 404", a.Status)
			}
			if left, err := pass.List(ctx, after.DB.Reader(), ada.ID); err != nil || len(left) != 0 {
				t.Errorf("machine passes came back: %+v, %v", left, err)
			}
			keys, err := after.OpenKeys(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			// The secrets of the password and of the confirmed authenticator stay; no backup code and
			// no pending enrolment does.
			if found, err := keys.Check(ctx); err != nil || found.ByKey[keys.Sealing()] != 2 {
				t.Errorf("secrets: %+v, %v; want 2", found, err)
			}
			b.SignIn("ada")
			if a := b.Post("/login/backup-code", "backup_code", phone.Codes[0]); a.Status != 422 {
				t.Errorf("a backup code from before the backup: status %d, redirect to %q, want 422", a.Status, a.Location)
			}
			for _, fields := range [][]string{
				{"code", phone.Code(0)}, // the used one
				{"code", phone.Code(-30 * time.Second), "next_code", phone.Code(0)},
				{"code", phone.Code(0), "next_code", phone.Code(30 * time.Second)},
			} {
				if a := b.Post("/login/code", fields...); a.Status != 422 {
					t.Errorf("%v with a used step: status %d, redirect to %q, want 422", fields, a.Status, a.Location)
				}
			}
			p.Clock.Move(90 * time.Second)
			if a := b.Post("/login/code", "code", phone.Code(0)); a.Status != 422 || !strings.Contains(a.Body, "two codes in a row") {
				t.Errorf("a single code: status %d, redirect to %q, want 422 that asks for two codes", a.Status, a.Location)
			}
			if a := b.Post("/login/code", "code", phone.Code(-30*time.Second), "next_code", phone.Code(0)); a.Location != "/" {
				t.Errorf("two codes in a row: %d, want a redirect to /\n%s", a.Status, a.Body)
			}
			p.Clock.Move(25 * time.Hour)
			late := after.Browser(t)
			late.SignIn("ada")
			if a := late.Post("/login/code", "code", phone.Code(0)); a.Location != "/" {
				t.Errorf("a single code a day later: status %d, want a redirect to /\n%s", a.Status, a.Body)
			}
		})
	}
}

func TestRestoreByAClockAheadLocksNobodyOut(t *testing.T) {
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	b.SignIn("ada")
	phone := b.Enroll("phone")
	if err := p.WatchClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	file, dir := filepath.Join(t.TempDir(), "backup.db"), dirWith(t, p)
	if _, err := maintenance.Backup(t.Context(), p.DB, p.Login.Ring, file, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := maintenance.Restore(t.Context(), p.Login.Ring, maintenance.Restoration{File: file, Target: filepath.Join(dir, "sallyport.db")}, p.Clock.Now().Add(400*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	after := portal.StartIn(t, dir, p.Clock)
	p.Clock.Move(15 * time.Minute)
	b = after.Browser(t)
	b.SignIn("ada")
	if a := b.Post("/login/code", "code", phone.Code(-30*time.Second), "next_code", phone.Code(0)); a.Location != "/" {
		t.Errorf("two codes in a row: %d, want a redirect to /\n%s", a.Status, a.Body)
	}
}

func TestBackupRefusesWhatCouldNotBeRestored(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	dir := t.TempDir()
	file := filepath.Join(dir, "b.db")
	if _, err := maintenance.Backup(ctx, p.DB, secret.NewRing(), file, time.Now()); !errors.Is(err, maintenance.ErrClosed) {
		t.Errorf("foreign ring: %v, want ErrClosed", err)
	}
	if n, err := maintenance.Backup(ctx, p.DB, p.Login.Ring, file, time.Now()); err != nil || n != 1 {
		t.Fatalf("backup: %d secrets, %v; want 1", n, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info, err)
	}
	if _, err := maintenance.Backup(ctx, p.DB, p.Login.Ring, file, time.Now()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("backup over a backup: %v, want ErrExist", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v; want the backup only", left, err)
	}

	if _, err := maintenance.Backup(ctx, p.DB, p.Login.Ring, filepath.Join(dir, "nowhere", "b.db"), time.Now()); err == nil || !strings.Contains(err.Error(), "nowhere must be a directory that you may write to") {
		t.Errorf("into a directory that doesn't exist: %v, want an error that names it", err)
	}

	to := filepath.Join(t.TempDir(), "sallyport.db")
	restore := func(ring *secret.Ring, file string) error {
		return maintenance.Restore(ctx, ring, maintenance.Restoration{File: file, Target: to}, p.Clock.Now())
	}
	if err := restore(secret.NewRing(), file); !errors.Is(err, maintenance.ErrClosed) {
		t.Errorf("foreign ring: %v, want ErrClosed", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"cut": text[:len(text)/2], "empty": nil, "text": []byte("no database")} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := restore(p.Login.Ring, path); err == nil {
			t.Errorf("Restore accepts the file %q, want an error", name)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(to)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v; want nothing", left, err)
	}
	if err := restore(p.Login.Ring, file); err != nil {
		t.Fatal(err)
	}
	if err := restore(p.Login.Ring, file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("restored over a database: %v, want ErrExist", err)
	}
}

func TestEncryptedBackup(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.age")
	if _, err := maintenance.Backup(ctx, p.DB, p.Login.Ring, file, time.Now(), mine.Recipient()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || bytes.Contains(text, []byte("SQLite")) {
		t.Errorf("the backup isn't encrypted: %v", err)
	}
	to := filepath.Join(t.TempDir(), "sallyport.db")
	if err := maintenance.Restore(ctx, p.Login.Ring, maintenance.Restoration{File: file, Target: to}, p.Clock.Now()); !errors.Is(err, maintenance.ErrEncrypted) {
		t.Errorf("restored without an identity: %v, want ErrEncrypted", err)
	}
	if err := maintenance.Restore(ctx, p.Login.Ring, maintenance.Restoration{File: file, Target: to, Identities: []age.Identity{other}}, p.Clock.Now()); err == nil {
		t.Error("restored with another identity")
	}
	if err := maintenance.Restore(ctx, p.Login.Ring, maintenance.Restoration{File: file, Target: to, Identities: []age.Identity{mine}}, p.Clock.Now()); err != nil {
		t.Error(err)
	}
}

func TestScheduledBackupsAreMadeAndThinnedOut(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := portal.Start(t, "sqlite", "SALLYPORT_BACKUP_EVERY=24h", "SALLYPORT_BACKUP_KEEP=2")
	p.AddAccount(t, "ada")
	dir := filepath.Join(p.Dir, "backups")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sallyport-mine.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// A backup that was made while the clock was wrong is neither counted nor removed.
	if err := os.WriteFile(filepath.Join(dir, "sallyport-20991231-120000.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 { // twice a day: every second one is due
		if err := p.BackUp(ctx); err != nil {
			t.Fatal(err)
		}
		p.Clock.Move(12 * time.Hour)
	}
	want := "sallyport-20261124-120000.db sallyport-20261125-120000.db sallyport-20991231-120000.db sallyport-mine.db"
	if got := namesIn(t, dir); got != want {
		t.Errorf("backups %s, want %s", got, want)
	}
}

// namesIn returns the names of the files in dir, in order.
func namesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

func TestScheduledBackupsAreEncryptedForTheRecipients(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var recipients []string
	var identities []age.Identity
	for range 2 {
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		recipients, identities = append(recipients, identity.Recipient().String()), append(identities, identity)
	}
	p := portal.Start(t, "sqlite", "SALLYPORT_BACKUP_EVERY=24h", "SALLYPORT_BACKUP_KEEP=2", "SALLYPORT_BACKUP_RECIPIENTS="+strings.Join(recipients, ", "))
	p.AddAccount(t, "ada")
	dir := filepath.Join(p.Dir, "backups")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Plain backups, made before the recipients were configured, are removed by the same rules.
	for _, name := range []string{"sallyport-20261121-120000.db", "sallyport-20261122-120000.db"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := p.BackUp(ctx); err != nil {
			t.Fatal(err)
		}
	}
	const made = "sallyport-20261123-120000.db.age"
	if got, want := namesIn(t, dir), "sallyport-20261122-120000.db "+made; got != want {
		t.Fatalf("backups %s, want %s", got, want)
	}
	for i, identity := range identities {
		to := filepath.Join(t.TempDir(), "sallyport.db")
		if err := maintenance.Restore(ctx, p.Login.Ring, maintenance.Restoration{File: filepath.Join(dir, made), Target: to, Identities: []age.Identity{identity}}, p.Clock.Now()); err != nil {
			t.Errorf("identity %d: %v, want no error", i, err)
		}
	}
	if err := maintenance.Restore(ctx, p.Login.Ring, maintenance.Restoration{File: filepath.Join(dir, made), Target: filepath.Join(t.TempDir(), "sallyport.db")}, p.Clock.Now()); !errors.Is(err, maintenance.ErrEncrypted) {
		t.Errorf("without an identity: %v", err)
	}
}

// The time that package clock believes can differ from the machine's clock, by which files are
// dated.
func TestScheduledBackupsRemoveOnlyAbandonedFiles(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	for _, off := range []time.Duration{-48 * time.Hour, 0, 48 * time.Hour} {
		dir := t.TempDir()
		written, abandoned := filepath.Join(dir, ".sallyport-1.tmp"), filepath.Join(dir, ".sallyport-2.tmp")
		for path, age := range map[string]time.Duration{written: time.Hour, abandoned: 25 * time.Hour} {
			testkit.Check(t, os.WriteFile(path, nil, 0o600))
			at := time.Now().Add(-age)
			testkit.Check(t, os.Chtimes(path, at, at))
		}
		schedule := maintenance.Schedule{Dir: dir, Every: time.Hour, Keep: 1, Clock: time.Now}
		if _, err := schedule.BackUp(t.Context(), p.DB, p.Login.Ring, time.Now().Add(off), true); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(written); err != nil {
			t.Errorf("believed time off by %v: a file that may still be written: %v, want it kept", off, err)
		}
		if _, err := os.Lstat(abandoned); !os.IsNotExist(err) {
			t.Errorf("believed time off by %v: an abandoned file: %v, want it removed", off, err)
		}
	}
}
