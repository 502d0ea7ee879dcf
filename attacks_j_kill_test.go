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
	// clientsPerLane keep two cores busy.
	clientsPerLane = 2

	// wrongAtMost of an account: with five its password would count as known
	// to somebody.
	wrongAtMost = 2
)

// series returns how many rounds to run, and the seed of what is random. A
// variable "500", or "500:SEED", asks for others.
func series(t *testing.T, variable string, rounds int) (n int, seed uint64) {
	t.Helper()
	n, seed = rounds, rand.Uint64()
	if text := os.Getenv(variable); text != "" {
		number, given, fixed := strings.Cut(text, ":")
		var err error
		n, err = strconv.Atoi(number)
		check(t, err)
		if fixed {
			seed, err = strconv.ParseUint(given, 10, 64)
			check(t, err)
		}
	}
	t.Logf("%s=%d:%d", variable, n, seed)
	return n, seed
}

// credential is a code or a backup code.
type credential struct {
	backup bool
	code   string
}

func (c credential) form() (path, field string) {
	if c.backup {
		return "/login/backup-code", "backup_code"
	}
	return "/login/code", "code"
}

// owner is somebody with an account, who remembers what was answered. One
// goroutine at a time uses it.
type owner struct {
	name     string
	secret   []byte
	on       bool         // the wizard was confirmed, and that was answered
	unused   []string     // backup codes in force; none where a new set wasn't answered
	dead     []string     // backup codes of a set before
	spent    []credential // accepted, and that was answered
	unsure   []credential // sent, not answered
	wrong    int          // wrong codes that were answered
	lastStep int64
}

// codeNow is a code of a step that wasn't used, which may be the next one.
func (o *owner) codeNow() string {
	o.lastStep = max(o.lastStep+1, totp.Step(time.Now()))
	return totp.CodeAt(o.secret, time.Unix(o.lastStep*int64(totp.Period/time.Second), 0))
}

// lane is one program and those who use it.
type lane struct {
	*program
	rng     *rand.Rand
	random  sync.Mutex // of rng
	owners  []*owner
	next    atomic.Int64
	answers atomic.Int64
	exact   bool                     // nobody mistypes: so many do that the whole instance would ask for two codes
	through func() http.RoundTripper // how a visitor comes, where there is more than one way
}

func (l *lane) below(n int64) int64 {
	l.random.Lock()
	defer l.random.Unlock()
	return l.rng.Int64N(n)
}

// addOwners adds accounts while the program doesn't run, half of them with
// two-factor authentication. Their hashes cost little, so that a round has time
// for more than enrolments.
func (l *lane) addOwners(t *testing.T, n int, settings ...string) {
	clock := testkit.NewClock()
	clock.Move(time.Since(clock.Now()))
	p := portal.StartIn(t, l.dir, clock, settings...)
	for i := range n {
		o := &owner{name: fmt.Sprint("ada", i)}
		if i%2 == 0 {
			_, phone := withTwoFactor(t, p, o.name)
			clock.Move(-totp.Period) // the wizard's helper moved it on
			o.secret, o.on, o.unused, o.lastStep = phone.Secret, true, phone.Codes, totp.Step(clock.Now())
		} else {
			p.AddAccount(t, o.name)
		}
		l.owners = append(l.owners, o)
	}
}

// visitor is a browser at an address of its own, so that no pace or budget of
// an address counts.
func (l *lane) visitor() *visitor {
	n := l.below(1 << 24)
	v := newVisitor(l.t, l.program.base, fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
	if l.through != nil {
		v.client.Transport = l.through()
	}
	return v
}

// pending gives the owner's password, for which a code is asked.
func (l *lane) pending(o *owner) (*visitor, error) {
	v := l.visitor()
	_, err := v.post(leads("/login/code"), "/login", "username", o.name, "password", portal.Password)
	return v, err
}

// use is a client until the program dies: it goes from owner to owner, who do
// everything. The error is why it ended.
func (l *lane) use() error {
	for {
		n := int(l.next.Add(1))
		if n > len(l.owners) {
			return nil // a quick machine: everybody has had their turn
		}
		o := l.owners[n-1]
		steps := []func(*owner) error{l.code, l.redeem, l.issue, l.redeem}
		if !l.exact {
			steps = append(steps, l.mistype, l.mistype)
		}
		if !o.on {
			if err := l.enroll(o); err != nil {
				return err
			}
		}
		for len(steps) > 0 {
			i := int(l.below(int64(len(steps))))
			if err := steps[i](o); err != nil {
				return err
			}
			l.answers.Add(1)
			steps = slices.Delete(steps, i, i+1)
		}
	}
}

func (l *lane) enroll(o *owner) error {
	const wizards = "/settings/security/authenticators"
	v := l.visitor()
	if _, err := v.post(leads("/"), "/login", "username", o.name, "password", portal.Password); err != nil {
		return err
	}
	a, err := v.post(leads(wizards+"/"), wizards)
	if err != nil {
		return err
	}
	page, err := v.send(http.MethodGet, a.Location)
	if err != nil {
		return err
	}
	if o.secret, err = portal.SecretOn(page.Body); err != nil {
		return err
	}
	now := time.Now()
	o.lastStep = totp.Step(now)
	code := totp.CodeAt(o.secret, now)
	page, err = v.post(showsCodes, a.Location+"/confirm", "code", code, "name", "Phone")
	if err != nil {
		return err
	}
	o.on, o.unused = true, shownCodes(page.Body)
	o.spent = append(o.spent, credential{code: code})
	return nil
}

// give gives a credential, which must open.
func (l *lane) give(o *owner, c credential) error {
	v, err := l.pending(o)
	if err != nil {
		return err
	}
	o.unsure = append(o.unsure, c)
	path, field := c.form()
	if _, err := v.post(leads("/"), path, field, c.code); err != nil {
		return err
	}
	o.unsure, o.spent = o.unsure[:0], append(o.spent, c)
	return nil
}

func (l *lane) code(o *owner) error {
	return l.give(o, credential{code: o.codeNow()})
}

func (l *lane) redeem(o *owner) error {
	c := credential{backup: true, code: o.unused[0]}
	o.unused = o.unused[1:]
	return l.give(o, c)
}

func (l *lane) mistype(o *owner) error {
	v, err := l.pending(o)
	if err != nil {
		return err
	}
	refused := func(a portal.Answer) bool { return a.Status == http.StatusUnprocessableEntity }
	if _, err := v.post(refused, "/login/code", "code", otherThan(o.secret)); err != nil {
		return err
	}
	o.wrong++
	return nil
}

// otherThan returns a code that isn't right within half an hour.
func otherThan(key []byte) string {
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
func (l *lane) issue(o *owner) error {
	before := o.unused
	o.unused = nil
	c := credential{backup: true, code: before[0]}
	v, err := l.pending(o)
	if err != nil {
		return err
	}
	o.unsure = append(o.unsure, c)
	if _, err := v.post(leads("/"), "/login/backup-code", "backup_code", c.code); err != nil {
		return err
	}
	o.unsure, o.spent = o.unsure[:0], append(o.spent, c)
	a, err := v.post(showsCodes, "/settings/security/backup-codes")
	if err != nil {
		return err
	}
	o.unused, o.dead = shownCodes(a.Body), append(o.dead, before[1:]...)
	return nil
}

// opens reports whether a credential signs the owner in.
func (l *lane) opens(o *owner, c credential) bool {
	l.t.Helper()
	v, err := l.pending(o)
	check(l.t, err)
	path, field := c.form()
	a, err := v.send(http.MethodPost, path, field, c.code)
	check(l.t, err)
	if !leads("/")(a) && a.Status != http.StatusUnprocessableEntity {
		l.t.Errorf("%s of %s: %s", path, o.name, short(a))
	}
	return leads("/")(a)
}

// hold holds what an owner remembers against the program of after a kill.
func (l *lane) hold(o *owner, d *db.DB) {
	l.t.Helper()
	ctx := context.Background()
	known, err := account.ByName(ctx, d.Reader(), o.name)
	check(l.t, err)
	if o.on && known.TwoFactorAt.IsZero() {
		l.t.Errorf("%s confirmed a wizard, and has no two-factor authentication", o.name)
	}
	if known.TwoFactorAt.IsZero() {
		return
	}
	for _, c := range o.spent {
		if l.opens(o, c) {
			l.t.Errorf("%+v of %s was accepted once more", c, o.name)
		}
	}
	for _, c := range o.unsure {
		first, second := l.opens(o, c), l.opens(o, c)
		if first && second {
			l.t.Errorf("%+v of %s was accepted twice", c, o.name)
		}
	}
	if len(o.dead) > 0 && l.opens(o, credential{backup: true, code: o.dead[0]}) {
		l.t.Errorf("a backup code of %s from the set before opens", o.name)
	}
	if len(o.unused) > 0 && !l.opens(o, credential{backup: true, code: o.unused[len(o.unused)-1]}) {
		l.t.Errorf("an unused backup code of %s doesn't open", o.name)
	}
	set, err := password.ChangedAt(ctx, d.Reader(), known.ID)
	check(l.t, err)
	counted, err := throttle.NewLedger(d, time.Now).Suspect(ctx, d.Reader(), known.ID, set)
	check(l.t, err)
	if counted.Codes < o.wrong || o.wrong > wrongAtMost {
		l.t.Errorf("%s gave %d wrong codes, of which %d count", o.name, o.wrong, counted.Codes)
	}
}

// examine looks at the whole database, and at the owners of the last round.
func (l *lane) examine(touched []*owner) {
	l.t.Helper()
	d := testkit.Open(l.t, "sqlite:"+filepath.Join(l.dir, "sallyport.db"))
	defer d.Close()
	var verdict string
	check(l.t, db.One(context.Background(), d.Reader(), `PRAGMA integrity_check`, nil, &verdict))
	if verdict != "ok" {
		l.t.Errorf("integrity check: %s", verdict)
	}
	nothingHalfDone(l.t, d)
	for _, o := range touched {
		l.hold(o, d)
	}
	l.command("key", "check")
	l.command("audit", "verify")
}

// TestAttack136Kills: the program is killed at any time while its keys rotate
// and people sign in, enrol, mistype, use backup codes and make new ones.
func TestAttack136Kills(t *testing.T) {
	t.Parallel()
	rounds, seed := series(t, faultsVariable, killRounds)
	path := buildProgram(t)
	var running sync.WaitGroup
	defer running.Wait()
	run := func(i int) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l := &lane{program: &program{t: t, path: path, dir: t.TempDir()}, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
			mine := (rounds + killLanes - 1 - i) / killLanes
			t.Run("owners", func(t *testing.T) { l.addOwners(t, mine*clientsPerLane*ownersPerClient) })
			killed, touched := 0, 0
			for round := range mine {
				server := l.serve()
				if round%dropEvery == dropEvery-1 {
					l.command("key", "rotate", "--drop")
				}
				rotated := l.background("key", "rotate")
				l.examine(l.owners[touched:l.next.Load()])
				touched = int(l.next.Load())

				var clients sync.WaitGroup
				for range clientsPerLane {
					clients.Go(func() {
						if err := l.use(); err != nil && !gone(err) {
							t.Error(err)
						}
					})
				}
				l.command("key", "add") // for the next round's rotation
				select {
				case <-time.After(time.Duration(l.below(int64(killWithin)))):
				case <-server.ended:
					t.Fatalf("the server ended by itself:\n%s", server.output())
				}
				// The rotation dies with it, or goes on alone.
				if l.below(2) == 0 {
					rotated.kill()
					killed++
				}
				server.kill()
				clients.Wait()
				if err := rotated.wait(); err != nil && !rotated.killed {
					t.Errorf("key rotate: %v\n%s", err, rotated.output())
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			l.serve()
			// With --drop it ends well only if nothing is left under an old key.
			l.command("key", "rotate", "--drop")
			l.examine(l.owners[touched:l.next.Load()])
			t.Logf("%d owners, %d things done after enrolment, %d rotations killed", l.next.Load(), l.answers.Load(), killed)
			if l.answers.Load() == 0 {
				t.Error("nobody got further than enrolment")
			}
		})
	}
	for i := range killLanes {
		running.Go(func() { run(i) })
	}
}
