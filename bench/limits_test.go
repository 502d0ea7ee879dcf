package bench

import (
	"context"
	"debug/elf"
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	manyAccounts = 100_000
	idle         = 3 * time.Second
	starts       = 5 // the median of so many counts

	kB = 1000
	MB = 1000 * kB
)

// BenchmarkLimits measures the shipped binary and prints a table. What is
// missed fails nothing: a busy machine is slow.
func BenchmarkLimits(b *testing.B) {
	if _, err := os.Stat(shipped); err != nil {
		b.Fatal("there is no binary; run: make bench")
	}
	var table strings.Builder
	for b.Loop() { // once: it takes longer than the time given
		table.Reset()
		rows := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(rows, "\n\nmeasured\tat most\t\t  limit\n")
		row := func(name string, got, limit, unit float64, unitName string) {
			verdict := "ok"
			if got > limit {
				verdict = "MISSED"
			}
			tenths := math.Round(10*got/unit) / 10
			fmt.Fprintf(rows, "%v %s\t%v %s\t%s\t  %s\n", tenths, unitName, limit/unit, unitName, verdict, name)
		}
		measureFile(b, row)
		measureDemo(b, row)
		measureServe(b, row)
		rows.Flush()
	}
	b.ReportMetric(0, "ns/op")
	fmt.Println(table.String())
}

// report adds a row to the table.
type report func(name string, got, limit, unit float64, unitName string)

func measureFile(b *testing.B, row report) {
	b.Helper()
	info, err := os.Stat(shipped)
	if err != nil {
		b.Fatal(err)
	}
	row("size of the binary", float64(info.Size()), 25*MB, MB, "MB")
	file, err := elf.Open(shipped)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	if err != nil {
		b.Fatal(err)
	}
	loaders, symbols := 0, 0
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP {
			loaders++
		}
	}
	for _, section := range file.Sections {
		if section.Type == elf.SHT_SYMTAB || strings.HasPrefix(section.Name, ".debug_") || strings.HasPrefix(section.Name, ".zdebug_") {
			symbols++
		}
	}
	row("shared libraries and loaders it needs: it is static", float64(len(libraries)+loaders), 0, 1, "")
	row("tables of symbols left in it: it is stripped", float64(symbols), 0, 1, "")
}

func measureDemo(b *testing.B, row report) {
	b.Helper()
	var took []time.Duration
	for range starts {
		at := freeAddress(b)
		p := start(b, at, nil, "demo", "--listen", at)
		took = append(took, p.took)
		p.stop()
	}
	row("demo until it answers", float64(median(took)), float64(2*time.Second), float64(time.Millisecond), "ms")
}

var asset = regexp.MustCompile(`(?:href|src)="(/static/[^"]+)"`)

func measureServe(b *testing.B, row report) {
	b.Helper()
	dir := b.TempDir()
	fill(b, dir)
	var (
		took    []time.Duration
		running *program
	)
	for range starts {
		if running != nil {
			running.stop()
		}
		at := freeAddress(b)
		running = start(b, at, []string{"SALLYPORT_LISTEN=" + at, "SALLYPORT_DATA_DIR=" + dir}, "serve")
		took = append(took, running.took)
	}
	row("serve until /login answers, 100,000 accounts", float64(median(took)), float64(300*time.Millisecond), float64(time.Millisecond), "ms")
	row("memory then (RSS)", running.resident(), 25*MB, MB, "MB")
	time.Sleep(idle)
	row("memory 3 idle seconds later", running.resident(), 25*MB, MB, "MB")

	page, err := get(running.url + "/login")
	if err != nil {
		b.Fatal(err)
	}
	sent := len(page)
	found := asset.FindAllSubmatch(page, -1)
	for _, one := range found {
		file, err := get(running.url + string(one[1]))
		if err != nil {
			b.Fatal(err)
		}
		sent += len(file)
	}
	row(fmt.Sprintf("first view: /login and its %d files", len(found)), float64(sent), 40*kB, kB, "kB")
	running.stop()
}

// fill makes a data directory whose database has [manyAccounts], each with a
// password and an authenticator.
func fill(b *testing.B, dir string) {
	b.Helper()
	cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + dir})
	if err != nil {
		b.Fatal(err)
	}
	p, err := server.Open(b.Context(), cfg, testkit.NewClock().Now, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	phc, err := password.Hash(secret.Argon2id{MemoryKiB: uint32(cfg.Password.MemoryKiB), Iterations: uint32(cfg.Password.Iterations)}, portal.Password)
	if err != nil {
		b.Fatal(err)
	}
	key := make([]byte, totp.SecretBytes)
	err = p.DB.Write(b.Context(), func(tx *db.Tx) error {
		insert, err := prepare(b.Context(), tx,
			`INSERT INTO accounts (id, name, email, email_folded, display_name, locale, role, security_stamp, enroll_locked, created_at)
				VALUES ($1, $2, $3, $3, $2, '', '`+string(account.Member)+`', $1, FALSE, $4)`,
			`INSERT INTO passwords (account_id, phc, changed_at) VALUES ($1, $2, $3)`,
			`INSERT INTO authenticators (id, account_id, kind, name, created_at, confirmed_at) VALUES ($1, $2, 'totp', 'Phone', $3, $3)`,
			`INSERT INTO totp (authenticator_id, secret, algorithm, digits, period, last_step, drift_steps) VALUES ($1, $2, 'SHA1', 6, 30, 1, 0)`)
		if err != nil {
			return err
		}
		for i := range manyAccounts {
			id, phone := secret.NewID(), secret.NewID()
			name, at := fmt.Sprintf("account-%06d", i), db.At{Time: testkit.Start.Add(-time.Duration(i) * time.Second)}
			for n, values := range [][]any{
				{id, name, name + "@example.org", at},
				{id, p.Login.Ring.Seal(secret.Place{Table: "passwords", Column: "phc", Row: id}, []byte(phc.Reveal())), at},
				{phone, id, at},
				{phone, p.Login.Ring.Seal(secret.Place{Table: "totp", Column: "secret", Row: id + "/" + phone}, key)},
			} {
				if err := insert(n, values...); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// prepare returns a function that runs the nth of queries.
func prepare(ctx context.Context, tx *db.Tx, queries ...string) (func(n int, values ...any) error, error) {
	run := make([]func(...any) error, len(queries))
	for n, query := range queries {
		statement, err := tx.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		run[n] = func(values ...any) error {
			_, err := statement.ExecContext(ctx, values...)
			return err
		}
	}
	return func(n int, values ...any) error { return run[n](values...) }, nil
}
