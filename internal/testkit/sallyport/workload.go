package sallyport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Workload is one program and the owners who use it. They act in a random order.
type Workload struct {
	*Program
	Rng     *rand.Rand
	random  sync.Mutex // protects Rng
	Owners  []*Owner
	Next    atomic.Int64
	Answers atomic.Int64
	Exact   bool                     // owners submit no wrong codes: those of many owners would make the server demand two codes
	Through func() http.RoundTripper // returns the transport of a new visitor; nil for the default one
}

// Below returns a random number from 0 to n-1.
func (w *Workload) Below(n int64) int64 {
	w.random.Lock()
	defer w.random.Unlock()
	return w.Rng.Int64N(n)
}

// AddOwners adds n accounts, half of them with two-factor authentication. Call it while the
// program doesn't run. The password hashes are cheap, so that a round has time for more
// than enrolments.
func (w *Workload) AddOwners(t *testing.T, n int, settings ...string) {
	clock := testkit.NewClock()
	clock.Move(time.Since(clock.Now()))
	p := portal.StartIn(t, w.Dir, clock, settings...)
	for i := range n {
		o := &Owner{Name: fmt.Sprint("ada", i)}
		if i%2 == 0 {
			_, phone := portal.WithTwoFactor(t, p, o.Name)
			clock.Move(-totp.Period) // WithTwoFactor moved it forward
			o.Secret, o.on, o.Unused, o.LastStep = phone.Secret, true, phone.Codes, totp.Step(clock.Now(), totp.Period)
		} else {
			p.AddAccount(t, o.Name)
		}
		w.Owners = append(w.Owners, o)
	}
}

// Visitor returns a browser with a random address, so that no limit for an address applies.
func (w *Workload) Visitor() *Visitor {
	n := w.Below(1 << 24)
	v := NewVisitor(w.T, w.Program.Base, fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
	if w.Through != nil {
		v.client.Transport = w.Through()
	}
	return v
}

// EnterPassword submits the owner's password in a new browser and returns the browser, which
// must submit a code next.
func (w *Workload) EnterPassword(o *Owner) (*Visitor, error) {
	v := w.Visitor()
	_, err := v.Post(portal.LeadsTo("/login/code"), "/login", "username", o.Name, "password", portal.Password)
	return v, err
}

// RunClient acts as one owner after another. Each owner does everything that Workload tests.
// RunClient returns nil after the last owner. Otherwise it stops at the first error, such as
// one because the program died, and returns it.
func (w *Workload) RunClient() error {
	for {
		n := int(w.Next.Add(1))
		if n > len(w.Owners) {
			return nil // a fast machine gets to the last owner
		}
		o := w.Owners[n-1]
		steps := []func(*Owner) error{w.code, w.redeem, w.issue, w.redeem}
		if !w.Exact {
			steps = append(steps, w.mistype, w.mistype)
		}
		if !o.on {
			if err := w.enroll(o); err != nil {
				return err
			}
		}
		for len(steps) > 0 {
			i := int(w.Below(int64(len(steps))))
			if err := steps[i](o); err != nil {
				return err
			}
			w.Answers.Add(1)
			steps = slices.Delete(steps, i, i+1)
		}
	}
}

// enroll enables two-factor authentication for an owner.
func (w *Workload) enroll(o *Owner) error {
	v := w.Visitor()
	if _, err := v.Post(portal.LeadsTo("/"), "/login", "username", o.Name, "password", portal.Password); err != nil {
		return err
	}
	return v.Enroll(o)
}

// Enroll enables two-factor authentication for an owner who is signed in in the browser.
func (v *Visitor) Enroll(o *Owner) error {
	const wizards = "/settings/security/authenticators"
	a, err := v.Post(portal.LeadsTo(wizards+"/"), wizards)
	if err != nil {
		return err
	}
	page, err := v.Send(http.MethodGet, a.Location)
	if err != nil {
		return err
	}
	if o.Secret, err = portal.SecretOn(page.Body); err != nil {
		return err
	}
	now := time.Now()
	o.LastStep = totp.Step(now, totp.Period)
	code := totp.CodeAt(o.Secret, now)
	page, err = v.Post(portal.ShowsCodes, a.Location+"/confirm", "code", code, "name", "Phone")
	if err != nil {
		return err
	}
	o.on, o.Unused = true, portal.ShownCodes(page.Body)
	o.spent = append(o.spent, Credential{Code: code})
	return nil
}

// signIn signs the owner in with a credential. It returns an error if that fails.
func (w *Workload) signIn(o *Owner, c Credential) error {
	v, err := w.EnterPassword(o)
	if err != nil {
		return err
	}
	o.Unsure = append(o.Unsure, c)
	path, field := c.Form()
	if _, err := v.Post(portal.LeadsTo("/"), path, field, c.Code); err != nil {
		return err
	}
	o.Unsure, o.spent = o.Unsure[:0], append(o.spent, c)
	return nil
}

// code signs the owner in with a code.
func (w *Workload) code(o *Owner) error {
	return w.signIn(o, Credential{Code: o.CodeNow()})
}

// redeem signs the owner in with a backup code.
func (w *Workload) redeem(o *Owner) error {
	c := Credential{Backup: true, Code: o.Unused[0]}
	o.Unused = o.Unused[1:]
	return w.signIn(o, c)
}

// mistype submits a wrong code.
func (w *Workload) mistype(o *Owner) error {
	v, err := w.EnterPassword(o)
	if err != nil {
		return err
	}
	refused := func(a portal.Answer) bool { return a.Status == http.StatusUnprocessableEntity }
	if _, err := v.Post(refused, "/login/code", "code", WrongCode(o.Secret)); err != nil {
		return err
	}
	o.wrong++
	return nil
}

// issue signs the owner in with a backup code and issues a new set of backup codes.
func (w *Workload) issue(o *Owner) error {
	before := o.Unused
	o.Unused = nil
	c := Credential{Backup: true, Code: before[0]}
	v, err := w.EnterPassword(o)
	if err != nil {
		return err
	}
	o.Unsure = append(o.Unsure, c)
	if _, err := v.Post(portal.LeadsTo("/"), "/login/backup-code", "backup_code", c.Code); err != nil {
		return err
	}
	o.Unsure, o.spent = o.Unsure[:0], append(o.spent, c)
	a, err := v.Post(portal.ShowsCodes, "/settings/security/backup-codes")
	if err != nil {
		return err
	}
	o.Unused, o.dead = portal.ShownCodes(a.Body), append(o.dead, before[1:]...)
	return nil
}

// accepts submits a credential and reports whether it signs the owner in.
func (w *Workload) accepts(o *Owner, c Credential) bool {
	w.T.Helper()
	v, err := w.EnterPassword(o)
	testkit.Check(w.T, err)
	path, field := c.Form()
	a, err := v.Send(http.MethodPost, path, field, c.Code)
	testkit.Check(w.T, err)
	if !portal.LeadsTo("/")(a) && a.Status != http.StatusUnprocessableEntity {
		w.T.Errorf("POST %s by %s: %s, want a sign-in or 422", path, o.Name, portal.Summary(a))
	}
	return portal.LeadsTo("/")(a)
}

// checkOwner compares what an owner remembers with the state of the program, which was killed
// and started again.
func (w *Workload) checkOwner(o *Owner, d *db.DB) {
	w.T.Helper()
	ctx := context.Background()
	known, err := account.ByName(ctx, d.Reader(), o.Name)
	testkit.Check(w.T, err)
	if o.on && known.TwoFactorAt.IsZero() {
		w.T.Errorf("%s confirmed the wizard, but has no two-factor authentication", o.Name)
	}
	if known.TwoFactorAt.IsZero() {
		return
	}
	for _, c := range o.spent {
		if w.accepts(o, c) {
			w.T.Errorf("%+v of %s, which was accepted before the kill, was accepted again", c, o.Name)
		}
	}
	for _, c := range o.Unsure {
		first, second := w.accepts(o, c), w.accepts(o, c)
		if first && second {
			w.T.Errorf("%+v of %s was accepted twice", c, o.Name)
		}
	}
	if len(o.dead) > 0 && w.accepts(o, Credential{Backup: true, Code: o.dead[0]}) {
		w.T.Errorf("a backup code of %s from a replaced set was accepted", o.Name)
	}
	if len(o.Unused) > 0 && !w.accepts(o, Credential{Backup: true, Code: o.Unused[len(o.Unused)-1]}) {
		w.T.Errorf("an unused backup code of %s was refused", o.Name)
	}
	set, err := password.ChangedAt(ctx, d.Reader(), known.ID)
	testkit.Check(w.T, err)
	counted, err := throttle.NewLedger(d, time.Now).Suspect(ctx, d.Reader(), known.ID, set)
	testkit.Check(w.T, err)
	if counted.Codes < o.wrong || o.wrong > maxWrong {
		w.T.Errorf("%s submitted %d wrong codes (at most %d), of which the ledger counts %d", o.Name, o.wrong, maxWrong, counted.Codes)
	}
}

// CheckDatabase checks the whole database. The program must be running: CheckDatabase also sends
// it requests that check the touched owners, those of the last round.
func (w *Workload) CheckDatabase(touched []*Owner) {
	w.T.Helper()
	d := testkit.Open(w.T, "sqlite:"+filepath.Join(w.Dir, "sallyport.db"))
	defer d.Close()
	var verdict string
	testkit.Check(w.T, db.One(context.Background(), d.Reader(), `PRAGMA integrity_check`, nil, &verdict))
	if verdict != "ok" {
		w.T.Errorf("SQLite's integrity check: %s, want ok", verdict)
	}
	portal.NothingHalfDone(w.T, d)
	for _, o := range touched {
		w.checkOwner(o, d)
	}
	w.Command("key", "check")
	w.Command("audit", "verify")
}

// Node is one of several processes of the program that use the same database.
type Node struct {
	*Program
	*Process
	Name string
}
