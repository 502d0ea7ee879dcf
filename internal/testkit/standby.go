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

// walMegabytes is the size of each file of PostgreSQL's write-ahead log on a server of
// [NewPostgres]. The files are within the limit of [Postgres.FillDisk], so that the server
// keeps running and refuses writes.
const walMegabytes = 1

// NewPostgres starts a PostgreSQL server that only this test uses, so the test may break it.
func NewPostgres(t testing.TB) *Postgres {
	t.Helper()
	p := emptyPostgres(t)
	Check(t, p.create("initdb", "-D", p.data(), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C",
		"--wal-segsize="+strconv.Itoa(walMegabytes)))
	Check(t, p.start())
	return p
}

func emptyPostgres(t testing.TB) *Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "sallyport-postgres-")
	Check(t, err)
	p, err := newPostgres(dir)
	Check(t, err)
	t.Cleanup(func() {
		p.Kill()
		os.RemoveAll(dir)
	})
	return p
}

// Standby starts a synchronous standby of p. From then on, p answers a commit only when the
// standby has the commit too.
func (p *Postgres) Standby(t testing.TB) *Postgres {
	t.Helper()
	other := emptyPostgres(t)
	Check(t, other.create("pg_basebackup", "-D", other.data(), "-d", p.URL("postgres"), "-R", "--checkpoint=fast", "--no-sync"))
	// The copy has the settings of p. If p has a standby already, these would make the copy
	// wait for a standby too.
	settings, err := os.OpenFile(filepath.Join(other.data(), "postgresql.auto.conf"), os.O_WRONLY|os.O_APPEND, 0)
	Check(t, err)
	_, err = settings.WriteString("synchronous_standby_names = ''\n")
	Check(t, errors.Join(err, settings.Close()))
	Check(t, other.start())
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
	Check(t, p.run(statement, nil))
}

// Query waits until the query returns one value whose text is want.
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

// Kill kills the server and its children at once, as a power cut does.
func (p *Postgres) Kill() {
	if p.server == nil || p.server.Process == nil || p.server.ProcessState != nil {
		return
	}
	p.signal(syscall.SIGSTOP) // so that the server starts no child before SIGKILL
	p.signal(syscall.SIGKILL)
	p.server.Wait()
}

// Restart starts a server that was killed.
func (p *Postgres) Restart(t testing.TB) {
	t.Helper()
	Check(t, p.start())
}

// Freeze stops the server's processes until [Postgres.Thaw]. A frozen server accepts connections
// but doesn't answer.
func (p *Postgres) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server run on.
func (p *Postgres) Thaw() { p.signal(syscall.SIGCONT) }

// signal sends a signal to the server's main process, then to its children.
func (p *Postgres) signal(what syscall.Signal) {
	for _, id := range p.processes() {
		syscall.Kill(id, what)
	}
}

// processes returns the ids of the server's main process and of its children, in this order.
func (p *Postgres) processes() []int {
	server := p.server.Process.Pid
	all := []int{server}
	found, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range found {
		stat, _ := os.ReadFile(name)
		// A line such as "12 (postgres: ...) S 11 ...". The name in parentheses may
		// contain spaces and parentheses.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(server) {
			id, _ := strconv.Atoi(strings.Split(name, "/")[2])
			all = append(all, id)
		}
	}
	return all
}

// FillDisk makes writes fail as on a full disk, until [Postgres.MakeRoom]. It sets a limit of
// the system: no process of the server can write to a file beyond its first megabyte.
func (p *Postgres) FillDisk(t testing.TB) { p.limit(t, strconv.Itoa(walMegabytes<<20)) }

// MakeRoom removes the limit that [Postgres.FillDisk] set.
func (p *Postgres) MakeRoom(t testing.TB) { p.limit(t, "unlimited") }

// limit sets the limit on the size of files for all processes of the server. It runs
// prlimit as the server's user, since some containers forbid root to change such limits.
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
