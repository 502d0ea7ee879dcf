package server

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Each of three nodes has its own copy of the key ring. The command changes the first
// node's copy.
func TestRotationWaitsForEveryLiveNode(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	database := testkit.DatabaseURL(t, "postgres")
	var nodes []*Portal
	for i := range 3 {
		dir := t.TempDir()
		if i > 0 {
			copyRing(t, nodes[0].Config.DataDir, dir)
		}
		listen := fmt.Sprint("127.0.0.1:", i+1)
		cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_DATABASE=" + database, "SALLYPORT_LISTEN=" + listen})
		if err != nil {
			t.Fatal(err)
		}
		p, err := Open(ctx, cfg, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		nodes = append(nodes, p)
		if err := p.Report(ctx); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := OpenKeys(ctx, nodes[0].Config)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	keys.patience, keys.pause = 0, noPause
	before := keys.Sealing()
	added, err := keys.Add(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused := func(when string, names ...string) {
		t.Helper()
		_, err := keys.Rotate(ctx)
		if !errors.Is(err, ErrNotSpread) {
			t.Fatalf("%s: %v, want ErrNotSpread", when, err)
		}
		for _, p := range nodes {
			if name := p.Config.Listen; strings.Contains(err.Error(), " at "+name) != slices.Contains(names, name) {
				t.Errorf("%s: %v, want %v named", when, err, names)
			}
		}
		if keys.Sealing() != before {
			t.Errorf("%s: the keys were rotated", when)
		}
	}
	wantRefused("no node has the key", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
	copyRing(t, nodes[0].Config.DataDir, nodes[1].Config.DataDir)
	for _, p := range nodes {
		testkit.Until(t, "the report of "+p.Config.Listen, func() bool {
			if err := p.Report(ctx); err != nil {
				t.Fatal(err)
			}
			return p == nodes[2] || len(p.reported.keys) == 2
		})
	}
	wantRefused("one node lacks the key", "127.0.0.1:3")
	// That node dies: its report expires.
	err = keys.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, `UPDATE nodes SET expires_at = expires_at - $2 WHERE id = $1`, nodes[2].cluster.Self, reportLife.Milliseconds())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Rotate(ctx); err != nil || keys.Sealing() != added {
		t.Errorf("rotating without the dead node: %v, %s seals, want %s", err, keys.Sealing(), added)
	}
	nodes[1].rest(ctx)
	if alive, err := cluster.Nodes(ctx, keys.DB, time.Now()); err != nil || len(alive) != 1 || alive[0].ID != nodes[0].cluster.Self {
		t.Errorf("nodes after another one stopped: %+v, %v", alive, err)
	}
}

func copyRing(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(from, "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "keyring.new"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(to, "keyring.new"), filepath.Join(to, "keyring")); err != nil {
		t.Fatal(err)
	}
}
