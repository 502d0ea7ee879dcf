package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// inARound are the commits or codes of one round, shared by the clients.
	inARound = 256

	// signingIn at a time are not too many for the hashing queue.
	signingIn = 16

	// oneRow is an event, as a code writes one.
	oneRow = `INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
		VALUES ($1, $2, '', 'owner', 'signed_in', 'ok', 'password_totp', 0, '127.0.0.1', 'bench')`
)

// clients are at work at a time.
var clients = []int{1, 16, 64}

// BenchmarkCommits holds changes of one row, of several writers at a time,
// against a bare writer that commits row after row.
func BenchmarkCommits(b *testing.B) {
	for _, n := range clients {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := testkit.Open(b, testkit.DatabaseURL(b, "sqlite"))
			number := 0
			compareRates(b, func() time.Duration {
				number++
				return together(n, func(i int) {
					id := fmt.Sprint(number, "-", i)
					if err := d.Write(context.Background(), func(tx *db.Tx) error {
						_, err := db.Exec(context.Background(), tx, oneRow, id, i)
						return err
					}); err != nil {
						b.Error(err)
					}
				})
			})
		})
	}
}

// BenchmarkVerifications holds codes, of several people at a time, against the
// same. All browsers are known: the codes that are under way of so many unknown
// ones would count against the whole instance.
func BenchmarkVerifications(b *testing.B) {
	p := portal.Start(b, "sqlite")
	phones, from := make([]*portal.Phone, inARound), make([]login.Browser, inARound)
	for i := range phones {
		p.AddAccount(b, name(i))
		browser := p.Browser(b)
		browser.SignIn(name(i))
		phones[i] = browser.Enroll("Phone")
		// A network each: many people's wrong codes count for one.
		from[i] = login.Browser{Address: netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), UserAgent: "bench"}
	}
	attempts := make([]string, inARound)
	begin := func(i int) {
		begun, err := p.Login.SubmitPassword(b.Context(), name(i), portal.Password, "/", "", from[i])
		if err != nil {
			panic(err) // not on the benchmark's goroutine
		}
		attempts[i] = begun.Attempt.Reveal()
	}
	right := func(i int) {
		done, err := p.Login.SubmitCode(b.Context(), attempts[i], phones[i].Code(0), "", "", from[i])
		if err != nil {
			panic(err)
		}
		from[i].Device = done.Device.Reveal()
	}
	wrong := func(i int) {
		_, err := p.Login.SubmitCode(b.Context(), attempts[i], phones[i].Code(-100*apart), "", "", from[i])
		if !errors.Is(err, login.ErrRejected) {
			panic(err)
		}
	}
	for kind, give := range map[string]func(i int){"right": right, "wrong": wrong} {
		for _, n := range clients {
			b.Run(fmt.Sprint(kind, "/", n), func(b *testing.B) {
				compareRates(b, func() time.Duration {
					// Not measured: each browser becomes known, or stays so.
					p.Clock.Move(apart)
					together(signingIn, func(i int) { begin(i); right(i) })
					p.Clock.Move(totp.Period)
					together(signingIn, begin)
					return together(n, give)
				})
			})
		}
	}
}

func name(i int) string { return fmt.Sprint("ada", i) }

// together has that many clients share a round, and returns how long it took.
func together(clients int, one func(i int)) time.Duration {
	var all sync.WaitGroup
	begin := time.Now()
	for first := range clients {
		all.Go(func() {
			for i := first; i < inARound; i += clients {
				one(i)
			}
		})
	}
	all.Wait()
	return time.Since(begin)
}

// compareRates runs rounds of ours and of bare commits in turn until b's time
// is over, and reports how many of ours are done in the time of a bare one.
func compareRates(b *testing.B, ours func() time.Duration) {
	bare := openBareWriter(b)
	ours() // fills caches; not measured
	bare.round()
	var mine, limit, ratios []float64
	for b.Loop() {
		took, least := ours(), bare.round()
		mine, limit = append(mine, inARound/took.Seconds()), append(limit, inARound/least.Seconds())
		ratios = append(ratios, float64(least)/float64(took))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(mine), "ours/s")
	b.ReportMetric(median(limit), "bare/s")
	b.ReportMetric(median(ratios), "ratio")
}

// bareWriter commits row after row through one prepared statement, as durably
// as we do, with nothing in between.
type bareWriter struct {
	b      *testing.B
	insert *sql.Stmt
	number int
}

func openBareWriter(b *testing.B) *bareWriter {
	path := filepath.Join(b.TempDir(), "sallyport.db")
	testkit.Open(b, "sqlite:"+path).Close() // the same tables
	lite, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		b.Fatal(err)
	}
	lite.SetMaxOpenConns(1)
	b.Cleanup(func() { lite.Close() })
	insert, err := lite.Prepare(oneRow)
	if err != nil {
		b.Fatal(err)
	}
	return &bareWriter{b: b, insert: insert}
}

// round returns how long a round of rows takes.
func (w *bareWriter) round() time.Duration {
	w.number++
	begin := time.Now()
	for i := range inARound {
		if _, err := w.insert.Exec(fmt.Sprint(w.number, "-", i), i); err != nil {
			w.b.Fatal(err)
		}
	}
	return time.Since(begin)
}
