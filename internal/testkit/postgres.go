package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// startTimeout is how long a server may take to answer on a busy machine.
const startTimeout = time.Minute

// Postgres is a PostgreSQL server on loopback. It asks for no password. It doesn't sync to the
// disk unless its settings say so.
type Postgres struct {
	dir    string // the server's files are in dir/data
	port   string
	bin    string
	server *exec.Cmd

	settings []string // such as "fsync=on"
}

// StartPostgres starts a PostgreSQL server with its files in dir, and returns a URL for
// its superuser. settings are such as "fsync=on". The server sorts text in the order of a
// language, as a database of an operator's does, and not by bytes as Go and SQLite do.
func StartPostgres(dir string, settings ...string) (url string, stop func(), err error) {
	p, err := newPostgres(dir)
	if err != nil {
		return "", nil, err
	}
	p.settings = settings
	if err := p.create("initdb", "-D", p.data(), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8",
		"--locale=C", "--locale-provider=icu", "--icu-locale=en-US"); err != nil {
		return "", nil, err
	}
	return p.URL("postgres"), p.stop, p.start()
}

func newPostgres(dir string) (*Postgres, error) {
	bin, err := PostgresPrograms()
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	return &Postgres{dir: dir, port: port, bin: bin}, err
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// URL returns the URL with which the superuser connects to a database.
func (p *Postgres) URL(database string) string {
	return "postgres://postgres@" + p.Address() + "/" + database + "?sslmode=disable"
}

// Address returns the host and port at which the server listens.
func (p *Postgres) Address() string { return "127.0.0.1:" + p.port }

// create runs one of PostgreSQL's programs, which creates the server's files.
func (p *Postgres) create(program string, args ...string) error {
	attributes, err := Unprivileged(p.dir)
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(p.bin, program), args...)
	cmd.SysProcAttr, cmd.Dir = attributes, p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// start starts the server and waits until it answers.
func (p *Postgres) start() error {
	attributes, err := Unprivileged(p.dir)
	if err != nil {
		return err
	}
	p.server = exec.Command(filepath.Join(p.bin, "postgres"), "-D", p.data(), "-p", p.port, "-k", p.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=500", "-c", "wal_retrieve_retry_interval=100ms", "-c", "log_min_messages=panic")
	for _, setting := range p.settings {
		p.server.Args = append(p.server.Args, "-c", setting)
	}
	p.server.SysProcAttr, p.server.Dir, p.server.Stderr = attributes, p.dir, os.Stderr
	if err := p.server.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := waitForAnswer(p.URL("postgres")); err != nil {
		p.stop()
		return err
	}
	return nil
}

func (p *Postgres) stop() {
	p.server.Process.Signal(syscall.SIGINT) // "fast shutdown", which ends the connections
	p.server.Wait()
}

// PostgresPrograms returns the directory of the newest PostgreSQL server programs that
// are installed. On Debian this directory isn't in PATH.
func PostgresPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("PostgreSQL's server programs are missing; run: make deps")
	}
	return filepath.Dir(path), nil
}

func version(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

func waitForAnswer(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL didn't answer within %v: %w", startTimeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
