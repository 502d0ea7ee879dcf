package storage

// Storage on a failing disk.

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/disk"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// backupCodePace is how long an account must wait between two backup codes.
const backupCodePace = 5 * time.Second

// newPassword is the password that replaces [portal.Password] during a walk.
const newPassword = "another horse, another battery"

// startOn starts a portal whose data directory is on a disk that can fail.
func startOn(t *testing.T) (*portal.Portal, *disk.Disk) {
	t.Helper()
	dir := t.TempDir()
	under := disk.Under(t, dir)
	return portal.StartIn(t, dir, testkit.NewClock()), under
}

// harm makes the disk fail before a form is submitted for the n-th time. It reports whether the
// form must be refused; if not, the form may be refused or accepted.
type harm func(d *disk.Disk, n int) (refuses bool)

// oneWrite makes the n-th write fail when the form is submitted for the n-th time.
func oneWrite(d *disk.Disk, n int) bool {
	d.FailAt(n)
	return false
}

// everyWrite makes every write fail when the form is submitted for the first time.
func everyWrite(fail func(*disk.Disk)) harm {
	return func(d *disk.Disk, n int) bool {
		if n == 1 {
			fail(d)
		}
		return n == 1
	}
}

// noHarm leaves the disk healthy.
func noHarm(*disk.Disk, int) bool { return false }

// walk is an account whose owner submits every form that writes.
type walk struct {
	t       *testing.T
	p       *portal.Portal
	disk    *disk.Disk
	harm    harm
	name    string
	refused int // number of refusals so far
}

// post submits a form until the answer is good. While the disk fails, the form must be refused
// with 503 and have no effect.
func (w *walk) post(b *portal.Browser, good func(portal.Answer) bool, path string, fields ...string) portal.Answer {
	w.t.Helper()
	for n := 1; ; n++ {
		before := rowsOf(w.t, w.p, w.name)
		must := w.harm(w.disk, n)
		a := b.Post(path, fields...)
		failed := w.disk.Failed()
		w.disk.Mend()
		if good(a) && !must {
			return a // no write failed, or only one that the form doesn't depend on
		}
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || a.Header.Get("Set-Cookie") != "" {
			w.t.Fatalf("post %s, time %d: %s, want 503 with Retry-After and no cookie\n%s", path, n, portal.Summary(a), portal.VisibleText(a.Body))
		}
		if !must && !failed {
			w.t.Fatalf("post %s, time %d: 503 although no write failed", path, n)
		}
		if diff := cmp.Diff(before, rowsOf(w.t, w.p, w.name)); diff != "" {
			w.t.Fatalf("post %s, time %d: the refused form changed rows (-before +after):\n%s", path, n, diff)
		}
		w.refused++
		w.forgive()
	}
}

// forgive empties the budgets of all accounts. Tries whose result couldn't be stored count, and
// the walk doesn't wait until they expire.
func (w *walk) forgive() {
	w.t.Helper()
	testkit.Check(w.t, w.p.DB.Write(context.Background(), func(tx *db.Tx) error {
		_, err := db.Exec(context.Background(), tx, `DELETE FROM ledger`)
		return err
	}))
}

// pending returns a browser that submitted the password and is at the code page.
func (w *walk) pending(password string) *portal.Browser {
	w.t.Helper()
	b := w.p.Browser(w.t)
	w.post(b, portal.LeadsTo("/login/code"), "/login", "username", w.name, "password", password)
	return b
}

// everything submits every form that writes, and then checks that no used code, backup code or
// old password is accepted a second time.
func (w *walk) everything() {
	w.t.Helper()
	const security = "/settings/security"
	own := w.p.Browser(w.t)
	w.post(own, portal.LeadsTo("/"), "/login", "username", w.name, "password", portal.Password)
	wizard := w.post(own, portal.LeadsTo(security+"/authenticators/"), security+"/authenticators").Location
	phone := own.Scan(strings.TrimPrefix(wizard, security+"/authenticators/"))
	confirming := phone.Code(0)
	first := portal.ShownCodes(w.post(own, portal.ShowsCodes, wizard+"/confirm", "code", confirming, "name", "Phone").Body)
	w.p.Clock.Move(totp.Period)

	code := phone.Code(0)
	w.post(w.pending(portal.Password), portal.LeadsTo("/"), "/login/code", "code", code)
	w.post(w.pending(portal.Password), portal.LeadsTo("/"), "/login/backup-code", "backup_code", first[0])
	second := portal.ShownCodes(w.post(own, portal.ShowsCodes, security+"/backup-codes").Body)
	w.post(own, portal.LeadsTo(security+"?notice=password_changed"), security+"/password", "password", portal.Password, "new_password", newPassword)
	w.p.Clock.Move(backupCodePace)
	w.post(w.pending(newPassword), portal.LeadsTo("/"), "/login/backup-code", "backup_code", second[9])

	w.harm = noHarm
	for what, used := range map[string]string{"the enrolment": confirming, "the sign-in": code} {
		b := w.pending(newPassword)
		b.Post("/login/code", "code", used)
		portal.CheckSignedIn(w.t, b, "the code of "+what+" a second time", false)
	}
	for what, used := range map[string]string{"used": second[9], "used, of the old set": first[0], "of the old set": first[1]} {
		w.p.Clock.Move(backupCodePace)
		b := w.pending(newPassword)
		if a := b.Post("/login/backup-code", "backup_code", used); a.Status != http.StatusUnprocessableEntity {
			w.t.Errorf("backup code %s: %s, want 422", what, portal.Summary(a))
		}
		portal.CheckSignedIn(w.t, b, "backup code "+what, false)
	}
	if a := w.p.Browser(w.t).Post("/login", "username", w.name, "password", portal.Password); a.Status != http.StatusUnprocessableEntity {
		w.t.Errorf("sign-in with the old password: %s, want 422", portal.Summary(a))
	}
	if !own.SignedIn() {
		w.t.Error("the session that made the changes has ended")
	}
	w.p.Clock.Move(totp.Period)
	b := w.pending(newPassword)
	b.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(w.t, b, "a fresh code", true)
}

// rowsOf returns all rows of an account except those of its budgets, which failed tries change.
func rowsOf(t *testing.T, p *portal.Portal, name string) []string {
	t.Helper()
	var all []string
	for _, query := range []string{
		`SELECT 'account', security_stamp, two_factor_at, enroll_locked FROM accounts WHERE id = $1`,
		`SELECT 'password', phc, changed_at, suspect_at FROM passwords WHERE account_id = $1`,
		`SELECT 'authenticator', id, name, confirmed_at FROM authenticators WHERE account_id = $1 ORDER BY id`,
		`SELECT 'totp', secret, last_step, drift_steps FROM totp WHERE authenticator_id IN (SELECT id FROM authenticators WHERE account_id = $1) ORDER BY authenticator_id`,
		`SELECT 'backup code', id, hash, used_at FROM backup_codes WHERE account_id = $1 ORDER BY id`,
		`SELECT 'attempt', token_hash, proofs, expires_at FROM attempts WHERE account_id = $1 ORDER BY id`,
		`SELECT 'session', token_hash, proofs, expires_at FROM sessions WHERE account_id = $1 ORDER BY id`,
		`SELECT 'browser', token_hash, used_at, address FROM devices WHERE account_id = $1 ORDER BY id`,
		`SELECT 'event', kind, outcome, at FROM events WHERE account_id = $1 ORDER BY id`,
	} {
		rows, err := db.All(context.Background(), p.DB.Reader(), query,
			[]any{portal.MustAccount(t, p, name).ID}, func(scan db.Scan) (string, error) {
				var row [4]any
				err := scan(&row[0], &row[1], &row[2], &row[3])
				return fmt.Sprint(row), err
			})
		testkit.Check(t, err)
		all = append(all, rows...)
	}
	return all
}

// leastRefusals is the least number of refusals in a walk with [oneWrite]. Fewer mean that the disk
// doesn't see every write.
const leastRefusals = 200

// TestAttack140EveryWriteFails makes each write of each form fail once, after half of its bytes.
func TestAttack140EveryWriteFails(t *testing.T) {
	t.Parallel()
	p, under := startOn(t)
	walkTwice(t, p, under, oneWrite, leastRefusals)
}

// walkTwice walks with one account on the failing disk, and then with another on the mended disk.
// It fails the test if fewer forms than least are refused.
func walkTwice(t *testing.T, p *portal.Portal, under *disk.Disk, harm harm, least int) {
	t.Helper()
	w := &walk{t: t, p: p, disk: under, harm: harm, name: "ada"}
	p.AddAccount(t, w.name)
	w.everything()
	portal.NothingHalfDone(t, p.DB)
	if w.refused < least {
		t.Errorf("%d forms were refused, want at least %d", w.refused, least)
	}
	t.Logf("%d forms were refused", w.refused)
	again := &walk{t: t, p: p, disk: under, harm: noHarm, name: "bob"}
	p.AddAccount(t, again.name)
	again.everything()
	portal.NothingHalfDone(t, p.DB)
}

// TestAttack140FullOrReadOnlyDisk checks that on a full or read-only disk every form is refused, pages
// are still served and /readyz reports the fault. Once the disk is mended, forms work without a restart.
func TestAttack140FullOrReadOnlyDisk(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*disk.Disk){"full": (*disk.Disk).Fill, "read-only": (*disk.Disk).Protect} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, under := startOn(t)
			ready := func(want int) {
				t.Helper()
				p.Clock.Move(2 * time.Second) // readyz caches its answer that long
				if a := p.Browser(t).Get("/readyz"); a.Status != want || strings.Contains(a.Body, "ledger: ok") != (want == http.StatusOK) {
					t.Errorf("readyz: %d %q, want %d and the matching line about the ledger", a.Status, a.Body, want)
				}
			}
			ready(http.StatusOK)
			const forms = 11 // number of forms in a walk
			walkTwice(t, p, under, everyWrite(func(d *disk.Disk) {
				fail(d)
				ready(http.StatusServiceUnavailable)
				if a := p.Browser(t).Get("/login"); a.Status != http.StatusOK {
					t.Errorf("sign-in page on the failing disk: %s, want 200", portal.Summary(a))
				}
			}), forms)
			ready(http.StatusOK)
		})
	}
}

// TestAnOpenVisitContinuesOnAFullOrReadOnlyDisk checks that a visit that is open continues through
// the gateway and with forward-auth while the disk accepts no writes, but that no sign-in and no
// sign-out succeeds.
func TestAnOpenVisitContinuesOnAFullOrReadOnlyDisk(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*disk.Disk){"full": (*disk.Disk).Fill, "read-only": (*disk.Disk).Protect} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			under := disk.Under(t, dir)
			file := panels.WriteConfig(t, fmt.Sprintf("public_url: %s\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: %s\n    upstream: %s\n  - url: %s\n",
				panels.PortalAt, panels.Radio, panels.StartPanel(t, "radio").URL, panels.Video))
			p := portal.StartIn(t, dir, testkit.NewClock(), "SALLYPORT_CONFIG="+file)
			p.AddAccount(t, "ada")
			b := panels.Visit(t, p, "ada", panels.Radio+"/")
			panels.Received(t, b.Last)
			// No proxy serves the other panel in this test, so the test follows the redirects to a
			// visit itself.
			b.Get(panels.Video + "/.sallyport/start?return=/rack")
			for !strings.HasPrefix(b.Last.Location, panels.Video+"/rack") {
				if b.Last.Location == "" {
					t.Fatalf("the redirects to the panel end at %s, want %s/rack", portal.Summary(b.Last), panels.Video)
				}
				b.Get(b.Last.Location)
			}
			fail(under)
			p.Clock.Move(2 * time.Minute) // cached sessions expire and are read again
			panels.Received(t, b.Get(panels.Radio+"/"))
			if a := panels.SendVerify(b, "caddy", "/", nil); a.Status != http.StatusOK {
				t.Errorf("forward-auth on the failing disk: %s, want 200", portal.Summary(a))
			}
			if a := b.Post("/logout"); a.Status != http.StatusServiceUnavailable {
				t.Errorf("sign-out on the failing disk: %s, want 503", portal.Summary(a))
			}
			if a := p.Browser(t).Post("/login", "username", "ada", "password", portal.Password); a.Status != http.StatusServiceUnavailable {
				t.Errorf("sign-in on the failing disk: %s, want 503", portal.Summary(a))
			}
			p.Clock.Move(13 * time.Hour) // longer than an idle visit lasts
			if a, other := b.Get(panels.Radio+"/"), panels.SendVerify(b, "caddy", "/", nil); a.Status == http.StatusOK || other.Status == http.StatusOK {
				t.Error("after 13 idle hours on the failing disk, the visit is still open")
			}
			under.Mend()
		})
	}
}
