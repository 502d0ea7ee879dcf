package sallyport_test

// J. Storage, when the program is killed.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

const (
	// killRounds is how often a program is killed; faultsVariable asks for
	// another number.
	killRounds     = 25
	faultsVariable = "SALLYPORT_FAULTS"

	// killLanes are programs that run beside each other, since a rotation of
	// keys waits more than it works.
	killLanes = 4

	// killWithin is how long a program is used at most. A rotation that began
	// with it seals its secrets anew within that time.
	killWithin = 1800 * time.Millisecond

	// ownersPerClient in a round are about as many as it gets through.
	ownersPerClient = 4

	// dropEvery so many rounds, each of which adds a key, old keys are dropped: a
	// ring holds 32.
	dropEvery = 20
)

const (
	// ClientsPerLane keep two cores busy.
	ClientsPerLane = 2

	// wrongAtMost of an account: with five its password would count as known
	// to somebody.
	wrongAtMost = 2
)

// Series returns how many rounds to run, and the seed of what is random. A
// variable "500", or "500:SEED", asks for others.
func Series(t *testing.T, variable string, rounds int) (n int, seed uint64) {
	t.Helper()
	n, seed = rounds, rand.Uint64()
	if text := os.Getenv(variable); text != "" {
		number, given, fixed := strings.Cut(text, ":")
		var err error
		n, err = strconv.Atoi(number)
		Check(t, err)
		if fixed {
			seed, err = strconv.ParseUint(given, 10, 64)
			Check(t, err)
		}
	}
	t.Logf("%s=%d:%d", variable, n, seed)
	return n, seed
}

// Credential is a code or a backup code.
type Credential struct {
	Backup bool
	Code   string
}

func (c Credential) Form() (path, field string) {
	if c.Backup {
		return "/login/backup-code", "backup_code"
	}
	return "/login/code", "code"
}

// Owner is somebody with an account, who remembers what was answered. One
// goroutine at a time uses it.
type Owner struct {
	Name     string
	Secret   []byte
	on       bool         // the wizard was confirmed, and that was answered
	Unused   []string     // backup codes in force; none where a new set wasn't answered
	dead     []string     // backup codes of a set before
	spent    []Credential // accepted, and that was answered
	Unsure   []Credential // sent, not answered
	wrong    int          // wrong codes that were answered
	LastStep int64
}

// CodeNow is a code of a step that wasn't used, which may be the next one.
func (o *Owner) CodeNow() string {
	o.LastStep = max(o.LastStep+1, totp.Step(time.Now()))
	return totp.CodeAt(o.Secret, time.Unix(o.LastStep*int64(totp.Period/time.Second), 0))
}

// Lane is one program and those who use it.
type Lane struct {
	*Program
	Rng     *rand.Rand
	random  sync.Mutex // of rng
	Owners  []*Owner
	Next    atomic.Int64
	Answers atomic.Int64
	Exact   bool                     // nobody mistypes: so many do that the whole instance would ask for two codes
	Through func() http.RoundTripper // how a visitor comes, where there is more than one way
}

func (l *Lane) Below(n int64) int64 {
	l.random.Lock()
	defer l.random.Unlock()
	return l.Rng.Int64N(n)
}

// AddOwners adds accounts while the program doesn't run, half of them with
// two-factor authentication. Their hashes cost little, so that a round has time
// for more than enrolments.
func (l *Lane) AddOwners(t *testing.T, n int, settings ...string) {
	clock := testkit.NewClock()
	clock.Move(time.Since(clock.Now()))
	p := portal.StartIn(t, l.Dir, clock, settings...)
	for i := range n {
		o := &Owner{Name: fmt.Sprint("ada", i)}
		if i%2 == 0 {
			_, phone := WithTwoFactor(t, p, o.Name)
			clock.Move(-totp.Period) // the wizard's helper moved it on
			o.Secret, o.on, o.Unused, o.LastStep = phone.Secret, true, phone.Codes, totp.Step(clock.Now())
		} else {
			p.AddAccount(t, o.Name)
		}
		l.Owners = append(l.Owners, o)
	}
}

// Visitor is a browser at an address of its own, so that no pace or budget of
// an address counts.
func (l *Lane) Visitor() *Visitor {
	n := l.Below(1 << 24)
	v := NewVisitor(l.T, l.Program.Base, fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
	if l.Through != nil {
		v.client.Transport = l.Through()
	}
	return v
}

// Pending gives the owner's password, for which a code is asked.
func (l *Lane) Pending(o *Owner) (*Visitor, error) {
	v := l.Visitor()
	_, err := v.Post(LeadsTo("/login/code"), "/login", "username", o.Name, "password", portal.Password)
	return v, err
}

// Use is a client until the program dies: it goes from owner to owner, who do
// everything. The error is why it ended.
func (l *Lane) Use() error {
	for {
		n := int(l.Next.Add(1))
		if n > len(l.Owners) {
			return nil // a quick machine: everybody has had their turn
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
	if _, err := v.Post(LeadsTo("/"), "/login", "username", o.Name, "password", portal.Password); err != nil {
		return err
	}
	a, err := v.Post(LeadsTo(wizards+"/"), wizards)
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
	page, err = v.Post(ShowsCodes, a.Location+"/confirm", "code", code, "name", "Phone")
	if err != nil {
		return err
	}
	o.on, o.Unused = true, ShownCodes(page.Body)
	o.spent = append(o.spent, Credential{Code: code})
	return nil
}

// give gives a credential, which must open.
func (l *Lane) give(o *Owner, c Credential) error {
	v, err := l.Pending(o)
	if err != nil {
		return err
	}
	o.Unsure = append(o.Unsure, c)
	path, field := c.Form()
	if _, err := v.Post(LeadsTo("/"), path, field, c.Code); err != nil {
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

// OtherThan returns a code that isn't right within half an hour.
func OtherThan(key []byte) string {
	right := map[string]bool{}
	for step := -60; step <= 60; step++ {
		right[totp.CodeAt(key, time.Now().Add(time.Duration(step)*totp.Period))] = true
	}
	for n := 100000; ; n++ {
		if code := strconv.Itoa(n); !right[code] {
			return code
		}
	}
}

// issue makes a new set in a session that a backup code opens.
func (l *Lane) issue(o *Owner) error {
	before := o.Unused
	o.Unused = nil
	c := Credential{Backup: true, Code: before[0]}
	v, err := l.Pending(o)
	if err != nil {
		return err
	}
	o.Unsure = append(o.Unsure, c)
	if _, err := v.Post(LeadsTo("/"), "/login/backup-code", "backup_code", c.Code); err != nil {
		return err
	}
	o.Unsure, o.spent = o.Unsure[:0], append(o.spent, c)
	a, err := v.Post(ShowsCodes, "/settings/security/backup-codes")
	if err != nil {
		return err
	}
	o.Unused, o.dead = ShownCodes(a.Body), append(o.dead, before[1:]...)
	return nil
}

// opens reports whether a credential signs the owner in.
func (l *Lane) opens(o *Owner, c Credential) bool {
	l.T.Helper()
	v, err := l.Pending(o)
	Check(l.T, err)
	path, field := c.Form()
	a, err := v.Send(http.MethodPost, path, field, c.Code)
	Check(l.T, err)
	if !LeadsTo("/")(a) && a.Status != http.StatusUnprocessableEntity {
		l.T.Errorf("%s of %s: %s", path, o.Name, Summary(a))
	}
	return LeadsTo("/")(a)
}

// hold holds what an owner remembers against the program of after a kill.
func (l *Lane) hold(o *Owner, d *db.DB) {
	l.T.Helper()
	ctx := context.Background()
	known, err := account.ByName(ctx, d.Reader(), o.Name)
	Check(l.T, err)
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
	Check(l.T, err)
	counted, err := throttle.NewLedger(d, time.Now).Suspect(ctx, d.Reader(), known.ID, set)
	Check(l.T, err)
	if counted.Codes < o.wrong || o.wrong > wrongAtMost {
		l.T.Errorf("%s gave %d wrong codes, of which %d count", o.Name, o.wrong, counted.Codes)
	}
}

// Examine looks at the whole database, and at the owners of the last round.
func (l *Lane) Examine(touched []*Owner) {
	l.T.Helper()
	d := testkit.Open(l.T, "sqlite:"+filepath.Join(l.Dir, "sallyport.db"))
	defer d.Close()
	var verdict string
	Check(l.T, db.One(context.Background(), d.Reader(), `PRAGMA integrity_check`, nil, &verdict))
	if verdict != "ok" {
		l.T.Errorf("integrity check: %s", verdict)
	}
	NothingHalfDone(l.T, d)
	for _, o := range touched {
		l.hold(o, d)
	}
	l.Command("key", "check")
	l.Command("audit", "verify")
}

// TestAttack136Kills: the program is killed at any time while its keys rotate
// and people sign in, enrol, mistype, use backup codes and make new ones.
func TestAttack136Kills(t *testing.T) {
	t.Parallel()
	rounds, seed := Series(t, faultsVariable, killRounds)
	path := BuildProgram(t)
	var running sync.WaitGroup
	defer running.Wait()
	run := func(i int) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l := &Lane{Program: &Program{T: t, Path: path, Dir: t.TempDir()}, Rng: rand.New(rand.NewPCG(seed, uint64(i)))}
			mine := (rounds + killLanes - 1 - i) / killLanes
			t.Run("owners", func(t *testing.T) { l.AddOwners(t, mine*ClientsPerLane*ownersPerClient) })
			killed, touched := 0, 0
			for round := range mine {
				server := l.Serve()
				if round%dropEvery == dropEvery-1 {
					l.Command("key", "rotate", "--drop")
				}
				rotated := l.Background("key", "rotate")
				l.Examine(l.Owners[touched:l.Next.Load()])
				touched = int(l.Next.Load())

				var clients sync.WaitGroup
				for range ClientsPerLane {
					clients.Go(func() {
						if err := l.Use(); err != nil && !Died(err) {
							t.Error(err)
						}
					})
				}
				l.Command("key", "add") // for the next round's rotation
				select {
				case <-time.After(time.Duration(l.Below(int64(killWithin)))):
				case <-server.Ended:
					t.Fatalf("the server ended by itself:\n%s", server.Output())
				}
				// The rotation dies with it, or goes on alone.
				if l.Below(2) == 0 {
					rotated.Kill()
					killed++
				}
				server.Kill()
				clients.Wait()
				if err := rotated.Wait(); err != nil && !rotated.Killed {
					t.Errorf("key rotate: %v\n%s", err, rotated.Output())
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			l.Serve()
			// With --drop it ends well only if nothing is left under an old key.
			l.Command("key", "rotate", "--drop")
			l.Examine(l.Owners[touched:l.Next.Load()])
			t.Logf("%d owners, %d things done after enrolment, %d rotations killed", l.Next.Load(), l.Answers.Load(), killed)
			if l.Answers.Load() == 0 {
				t.Error("nobody got further than enrolment")
			}
		})
	}
	for i := range killLanes {
		running.Go(func() { run(i) })
	}
}
