package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// codesInARound is the number of codes in a round, one after the other.
const codesInARound = 20

// latencyOfCodes measures how long the answer to a code takes on SQLite, including the writes to the
// ledger. The bare side only writes the same rows in two durable transactions, since a sign-in commits
// once before it compares the code, and once with the outcome.
func (b *bench) latencyOfCodes() {
	targets := map[string]*target{"right": atMost(1.3), "wrong": atMost(1.5)}
	for _, kind := range codeKinds {
		for _, known := range []bool{true, false} {
			b.within(func() {
				browser := "known browser"
				if !known {
					browser = "unknown browser"
				}
				right := kind == "right"
				bare := b.openBareCode(known)
				got := alternate(b.rounds, b.oneByOne(known, right), func() sample {
					return b.summed(func() time.Duration { return bare.code(right) })
				})
				b.add(row{what: fmt.Sprintf("Latency of a %s code, %s", kind, browser), unit: "µs",
					got: medianOf(got[0], p50Of), bare: medianOf(got[1], p50Of), ratio: medianRatio(got[0], got[1], p50Of), target: targets[kind]})
			})
		}
	}
}

// summed calls submit codesInARound times and returns the sample. The sample's p50 is the mean
// of the times, so that the ratio of two sides is the ratio of whole rounds.
func (b *bench) summed(submit func() time.Duration) sample {
	var sum time.Duration
	for range codesInARound {
		sum += submit()
	}
	return sample{n: codesInARound, p50: microseconds(sum) / codesInARound}
}

// oneByOne returns a side in which one user submits one code after the other.
func (b *bench) oneByOne(known, right bool) side {
	p := portal.Start(b.stage, "sqlite")
	phone := addPerson(b.stage, p, "alice")
	from := login.Browser{Address: netip.MustParseAddr("127.0.0.1"), UserAgent: "bench"}
	submit := func(right bool) time.Duration {
		p.Clock.Move(betweenRounds)
		begun, err := p.Login.SubmitPassword(b.ctx, login.Credentials{Username: "alice", Password: portal.Password, ReturnURL: "/"}, from)
		b.must(err)
		b.must(p.Sweep(b.ctx)) // expires the sessions of earlier rounds
		typed := phone.Code(0)
		if !right {
			typed = phone.Code(-100 * betweenRounds)
		}
		start := time.Now()
		done, err := p.Login.SubmitCode(b.ctx, begun.Attempt.Reveal(), typed, "", from)
		took := time.Since(start)
		if right && done.Stage != login.StageDone || !right && !errors.Is(err, login.ErrRejected) {
			b.Fatal("unexpected result of a code: ", done.Stage, err)
		}
		if right && known {
			from.Device = done.Device.Reveal()
		}
		return took
	}
	submit(true) // not measured: makes the browser known
	return func() sample { return b.summed(func() time.Duration { return submit(right) }) }
}

// bareCode writes the rows that the verification of a code writes, and does nothing else.
type bareCode struct {
	*bench
	db            *db.DB
	account       string
	authenticator string
	buckets       []string // the buckets of the ledger that count a code
	known         bool
}

// openBareCode creates a database like the one that [bench.oneByOne] measures.
func (b *bench) openBareCode(known bool) *bareCode {
	p := portal.Start(b.stage, "sqlite")
	phone, owner := addPerson(b.stage, p, "alice"), p.AddAccount(b.stage, "bob")
	w := &bareCode{bench: b, db: p.DB, account: owner.ID, authenticator: phone.ID, buckets: []string{"code", "prefix"}, known: known}
	if known {
		w.buckets = []string{"code-known"}
	}
	w.write(func(tx *db.Tx) {
		for _, bucket := range w.buckets {
			w.exec(tx, `INSERT INTO ledger (account_id, bucket, subject, times, version, changed_at) VALUES ($1, $2, '', $3, 1, $4)`,
				w.account, bucket, entry, 0)
		}
		w.exec(tx, `INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser) VALUES ($1, $2, $1, 0, 0, '', '')`,
			w.account, secret.Hash(w.account))
	})
	return w
}

// entry has the length of an entry in the ledger.
var entry = make([]byte, 23)

func (w *bareCode) write(change func(tx *db.Tx)) {
	w.must(w.db.Write(w.ctx, func(tx *db.Tx) error { change(tx); return nil }))
}

func (w *bareCode) exec(tx *db.Tx, query string, args ...any) {
	if n, err := db.Exec(w.ctx, tx, query, args...); err != nil || n != 1 {
		w.Fatal(n, err)
	}
}

func (w *bareCode) count(tx *db.Tx) {
	for _, bucket := range w.buckets {
		w.exec(tx, `UPDATE ledger SET times = $3, version = version + 1, changed_at = $4 WHERE account_id = $1 AND bucket = $2 AND subject = ''`,
			w.account, bucket, entry, time.Now().UnixMilli())
	}
}

// code makes the commits of a code and returns how long they take. Before a right code it writes
// the attempt that the code ends, which isn't measured.
func (w *bareCode) code(right bool) time.Duration {
	now := time.Now().UnixMilli()
	if right {
		w.write(func(tx *db.Tx) {
			w.exec(tx, `INSERT INTO attempts (id, token_hash, account_id, security_stamp, purpose, proofs, return_url, created_at, expires_at)
				VALUES ($1, $2, $1, '', 'sign_in', '', '/', $3, $3)`, w.account, secret.Hash(w.account), now)
		})
	}
	start := time.Now()
	w.write(w.count)
	w.write(func(tx *db.Tx) {
		if right {
			w.exec(tx, `UPDATE totp SET last_step = $2, used_at = $2 WHERE authenticator_id = $1`, w.authenticator, now)
			w.count(tx) // a right code is removed from the ledger
			w.exec(tx, `DELETE FROM attempts WHERE id = $1`, w.account)
			id := secret.NewID()
			w.exec(tx, `INSERT INTO sessions (id, token_hash, account_id, security_stamp, proofs, created_at, seen_at, expires_at, address, browser)
				VALUES ($1, $2, $3, '', '', $4, $4, $4, '127.0.0.1', 'bench')`, id, secret.Hash(id), w.account, now)
			if w.known {
				w.exec(tx, `UPDATE devices SET token_hash = $2, used_at = $3 WHERE id = $1`, w.account, secret.Hash(id), now)
			} else {
				w.exec(tx, `INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser)
					VALUES ($1, $2, $3, $4, $4, '127.0.0.1', 'bench')`, id, secret.Hash(id), w.account, now)
			}
		}
		w.exec(tx, `INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
			VALUES ($1, $2, $3, 'owner', 'signed_in', 'ok', 'password_totp', 0, '127.0.0.1', 'bench')`, secret.NewID(), now, w.account)
	})
	return time.Since(start)
}
