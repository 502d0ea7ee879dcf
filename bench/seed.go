package main

import (
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/throttle"
)

// population is a data directory with many accounts. Each has a password, an
// authenticator, a known browser, a session and a visit, in rows like those that the
// product writes.
type population struct {
	*bench
	dir  string
	size int
	used int // accounts that the mixed load has used

	settings []string // further environment variables of the portal, beside its data directory
}

// newPopulation creates a population without accounts.
func (b *bench) newPopulation() *population {
	t := &population{bench: b, dir: b.TempDir()}
	t.open().Close() // creates the tables and a key ring
	return t
}

// hashedPopulation returns the population of the mixed load, whose passwords are hashed at
// the default costs. The first run creates it for all runs.
func (b *bench) hashedPopulation() *population {
	if b.hashed == nil {
		of := *b
		of.stage = b.whole
		b.hashed = of.newPopulation()
		b.hashed.bench = b
		cfg := b.hashed.config()
		b.hashed.fill(b.mixedAccounts, secret.Argon2id{MemoryKiB: uint32(cfg.Password.MemoryKiB), Iterations: uint32(cfg.Password.Iterations)})
	}
	return b.hashed
}

func (t *population) open() *server.Portal {
	p, err := server.Open(t.ctx, t.config(), time.Now, slog.New(slog.DiscardHandler))
	t.must(err)
	return p
}

func (t *population) config() config.Config {
	cfg, err := config.Load("", append([]string{"SALLYPORT_DATA_DIR=" + t.dir}, t.settings...))
	t.must(err)
	return cfg
}

// tokenOf returns account i's token of the given kind. Tokens, ids and secrets of an account are
// derived from its number, so that this program needn't keep them in memory.
func tokenOf(kind string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, i))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func idOf(kind string, i int) string { return tokenOf(kind, i)[:len(secret.NewID())] }

func secretOf(i int) []byte { return []byte(tokenOf("secret", i))[:totp.SecretBytes] }

const (
	insertAccount = `INSERT INTO accounts (id, name, email, email_folded, display_name, locale, role, security_stamp, enroll_locked, two_factor_at, created_at)
		VALUES ($1, $2, $3, $3, $2, '', '` + string(account.Member) + `', $4, FALSE, $5, $5)`
	insertSession = `INSERT INTO sessions (id, token_hash, account_id, security_stamp, proofs, created_at, seen_at, expires_at, address, browser)
		VALUES ($1, $2, $3, $4, $5, $6, $6, $7, '192.0.2.7', 'bench')`
	insertVisit = `INSERT INTO visits (id, token_hash, session_id, panel, created_at) VALUES ($1, $2, $3, $4, $5)`
)

// accountStatements insert one account. values returns their parameters in this order.
var accountStatements = []string{
	insertAccount,
	`INSERT INTO passwords (account_id, phc, changed_at) VALUES ($1, $2, $3)`,
	`INSERT INTO authenticators (id, account_id, kind, name, created_at, confirmed_at) VALUES ($1, $2, 'totp', 'Phone', $3, $3)`,
	// The last step is as large as a real one. With a smaller one, the row would grow at its next
	// code and might have to move to another page.
	`INSERT INTO totp (authenticator_id, secret, algorithm, digits, period, last_step, drift_steps, used_at) VALUES ($1, $2, 'SHA1', 6, 30, 50000000, 0, $3)`,
	`INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser) VALUES ($1, $2, $3, $4, $4, '192.0.2.7', 'bench')`,
	`INSERT INTO ledger (account_id, bucket, subject, times, version, changed_at) VALUES ($1, '` + string(throttle.CodeKnownDevice) + `', $2, $3, 2, $4)`,
	insertSession,
	insertVisit,
}

// addVisitors adds accounts with a session and a visit each to the database of a running binary
// in dir. The binary may be older than this tree: it created the tables itself, and none of the
// rows added here must be sealed with its keys.
func (b *bench) addVisitors(dir string) {
	lite, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sallyport.db")+"?_pragma=busy_timeout(5000)")
	b.must(err)
	defer lite.Close()
	tx, err := lite.BeginTx(b.ctx, nil)
	b.must(err)
	defer tx.Rollback()
	now := time.Now()
	at, end := db.At{Time: now}, db.At{Time: now.Add(time.Hour)}
	proofs := authenticator.EncodeProofs([]authenticator.Proof{{Kind: authenticator.Password, At: now}})
	for i := range visitors {
		id, session, stamp, name := idOf("account", i), idOf("session", i), idOf("stamp", i), nameOf(i)
		for _, one := range []struct {
			query  string
			values []any
		}{
			{insertAccount, []any{id, name, name + "@example.org", stamp, at}},
			{insertSession, []any{session, secret.Hash(tokenOf("session", i)), id, stamp, proofs, at, end}},
			{insertVisit, []any{idOf("visit", i), secret.Hash(tokenOf("visit", i)), session, forwardAuthPanel, at}},
		} {
			_, err := tx.ExecContext(b.ctx, one.query, one.values...)
			b.must(err)
		}
	}
	b.must(tx.Commit())
}

// growTo adds accounts until there are size of them, with passwords that are quick to check.
func (t *population) growTo(size int) { t.fill(size, testkit.Quick) }

// fill adds accounts until there are size of them, in one transaction. It doesn't sync, since the
// population is temporary. All passwords have the same hash, made at the given cost.
func (t *population) fill(size int, cost secret.Argon2id) {
	values := t.values(cost)
	lite, err := sql.Open("sqlite", "file:"+filepath.Join(t.dir, "sallyport.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=cache_size(-1000000)")
	t.must(err)
	defer lite.Close()
	tx, err := lite.BeginTx(t.ctx, nil)
	t.must(err)
	defer tx.Rollback()
	var insert []*sql.Stmt
	for _, query := range accountStatements {
		statement, err := tx.Prepare(query)
		t.must(err)
		insert = append(insert, statement)
	}
	for i := t.size; i < size; i++ {
		for n, one := range values(i) {
			if _, err := insert[n].ExecContext(t.ctx, one...); err != nil {
				t.Fatal(accountStatements[n], err)
			}
		}
	}
	t.must(tx.Commit())
	t.size = size
}

// values returns a function that returns the parameters of accountStatements for account i.
func (t *population) values(cost secret.Argon2id) func(i int) [][]any {
	p := t.open()
	ring := p.Login.Ring
	absolute := p.Login.Life.Absolute
	p.Close()
	phc, err := password.Hash(cost, portal.Password)
	t.must(err)
	now := time.Now()
	at, end := db.At{Time: now}, db.At{Time: now.Add(absolute)}
	return func(i int) [][]any {
		id, phone, session, name := idOf("account", i), idOf("phone", i), idOf("session", i), nameOf(i)
		stamp := idOf("stamp", i)
		proofs := authenticator.EncodeProofs([]authenticator.Proof{{Kind: authenticator.Password, At: now}, {Kind: authenticator.TOTP, ID: phone, At: now}})
		return [][]any{
			{id, name, name + "@example.org", stamp, at},
			{id, ring.Seal(secret.Place{Table: "passwords", Column: "phc", Row: id}, []byte(phc.Reveal())), at},
			{phone, id, at},
			{phone, ring.Seal(secret.Place{Table: "totp", Column: "secret", Row: id + "/" + phone}, secretOf(i)), at},
			{idOf("device", i), secret.Hash(tokenOf("device", i)), id, at},
			{id, idOf("device", i), []byte{}, at},
			{session, secret.Hash(tokenOf("session", i)), id, stamp, proofs, at, end},
			{idOf("visit", i), secret.Hash(tokenOf("visit", i)), session, forwardAuthPanel, at},
		}
	}
}
