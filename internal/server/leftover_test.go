package server

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// A server that starts removes temporary files that a killed server or command left.
func TestServerRemovesLeftOverFiles(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(cfg.DataDir, ".sallyport-1234567.tmp")
	kept := []string{filepath.Join(cfg.DataDir, ".keyring-mine"), filepath.Join(cfg.DataDir, ".sallyport-22.tmp")}
	for path, age := range map[string]time.Duration{left: 25 * time.Hour, kept[0]: 25 * time.Hour, kept[1]: time.Hour} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Open(t.Context(), cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := p.Serve(stopped, listener); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("the left-over file: %v, want it removed", err)
	}
	for _, path := range kept {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("a file that isn't left over: %v", err)
		}
	}
}
