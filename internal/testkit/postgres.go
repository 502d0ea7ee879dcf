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

// postgresStarts is how long a server may take to answer on a busy machine.
const postgresStarts = time.Minute

// StartPostgres starts a PostgreSQL on loopback with its files in dir, and
// returns the URL of its superuser. It trusts everybody and syncs nothing to the
// disk; settings, as "fsync=on", say otherwise.
func StartPostgres(dir string, settings ...string) (url string, stop func(), err error) {
	bin, err := PostgresPrograms()
	if err != nil {
		return "", nil, err
	}
	attributes, err := Unprivileged(dir)
	if err != nil {
		return "", nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
	initdb.SysProcAttr, initdb.Dir = attributes, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := FreePort()
	if err != nil {
		return "", nil, err
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=500", "-c", "log_min_messages=panic")
	for _, setting := range settings {
		server.Args = append(server.Args, "-c", setting)
	}
	server.SysProcAttr, server.Dir, server.Stderr = attributes, dir, os.Stderr
	if err := server.Start(); err != nil {
		return "", nil, fmt.Errorf("start postgres: %w", err)
	}
	stop = func() {
		server.Process.Signal(syscall.SIGINT) // "fast": ends connections and stops
		server.Wait()
	}
	url = "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable"
	if err := answers(url); err != nil {
		stop()
		return "", nil, err
	}
	return url, stop, nil
}

// PostgresPrograms returns the folder of PostgreSQL's newest server programs; Debian
// keeps them out of PATH.
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

func answers(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), postgresStarts)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL didn't answer within %v: %w", postgresStarts, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
