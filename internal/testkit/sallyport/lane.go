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

// Lane is one program with its simulated users.
type Lane struct {
	*Program
	Rng     *rand.Rand
	random  sync.Mutex // guards Rng
	Owners  []*Owner
	Next    atomic.Int64
	Answers atomic.Int64
	Exact   bool                     // no user mistypes; so many wrong codes would make the whole instance demand two codes
	Through func() http.RoundTripper // returns the transport of a visitor; nil for the default
}

// Below returns a random number from 0 to n-1.
func (l *Lane) Below(n int64) int64 {
	l.random.Lock()
	defer l.random.Unlock()
	return l.Rng.Int64N(n)
}

// AddOwners adds accounts while the program doesn't run, half of them with two-factor
// authentication. Their hashes cost little, so that a round has time for more than
// enrolments.
func (l *Lane) AddOwners(t *testing.T, n int, settings ...string) {
	clock := testkit.NewClock()
	clock.Move(time.Since(clock.Now()))
	p := portal.StartIn(t, l.Dir, clock, settings...)
	for i := range n {
		o := &Owner{Name: fmt.Sprint("ada", i)}
		if i%2 == 0 {
			_, phone := portal.WithTwoFactor(t, p, o.Name)
			clock.Move(-totp.Period) // WithTwoFactor moved it ahead
			o.Secret, o.on, o.Unused, o.LastStep = phone.Secret, true, phone.Codes, totp.Step(clock.Now())
		} else {
			p.AddAccount(t, o.Name)
		}
		l.Owners = append(l.Owners, o)
	}
}

// Visitor returns a browser with a client address of its own, so that no budget of an
// address matters.
func (l *Lane) Visitor() *Visitor {
	n := l.Below(1 << 24)
	v := NewVisitor(l.T, l.Program.Base, fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
	if l.Through != nil {
		v.client.Transport = l.Through()
	}
	return v
}

// Pending returns a visitor that submitted the owner's password and is at the code page.
func (l *Lane) Pending(o *Owner) (*Visitor, error) {
	v := l.Visitor()
	_, err := v.Post(portal.LeadsTo("/login/code"), "/login", "username", o.Name, "password", portal.Password)
	return v, err
}

// Use simulates one owner after the other, with every kind of request, until a request
// fails or the owners are used up. It returns the error of that request.
func (l *Lane) Use() error {
	for {
		n := int(l.Next.Add(1))
		if n > len(l.Owners) {
			return nil // a fast machine has used all owners
		}
		o := l.Owners[n-1]
		steps := []func(*Owner) error{l.code, l.redeem, l.issue, l.redeem}
		if !l.Exact {
			steps = append(steps, l.mistype, l.mistype)
		}
		if !o.on {
			if err := l.enroll(o); err != nil {
				return err
			}
		}
		for len(steps) > 0 {
			i := int(l.Below(int64(len(steps))))
			if err := steps[i](o); err != nil {
				return err
			}
			l.Answers.Add(1)
			steps = slices.Delete(steps, i, i+1)
		}
	}
}

func (l *Lane) enroll(o *Owner) error {
	const wizards = "/settings/security/authenticators"
	v := l.Visitor()
	if _, err := v.Post(portal.LeadsTo("/"), "/login", "username", o.Name, "password", portal.Password); err != nil {
		return err
	}
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
	o.LastStep = totp.Step(now)
	code := totp.CodeAt(o.Secret, now)
	page, err = v.Post(portal.ShowsCodes, a.Location+"/confirm", "code", code, "name", "Phone")
	if err != nil {
		return err
	}
	o.on, o.Unused = true, portal.ShownCodes(page.Body)
	o.spent = append(o.spent, Credential{Code: code})
	return nil
}

// give submits a credential that must be accepted.
func (l *Lane) give(o *Owner, c Credential) error {
	v, err := l.Pending(o)
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

func (l *Lane) code(o *Owner) error {
	return l.give(o, Credential{Code: o.CodeNow()})
}

func (l *Lane) redeem(o *Owner) error {
	c := Credential{Backup: true, Code: o.Unused[0]}
	o.Unused = o.Unused[1:]
	return l.give(o, c)
}

func (l *Lane) mistype(o *Owner) error {
	v, err := l.Pending(o)
	if err != nil {
		return err
	}
	refused := func(a portal.Answer) bool { return a.Status == http.StatusUnprocessableEntity }
	if _, err := v.Post(refused, "/login/code", "code", OtherThan(o.Secret)); err != nil {
		return err
	}
	o.wrong++
	return nil
}

// issue signs in with a backup code and issues a new set.
func (l *Lane) issue(o *Owner) error {
	before := o.Unused
	o.Unused = nil
	c := Credential{Backup: true, Code: before[0]}
	v, err := l.Pending(o)
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

// opens reports whether a credential signs the owner in.
func (l *Lane) opens(o *Owner, c Credential) bool {
	l.T.Helper()
	v, err := l.Pending(o)
	testkit.Check(l.T, err)
	path, field := c.Form()
	a, err := v.Send(http.MethodPost, path, field, c.Code)
	testkit.Check(l.T, err)
	if !portal.LeadsTo("/")(a) && a.Status != http.StatusUnprocessableEntity {
		l.T.Errorf("%s of %s: %s", path, o.Name, portal.Summary(a))
	}
	return portal.LeadsTo("/")(a)
}

// hold compares what an owner remembers with the state of the program after a kill.
func (l *Lane) hold(o *Owner, d *db.DB) {
	l.T.Helper()
	ctx := context.Background()
	known, err := account.ByName(ctx, d.Reader(), o.Name)
	testkit.Check(l.T, err)
	if o.on && known.TwoFactorAt.IsZero() {
		l.T.Errorf("%s confirmed a wizard, and has no two-factor authentication", o.Name)
	}
	if known.TwoFactorAt.IsZero() {
		return
	}
	for _, c := range o.spent {
		if l.opens(o, c) {
			l.T.Errorf("%+v of %s was accepted once more", c, o.Name)
		}
	}
	for _, c := range o.Unsure {
		first, second := l.opens(o, c), l.opens(o, c)
		if first && second {
			l.T.Errorf("%+v of %s was accepted twice", c, o.Name)
		}
	}
	if len(o.dead) > 0 && l.opens(o, Credential{Backup: true, Code: o.dead[0]}) {
		l.T.Errorf("a backup code of %s from the set before opens", o.Name)
	}
	if len(o.Unused) > 0 && !l.opens(o, Credential{Backup: true, Code: o.Unused[len(o.Unused)-1]}) {
		l.T.Errorf("an unused backup code of %s doesn't open", o.Name)
	}
	set, err := password.ChangedAt(ctx, d.Reader(), known.ID)
	testkit.Check(l.T, err)
	counted, err := throttle.NewLedger(d, time.Now).Suspect(ctx, d.Reader(), known.ID, set)
	testkit.Check(l.T, err)
	if counted.Codes < o.wrong || o.wrong > wrongAtMost {
		l.T.Errorf("%s gave %d wrong codes, of which %d count", o.Name, o.wrong, counted.Codes)
	}
}

// Examine checks the whole database and the owners of the last round.
func (l *Lane) Examine(touched []*Owner) {
	l.T.Helper()
	d := testkit.Open(l.T, "sqlite:"+filepath.Join(l.Dir, "sallyport.db"))
	defer d.Close()
	var verdict string
	testkit.Check(l.T, db.One(context.Background(), d.Reader(), `PRAGMA integrity_check`, nil, &verdict))
	if verdict != "ok" {
		l.T.Errorf("integrity check: %s", verdict)
	}
	portal.NothingHalfDone(l.T, d)
	for _, o := range touched {
		l.hold(o, d)
	}
	l.Command("key", "check")
	l.Command("audit", "verify")
}

// Node is one of several runs of the program on one database.
type Node struct {
	*Program
	*Process
	Name string
}
