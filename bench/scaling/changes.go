package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
)

const (
	nodes       = 3
	measuredFor = 6 * time.Second
	alone       = 200 // changes that a single client makes, to measure the time of a change alone

	oldPassword = "correct horse battery"
	newPassword = "another horse battery"
)

// change is a kind of change that the clients of all nodes make.
type change struct {
	name     string
	accounts int // number of accounts, since each change needs a new one
	clients  int // on each node; if a change hashes, more clients wouldn't fit into the hashing queue
	make     func(ctx context.Context, node *server.Portal, p person) error
}

var changes = []change{
	{"sign-outs", 14_000, 64, signOut},
	{"sign-ins with code", 4_000, 16, signIn},
	{"enrolments", 3_000, 16, enroll},
	{"password changes", 4_000, 16, changePassword},
}

// person is the owner of an account with a session and a known browser.
type person struct {
	name, id, phone string
	secret          []byte // of the phone; nil without two-factor authentication
	from            login.Browser
}

// measureChanges writes a table of the changes a second on PostgreSQL with a standby. away is the
// round-trip time to the standby.
func measureChanges(ctx context.Context, w io.Writer, away time.Duration) error {
	dir, err := os.MkdirTemp("", "sallyport-scaling-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	people := map[string][]person{}
	s, err := startSite(ctx, dir, away, nodes, func(node *server.Portal) error {
		n := 0
		for _, c := range changes {
			if people[c.name], err = fill(ctx, node, n, n+c.accounts, c.name != "enrolments"); err != nil {
				return err
			}
			n += c.accounts
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer s.stop()
	fmt.Fprintf(w, "| change | clients on each of %d nodes | a second | median time | alone |\n|---|---|---|---|---|\n", nodes)
	for _, c := range changes {
		those := people[c.name]
		single, err := s.run(ctx, c, those[:alone], 1, 1)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		many, err := s.run(ctx, c, those[alone:], nodes, c.clients)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(w, "| %s | %d | %.0f | %s | %s |\n", c.name, c.clients, many.perSecond, ms(many.percentile(50)), ms(single.percentile(50)))
	}
	return nil
}

// run makes one change for each person, through the given number of nodes with the given number of
// clients on each. It ends after measuredFor even if some persons are left.
func (s *site) run(ctx context.Context, c change, people []person, nodes, clients int) (outcome, error) {
	var (
		all    sync.WaitGroup
		next   atomic.Int64
		took   = make([]float64, len(people))
		failed atomic.Pointer[error]
	)
	start := time.Now()
	for n := range nodes * clients {
		all.Go(func() {
			for time.Since(start) < measuredFor && failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(people) {
					return
				}
				at := time.Now()
				if err := c.make(ctx, s.nodes[n%nodes], people[i]); err != nil {
					failed.Store(&err)
					return
				}
				took[i] = time.Since(at).Seconds()
			}
		})
	}
	all.Wait()
	elapsed := time.Since(start).Seconds()
	if err := failed.Load(); err != nil {
		return outcome{}, *err
	}
	took = took[:min(int(next.Load()), len(people))]
	slices.Sort(took)
	return outcome{took: took, perSecond: float64(len(took)) / elapsed}, nil
}

// me returns the person's session and account, as a request with the session's cookie reads them.
func me(ctx context.Context, node *server.Portal, p person) (login.Me, error) {
	held, owner, err := session.ByToken(ctx, node.DB.Reader(), p.from.Session, node.Login.Life, node.Login.Clock())
	return login.Me{Session: held, Account: owner, From: p.from}, err
}

func signOut(ctx context.Context, node *server.Portal, p person) error {
	me, err := me(ctx, node, p)
	if err != nil {
		return err
	}
	return node.Manage.Sessions.SignOut(ctx, me)
}

func signIn(ctx context.Context, node *server.Portal, p person) error {
	from := p.from
	from.Session = ""
	begun, err := node.Login.SubmitPassword(ctx, login.Credentials{Username: p.name, Password: oldPassword, ReturnURL: "/"}, from)
	if err != nil {
		return err
	}
	_, err = node.Login.SubmitCode(ctx, begun.Attempt.Reveal(), code(p.secret), "", from)
	return err
}

func enroll(ctx context.Context, node *server.Portal, p person) error {
	me, err := me(ctx, node, p)
	if err != nil {
		return err
	}
	id, err := node.Manage.Authenticators.BeginEnrollment(ctx, me, "")
	if err != nil {
		return err
	}
	e, err := node.Manage.Authenticators.Enrollment(ctx, me, id)
	if err != nil {
		return err
	}
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(e.Key.Reveal())
	if err != nil {
		return err
	}
	_, err = node.Manage.Authenticators.ConfirmEnrollment(ctx, me, manage.Confirmation{ID: id, Code: code(key), Name: "Phone"})
	return err
}

func changePassword(ctx context.Context, node *server.Portal, p person) error {
	me, err := me(ctx, node, p)
	if err != nil {
		return err
	}
	_, err = node.Manage.Passwords.Change(ctx, me, oldPassword, newPassword)
	return err
}

// code returns the present code (RFC 6238, with SHA-1 and 30 s).
func code(key []byte) string {
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&(1<<31-1)%1_000_000)
}

// inserts are the statements that insert a person. A person with a phone also needs twoFactor.
var (
	inserts = []string{
		`INSERT INTO accounts (id, name, display_name, locale, role, security_stamp, enroll_locked, two_factor_at, created_at)
			VALUES ($1, $2, $2, '', 'member', $1, FALSE, $3, $4)`,
		`INSERT INTO passwords (account_id, phc, changed_at) VALUES ($1, $2, $3)`,
		`INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser) VALUES ($1, $2, $3, $4, $4, '192.0.2.7', 'bench')`,
		`INSERT INTO sessions (id, token_hash, account_id, security_stamp, proofs, created_at, seen_at, expires_at, address, browser)
			VALUES ($1, $2, $3, $3, $4, $5, $5, $6, '192.0.2.7', 'bench')`,
	}
	twoFactor = []string{
		`INSERT INTO authenticators (id, account_id, kind, name, created_at, confirmed_at) VALUES ($1, $2, 'totp', 'Phone', $3, $3)`,
		`INSERT INTO totp (authenticator_id, secret, algorithm, digits, period, last_step, drift_steps) VALUES ($1, $2, 'SHA1', 6, 30, 1, 0)`,
	}
)

// fill adds the persons with the numbers from first up to, but not including, end.
func fill(ctx context.Context, node *server.Portal, first, end int, phones bool) (people []person, err error) {
	phc, err := password.Hash(testkit.Quick, oldPassword)
	if err != nil {
		return nil, err
	}
	err = node.DB.Write(ctx, func(tx *db.Tx) error {
		for i := first; i < end; i++ {
			p := newPerson(i, phones)
			if err := p.insert(ctx, tx, node, phc); err != nil {
				return err
			}
			people = append(people, p)
		}
		return nil
	})
	return people, err
}

func newPerson(i int, phone bool) person {
	p := person{name: fmt.Sprint("ada", i), id: secret.NewID(), from: login.Browser{
		Address: netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 1}), UserAgent: "bench",
		Device: secret.NewToken().Reveal(), Session: secret.NewToken().Reveal(),
	}}
	if phone {
		p.phone, p.secret = secret.NewID(), []byte(secret.NewToken().Reveal())[:totp.SecretBytes]
	}
	return p
}

func (p person) insert(ctx context.Context, tx *db.Tx, node *server.Portal, phc secret.Text) error {
	now := time.Now()
	at := db.At{Time: now}
	proofs := []authenticator.Proof{{Kind: authenticator.Password, At: now}}
	statements := inserts
	var since db.At
	if p.secret != nil {
		since = at
		proofs = append(proofs, authenticator.Proof{Kind: authenticator.TOTP, ID: p.phone, At: now})
		statements = append(slices.Clip(statements), twoFactor...)
	}
	values := [][]any{
		{p.id, p.name, since, at},
		{p.id, node.Login.Ring.Seal(secret.Place{Table: "passwords", Column: "phc", Row: p.id}, []byte(phc.Reveal())), at},
		{secret.NewID(), secret.Hash(p.from.Device), p.id, at},
		{secret.NewID(), secret.Hash(p.from.Session), p.id, authenticator.EncodeProofs(proofs), at, db.At{Time: now.Add(node.Login.Life.Absolute)}},
		{p.phone, p.id, at},
		{p.phone, node.Login.Ring.Seal(secret.Place{Table: "totp", Column: "secret", Row: p.id + "/" + p.phone}, p.secret)},
	}
	for i, statement := range statements {
		if _, err := db.Exec(ctx, tx, statement, values[i]...); err != nil {
			return err
		}
	}
	return nil
}
