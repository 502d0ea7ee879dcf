// Command withpostgres starts a temporary PostgreSQL server on loopback, runs a command
// with the server's URL in SALLYPORT_TEST_POSTGRES, stops the server and exits with the
// command's status:
//
//	go run ./internal/testkit/withpostgres -- go test ./...
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/sallyport/sallyport/internal/testkit"
)

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
	dir, err := os.MkdirTemp(memoryDir(), "sallyport-postgres-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	// No autovacuum, which would start processes for every database again and again. Each test's
	// database exists only for seconds, too short to need a vacuum.
	url, stop, err := testkit.StartPostgres(dir, "autovacuum=off", "full_page_writes=off", "max_wal_size=256MB")
	if err != nil {
		return 0, err
	}
	defer stop()

	// Ctrl-C reaches the command too, so wait until it has ended. Catch the signal
	// rather than ignore it: the command would inherit an ignored signal.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
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

// memoryDir returns a directory in memory if the machine has one with enough room, otherwise "".
// Each test creates and drops a database, which makes and deletes 300 files. On a disk, the
// kernel spends four times as much time on that.
func memoryDir() string {
	const (
		dir    = "/dev/shm"
		enough = 8 << 30 // the tests take up to 2 GB; the rest is for other programs
	)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return ""
	}
	return dir
}
