package testkit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// walMegabyte is how big files of PostgreSQL's log are on a server that a test
// harms: where its disk is "full" they still fit, so that it can refuse.
const walMegabyte = 1

// NewPostgres starts a PostgreSQL of the test's own, which may be harmed.
func NewPostgres(t testing.TB) *Postgres {
	t.Helper()
	p := emptyPostgres(t)
	must(t, p.create("initdb", "-D", p.data(), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C",
		"--wal-segsize="+strconv.Itoa(walMegabyte)))
	must(t, p.start())
	return p
}

func emptyPostgres(t testing.TB) *Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "sallyport-postgres-")
	must(t, err)
	p, err := newPostgres(dir)
	must(t, err)
	t.Cleanup(func() {
		p.Kill()
		os.RemoveAll(dir)
	})
	return p
}

// Standby starts a standby, without which no commit on p is answered from then
// on.
func (p *Postgres) Standby(t testing.TB) *Postgres {
	t.Helper()
	other := emptyPostgres(t)
	must(t, other.create("pg_basebackup", "-D", other.data(), "-d", p.URL("postgres"), "-R", "--checkpoint=fast", "--no-sync"))
	// The copy takes that over, where it would wait for a standby of its own.
	settings, err := os.OpenFile(filepath.Join(other.data(), "postgresql.auto.conf"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = settings.WriteString("synchronous_standby_names = ''\n")
	must(t, errors.Join(err, settings.Close()))
	must(t, other.start())
	p.Query(t, `SELECT COUNT(*) FROM pg_stat_replication WHERE state = 'streaming'`, "1")
	p.Exec(t, `ALTER SYSTEM SET synchronous_standby_names = '*'`)
	p.Exec(t, `SELECT pg_reload_conf()`)
	p.Query(t, `SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'`, "1")
	return other
}

// Promote makes a standby the primary.
func (p *Postgres) Promote(t testing.TB) {
	t.Helper()
	p.Exec(t, `SELECT pg_promote()`)
}

// Exec runs a statement as the superuser.
func (p *Postgres) Exec(t testing.TB, statement string) {
	t.Helper()
	must(t, p.run(statement, nil))
}

// Query waits until a query answers with want.
func (p *Postgres) Query(t testing.TB, query, want string) {
	t.Helper()
	Until(t, query, func() bool {
		var got string
		err := p.run(query, &got)
		return err == nil && got == want
	})
}

func (p *Postgres) run(statement string, into *string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if into == nil {
		_, err = conn.Exec(ctx, statement)
		return err
	}
	return conn.QueryRow(ctx, `SELECT CAST((`+statement+`) AS TEXT)`).Scan(into)
}

// Kill ends the server as a power cut does.
func (p *Postgres) Kill() {
	if p.server == nil || p.server.Process == nil || p.server.ProcessState != nil {
		return
	}
	p.signal(syscall.SIGSTOP) // so that none is born meanwhile
	p.signal(syscall.SIGKILL)
	p.server.Wait()
}

// Restart starts a server that was killed.
func (p *Postgres) Restart(t testing.TB) {
	t.Helper()
	must(t, p.start())
}

// Freeze has the server take connections and say nothing, until Thaw.
func (p *Postgres) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw has a frozen server go on.
func (p *Postgres) Thaw() { p.signal(syscall.SIGCONT) }

// signal signals the server, then its children.
func (p *Postgres) signal(what syscall.Signal) {
	for _, id := range p.processes() {
		syscall.Kill(id, what)
	}
}

// processes are the server's and, after it, its children's.
func (p *Postgres) processes() []int {
	server := p.server.Process.Pid
	all := []int{server}
	found, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range found {
		stat, _ := os.ReadFile(name)
		// The name may hold anything: "12 (postgres: ...) S 11 ..."
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(server) {
			id, _ := strconv.Atoi(strings.Split(name, "/")[2])
			all = append(all, id)
		}
	}
	return all
}

// FillDisk has the files of the database grow no more than to a megabyte, and
// MakeRoom ends it. A limit of the system stands for a full disk: it is refused
// at the same places.
func (p *Postgres) FillDisk(t testing.TB) { p.limit(t, strconv.Itoa(walMegabyte<<20)) }

// MakeRoom ends FillDisk.
func (p *Postgres) MakeRoom(t testing.TB) { p.limit(t, "unlimited") }

// limit is set by the server's own user: root may not everywhere.
func (p *Postgres) limit(t testing.TB, bytes string) {
	t.Helper()
	for _, id := range p.processes() {
		cmd := exec.Command("prlimit", "--pid", strconv.Itoa(id), "--fsize="+bytes+":")
		cmd.SysProcAttr, cmd.Dir = p.server.SysProcAttr, p.dir
		if out, err := cmd.CombinedOutput(); err != nil && syscall.Kill(id, 0) == nil {
			t.Fatalf("prlimit: %v\n%s", err, out)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
