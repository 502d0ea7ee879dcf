package testkit

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// poolerConns is the number of connections that a [Pooler] has. It is smaller than a
// node's pool, so that successive transactions get different connections.
const poolerConns = 3

// Pooler starts a PgBouncer in transaction mode in front of the database at rawURL. It returns
// the database's URL through the PgBouncer, which stops at the end of the test.
func Pooler(t testing.TB, rawURL string) string {
	t.Helper()
	past, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sallyport-pgbouncer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attributes, err := Unprivileged(dir)
	if err != nil {
		t.Fatal(err)
	}
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := write("users", fmt.Sprintf("%q \"\"\n", past.User.Username()))
	config := write("pgbouncer.ini", fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = %d
`, past.Hostname(), past.Port(), port, users, poolerConns))
	cmd := exec.Command("pgbouncer", "-q", config)
	cmd.SysProcAttr, cmd.Dir = attributes, dir
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; the tests need it: make deps", err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) // at SIGTERM, PgBouncer doesn't wait for its clients
		cmd.Wait()
	})
	through := *past
	through.Host = net.JoinHostPort("127.0.0.1", port)
	Until(t, "PgBouncer", func() bool {
		conn, err := pgx.Connect(context.Background(), through.String())
		if err != nil {
			return false
		}
		conn.Close(context.Background())
		return true
	})
	return through.String()
}

// Unprivileged returns the attributes with which to start PostgreSQL or PgBouncer in
// dir. Both refuse to run as root. If the test runs as root, they run as the user postgres,
// and Unprivileged makes this user the owner of dir.
func Unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attributes := &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not reach the server
	if os.Getuid() != 0 {
		return attributes, nil
	}
	postgres, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL won't run as root, and there is no user for it: %w", err)
	}
	uid, _ := strconv.Atoi(postgres.Uid)
	gid, _ := strconv.Atoi(postgres.Gid)
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes, os.Chown(dir, uid, gid)
}
