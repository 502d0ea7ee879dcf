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

	// withSession is a row of events as a code writes one.
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
// same.
func BenchmarkVerifications(b *testing.B) {
	p := portal.Start(b, "sqlite")
	phones := make([]*portal.Phone, inARound)
	from := make([]login.Browser, inARound)
	for i := range phones {
		name := fmt.Sprint("ada", i)
		p.AddAccount(b, name)
		browser := p.Browser(b)
		browser.SignIn(name)
		phones[i] = browser.Enroll("Phone")
		// A network each: many people's wrong codes count for one.
		from[i] = login.Browser{Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), UserAgent: "bench"}
	}
	for _, c := range []struct {
		name         string
		right, known bool
	}{
		// Wrong codes of this many unknown browsers would make the whole
		// instance suspicious.
		{"right/unknown-browser", true, false}, {"right/known-browser", true, true}, {"wrong/known-browser", false, true},
	} {
		for _, n := range clients {
			b.Run(fmt.Sprint(c.name, "/", n), func(b *testing.B) {
				attempts := make([]string, inARound)
				give := func(i int, off time.Duration, want error) {
					done, err := p.Login.SubmitCode(b.Context(), attempts[i], phones[i].Code(off), "", "", from[i])
					if !errors.Is(err, want) {
						panic(err) // on a goroutine of its own
					}
					if c.known && err == nil {
						from[i].Device = done.Device.Reveal()
					}
				}
				begin := func(i int) {
					begun, err := p.Login.SubmitPassword(b.Context(), fmt.Sprint("ada", i), portal.Password, "/", "", from[i])
					if err != nil {
						panic(err)
					}
					attempts[i] = begun.Attempt.Reveal()
				}
				off, want := time.Duration(0), error(nil)
				if !c.right {
					off, want = -100*apart, login.ErrRejected
				}
				compareRates(b, func() time.Duration {
					// Not measured:
					p.Clock.Move(apart)
					if c.known {
						together(signingIn, func(i int) { begin(i); give(i, 0, nil) })
						p.Clock.Move(totp.Period)
					}
					together(signingIn, begin)
					return together(n, func(i int) { give(i, off, want) })
				})
			})
		}
	}
}

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

// compareRates runs rounds of ours and of bare commits in turn and reports how
// many of ours are done in the time of a bare one.
func compareRates(b *testing.B, ours func() time.Duration) {
	bare := openBareWriter(b)
	bare.round()
	ours()
	var mine, limit, ratios []float64
	for b.Loop() {
		least, took := bare.round(), ours()
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
