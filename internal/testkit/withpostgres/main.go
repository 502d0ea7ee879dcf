// Command withpostgres starts a throw-away PostgreSQL server on loopback, puts
// its URL into SALLYPORT_TEST_POSTGRES, runs a command, stops the server and
// exits with the command's status:
//
//	go run ./internal/testkit/withpostgres -- go test ./...
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/testkit"
)

// startTime is how long a server may take to answer on a busy machine.
const startTime = time.Minute

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: withpostgres -- COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	status, err := run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpostgres:", err)
		status = 1
	}
	os.Exit(status)
}

func run(args []string) (int, error) {
	bin, err := programs()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "sallyport-postgres-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	attributes, err := testkit.Unprivileged(dir)
	if err != nil {
		return 0, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
	initdb.SysProcAttr, initdb.Dir = attributes, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := testkit.FreePort()
	if err != nil {
		return 0, err
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=500", "-c", "log_min_messages=panic")
	server.SysProcAttr, server.Dir, server.Stderr = attributes, dir, os.Stderr
	if err := server.Start(); err != nil {
		return 0, fmt.Errorf("start postgres: %w", err)
	}
	defer func() {
		server.Process.Signal(syscall.SIGINT) // "fast": ends connections and stops
		server.Wait()
	}()
	url := "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable"
	if err := answer(url); err != nil {
		return 0, err
	}

	// Ctrl-C reaches the command too; stay until it has ended.
	signal.Ignore(os.Interrupt)
	command := exec.Command(args[0], args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), testkit.PostgresVariable+"="+url)
	err = command.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return max(1, failed.ExitCode()), nil
	}
	return 0, err
}

// programs returns the folder of PostgreSQL's newest server programs; Debian
// keeps them out of PATH.
func programs() (string, error) {
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

func answer(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL didn't answer within %v: %w", startTime, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
