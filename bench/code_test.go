package bench

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// apart are two tries: no window of the ledger fills up, and a known
	// browser stays known.
	apart = 100 * 24 * time.Hour

	// codes are tried in each round.
	codes = 20
)

// BenchmarkCode holds a code with the whole ledger, on SQLite, against the two
// commits that it can't do without: one before the code is compared, one with
// the outcome. The bare side writes the same rows in as many durable
// transactions; it reads and decides nothing.
func BenchmarkCode(b *testing.B) {
	for code, right := range map[string]bool{"wrong": false, "right": true} {
		for browser, known := range map[string]bool{"unknown-browser": false, "known-browser": true} {
			b.Run(code+"/"+browser, func(b *testing.B) {
				// The password isn't measured. Its hash is a quick one, or what 19 MiB
				// leave to be collected would be.
				p := portal.Start(b, "sqlite")
				phone := addAlice(b, p)
				from := login.Browser{Address: netip.MustParseAddr("127.0.0.1"), UserAgent: "bench"}
				attempt := func() string {
					p.Clock.Move(apart)
					begun, err := p.Login.SubmitPassword(b.Context(), "alice", portal.Password, "/", "", from)
					if err != nil {
						b.Fatal(err)
					}
					return begun.Attempt.Reveal()
				}
				give := func(token string, right bool) time.Duration {
					typed := phone.Code(0)
					if !right {
						typed = phone.Code(-100 * apart)
					}
					begin := time.Now()
					done, err := p.Login.SubmitCode(b.Context(), token, typed, "", "", from)
					took := time.Since(begin)
					if right && done.Stage != login.StageDone || !right && !errors.Is(err, login.ErrRejected) {
						b.Fatal(done.Stage, err)
					}
					if right && known {
						from.Device = done.Device.Reveal()
					}
					return took
				}
				give(attempt(), true) // a first time, not measured
				bare := openBare(b, known)
				bare.code(right)
				var ratios, mine, least []float64
				for b.Loop() {
					var ours, limit time.Duration
					for range codes {
						ours += give(attempt(), right)
						limit += bare.code(right)
					}
					ratios = append(ratios, float64(ours)/float64(limit))
					mine, least = append(mine, float64(ours)/codes), append(least, float64(limit)/codes)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(median(mine), "ours-ns")
				b.ReportMetric(median(least), "bare-ns")
				b.ReportMetric(median(ratios), "ratio")
			})
		}
	}
}

// bare writes what a code writes.
type bare struct {
	b             *testing.B
	db            *db.DB
	account       string
	authenticator string
	buckets       []string // in which a try is counted
	known         bool
}

// openBare fills a database like the one that is measured.
func openBare(b *testing.B, known bool) *bare {
	p := portal.Start(b, "sqlite")
	phone, owner := addAlice(b, p), p.AddAccount(b, "bob")
	w := &bare{b: b, db: p.DB, account: owner.ID, authenticator: phone.ID, buckets: []string{"code", "prefix"}, known: known}
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

// entry is as long as one of the ledger's.
var entry = make([]byte, 23)

func (w *bare) write(change func(tx *db.Tx)) {
	if err := w.db.Write(context.Background(), func(tx *db.Tx) error { change(tx); return nil }); err != nil {
		w.b.Fatal(err)
	}
}

func (w *bare) exec(tx *db.Tx, query string, args ...any) {
	if n, err := db.Exec(context.Background(), tx, query, args...); err != nil || n != 1 {
		w.b.Fatal(n, err)
	}
}

func (w *bare) count(tx *db.Tx) {
	for _, bucket := range w.buckets {
		w.exec(tx, `UPDATE ledger SET times = $3, version = version + 1, changed_at = $4 WHERE account_id = $1 AND bucket = $2 AND subject = ''`,
			w.account, bucket, entry, time.Now().UnixMilli())
	}
}

// code returns how long the commits of a code take; before those of a right
// one it writes the attempt that it ends.
func (w *bare) code(right bool) time.Duration {
	now := time.Now().UnixMilli()
	if right {
		w.write(func(tx *db.Tx) {
			w.exec(tx, `INSERT INTO attempts (id, token_hash, account_id, security_stamp, purpose, proofs, return_url, created_at, expires_at)
				VALUES ($1, $2, $1, '', 'sign_in', '', '/', $3, $3)`, w.account, secret.Hash(w.account), now)
		})
	}
	begin := time.Now()
	w.write(w.count)
	w.write(func(tx *db.Tx) {
		if right {
			w.exec(tx, `UPDATE totp SET last_step = $2 WHERE authenticator_id = $1`, w.authenticator, now)
			w.exec(tx, `UPDATE authenticators SET last_used_at = $2 WHERE id = $1`, w.authenticator, now)
			w.count(tx) // given back
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
	return time.Since(begin)
}
