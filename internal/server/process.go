package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/internal/durable"
)

// processFile contains the process ID of the server that uses a data directory. The server keeps the
// file locked. If the file isn't locked, its server is dead, and the process ID may belong to another
// process by now.
const processFile = "server.pid"

// maxProcessID is more bytes than any process ID has.
const maxProcessID = 32

// ErrNotRunning means that no server uses the data directory.
var ErrNotRunning = errors.New("no server is running")

// markRunning writes this process's ID to a file in the data directory, and locks the file until
// stop is called or the process ends. If another server has locked the file, which is possible on
// PostgreSQL, markRunning doesn't change the file and returns no error.
func markRunning(dataDir string) (stop func(), err error) {
	f, err := os.OpenFile(filepath.Join(dataDir, processFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record the process ID: %w", err)
	}
	err = durable.Lock(f)
	if errors.Is(err, durable.ErrLocked) {
		f.Close()
		return func() {}, nil
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("record the process ID: %w", err)
	}
	return func() {
		os.Remove(f.Name())
		f.Close()
	}, nil
}

// SignalReload makes the server that uses the data directory read its configuration again, by the
// signal SIGHUP, and returns the server's process ID. If no server uses the data directory, it
// returns [ErrNotRunning].
func SignalReload(dataDir string) (process int, err error) {
	f, err := os.Open(filepath.Join(dataDir, processFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotRunning
	}
	if err != nil {
		return 0, fmt.Errorf("find the server: %w", err)
	}
	defer f.Close()
	running, err := durable.IsLocked(f)
	if err != nil {
		return 0, fmt.Errorf("find the server: %w", err)
	}
	if !running {
		return 0, ErrNotRunning
	}
	text, err := io.ReadAll(io.LimitReader(f, maxProcessID))
	if err == nil {
		process, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil || process <= 1 {
		return 0, errors.New("the server is just starting; try again")
	}
	if err := syscall.Kill(process, syscall.SIGHUP); err != nil {
		return 0, fmt.Errorf("signal process %d: %w; run the command as the user that runs the server", process, err)
	}
	return process, nil
}
