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

// What a killed server or command left is removed by the next server.
func TestServerRemovesLeftOverFiles(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(cfg.DataDir, ".sallyport-1234567.tmp")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dayAgo := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(left, dayAgo, dayAgo); err != nil {
		t.Fatal(err)
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
		t.Errorf("the left-over file: %v", err)
	}
}
